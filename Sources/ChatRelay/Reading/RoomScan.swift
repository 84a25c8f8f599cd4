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

    /// Keys for one SCAN.
    private static let step = "500"
    private static let pause: Duration = .milliseconds(5)
    /// In ms, as in `cursor.lua`.
    private static let cursorLife = "2592000000"

    /// Queues each room whose newest entry one of the sinks has not got. Returns how many there were.
    func run(for sinks: [String]) async throws -> Int {
        var queued = 0
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
                queued += try await queue(rooms, for: sinks)
                try await Task.sleep(for: Self.pause)
            } while cursor != "0"
        }
        return queued
    }

    private func queue(_ rooms: [RoomName], for sinks: [String]) async throws -> Int {
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
        var renewals: [[String]] = []
        for (index, room) in rooms.enumerated() where index * 3 + 2 < replies.count {
            // The cursors of a quiet room that a node holds have to live as long as its log.
            if replies[index * 3 + 2].integer == -1 {
                renewals.append(["PEXPIRE", keys.key(.cursors, of: room.text), Self.cursorLife])
            }
            guard let newest = replies[index * 3].messages.last?.position else { continue }
            let cursors = replies[index * 3 + 1].pairs
            let isBehind = sinks.contains { sink in
                let place = cursors[sink]?.string?.split(separator: " ").first.flatMap { Position($0) }
                return place.map { $0 < newest } ?? true
            }
            guard isBehind else { continue }
            behind[EventPartition(of: room), default: []] += [String(clock.wall), room.text]
            count += 1
        }
        _ = try await redis.ask(renewals)
        _ = try await redis.ask(behind.map { ["ZADD", keys.key(.rooms, ofPartition: $0.keyTag)] + $1 })
        return count
    }

    /// A prefix as a part of a glob pattern of SCAN.
    private static func escaped(_ text: String) -> String {
        text.map { "*?[]\\^".contains($0) ? "\\\($0)" : String($0) }.joined()
    }
}
