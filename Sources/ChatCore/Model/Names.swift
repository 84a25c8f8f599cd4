/// Why a name was not accepted. The text is for a developer; it never repeats the name itself, which may be a megabyte
/// long or hold control characters.
public struct NameError: Error, Equatable, Sendable, CustomStringConvertible {
    public let description: String

    public init(_ description: String) {
        self.description = description
    }
}

/// The rules that all names share: 1 to `maxBytes` bytes of UTF-8, no control characters (U+0000…U+001F, U+007F…U+009F),
/// no line or paragraph separators, not only white space.
enum NameRules {
    /// `reserved`: ASCII characters that mean something else.
    static func validate(
        _ text: String, noun: String, maxBytes: Int, reserved: StaticString = "", because reason: String = ""
    ) throws(NameError) {
        let count = text.utf8.count
        guard count > 0 else { throw NameError("\(noun) is empty") }
        guard count <= maxBytes else { throw NameError("\(noun) is \(count) bytes long, the limit is \(maxBytes)") }
        // Nearly every name is visible ASCII characters and nothing else.
        let isPlain = text.utf8.withContiguousStorageIfAvailable { bytes in
            bytes.allSatisfy { $0 > 0x20 && $0 < 0x7F && !reserved.holds($0) }
        }
        if isPlain == true { return }
        var visible = false
        for scalar in text.unicodeScalars {
            switch scalar.value {
            case 0..<0x20, 0x7F..<0xA0, 0x2028, 0x2029:
                throw NameError(
                    "\(noun) holds the control character U+\(String(scalar.value, radix: 16, uppercase: true))")
            default:
                // Looking a property up costs more than all else here.
                if !visible { visible = (0x21..<0x7F).contains(scalar.value) || !scalar.properties.isWhitespace }
            }
        }
        guard visible else { throw NameError("\(noun) is only white space") }
        guard !text.utf8.contains(where: { reserved.holds($0) }) else { throw NameError("\(noun) \(reason)") }
    }
}

extension StaticString {
    @inline(__always)
    fileprivate func holds(_ byte: UInt8) -> Bool {
        for index in 0..<utf8CodeUnitCount where utf8Start[index] == byte { return true }
        return false
    }
}

extension String {
    /// Whether the bytes are the same, as Redis sees it. `==` takes two spellings of a letter for the same ("é" is one scalar or two), and
    /// so what Redis keeps apart would be one on a node, and not on the next. (Equal bytes have equal hashes.)
    func isSame(as other: String) -> Bool {
        guard utf8.count == other.utf8.count else { return false }
        // Of strings that Swift made this is always there, and far quicker than one character after the other.
        let same = utf8.withContiguousStorageIfAvailable { left in
            other.utf8.withContiguousStorageIfAvailable { right in left.elementsEqual(right) }
        }
        if case .some(.some(let isSame)) = same { return isSame }
        return utf8.elementsEqual(other.utf8)
    }
}

/// The name of a room: what people join.
///
/// 1 to ``maxBytes`` bytes of UTF-8, no control characters and no braces: all Redis keys of a room carry its name as the
/// Cluster hash tag `{room}`, and a brace inside would move some of them to another slot (Redis Cluster specification,
/// "Hash tags").
public struct RoomName: Hashable, Sendable, CustomStringConvertible {
    public static let maxBytes = 128
    public let text: String

    /// Throws a ``NameError`` that says which rule was broken.
    public init(_ text: String) throws(NameError) {
        try NameRules.validate(
            text, noun: "room name", maxBytes: Self.maxBytes, reserved: "{}",
            because: "holds a brace, which Redis Cluster would read as a hash tag")
        self.text = text
    }

    public static func == (left: RoomName, right: RoomName) -> Bool { left.text.isSame(as: right.text) }

    public var description: String { text }
}

/// The person (or program) behind one or more sessions. 1 to ``maxBytes`` bytes of UTF-8, no control characters.
public struct UserID: Hashable, Sendable, CustomStringConvertible {
    public static let maxBytes = 128
    public let text: String

    /// Throws a ``NameError`` that says which rule was broken.
    public init(_ text: String) throws(NameError) {
        try NameRules.validate(text, noun: "user", maxBytes: Self.maxBytes)
        self.text = text
    }

    /// A name that was one before.
    init(kept text: String) {
        self.text = text
    }

    public static func == (left: UserID, right: UserID) -> Bool { left.text.isSame(as: right.text) }

    public var description: String { text }
}

/// One of a user's devices, as the client names it (`?device=phone`). 1 to ``maxBytes`` bytes of UTF-8, no control
/// characters. A session that names none gets a name of its own.
public struct DeviceName: Hashable, Sendable, CustomStringConvertible {
    public static let maxBytes = 64
    public let text: String

    /// Throws a ``NameError`` that says which rule was broken.
    public init(_ text: String) throws(NameError) {
        try NameRules.validate(text, noun: "device", maxBytes: Self.maxBytes)
        self.text = text
    }

    /// A name that was one before.
    init(kept text: String) {
        self.text = text
    }

    public static func == (left: DeviceName, right: DeviceName) -> Bool { left.text.isSame(as: right.text) }

    public var description: String { text }
}

/// One start of one node process: `<node name>-<8 hex digits>`. A restarted process is another node, so nothing that the
/// old one left in Redis can be taken for the new one's.
public struct NodeID: Hashable, Sendable, CustomStringConvertible, Comparable {
    public static let maxBytes = 96
    public let text: String

    /// Throws a ``NameError`` that says which rule was broken.
    public init(_ text: String) throws(NameError) {
        try NameRules.validate(
            text, noun: "node", maxBytes: Self.maxBytes, reserved: "{}:",
            because: "holds a brace or a colon, which Redis key names use")
        self.text = text
    }

    /// A name that was one before.
    init(kept text: String) {
        self.text = text
    }

    public static func == (left: NodeID, right: NodeID) -> Bool { left.text.isSame(as: right.text) }

    public var description: String { text }

    public static func < (left: NodeID, right: NodeID) -> Bool { left.text < right.text }
}

/// One session inside one node. Unique for the life of the process and never reused, so an answer to a session that has
/// gone finds nobody instead of somebody else.
public struct SessionID: Hashable, Sendable, Comparable {
    public let raw: UInt64

    public init(raw: UInt64) {
        self.raw = raw
    }

    public static func < (left: SessionID, right: SessionID) -> Bool { left.raw < right.raw }
}
