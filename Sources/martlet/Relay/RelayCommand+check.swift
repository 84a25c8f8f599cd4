import ArgumentParser
import ChatCore
import ChatGateway
import ChatNode
import ChatRedis
import ChatRelay
import Foundation
import RedisSchema

extension RelayCommand {
    /// `martlet relay check`: proves that what is said reaches every sink.
    struct Check: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Say one message, and wait until every sink has it.",
            discussion: """
                For a monitor: exits with 0 and says how long each sink took, or with 1 and names those that do not have \
                it in time. The message is an ordinary one, of the user martlet-check; sinks get it like any other.
                """)

        @Option(help: "The room in which it is said.")
        var room = "martlet-check"

        @Option(help: "The time that the sinks have, as in 10s.")
        var within = "10s"

        @OptionGroup var redis: RedisPlace

        func run() async throws {
            let name: RoomName
            do throws(NameError) {
                name = try RoomName(room)
            } catch {
                throw ValidationError("\(room.debugDescription): \(error)")
            }
            let limit = try DurationArgument.milliseconds(within, of: "--within", example: "10s")
            let sinks = try await redis.ask("relay") {
                ["HKEYS", $0.key(.sinks, ofPartition: EventPartition.first.keyTag)]
            }
            var waiting = (sinks.array ?? []).compactMap(\.string).filter { SinkFeed(named: $0).book == .log }.sorted()
            guard !waiting.isEmpty else {
                StandardError.write("relay: there is no sink: no relay has ever run here\n")
                throw ExitCode(1)
            }
            let position = try await say(in: name)
            let began = ContinuousClock.now
            while !waiting.isEmpty {
                let passed = ContinuousClock.now - began
                guard passed < .milliseconds(Int64(clamping: limit)) else {
                    StandardError.write("relay: not in \(within): \(waiting.joined(separator: " "))\n")
                    throw ExitCode(1)
                }
                let cursors = try await redis.ask("relay") { ["HGETALL", $0.key(.cursors, of: name.text)] }.pairs
                waiting.removeAll { sink in
                    let place = cursors[sink]?.string?.split(separator: " ").first.flatMap { Position($0) }
                    guard let place, place >= position else { return false }
                    Terminal.write("\(sink)  \(String(format: "%.1f", Double(passed.wholeMilliseconds) / 1_000)) s\n")
                    return true
                }
                try await Task.sleep(for: .milliseconds(50))
            }
        }

        /// Says it, and notes the room, as nodes do. Returns its position.
        private func say(in room: RoomName) async throws -> Position {
            let reply = try await redis.ask("relay") {
                ["FCALL", "martlet_say", "1", $0.key(.log, of: room.text), "martlet-check", "check"]
            }
            guard let position = reply.array?.first?.string.flatMap({ Position($0) }) else {
                StandardError.write("relay: FCALL martlet_say: an unknown reply\n")
                throw ExitCode(1)
            }
            _ = try await redis.ask("relay") {
                [
                    "ZADD", $0.key(.rooms, ofPartition: EventPartition(of: room).keyTag),
                    String(WallClock.milliseconds), room.text,
                ]
            }
            return position
        }
    }
}
