import ChatJSON

/// Why a name was not accepted. The text is for a developer; it never repeats the name itself, which may be a megabyte
/// long or hold control characters.
public struct NameError: Error, Equatable, Sendable, CustomStringConvertible {
    public let description: String

    public init(_ description: String) {
        self.description = description
    }
}

extension String {
    /// Whether the bytes are equal, which is how Redis compares. `==` treats two encodings of a letter as equal ("é"
    /// is one scalar or two), so that names which Redis distinguishes would be equal on a node. (Equal bytes have
    /// equal hashes.)
    func isSame(as other: String) -> Bool {
        guard utf8.count == other.utf8.count else { return false }
        // Strings made by Swift always have contiguous storage, and comparing it is much faster than comparing bytes
        // one by one.
        let same = utf8.withContiguousStorageIfAvailable { left in
            other.utf8.withContiguousStorageIfAvailable { right in
                UnsafeRawBufferPointer(left).isSame(as: UnsafeRawBufferPointer(right))
            }
        }
        if case .some(.some(let isSame)) = same { return isSame }
        return utf8.elementsEqual(other.utf8)
    }
}

/// The name of a room: what people join.
///
/// 1 to ``maxBytes`` bytes of visible UTF-8 (``NameRules``) without braces: all Redis keys of a room carry its name as
/// the Cluster hash tag `{room}`, and a brace inside would move some of them to another slot (Redis Cluster
/// specification, "Hash tags").
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

    /// A name from Redis, which may be invisible, because an earlier version allowed that. What was begun under such a
    /// name has to be ended under it.
    public init(stored text: String) throws(NameError) {
        try NameRules.validate(
            text, noun: "room name", maxBytes: Self.maxBytes, reserved: "{}",
            because: "holds a brace, which Redis Cluster would read as a hash tag", mustBeSeen: false)
        self.text = text
    }

    public static func == (left: RoomName, right: RoomName) -> Bool { left.text.isSame(as: right.text) }

    public var description: String { text }
}

/// The person (or program) behind one or more sessions: 1 to ``maxBytes`` bytes of visible UTF-8 (``NameRules``).
public struct UserID: Hashable, Sendable, CustomStringConvertible {
    public static let maxBytes = 128
    public let text: String

    /// Throws a ``NameError`` that says which rule was broken.
    public init(_ text: String) throws(NameError) {
        try NameRules.validate(text, noun: "user", maxBytes: Self.maxBytes)
        self.text = text
    }

    /// A name from another node, which may be invisible, because an earlier version allowed that.
    public init(stored text: String) throws(NameError) {
        try NameRules.validate(text, noun: "user", maxBytes: Self.maxBytes, mustBeSeen: false)
        self.text = text
    }

    /// For a text that is known to be a valid name.
    init(kept text: String) {
        self.text = text
    }

    public static func == (left: UserID, right: UserID) -> Bool { left.text.isSame(as: right.text) }

    public var description: String { text }
}

/// One of a user's devices, as the client names it (`?device=phone`): 1 to ``maxBytes`` bytes of visible UTF-8
/// (``NameRules``). A session that names none gets a name of its own.
public struct DeviceName: Hashable, Sendable, CustomStringConvertible {
    public static let maxBytes = 64
    public let text: String

    /// Throws a ``NameError`` that says which rule was broken.
    public init(_ text: String) throws(NameError) {
        try NameRules.validate(text, noun: "device", maxBytes: Self.maxBytes)
        self.text = text
    }

    /// A name from another node, which may be invisible, because an earlier version allowed that.
    public init(stored text: String) throws(NameError) {
        try NameRules.validate(text, noun: "device", maxBytes: Self.maxBytes, mustBeSeen: false)
        self.text = text
    }

    /// For a text that is known to be a valid name.
    init(kept text: String) {
        self.text = text
    }

    public static func == (left: DeviceName, right: DeviceName) -> Bool { left.text.isSame(as: right.text) }

    public var description: String { text }
}

/// One start of one node process: `<node name>-<8 hex digits>`. A restarted process is another node, so nothing that
/// the old one left in Redis can be mistaken for data of the new one.
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

    /// For a text that is known to be a valid name.
    init(kept text: String) {
        self.text = text
    }

    public static func == (left: NodeID, right: NodeID) -> Bool { left.text.isSame(as: right.text) }

    public var description: String { text }

    public static func < (left: NodeID, right: NodeID) -> Bool { left.text < right.text }
}

/// One session inside one node. The ID is unique for the life of the process and never reused, so an answer to a
/// session that has ended reaches nobody instead of another session.
public struct SessionID: Hashable, Sendable, Comparable {
    public let raw: UInt64

    public init(raw: UInt64) {
        self.raw = raw
    }

    public static func < (left: SessionID, right: SessionID) -> Bool { left.raw < right.raw }
}
