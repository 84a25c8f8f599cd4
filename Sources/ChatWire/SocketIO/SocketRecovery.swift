import ChatCore
import ChatJSON

/// What a socket needs to go on over another connection, on any node: who it is, its rooms, and where it is in each.
///
/// What was written to a connection that is lost may never have been read. The client says which event it has seen last
/// (its offset), and so the order in which events of several rooms were written is kept, for the last ones. A client
/// whose offset is not among them is not restored, and joins again with `after`.
struct SocketRecovery: Sendable {
    private struct Written: Sendable, Hashable {
        var room: RoomName
        var position: Position
    }

    /// The order of so many events is kept, of clients in more than one room.
    static let mostWritten = 128

    private var user: UserID?
    /// For each room the position before the first event in ``written``; if that is empty, where the client joined.
    private var base = SmallDictionary<RoomName, Position>()
    /// For each room the last position.
    private var last = SmallDictionary<RoomName, Position>()
    private var written: [Written] = []

    init() {}

    /// The offset of an event: the room and the position.
    static func offset(_ room: RoomName, _ position: Position) -> String { "\(room.text)~\(position)" }

    // MARK: While the connection lasts

    /// The client is in the room, and was sent everything up to this position, and nothing after it.
    mutating func joined(_ room: RoomName, at position: Position) {
        left(room)
        base[room] = position
        last[room] = position
    }

    mutating func left(_ room: RoomName) {
        base[room] = nil
        last[room] = nil
        if !written.isEmpty { written.removeAll { $0.room == room } }
    }

    /// A message is sent to the client.
    mutating func wrote(_ room: RoomName, _ position: Position) {
        guard let before = last[room] else { return }
        defer { last[room] = position }
        guard last.count > 1 || !written.isEmpty else { return }
        if written.isEmpty {
            // From now on the order matters. A client that has seen an event in the list has seen all before the list.
            base = last
            base[room] = before
        }
        written.append(Written(room: room, position: position))
        guard written.count > Self.mostWritten else { return }
        let first = written.removeFirst()
        base[first.room] = first.position
    }

    // MARK: The record

    /// The record of a connection that is lost: JSON text.
    func record(of user: UserID) -> String {
        let places = { (rooms: SmallDictionary<RoomName, Position>) in
            JSONValue.object(
                Dictionary(rooms.map { ($0.key.text, JSONValue.string("\($0.value)")) }, uniquingKeysWith: { $1 }))
        }
        return JSONValue.object([
            "user": .string(user.text), "base": places(base), "last": places(last),
            "written": .array(written.map { .array([.string($0.room.text), .string("\($0.position)")]) }),
        ]).text
    }

    /// Nil for anything that no node has written.
    init?(_ record: String) {
        guard let json = try? JSONValue(parsing: record), let name = json["user"]?.string,
            let user = try? UserID(stored: name), let base = Self.places(json["base"]),
            let last = Self.places(json["last"])
        else { return nil }
        self.user = user
        self.base = base
        self.last = last
        for entry in json["written"]?.array ?? [] {
            guard let parts = entry.array, parts.count == 2, let text = parts[0].string,
                let room = try? RoomName(stored: text), let position = parts[1].string.flatMap({ Position($0) })
            else { return nil }
            written.append(Written(room: room, position: position))
        }
    }

    private static func places(_ json: JSONValue?) -> SmallDictionary<RoomName, Position>? {
        guard let members = json?.object else { return nil }
        var places = SmallDictionary<RoomName, Position>()
        for (name, value) in members {
            guard let room = try? RoomName(stored: name), let position = value.string.flatMap({ Position($0) }) else {
                return nil
            }
            places[room] = position
        }
        return places
    }

    /// Where the client was in its rooms when it had seen the event with this offset; nil if that is not known, or if
    /// the state is another user's. `offset`: nil if the client has seen no event.
    func positions(of user: UserID, after offset: String?) -> [RoomName: Position]? {
        guard user == self.user else { return nil }
        var positions: [RoomName: Position] = [:]
        for (room, position) in base { positions[room] = position }
        guard let offset else { return written.isEmpty ? positions : nil }
        guard let (room, position) = seen(offset) else { return nil }
        if written.isEmpty {
            // One room: the position says everything, if it is one that the client was sent.
            guard let from = base[room], let to = last[room], from <= position, position <= to else { return nil }
            positions[room] = position
            return positions
        }
        guard let index = written.lastIndex(where: { $0.room == room && $0.position == position }) else { return nil }
        for event in written[...index] { positions[event.room] = event.position }
        return positions
    }

    /// An offset is a room and a position, or a position alone if the client is in one room.
    private func seen(_ offset: String) -> (RoomName, Position)? {
        if let mark = offset.lastIndex(of: "~"), let position = Position(offset[offset.index(after: mark)...]) {
            return (try? RoomName(String(offset[..<mark]))).map { ($0, position) }
        }
        guard let position = Position(offset), last.count == 1, let room = last.keys.first else { return nil }
        return (room, position)
    }
}
