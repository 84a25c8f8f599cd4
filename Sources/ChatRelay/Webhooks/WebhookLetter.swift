import ChatCore
import ChatJSON

/// An event as an endpoint is sent it, and how often that was in vain.
struct WebhookLetter: Hashable, Sendable {
    let id: String
    let type: String
    let room: String
    /// The JSON.
    let event: String
    /// Attempts that were not accepted.
    var failures = 0

    /// `now`: ms since 1970.
    init(_ event: RoomEvent, now: UInt64) {
        id = event.id
        type = event.kind.rawValue
        room = event.room.text
        self.event = event.json(now: now)
    }

    /// The member of the sorted set in which it waits.
    var text: String {
        JSONValue.object([
            "id": .string(id), "type": .string(type), "room": .string(room), "event": .string(event),
            "failures": .string(String(failures)),
        ]).text
    }

    /// Nil if the text is none of ours.
    init?(_ text: String) {
        guard let value = try? JSONValue(parsing: text), let id = value["id"]?.string,
            let type = value["type"]?.string, let room = value["room"]?.string, let event = value["event"]?.string,
            let failures = value["failures"]?.string.flatMap({ Int($0) }), failures > 0
        else { return nil }
        self.id = id
        self.type = type
        self.room = room
        self.event = event
        self.failures = failures
    }
}
