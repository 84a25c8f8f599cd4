import ChatCore
import ChatJSON
import ChatRedis

/// An entry of a room's presence: a device that came or went.
struct PresenceRecord: Hashable, Sendable {
    let position: Position
    /// ms since 1970.
    let at: UInt64
    private let user: String
    private let device: String
    private let isArrival: Bool
    /// The node left with the device, or died.
    private let isExpired: Bool
    /// Users in the room after it.
    private let users: UInt64

    /// Nil if the user has other devices there, so that nothing has changed for others, or if the entry is none that a
    /// function of the library has written.
    init?(_ position: Position, _ fields: [String: String]) {
        guard fields["edge"] == "1", let user = fields["user"], let kind = fields["kind"],
            ["join", "leave", "expire"].contains(kind), let users = fields["users"].flatMap({ UInt64($0) })
        else { return nil }
        self.position = position
        at = fields["at"].flatMap { UInt64($0) } ?? position.epoch
        self.user = user
        device = fields["device"] ?? ""
        isArrival = kind == "join"
        isExpired = kind == "expire"
        self.users = users
    }

    /// The events that it stands for, in order.
    func events(in room: RoomName) -> [RoomEvent] {
        var kinds: [RoomEvent.Kind] = [isArrival ? .presenceJoined : .presenceLeft]
        if isArrival, users == 1 { kinds.insert(.roomOccupied, at: 0) }
        if !isArrival, users == 0 { kinds.append(.roomVacated) }
        return kinds.map { RoomEvent(room: room, kind: $0, content: .visit(self)) }
    }

    /// Appends the fields behind `room`, each with a comma before it.
    func write(_ kind: RoomEvent.Kind, to bytes: inout ByteWriter) {
        if kind == .presenceJoined || kind == .presenceLeft {
            bytes.field(",\"user\":", user)
            bytes.field(",\"device\":", device)
            if isExpired { bytes.appendText(",\"expired\":true") }
        }
        bytes.field(",\"users\":", users)
        bytes.field(",\"at\":", at: at)
    }
}
