import ChatJSON

extension RoomName {
    /// What the names of direct conversations begin with. Only these two users may enter such a room.
    public static let directPrefix = "dm:"

    /// Whether the room is a direct conversation, or would be one if it was begun.
    public var isDirect: Bool {
        // Each message of a moderated room asks this; `starts(with:)` took a quarter of the time of its rules.
        let prefix = Self.directPrefix.utf8
        guard text.utf8.count >= prefix.count else { return false }
        return zip(text.utf8, prefix).allSatisfy { $0 == $1 }
    }

    /// The direct conversation of two users, whoever of them starts it: `dm:` and both names, percent-encoded, in the
    /// order of their bytes, with a colon between them. If that is too long for a name of a room, `dm:` and its
    /// SHA-256. Nil if both are the same user.
    public init?(directOf first: UserID, and second: UserID) {
        guard first != second else { return nil }
        let names = [first, second].map { percentEncoded($0.text) }
            .sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        var text = "\(Self.directPrefix)\(names[0]):\(names[1])"
        if text.utf8.count > Self.maxBytes { text = Self.directPrefix + SHA256.hex(of: text) }
        guard let room = try? RoomName(text) else { return nil }
        self = room
    }

    /// The user with whom that user talks in this room, if the name of the room tells it.
    public func directPartner(of user: UserID) -> UserID? {
        guard isDirect else { return nil }
        let names = text.utf8.dropFirst(Self.directPrefix.utf8.count).split(separator: UInt8(ascii: ":"))
        guard names.count == 2 else { return nil }
        let users = names.compactMap { name in
            percentDecoded(name).flatMap { String(validating: $0, as: UTF8.self) }.flatMap { try? UserID(stored: $0) }
        }
        guard users.count == 2, users.contains(user) else { return nil }
        return users[0] == user ? users[1] : users[0]
    }
}
