/// What a grant allows its bearer to do in one room.
public struct Rights: OptionSet, Hashable, Sendable {
    public let rawValue: UInt8

    public init(rawValue: UInt8) {
        self.rawValue = rawValue
    }

    /// To join the room, and to read its history and its roster.
    public static let read = Rights(rawValue: 1 << 0)
    /// To store messages in the room.
    public static let send = Rights(rawValue: 1 << 1)
    /// To send signals, which are not stored.
    public static let signal = Rights(rawValue: 1 << 2)
    /// To change one's own messages.
    public static let amend = Rights(rawValue: 1 << 3)
    /// To change the messages of others.
    public static let amendAny = Rights(rawValue: 1 << 4)
    /// To change the rules of the room and to impose sanctions on its users.
    public static let moderate = Rights(rawValue: 1 << 5)

    public static let all: Rights = [.read, .send, .signal, .amend, .amendAny, .moderate]

    /// The names in claims and settings, in the order of the bits.
    public static let names: [(name: String, right: Rights)] = [
        ("read", .read), ("send", .send), ("signal", .signal), ("amend", .amend), ("amend-any", .amendAny),
        ("moderate", .moderate),
    ]

    /// The right of that name; nil if there is none.
    public init?(name: String) {
        guard let right = Self.names.first(where: { $0.name == name })?.right else { return nil }
        self = right
    }

    /// The rights of those names; nil if one of them is no right.
    public init?(names: [String]) {
        self = []
        for name in names {
            guard let right = Rights(name: name) else { return nil }
            insert(right)
        }
    }

    /// The names of the rights, in the order of the bits.
    public var names: [String] { Self.names.filter { contains($0.right) }.map(\.name) }
}
