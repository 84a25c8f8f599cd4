public import ChatCore

/// A row of the archive: an entry of a room's log. All databases have the same columns.
public struct ArchiveRow: Hashable, Sendable {
    public var room: String
    public var position: Position
    public var user: String
    /// ms since 1970.
    public var at: UInt64
    public var text: String?
    public var data: String?
    public var thread: String?
    /// JSON array of names.
    public var mentions: String?
    /// What an amendment does, to which position, and its number.
    public var operation: String?
    public var of: String?
    public var number: UInt64?
    /// When the content was erased (ms since 1970), and by whom; nil if it was not.
    public var erasedAt: UInt64?
    public var erasedBy: String?

    init(
        room: String, position: Position, user: String, at: UInt64, text: String?, data: String?, thread: String?,
        mentions: String?, operation: String?, of: String?, number: UInt64?, erasedAt: UInt64?, erasedBy: String?
    ) {
        self.room = room
        self.position = position
        self.user = user
        self.at = at
        self.text = text
        self.data = data
        self.thread = thread
        self.mentions = mentions
        self.operation = operation
        self.of = of
        self.number = number
        self.erasedAt = erasedAt
        self.erasedBy = erasedBy
    }

    /// The row of a log's entry.
    public init(_ message: Message, in room: RoomName) {
        let content = message.content
        self.room = room.text
        position = message.position
        user = content.user.text
        at = content.at
        text = content.text
        data = content.data
        thread = content.extra?.thread?.description
        if let names = content.extra?.mentions, !names.isEmpty { mentions = StringList.write(names.map(\.text)) }
        operation = content.extra?.amendment?.operation.rawValue
        of = content.extra?.amendment?.of.description
        number = content.extra?.amendment?.number
        erasedAt = content.extra?.deleted?.at
        erasedBy = content.extra?.deleted?.by
    }

    /// The message that the row stands for. What cannot be read is replaced, as in a log.
    var message: Message? {
        guard let user = (try? UserID(stored: user)) ?? (try? UserID("unknown")) else { return nil }
        var amendment: Amendment?
        if let operation = operation.flatMap({ Amendment.Operation(rawValue: $0) }),
            let of = of.flatMap({ Position($0) })
        {
            amendment = Amendment(operation, of: of, number: number ?? 0)
        }
        let extra = MessageExtra(
            amendment: amendment, thread: thread.flatMap { Position($0) },
            mentions: mentions.map { StringList.read($0).compactMap { try? UserID(stored: $0) } } ?? [],
            deleted: erasedAt.map { Deed(by: erasedBy ?? "", at: $0) })
        let isMessage = amendment == nil && erasedAt == nil
        let content = MessageContent(
            user: user, at: at, text: text ?? (data == nil && isMessage ? "" : nil), data: data,
            extra: extra.isEmpty ? nil : extra)
        return Message(position: position, content: content)
    }

    /// An estimate of the row's size in an answer, in bytes.
    var cost: Int { 96 + (text?.utf8.count ?? 0) + (data?.utf8.count ?? 0) + (mentions?.utf8.count ?? 0) }
}

/// What has to be done in an archive for an entry of a log.
public enum ArchiveStep: Hashable, Sendable {
    /// Adds the row, unless there is one of that position.
    case add(ArchiveRow)
    /// Erases the content of a message and of its edits.
    case erase(room: String, Position, by: String, at: UInt64)

    /// The steps of an entry, in order.
    public static func of(_ message: Message, in room: RoomName) -> [ArchiveStep] {
        let content = message.content
        var steps: [ArchiveStep] = [.add(ArchiveRow(message, in: room))]
        for position in content.erased {
            steps.append(.erase(room: room.text, position, by: content.user.text, at: content.at))
        }
        if let deleted = content.extra?.deleted, content.extra?.amendment == nil {
            steps.append(.erase(room: room.text, message.position, by: deleted.by, at: deleted.at))
        }
        return steps
    }
}
