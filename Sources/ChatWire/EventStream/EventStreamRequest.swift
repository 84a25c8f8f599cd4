import ChatCore
import ChatJSON

/// What a client asks for that opens an event stream: `GET /api/events?room=a&room=b`.
///
/// The fields of the query: `user`, `device`, `room` (any number of times), `history` (one number for all rooms, or one
/// for each, separated by commas), and `after` (a cursor). A cursor in `Last-Event-ID` is newer than that of the query,
/// as a browser sends the former when it reconnects to the URL that it was given. Where the field cannot be set, it may
/// be in the query as `lastEventId` or `last_event_id`.
public struct EventStreamRequest: Sendable, Hashable {
    public var user: String?
    public var device: DeviceName?
    public var rooms: [RoomName] = []
    /// For each room: the newest message that the client has.
    public var after: [Position?] = []
    /// For each room: how many recent messages to send first, if there is no position.
    public var history: [Int?] = []

    private static let names = ["user", "device", "room", "after", "history", "lastEventId", "last_event_id"]

    /// Throws `badField` or `badName` for a query or a cursor that cannot be read, and for too many rooms.
    public init(_ head: RequestHead, limits: Limits) throws(WireError) {
        guard let fields = PercentEncoding.fields(head.query, only: Self.names) else {
            throw WireError(.badField, "the query is not percent-encoded UTF-8")
        }
        var first: [String: String] = [:]
        for field in fields where field.name != "room" && first[field.name] == nil { first[field.name] = field.value }
        user = first["user"]
        do throws(NameError) {
            if let text = first["device"] { device = try DeviceName(text) }
            for field in fields where field.name == "room" { rooms.append(try RoomName(field.value)) }
        } catch {
            throw WireError(.badName, error.description)
        }
        guard rooms.count <= limits.roomsPerSession else {
            throw WireError(.badField, "a stream may have \(limits.roomsPerSession) rooms")
        }
        guard Set(rooms).count == rooms.count else { throw WireError(.badField, "a room is named twice") }
        let said = [head.first("last-event-id"), first["lastEventId"], first["last_event_id"], first["after"]]
        let cursor = said.compactMap { $0 }.first { !$0.isEmpty }
        after =
            try cursor.map { (text) throws(WireError) in try EventStreamCursor.read(text, rooms: rooms) }
            ?? rooms.map { _ in nil }
        history = try Self.history(first["history"], rooms: rooms.count, most: limits.historyPage)
    }

    private static func history(_ text: String?, rooms: Int, most: Int) throws(WireError) -> [Int?] {
        guard let text, !text.isEmpty else { return Array(repeating: nil, count: rooms) }
        let problem = WireError(
            .badField, "history must be whole numbers from 0 to \(most): one, or one for each room, with commas")
        let parts = text.split(separator: ",", omittingEmptySubsequences: false)
        guard parts.count == 1 || parts.count == rooms else { throw problem }
        var numbers: [Int?] = []
        for part in parts {
            guard !part.isEmpty else {
                numbers.append(nil)
                continue
            }
            guard let number = Int(part), (0...most).contains(number) else { throw problem }
            numbers.append(number)
        }
        return parts.count == rooms ? numbers : Array(repeating: numbers[0], count: rooms)
    }
}
