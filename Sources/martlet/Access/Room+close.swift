import ArgumentParser
import ChatCore
import ChatGateway
import ChatNode
import ChatRedis
import RedisSchema

extension Room {
    /// `martlet room close`: ends a room for good.
    struct Close: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Close a room: nobody may enter or send, its sessions leave, and it is deleted from Redis.",
            discussion: """
                It is deleted once a relay has archived all of it; the archive keeps it. Until then `martlet room open` \
                opens it again. Waits for the deletion.
                """)

        @OptionGroup var change: Change

        @Option(help: "For the audit.")
        var reason: String?

        @Flag(help: "Delete the room although no archive has it: what was said is lost.")
        var withoutArchive = false

        @Option(help: "How long to wait, as in 2m.")
        var wait = "2m"

        func run() async throws {
            let room = try change.place.name()
            let patience = try DurationArgument.milliseconds(wait, of: "--wait", example: "2m")
            if !withoutArchive { try await refuseWithoutArchive() }
            try await change.make(ModerationOrder("members", value: "nobody", reason: reason))
            let end = ContinuousClock.now + .milliseconds(Int64(clamping: patience))
            var state = ""
            while true {
                let next = try await step(room)
                guard next != "closed" else {
                    Terminal.write("closed: nothing of it is left in Redis\n")
                    return
                }
                if next != state { StandardError.write("room: waiting: \(Self.words[next] ?? next)\n") }
                state = next
                guard ContinuousClock.now < end else {
                    StandardError.write(
                        "room: not deleted within \(wait); it stays closed, and is deleted as soon as it can be\n")
                    throw ExitCode(1)
                }
                try await Task.sleep(for: .milliseconds(500))
            }
        }

        private static let words = [
            "nodes": "a node is still in the room (MARTLET_LINGER)",
            "behind": "the archive has not everything yet",
            "open": "somebody has opened the room again",
        ]

        private func refuseWithoutArchive() async throws {
            let reply = try await change.place.ask {
                ["HEXISTS", $0.key(.sinks, ofPartition: EventPartition.first.keyTag), "archive"]
            }
            guard reply.integer == 1 else {
                StandardError.write(
                    "room: no relay has an archive (MARTLET_ARCHIVE); --without-archive deletes what was said\n")
                throw ExitCode(1)
            }
        }

        /// Tries to delete it, as a relay does.
        private func step(_ room: RoomName) async throws -> String {
            // In case that no node has told the relays.
            let tag = EventPartition(of: room).keyTag
            _ = try await change.place.ask {
                ["ZADD", $0.key(.rooms, ofPartition: tag), String(WallClock.milliseconds), room.text]
            }
            if !withoutArchive {
                let exists = try await change.place.ask { ["EXISTS", $0.key(.log, of: room.text)] }
                let rules = try await change.place.ask { ["HGET", $0.key(.rules, of: room.text), "members"] }
                if exists.integer == 0, rules == .null { return "closed" }
            }
            let sink = withoutArchive ? "" : "archive"
            let users = try await change.place.ask { ["HKEYS", $0.key(.participants, of: room.text)] }
            for user in (users.array ?? []).compactMap({ $0.string.flatMap { try? UserID(stored: $0) } }) {
                _ = try await change.place.ask {
                    ["HDEL", $0.rooms(ofUser: Entity.user(user).keyTag ?? ""), room.text]
                }
            }
            let reply = try await change.place.ask {
                ["FCALL", "martlet_close", "1", $0.key(.log, of: room.text), sink]
            }
            return reply.string ?? "closed"
        }
    }

    struct Open: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Open a room again that is being closed: everybody may enter.")

        @OptionGroup var change: Change

        func run() async throws {
            try await change.make(ModerationOrder("members", value: "everybody"))
        }
    }
}
