import ChatCore
import ChatJSON
import ChatRedis

/// An entry of a room's audit: who changed its rules, its sanctions or its participants, or reported a message.
struct AuditRecord: Hashable, Sendable {
    let position: Position
    private let operation: String
    /// Whom it is about; empty if it is about the room.
    private let user: String
    /// What the operation needs: a time, a word, the position of a message; of participants what has become of one.
    private let value: String
    private let reason: String
    private let by: String
    /// Of participants: the role of now.
    private let role: String

    /// Nil if the entry is none that a function of the library has written.
    init?(_ position: Position, _ fields: [String: String]) {
        guard let operation = fields["operation"], !operation.isEmpty else { return nil }
        self.position = position
        self.operation = operation
        user = fields["user"] ?? ""
        value = fields["value"] ?? ""
        reason = fields["reason"] ?? ""
        by = fields["by"] ?? ""
        role = fields["role"] ?? ""
    }

    /// The events that it stands for, in order. Whom somebody has blocked is nobody else's business.
    func events(in room: RoomName) -> [RoomEvent] {
        let kinds: [RoomEvent.Kind] =
            switch (operation, value) {
            case ("block", _), ("unblock", _): []
            case ("report", _): [.messageReported]
            case ("members", "nobody"): [.roomModerated, .roomClosed]
            case ("direct", _), ("create", _), ("invite", _), ("leave", _), ("remove", _), ("role", _):
                Self.changes[value].map { [$0] } ?? []
            default: [.roomModerated]
            }
        return kinds.map { RoomEvent(room: room, kind: $0, content: .audited(self)) }
    }

    /// What participants.lua says of a participant.
    private static let changes: [String: RoomEvent.Kind] = [
        "added": .participantJoined, "removed": .participantLeft, "changed": .participantChanged,
    ]

    /// Appends the fields behind `room`, each with a comma before it.
    func write(_ kind: RoomEvent.Kind, to bytes: inout ByteWriter) {
        switch kind {
        case .messageReported: bytes.field(",\"position\":", value)
        case .roomModerated:
            bytes.field(",\"operation\":", operation)
            if !value.isEmpty { bytes.field(",\"value\":", value) }
        case .participantJoined, .participantLeft, .participantChanged:
            bytes.field(",\"operation\":", operation)
            if !role.isEmpty { bytes.field(",\"role\":", role) }
        default: break
        }
        if !user.isEmpty { bytes.field(",\"user\":", user) }
        if !by.isEmpty { bytes.field(",\"by\":", by) }
        if !reason.isEmpty { bytes.field(",\"reason\":", reason) }
        bytes.field(",\"at\":", at: position.epoch)
    }
}
