import ChatCore

/// The replies of one connection that are being read, flat: one array of nodes, one of bytes. Filled by
/// ``RESPReader``, emptied when a request was answered; both arrays keep their room, so a reply costs no allocation.
///
/// Confined to the connection's event loop.
final class RESPArena {
    struct Node {
        var kind: RESPReply.Kind
        /// Integer: its value. Text: offset into `bytes`. Array: index of its first element.
        var value: Int64
        /// Text: bytes. Array: elements.
        var count: Int
    }

    private(set) var nodes: [Node] = []
    private(set) var bytes: [UInt8] = []
    /// Index of each whole reply.
    private(set) var roots: [Int] = []
    /// What was left out of the replies by whoever read them.
    var ignored: IgnoredKinds = []
    /// A reply had more elements than ``RESPReader`` takes.
    var overflowed = false

    init() {
        nodes.reserveCapacity(64)
        bytes.reserveCapacity(4_096)
    }

    /// Forgets all replies. Room that one giant reply took is given back. Only between two replies: hiredis names the
    /// arrays of an unfinished one by their index.
    func removeAll() {
        nodes.removeAll(keepingCapacity: nodes.capacity <= 65_536)
        bytes.removeAll(keepingCapacity: bytes.capacity <= 1_048_576)
        roots.removeAll(keepingCapacity: true)
        ignored = []
    }

    func appendRoot(_ index: Int) { roots.append(index) }

    /// Adds a node; an element takes the place that its array keeps for it, an array keeps places for its elements,
    /// which arrive one by one. The node's index.
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

    /// Copies text into the arena. Its offset.
    func append(_ text: UnsafeRawBufferPointer) -> Int {
        let offset = bytes.count
        bytes.append(contentsOf: text)
        return offset
    }
}

/// One reply of Redis, or one element of it: a cheap view. Valid only until the call that it was handed to returns; a
/// view kept longer reads as null, or as another reply, but never as foreign memory.
///
/// Whatever Redis sent, nothing here traps: an index that is not there is a null, a value of another kind is nil.
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

    /// Notes that the reader left out what stands here or inside: the link counts it, and says so in the log.
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

    /// Elements of an array; 0 for all else.
    public var count: Int {
        let node = node
        return node.kind == .array ? node.count : 0
    }

    /// The element at `place`; a null if this is no array or has no such element.
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

    /// The text of an error reply, whatever bytes it holds; nil if this is none.
    public var error: String? {
        kind == .error ? withBytes { String(decoding: $0.prefix(512), as: UTF8.self) } : nil
    }

    /// The error's first word (`NOAUTH`, `ERR`); nil if this is no error.
    public var errorCode: Substring? {
        error.map { $0.prefix { $0 != " " } }
    }

    /// Whether this is a string, status or error of exactly these bytes.
    public func equals(_ text: StaticString) -> Bool {
        let node = node
        guard node.kind != .null, node.kind != .array, node.kind != .integer else { return false }
        guard node.count == text.utf8CodeUnitCount else { return false }
        return withBytes { bytes in
            text.withUTF8Buffer { bytes.elementsEqual($0) }
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

    private static func unsigned(_ bytes: UnsafeBufferPointer<UInt8>) -> UInt64? {
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

/// The replies to one request: one for each command that it was encoded into, in order. As short-lived as
/// ``RESPReply``.
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
