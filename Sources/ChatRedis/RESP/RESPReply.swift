import ChatCore
import ChatJSON

/// The replies of one connection that are being read, in flat form: one array of nodes, one of bytes. ``RESPReader``
/// fills it, and it is emptied when a request was answered. Both arrays keep their capacity, so a reply costs no
/// allocation.
///
/// Confined to the connection's event loop.
final class RESPArena {
    struct Node {
        var kind: RESPReply.Kind
        /// Integer: its value. Text: the offset into `bytes`. Array: the index of its first element.
        var value: Int64
        /// Text: the number of bytes. Array: the number of elements.
        var count: Int
    }

    private(set) var nodes: [Node] = []
    private(set) var bytes: [UInt8] = []
    /// The index of each complete reply.
    private(set) var roots: [Int] = []
    /// The kinds of data that readers of the replies ignored.
    var ignored: IgnoredKinds = []
    /// Whether a reply had more elements than ``RESPReader`` accepts.
    var overflowed = false

    init() {
        nodes.reserveCapacity(64)
        bytes.reserveCapacity(4_096)
    }

    /// Removes all replies, and frees the capacity that a giant reply took. Call it only between two replies: hiredis
    /// refers to the arrays of an unfinished one by their index.
    func removeAll() {
        nodes.removeAll(keepingCapacity: nodes.capacity <= 65_536)
        bytes.removeAll(keepingCapacity: bytes.capacity <= 1_048_576)
        roots.removeAll(keepingCapacity: true)
        ignored = []
    }

    func appendRoot(_ index: Int) { roots.append(index) }

    /// Adds a node. An element takes the place that its array reserved for it; an array reserves places for its
    /// elements, which arrive one by one. Returns the node's index.
    func add(_ node: Node, parent: Int?, place: Int) -> Int {
        var node = node
        var index = nodes.count
        if let parent, parent >= 0, parent < nodes.count, place >= 0, place < nodes[parent].count {
            index = Int(nodes[parent].value) + place
        } else {
            nodes.append(node)
        }
        if node.kind == .array {
            node.value = Int64(nodes.count)
            nodes.append(contentsOf: repeatElement(Node(kind: .null, value: 0, count: 0), count: node.count))
        }
        nodes[index] = node
        return index
    }

    /// Copies text into the arena. Returns its offset.
    func append(_ text: UnsafeRawBufferPointer) -> Int {
        let offset = bytes.count
        bytes.append(contentsOf: text)
        return offset
    }
}

/// A view of one reply of Redis, or of one of its elements. It is valid only until the call that it was passed to
/// returns; a view that is kept longer reads as null, or as another reply, but never as foreign memory.
///
/// Nothing here traps, whatever Redis sent: an index out of range gives a null, and a value of another kind gives nil.
public struct RESPReply {
    public enum Kind: UInt8, Sendable {
        /// `+OK`
        case status
        /// `-ERR …`
        case error
        /// A bulk string: any bytes.
        case string
        case integer
        case array
        /// The null bulk string or null array.
        case null
    }

    private let arena: RESPArena
    private let index: Int

    init(arena: RESPArena, index: Int) {
        self.arena = arena
        self.index = index
    }

    private var node: RESPArena.Node {
        index >= 0 && index < arena.nodes.count
            ? arena.nodes[index] : RESPArena.Node(kind: .null, value: 0, count: 0)
    }

    public var kind: Kind { node.kind }

    public var isNull: Bool { kind == .null }

    /// Records that the reader ignored this value or a part of it: the link counts and logs that.
    public func leaveOut(_ kind: IgnoredData) { arena.ignored.insert(IgnoredKinds(kind)) }

    /// The value of an integer, or of a string that is a decimal number (Redis gives hash values as strings); nil
    /// otherwise, overflow included.
    public var integer: Int64? {
        let node = node
        switch node.kind {
        case .integer: return node.value
        case .string, .status: return withBytes { Self.number($0) }
        case .error, .array, .null: return nil
        }
    }

    /// Like ``integer``, for values that are never negative and use all 64 bits.
    public var unsigned: UInt64? {
        let node = node
        switch node.kind {
        case .integer: return UInt64(exactly: node.value)
        case .string, .status: return withBytes { Self.unsigned($0) }
        case .error, .array, .null: return nil
        }
    }

    /// The number of elements of an array; 0 for all other kinds.
    public var count: Int {
        let node = node
        return node.kind == .array ? node.count : 0
    }

    /// The element at `place`; a null if this is not an array or has no such element.
    public subscript(place: Int) -> RESPReply {
        let node = node
        guard node.kind == .array, place >= 0, place < node.count else { return RESPReply(arena: arena, index: -1) }
        return RESPReply(arena: arena, index: Int(node.value) + place)
    }

    /// The text of a string, status or error; nil for other kinds, and if it is not UTF-8.
    public var string: String? {
        let node = node
        switch node.kind {
        case .string, .status, .error: return withBytes { String(validating: $0, as: UTF8.self) }
        case .integer, .array, .null: return nil
        }
    }

    /// The text of an error reply, whatever bytes it holds; nil if this is not an error.
    public var error: String? {
        kind == .error ? withBytes { String(decoding: $0.prefix(512), as: UTF8.self) } : nil
    }

    /// The error's first word (`NOAUTH`, `ERR`); nil if this is not an error.
    public var errorCode: Substring? {
        error.map { $0.prefix { $0 != " " } }
    }

    /// Whether this is a string, status or error of exactly these bytes.
    public func equals(_ text: StaticString) -> Bool {
        let node = node
        guard node.kind != .null, node.kind != .array, node.kind != .integer else { return false }
        guard node.count == text.utf8CodeUnitCount else { return false }
        return withBytes { bytes in
            text.withUTF8Buffer { UnsafeRawBufferPointer(bytes).isSame(as: UnsafeRawBufferPointer($0)) }
        }
    }

    /// The bytes of a string, status or error, without a copy; no bytes for other kinds. They are valid inside `body`
    /// only.
    public func withBytes<Result, Failure: Error>(
        _ body: (UnsafeBufferPointer<UInt8>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let node = node
        switch node.kind {
        case .integer, .array, .null:
            return try body(UnsafeBufferPointer(start: nil, count: 0))
        case .status, .error, .string:
            let span = Int(node.value)..<Int(node.value) + node.count
            let result: Swift.Result<Result, Failure> = arena.bytes.withUnsafeBufferPointer { bytes in
                guard span.upperBound <= bytes.count else {
                    return Self.attempt(body, UnsafeBufferPointer(start: nil, count: 0))
                }
                return Self.attempt(body, UnsafeBufferPointer(rebasing: bytes[span]))
            }
            return try result.get()
        }
    }

    private static func attempt<Result, Failure: Error>(
        _ body: (UnsafeBufferPointer<UInt8>) throws(Failure) -> Result, _ bytes: UnsafeBufferPointer<UInt8>
    ) -> Swift.Result<Result, Failure> {
        do throws(Failure) {
            return .success(try body(bytes))
        } catch {
            return .failure(error)
        }
    }

    private static func number(_ bytes: UnsafeBufferPointer<UInt8>) -> Int64? {
        guard let first = bytes.first else { return nil }
        let negative = first == UInt8(ascii: "-")
        let digits = negative ? UnsafeBufferPointer(rebasing: bytes.dropFirst()) : bytes
        guard let magnitude = unsigned(digits) else { return nil }
        if negative {
            if magnitude == Int64.min.magnitude { return .min }
            return Int64(exactly: magnitude).map { -$0 }
        }
        return Int64(exactly: magnitude)
    }

    static func unsigned(_ bytes: UnsafeBufferPointer<UInt8>) -> UInt64? {
        guard !bytes.isEmpty else { return nil }
        var number: UInt64 = 0
        for byte in bytes {
            guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else { return nil }
            let (scaled, overflow) = number.multipliedReportingOverflow(by: 10)
            let (sum, carry) = scaled.addingReportingOverflow(UInt64(byte - UInt8(ascii: "0")))
            guard !overflow, !carry else { return nil }
            number = sum
        }
        return number
    }
}

/// The replies to one request: one for each of its commands, in order. As short-lived as a ``RESPReply``.
public struct RESPReplies {
    private let arena: RESPArena

    init(arena: RESPArena) {
        self.arena = arena
    }

    public var count: Int { arena.roots.count }

    /// The reply to command `place`; a null if there is none.
    public subscript(place: Int) -> RESPReply {
        guard place >= 0, place < arena.roots.count else { return RESPReply(arena: arena, index: -1) }
        return RESPReply(arena: arena, index: arena.roots[place])
    }
}
