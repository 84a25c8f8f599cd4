/// A message that a user has starred: a copy, which stays when the log is trimmed.
public struct Star: Hashable, Sendable {
    /// The most bytes of a copy. Of a longer message `data` is left out, and then the end of the text.
    public static let mostBytes = 8_192

    public var room: RoomName
    public var position: Position
    /// Who said it, and when, in milliseconds since 1970.
    public var user: UserID
    public var at: UInt64
    public var text: String?
    /// JSON text.
    public var data: String?
    /// When it was starred; 0 if it is not yet. No two stars of a user have the same time.
    public var starred: UInt64

    public init(
        _ room: RoomName, _ position: Position, user: UserID, at: UInt64, text: String? = nil, data: String? = nil,
        starred: UInt64 = 0
    ) {
        self.room = room
        self.position = position
        self.user = user
        self.at = at
        self.text = text
        self.data = data
        self.starred = starred
    }

    /// The copy of a message.
    public init(_ message: Message, in room: RoomName) {
        let content = message.content
        self.init(room, message.position, user: content.user, at: content.at, text: content.text, data: content.data)
        let bytes = text?.utf8.count ?? 0
        if bytes + (data?.utf8.count ?? 0) > Self.mostBytes { data = nil }
        if let whole = text, bytes > Self.mostBytes { text = Self.beginning(of: whole) }
    }

    /// The characters that fit into ``mostBytes`` of a longer text. Where a character ends is asked only twice, because
    /// each answer takes time in proportion to the length of that character, which is the sender's choice.
    private static func beginning(of whole: String) -> String {
        let end = whole.endOfScalars(within: mostBytes)
        let beginning = whole[..<end]
        return String(end.samePosition(in: whole) == nil ? beginning.dropLast() : beginning)
    }

    /// About how many bytes the star has.
    public var cost: Int { 128 + (text?.utf8.count ?? 0) + (data?.utf8.count ?? 0) }
}

/// A star as the author of the message keeps it: who has a copy of which message. So whoever erases the message finds
/// the copies.
public struct Starrer: Hashable, Sendable {
    public var room: RoomName
    public var position: Position
    /// Who has starred the message.
    public var user: UserID

    public init(_ room: RoomName, _ position: Position, by user: UserID) {
        self.room = room
        self.position = position
        self.user = user
    }

    /// Room, position and user, each on a line: no name holds a line feed. Starrers are in the order of these bytes.
    public var text: String { "\(room.text)\n\(position)\n\(user.text)" }

    /// Nil if it is not what ``text`` says.
    public init?(_ text: String) {
        let parts = text.split(separator: "\n", omittingEmptySubsequences: false)
        guard parts.count == 3, let room = try? RoomName(stored: String(parts[0])), let position = Position(parts[1]),
            position.isWithinBounds, let user = try? UserID(stored: String(parts[2]))
        else { return nil }
        self.init(room, position, by: user)
    }
}
