import ArgumentParser
import ChatCore
import ChatGateway
import ChatNode
import ChatRedis
import ChatRelay
import RedisSchema

extension RelayCommand {
    /// `martlet relay dead`: the events that a sink could not be given.
    struct Dead: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Events that were not accepted at the last attempt: list them, or send them again.",
            subcommands: [List.self, Replay.self])

        /// A sink, and how to reach Redis.
        struct Place: ParsableArguments {
            @Argument(help: "The sink, as in hook-1c8x0q.")
            var sink: String

            @OptionGroup var redis: RedisPlace

            /// Dead letters that are read at once; each may be as large as a message.
            private static let page = 50

            /// Calls with the dead letters of all partitions, oldest first in each. What is added meanwhile is not
            /// among them for certain. Returns how many there were.
            func each(_ body: (Letter) async throws -> Void) async throws -> Int {
                var count = 0
                for partition in EventPartition.all {
                    var start = "-"
                    while true {
                        let reply = try await redis.ask("relay") {
                            [
                                "XRANGE", $0.dead(sink, ofPartition: partition.keyTag), start, "+", "COUNT",
                                String(Self.page),
                            ]
                        }
                        let entries = reply.array ?? []
                        for entry in entries {
                            guard let parts = entry.array, parts.count == 2, let place = parts[0].string else {
                                continue
                            }
                            start = "(\(place)"
                            count += 1
                            try await body(
                                Letter(
                                    partition: partition, place: place,
                                    fields: parts[1].pairs.compactMapValues(\.string)))
                        }
                        guard entries.count == Self.page else { break }
                    }
                }
                return count
            }
        }

        struct Letter {
            let partition: EventPartition
            /// Its ID in the stream of dead letters.
            let place: String
            /// `id`, `type`, `room`, `event` and `reason`.
            let fields: [String: String]
        }

        struct List: AsyncParsableCommand {
            static let configuration = CommandConfiguration(abstract: "The dead letters of a sink.")

            @OptionGroup var place: Place

            @Flag(help: "Each event as a JSON object on a line of its own.")
            var json = false

            func run() async throws {
                let count = try await place.each { letter in
                    let line =
                        json
                        ? letter.fields["event"] ?? "{}"
                        : "\(letter.fields["id"] ?? "?")  \(letter.fields["type"] ?? "?")  "
                            + "\(letter.fields["reason"] ?? "")"
                    Terminal.write(TerminalText.harmless(line) + "\n")
                }
                if count == 0, !json { Terminal.write("no dead letters\n") }
            }
        }

        struct Replay: AsyncParsableCommand {
            static let configuration = CommandConfiguration(
                abstract: "Send the dead letters of a webhook endpoint again, from here; those that are accepted go.")

            @OptionGroup var place: Place

            func run() async throws {
                let settings = try Webhooks.settings(place.redis)
                guard let endpoint = try await Webhooks.all(place.redis).first(where: { $0.sink == place.sink }) else {
                    StandardError.write("relay: no webhook endpoint has the sink \(place.sink.debugDescription)\n")
                    throw ExitCode(1)
                }
                var (sent, kept) = (0, 0)
                _ = try await place.each { letter in
                    let outcome = await WebhookDelivery.send(
                        letter.fields["event"] ?? "", id: letter.fields["id"] ?? "", to: endpoint, settings,
                        now: WallClock.milliseconds)
                    guard outcome.isAccepted else {
                        kept += 1
                        Terminal.write(TerminalText.harmless("\(letter.fields["id"] ?? "?"): \(outcome.text)") + "\n")
                        return
                    }
                    sent += 1
                    _ = try await place.redis.ask("relay") {
                        ["XDEL", $0.dead(place.sink, ofPartition: letter.partition.keyTag), letter.place]
                    }
                }
                Terminal.write("\(sent) accepted, \(kept) kept\n")
                if kept > 0 { throw ExitCode(1) }
            }
        }
    }
}
