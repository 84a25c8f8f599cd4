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
            var state = RoomDeletion.Outcome?.none
            while true {
                let next = try await step(room)
                guard next != .closed else {
                    Terminal.write("closed: nothing of it is left in Redis\n")
                    return
                }
                if next != state { StandardError.write("room: waiting: \(Self.text(of: next))\n") }
                state = next
                guard ContinuousClock.now < end else {
                    StandardError.write(
                        "room: not deleted within \(wait); it stays closed, and is deleted as soon as it can be\n")
                    throw ExitCode(1)
                }
                try await Task.sleep(for: .milliseconds(500))
            }
        }

        private static func text(of outcome: RoomDeletion.Outcome) -> String {
            switch outcome {
            case .closed: "it is deleted"
            case .nodes: "a node is still in the room (MARTLET_LINGER)"
            case .behind: "the archive has not everything yet"
            case .open: "somebody has opened the room again"
            }
        }

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
        private func step(_ room: RoomName) async throws -> RoomDeletion.Outcome {
            let sink = withoutArchive ? nil : "archive"
            let facts = try await change.place.askEach { keys in
                [
                    // In case that no node has told the relays.
                    [
                        "ZADD", keys.key(.rooms, ofPartition: EventPartition(of: room).keyTag),
                        String(WallClock.milliseconds), room.text,
                    ],
                    ["EXISTS", keys.key(.log, of: room.text)], ["HGET", keys.key(.rules, of: room.text), "members"],
                    RoomDeletion(of: room, after: sink, keys).participants,
                ]
            }
            guard facts.count == 4 else { return .behind }
            // A relay may have deleted it.
            if !withoutArchive, facts[1].integer == 0, facts[2] == .null { return .closed }
            _ = try await change.place.askEach { RoomDeletion(of: room, after: sink, $0).forgotten(by: facts[3]) }
            let reply = try await change.place.ask { RoomDeletion(of: room, after: sink, $0).deletion }
            guard let outcome = reply.string.flatMap({ RoomDeletion.Outcome(rawValue: $0) }) else {
                StandardError.write("room: martlet_close has given an unknown reply\n")
                throw ExitCode(1)
            }
            return outcome
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
