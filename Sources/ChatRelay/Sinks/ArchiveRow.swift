import ChatCore

/// A row of the archive: an entry of a room's log. Both databases have the same columns.
struct ArchiveRow: Hashable, Sendable {
    var room: String
    var epoch: UInt64
    var seq: UInt64
    var user: String
    /// ms since 1970.
    var at: UInt64
    var text: String?
    var data: String?
    var thread: String?
    /// JSON array of names.
    var mentions: String?
    /// What an amendment does, and to which position.
    var operation: String?
    var of: String?
    /// When the content was erased (ms since 1970), and by whom; nil if it was not.
    var erasedAt: UInt64?
    var erasedBy: String?

    init(_ message: Message, in room: RoomName) {
        let content = message.content
        self.room = room.text
        epoch = message.position.epoch
        seq = message.position.seq
        user = content.user.text
        at = content.at
        text = content.text
        data = content.data
        thread = content.extra?.thread?.description
        if let names = content.extra?.mentions, !names.isEmpty { mentions = StringList.write(names.map(\.text)) }
        operation = content.extra?.amendment?.operation.rawValue
        of = content.extra?.amendment?.of.description
        erasedAt = content.extra?.deleted?.at
        erasedBy = content.extra?.deleted?.by
    }
}

/// What has to be done in a database for some events, in order.
enum ArchiveStep: Hashable, Sendable {
    /// Adds the row, unless there is one of that position.
    case add(ArchiveRow)
    /// Erases the content of a message, of its edits and of their copies here.
    case erase(room: String, Position, by: String, at: UInt64)

    /// The steps of an event; none for what is no message.
    static func of(_ event: RoomEvent) -> [ArchiveStep] {
        guard let message = event.message else { return [] }
        var steps: [ArchiveStep] = [.add(ArchiveRow(message, in: event.room))]
        if let amendment = message.content.extra?.amendment, amendment.operation == .delete {
            steps.append(
                .erase(
                    room: event.room.text, amendment.of, by: message.content.user.text, at: message.content.at))
        } else if let deleted = message.content.extra?.deleted, message.content.extra?.amendment == nil {
            steps.append(.erase(room: event.room.text, message.position, by: deleted.by, at: deleted.at))
        }
        return steps
    }
}
