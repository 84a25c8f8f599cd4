import ChatCore
import ChatJSON
import Glibc

/// Recorded chats: who joined, left and sent what, in the order of time.
struct ReplayTrace {
    enum Kind: Equatable {
        case join
        case leave
        case message(String)
    }

    struct Event {
        /// Milliseconds since the trace began.
        var at: UInt64
        /// Index into ``ReplayTrace/users``.
        var user: Int
        /// Index into ``ReplayTrace/rooms``.
        var room: Int
        var kind: Kind
    }

    private(set) var users: [UserID] = []
    private(set) var rooms: [RoomName] = []
    private(set) var events: [Event] = []
    private var userIndex: [UserID: Int] = [:]
    private var roomIndex: [RoomName: Int] = [:]

    var messages: Int { events.count { if case .message = $0.kind { true } else { false } } }

    /// Reads NDJSON files and merges them by time. Throws a ``ReplayError`` that names the file and the line.
    init(files: [String]) throws(ReplayError) {
        for file in files {
            guard let text = Self.read(file) else {
                throw ReplayError("\(file): \(String(cString: strerror(errno)))")
            }
            try add(text, file: file)
        }
        // A stable order: events of the same moment stay in the order of their lines, file by file.
        let order = events.indices.sorted { (events[$0].at, $0) < (events[$1].at, $1) }
        events = order.map { events[$0] }
    }

    /// Reads the text of one file. For tests.
    init(text: String, file: String) throws(ReplayError) {
        try add(Array(text.utf8), file: file)
    }

    private mutating func add(_ bytes: [UInt8], file: String) throws(ReplayError) {
        var present: Set<[Int]> = []
        var previous: UInt64 = 0
        var number = 0
        for line in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
            number += 1
            guard line.contains(where: { $0 != 0x20 && $0 != 0x0D && $0 != 0x09 }) else { continue }
            let event: Event
            do throws(ReplayError) {
                event = try self.event(Array(line))
                if event.at < previous { throw ReplayError("'at' goes back from \(previous) to \(event.at)") }
                try Self.check(event, &present)
            } catch {
                throw ReplayError("\(file):\(number): \(error.message)")
            }
            previous = event.at
            events.append(event)
        }
    }

    private static func check(_ event: Event, _ present: inout Set<[Int]>) throws(ReplayError) {
        let place = [event.user, event.room]
        switch event.kind {
        case .join:
            guard present.insert(place).inserted else {
                throw ReplayError("joins a room that the user has joined already")
            }
        case .leave:
            guard present.remove(place) != nil else { throw ReplayError("leaves a room that the user has not joined") }
        case .message:
            guard present.contains(place) else {
                throw ReplayError("sends a message to a room that the user has not joined")
            }
        }
    }

    private mutating func event(_ line: [UInt8]) throws(ReplayError) -> Event {
        let tree: JSONValue
        do { tree = try JSONValue(parsing: line) } catch { throw ReplayError("not JSON: \(error)") }
        guard tree.object != nil else { throw ReplayError("not a JSON object") }
        func text(_ name: String) throws(ReplayError) -> String {
            guard let text = tree[name]?.string else { throw ReplayError("'\(name)' is missing or not a string") }
            return text
        }
        guard let at = tree["at"]?.integer, at >= 0 else {
            throw ReplayError("'at' is missing or not a whole number of milliseconds")
        }
        let kind: Kind
        switch try text("event") {
        case "join": kind = .join
        case "leave": kind = .leave
        case "message": kind = .message(try text("text"))
        default: throw ReplayError("'event' is not join, leave or message")
        }
        let room: RoomName
        let user: UserID
        do throws(NameError) {
            room = try RoomName(tree["room"]?.string ?? "")
            user = try UserID(tree["user"]?.string ?? "")
        } catch {
            throw ReplayError(error.description)
        }
        return Event(at: UInt64(at), user: index(user), room: index(room), kind: kind)
    }

    private mutating func index(_ user: UserID) -> Int {
        if let index = userIndex[user] { return index }
        users.append(user)
        userIndex[user] = users.count - 1
        return users.count - 1
    }

    private mutating func index(_ room: RoomName) -> Int {
        if let index = roomIndex[room] { return index }
        rooms.append(room)
        roomIndex[room] = rooms.count - 1
        return rooms.count - 1
    }

    private static func read(_ file: String) -> [UInt8]? {
        guard let handle = fopen(file, "rb") else { return nil }
        defer { fclose(handle) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = fread(&chunk, 1, chunk.count, handle)
            if count == 0 { return ferror(handle) == 0 ? bytes : nil }
            bytes.append(contentsOf: chunk[..<count])
        }
    }
}

/// Why a replay cannot continue, in words for the person who started it.
struct ReplayError: Error, Equatable, CustomStringConvertible {
    var message: String

    init(_ message: String) {
        self.message = message
    }

    var description: String { message }
}
