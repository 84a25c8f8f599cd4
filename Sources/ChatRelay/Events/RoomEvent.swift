import ChatCore
import ChatJSON

/// Something that has happened in a room, for programs outside.
///
/// Every consumer gets the same JSON object, whose form is that of a payload of Standard Webhooks: `id`, `type`,
/// `timestamp` and `data`.
public struct RoomEvent: Hashable, Sendable {
    /// What has happened. Consumers ignore types that they do not know, as later versions may have more.
    public enum Kind: String, CaseIterable, Sendable {
        /// A message was said.
        case messageCreated = "message.created"
        /// An earlier message was edited, pinned, or reacted to.
        case messageChanged = "message.changed"
        /// An earlier message was erased. If that happened before it was read here, the event is about the message
        /// itself (`erased` is true), and there is no `message.created` of it.
        case messageDeleted = "message.deleted"
        /// A message mentions a user.
        case userMentioned = "user.mentioned"
        /// Messages cannot be delivered, because the log no longer had them.
        case gap = "gap"
        /// A user belongs to the room now, does not any more, or has another role.
        case participantJoined = "participant.joined"
        case participantLeft = "participant.left"
        case participantChanged = "participant.changed"
        /// A rule of the room, or a sanction of a user in it, was changed.
        case roomModerated = "room.moderated"
        /// Nobody may be in the room any more.
        case roomClosed = "room.closed"
        /// A user asks moderators to look at a message.
        case messageReported = "message.reported"
        /// A user came into the room with a first device, or left with the last one.
        case presenceJoined = "presence.joined"
        case presenceLeft = "presence.left"
        /// The first user came into the room, or the last one left.
        case roomOccupied = "room.occupied"
        case roomVacated = "room.vacated"
        /// A participant has read the room up to a position.
        case participantRead = "participant.read"

        /// Where it is written down.
        public var book: RoomBook {
            switch self {
            case .messageCreated, .messageChanged, .messageDeleted, .userMentioned, .gap: .log
            case .participantJoined, .participantLeft, .participantChanged, .roomModerated, .roomClosed,
                .messageReported:
                .audit
            case .presenceJoined, .presenceLeft, .roomOccupied, .roomVacated: .presence
            case .participantRead: .receipts
            }
        }
    }

    /// Why messages are missing.
    public enum GapReason: String, Sendable {
        /// The log was trimmed before they were read.
        case trimmed
        /// The room's history was lost, and began again.
        case reset
    }

    enum Content: Hashable, Sendable {
        case message(Message)
        case mention(UserID, Message)
        /// `missing`: how many; nil if nobody knows.
        case gap(after: Position?, before: Position, missing: UInt64?, GapReason)
        case audited(AuditRecord)
        case visit(PresenceRecord)
        case read(ReceiptsRecord)
    }

    public let room: RoomName
    public let kind: Kind
    let content: Content

    /// The entry of the book to which the event belongs. A gap belongs to the entry behind it.
    public var position: Position {
        switch content {
        case .message(let message), .mention(_, let message): message.position
        case .gap(_, let before, _, _): before
        case .audited(let record): record.position
        case .visit(let record): record.position
        case .read(let record): record.place
        }
    }

    /// When it happened, ms since 1970; nil for a gap.
    var at: UInt64? {
        switch content {
        case .message(let message), .mention(_, let message): message.content.at
        case .gap: nil
        // Redis makes the IDs of the audit and of receipts by its clock (XADD *).
        case .audited(let record): record.position.epoch
        case .visit(let record): record.at
        case .read(let record): record.place.epoch
        }
    }

    /// The message; nil if the event is about something else.
    public var message: Message? {
        if case .message(let message) = content { message } else { nil }
    }

    /// See ``EventID``.
    public var id: String {
        switch content {
        case .message(let message): EventID.of(message.position, in: room)
        case .mention(let user, let message): EventID.of(mentionOf: user, by: message.position, in: room)
        case .gap(let after, let before, _, _): EventID.of(gapAfter: after, before: before, in: room)
        case .audited, .visit: EventID.of(kind, at: position, in: room)
        case .read(let record): EventID.of(kind, by: record.user, at: position, in: room)
        }
    }

    /// The events that one entry of the log stands for, in order.
    static func of(_ message: Message, in room: RoomName) -> [RoomEvent] {
        let extra = message.content.extra
        let kind: Kind =
            if extra?.deleted != nil {
                .messageDeleted
            } else if let operation = extra?.amendment?.operation {
                operation == .delete ? .messageDeleted : .messageChanged
            } else {
                .messageCreated
            }
        let event = RoomEvent(room: room, kind: kind, content: .message(message))
        guard kind == .messageCreated, let mentions = extra?.mentions, !mentions.isEmpty else { return [event] }
        return [event]
            + mentions.map { RoomEvent(room: room, kind: .userMentioned, content: .mention($0, message)) }
    }

    /// Messages after one position and before another are missing.
    static func gap(
        in room: RoomName, after: Position?, before: Position, missing: UInt64?, _ reason: GapReason
    ) -> RoomEvent {
        RoomEvent(
            room: room, kind: .gap, content: .gap(after: after, before: before, missing: missing, reason))
    }
}

// MARK: JSON

extension RoomEvent {
    /// The JSON object. `now`: ms since 1970, the time of a gap, which has no other.
    public func json(now: UInt64) -> String {
        var bytes = ByteWriter()
        write(to: &bytes, now: now)
        return bytes.withBytes { String(decoding: $0, as: UTF8.self) }
    }

    func write(to bytes: inout ByteWriter, now: UInt64) {
        bytes.field("{\"id\":", id)
        bytes.field(",\"type\":", kind.rawValue)
        bytes.field(",\"timestamp\":", at: at ?? now)
        bytes.field(",\"data\":{\"room\":", room.text)
        switch content {
        case .message(let message): Self.write(message, to: &bytes)
        case .mention(let user, let message):
            bytes.field(",\"mentioned\":", user.text)
            Self.write(message, to: &bytes)
        case .gap(let after, let before, let missing, let reason):
            if let after { bytes.field(",\"after\":", quoted: after.epoch, after.seq) }
            bytes.field(",\"before\":", quoted: before.epoch, before.seq)
            if let missing { bytes.field(",\"missing\":", missing) }
            bytes.field(",\"reason\":", reason.rawValue)
        case .audited(let record): record.write(kind, to: &bytes)
        case .visit(let record): record.write(kind, to: &bytes)
        case .read(let record): record.write(to: &bytes)
        }
        bytes.appendText("}}")
    }

    private static func write(_ message: Message, to bytes: inout ByteWriter) {
        let content = message.content
        bytes.field(",\"position\":", quoted: message.position.epoch, message.position.seq)
        bytes.field(",\"user\":", content.user.text)
        bytes.field(",\"at\":", at: content.at)
        if let text = content.text { bytes.field(",\"text\":", text) }
        if let data = content.data { bytes.field(",\"data\":", raw: data) }
        guard let extra = content.extra else { return }
        if let amendment = extra.amendment {
            bytes.field(",\"operation\":", amendment.operation.rawValue)
            bytes.field(",\"of\":", quoted: amendment.of.epoch, amendment.of.seq)
        }
        if let thread = extra.thread { bytes.field(",\"thread\":", quoted: thread.epoch, thread.seq) }
        if !extra.mentions.isEmpty {
            bytes.field(",\"mentions\":", list: extra.mentions) { $1.appendJSON($0.text) }
        }
        if let deleted = extra.deleted {
            bytes.appendText(",\"erased\":true")
            if !deleted.by.isEmpty { bytes.field(",\"by\":", deleted.by) }
            bytes.field(",\"erasedAt\":", at: deleted.at)
        }
    }
}
