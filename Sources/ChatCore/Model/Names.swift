/// Why a name was not accepted. The text is for a developer; it never repeats the name itself, which may be a megabyte
/// long or hold control characters.
public struct NameError: Error, Equatable, Sendable, CustomStringConvertible {
    public let description: String

    public init(_ description: String) {
        self.description = description
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
/// 1 to ``maxBytes`` bytes of UTF-8 that can be seen (``NameRules``), and no braces: all Redis keys of a room carry its name as the
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

    /// A name that Redis holds: also one that may be seen no more, as an earlier version let people call a room. What was begun under it
    /// has to be ended under it.
    public init(stored text: String) throws(NameError) {
        try NameRules.validate(
            text, noun: "room name", maxBytes: Self.maxBytes, reserved: "{}",
            because: "holds a brace, which Redis Cluster would read as a hash tag", mustBeSeen: false)
        self.text = text
    }

    public static func == (left: RoomName, right: RoomName) -> Bool { left.text.isSame(as: right.text) }

    public var description: String { text }
}

/// The person (or program) behind one or more sessions. 1 to ``maxBytes`` bytes of UTF-8 that can be
/// seen (``NameRules``).
public struct UserID: Hashable, Sendable, CustomStringConvertible {
    public static let maxBytes = 128
    public let text: String

    /// Throws a ``NameError`` that says which rule was broken.
    public init(_ text: String) throws(NameError) {
        try NameRules.validate(text, noun: "user", maxBytes: Self.maxBytes)
        self.text = text
    }

    /// A name that a node tells of: also one that may be seen no more.
    public init(stored text: String) throws(NameError) {
        try NameRules.validate(text, noun: "user", maxBytes: Self.maxBytes, mustBeSeen: false)
        self.text = text
    }

    /// A name that was one before.
    init(kept text: String) {
        self.text = text
    }

    public static func == (left: UserID, right: UserID) -> Bool { left.text.isSame(as: right.text) }

    public var description: String { text }
}

/// One of a user's devices, as the client names it (`?device=phone`). 1 to ``maxBytes`` bytes of UTF-8 that can be seen
/// (``NameRules``). A session that names none gets a name of its own.
public struct DeviceName: Hashable, Sendable, CustomStringConvertible {
    public static let maxBytes = 64
    public let text: String

    /// Throws a ``NameError`` that says which rule was broken.
    public init(_ text: String) throws(NameError) {
        try NameRules.validate(text, noun: "device", maxBytes: Self.maxBytes)
        self.text = text
    }

    /// A name that a node tells of: also one that may be seen no more.
    public init(stored text: String) throws(NameError) {
        try NameRules.validate(text, noun: "device", maxBytes: Self.maxBytes, mustBeSeen: false)
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
