import ChatCore
import ChatRedis
import Logging
import RedisSchema

/// Looks at the logs of all rooms, for what no node has noted: messages from before the first relay, of nodes that
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

    /// Queues each room whose newest entry one of the sinks has not got, and drops the content of cold rooms. Returns
    /// how many there were of both.
    func run(for sinks: [String]) async throws -> (behind: Int, cold: Int) {
        var (queued, dropped) = (0, 0)
        for server in try await redis.all() {
            guard case .success(let inspector) = server.inspector else {
                throw RelayTrouble("\(server.name) cannot be reached")
            }
            var cursor = "0"
            repeat {
                let reply = try await inspector.ask(
                    "SCAN", cursor, "MATCH", Self.escaped(keys.prefix) + "{*}:log", "COUNT", Self.step)
                guard let parts = reply.array, parts.count == 2, let next = parts[0].string else {
                    throw RelayTrouble("SCAN: \(reply.error ?? "an unknown reply")")
                }
                cursor = next
                let rooms = (parts[1].array ?? []).compactMap { name -> RoomName? in
                    guard let found = name.string.flatMap({ keys.room(ofKey: $0) }), found.key == .log else {
                        return nil
                    }
                    return try? RoomName(stored: found.room)
                }
                let (behind, cold) = try await look(at: rooms, for: sinks)
                queued += behind
                dropped += cold
                try await Task.sleep(for: Self.pause)
            } while cursor != "0"
        }
        return (queued, dropped)
    }

    private func look(at rooms: [RoomName], for sinks: [String]) async throws -> (behind: Int, cold: Int) {
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
            let newest = last.position
            let cursors = replies[index * 3 + 1].pairs
            let isBehind = sinks.contains { sink in
                let place = cursors[sink]?.string?.split(separator: " ").first.flatMap { Position($0) }
                return place.map { $0 < newest } ?? true
            }
            guard isBehind else {
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
