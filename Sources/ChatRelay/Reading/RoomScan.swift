import ChatCore
import ChatRedis
import Logging
import RedisSchema

/// Looks at the books of all rooms, for what no node has noted: messages from before the first relay, of nodes that
/// died, and of programs that call functions in rooms that no node holds. It is slow on purpose.
struct RoomScan: Sendable {
    let redis: RelayRedis
    let keys: RedisKeys
    let clock: RelayClock
    /// How long after its last message the content of a room without nodes is dropped; nil: it is not.
    var cold: Duration?

    /// Keys for one SCAN.
    private static let step = "500"
    private static let pause: Duration = .milliseconds(5)

    /// Queues each room of which one of the feeds has not got the newest entry of a book, and drops the content of cold
    /// rooms. Returns how many there were of both.
    func run(for feeds: [String]) async throws -> (behind: Int, cold: Int) {
        var (queued, dropped) = (0, 0)
        let books = Dictionary(grouping: feeds.map { SinkFeed(named: $0) }, by: \.book)
        for book in RoomBook.allCases {
            guard let names = books[book]?.map(\.name) else { continue }
            try await each(book) { rooms in
                guard book == .log else {
                    queued += try await look(at: book, of: rooms, for: names)
                    return
                }
                let (behind, cold) = try await look(at: rooms, for: names)
                queued += behind
                dropped += cold
            }
        }
        return (queued, dropped)
    }

    /// Calls with the rooms that have the book, some at a time.
    private func each(_ book: RoomBook, _ body: ([RoomName]) async throws -> Void) async throws {
        let pattern = "\(Self.escaped(keys.prefix)){*}:\(book.key.rawValue)"
        for server in try await redis.all() {
            guard case .success(let inspector) = server.inspector else {
                throw RelayTrouble("\(server.name) cannot be reached")
            }
            var cursor = "0"
            repeat {
                let reply = try await inspector.ask("SCAN", cursor, "MATCH", pattern, "COUNT", Self.step)
                guard let parts = reply.array, parts.count == 2, let next = parts[0].string else {
                    throw RelayTrouble("SCAN: \(reply.error ?? "an unknown reply")")
                }
                cursor = next
                let rooms = (parts[1].array ?? []).compactMap { name -> RoomName? in
                    guard let found = name.string.flatMap({ keys.room(ofKey: $0) }), found.key == book.key else {
                        return nil
                    }
                    return try? RoomName(stored: found.room)
                }
                try await body(rooms)
                try await Task.sleep(for: Self.pause)
            } while cursor != "0"
        }
    }

    /// Of another book than the log.
    private func look(at book: RoomBook, of rooms: [RoomName], for feeds: [String]) async throws -> Int {
        let replies = try await redis.ask(
            rooms.flatMap { room in
                [
                    ["XREVRANGE", keys.key(book.key, of: room.text), "+", "-", "COUNT", "1"],
                    ["HGETALL", keys.key(.cursors, of: room.text)],
                ]
            })
        var behind: [EventPartition: [String]] = [:]
        var count = 0
        for (index, room) in rooms.enumerated() where index * 2 + 1 < replies.count {
            let last = replies[index * 2].array?.first?.array?.first?.string.flatMap { Position($0) }
            guard let last, Self.isBehind(feeds, replies[index * 2 + 1].pairs, last) else { continue }
            behind[EventPartition(of: room), default: []] += [String(clock.wall), room.text]
            count += 1
        }
        _ = try await redis.ask(behind.map { ["ZADD", keys.key(book.notes, ofPartition: $0.keyTag)] + $1 })
        return count
    }

    /// Whether one of the feeds has not got the entry at that position.
    private static func isBehind(_ feeds: [String], _ cursors: [String: RedisValue], _ newest: Position) -> Bool {
        feeds.contains { feed in
            let place = cursors[feed]?.string?.split(separator: " ").first.flatMap { Position($0) }
            return place.map { $0 < newest } ?? true
        }
    }

    private func look(at rooms: [RoomName], for feeds: [String]) async throws -> (behind: Int, cold: Int) {
        let commands = rooms.flatMap { room in
            [
                ["XREVRANGE", keys.key(.log, of: room.text), "+", "-", "COUNT", "1"],
                ["HGETALL", keys.key(.cursors, of: room.text)],
                ["PTTL", keys.key(.log, of: room.text)],
            ]
        }
        let replies = try await redis.ask(commands)
        var behind: [EventPartition: [String]] = [:]
        var count = 0
        var chills: [[String]] = []
        var renewals: [[String]] = []
        for (index, room) in rooms.enumerated() where index * 3 + 2 < replies.count {
            // The cursors of a quiet room that a node holds have to live as long as its log.
            if replies[index * 3 + 2].integer == -1 {
                renewals.append(["PEXPIRE", keys.key(.cursors, of: room.text), LogReader.cursorLife])
            }
            guard let last = replies[index * 3].messages.last else {
                // The rest of a cold room that somebody has looked into is kept again.
                if cold != nil, replies[index * 3 + 2].integer ?? -1 >= 0 { chills.append(chill(room)) }
                continue
            }
            guard Self.isBehind(feeds, replies[index * 3 + 1].pairs, last.position) else {
                // Redis looks once more whether a node is in the room.
                if let cold, replies[index * 3 + 2].integer ?? -1 >= 0,
                    last.content.at + UInt64(clamping: cold.wholeMilliseconds) <= clock.wall
                {
                    chills.append(chill(room))
                }
                continue
            }
            behind[EventPartition(of: room), default: []] += [String(clock.wall), room.text]
            count += 1
        }
        _ = try await redis.ask(renewals)
        _ = try await redis.ask(behind.map { ["ZADD", keys.key(.rooms, ofPartition: $0.keyTag)] + $1 })
        let dropped = try await redis.ask(chills).count { $0.integer == 1 }
        return (count, dropped)
    }

    private func chill(_ room: RoomName) -> [String] {
        ["FCALL", "martlet_chill", "1", keys.key(.log, of: room.text), "archive"]
    }

    /// A prefix as a part of a glob pattern of SCAN.
    private static func escaped(_ text: String) -> String {
        text.map { "*?[]\\^".contains($0) ? "\\\($0)" : String($0) }.joined()
    }
}
