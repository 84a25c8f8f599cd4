import ChatCore
import ChatJSON
import ChatRedis

/// What an entry of a room's receipts says of one participant: up to where the room was read.
struct ReceiptsRecord: Hashable, Sendable {
    /// The entry. Its ID says when it was written, by the clock of Redis.
    let place: Position
    let user: UserID
    private let read: Position

    /// All that an entry says, by user. What is none of ours is left out.
    static func all(_ place: Position, _ fields: [String: String]) -> [ReceiptsRecord] {
        fields.sorted { $0.key < $1.key }.compactMap { name, value in
            guard let user = try? UserID(stored: name), let mark = ReadMark(value) else { return nil }
            return ReceiptsRecord(place: place, user: user, read: mark.position)
        }
    }

    func event(in room: RoomName) -> RoomEvent {
        RoomEvent(room: room, kind: .participantRead, content: .read(self))
    }

    /// Appends the fields behind `room`, each with a comma before it.
    func write(to bytes: inout ByteWriter) {
        bytes.field(",\"user\":", user.text)
        bytes.field(",\"position\":", quoted: read.epoch, read.seq)
        bytes.field(",\"at\":", at: place.epoch)
    }
}
