import ArgumentParser

/// `martlet user`: what holds for a user on all nodes and in all rooms.
struct User: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Revoke the tokens of a user; ban or mute a user in all rooms; erase a user.",
        discussion: """
            Every node applies the command within a second, and nodes that start later too. What concerns one room is in \
            martlet room.
            """,
        subcommands: [Revoke.self, Ban.self, Unban.self, Mute.self, Unmute.self, Erase.self])

    struct Revoke: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Revoke the tokens that a user has by now, on all nodes within a second.")

        @Argument(help: "The user.")
        var user: String

        @OptionGroup var revocation: Revocation

        func run() async throws { try await revocation.revoke("user", user) }
    }

    struct Ban: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Close the user's sessions (4013, banned), and accept no other ones and no messages.")

        @OptionGroup var imposed: Imposed

        func run() async throws { try await imposed.give("ban", done: "banned") }
    }

    struct Mute: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Refuse the user's messages in all rooms (303, muted).")

        @OptionGroup var imposed: Imposed

        func run() async throws { try await imposed.give("mute", done: "muted") }
    }

    struct Unban: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lift the user's ban.")

        @OptionGroup var lifted: Lifted

        func run() async throws { try await lifted.give("unban", done: "no longer banned") }
    }

    struct Unmute: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lift the user's mute.")

        @OptionGroup var lifted: Lifted

        func run() async throws { try await lifted.give("unmute", done: "no longer muted") }
    }

    /// The arguments of a sanction.
    struct Imposed: ParsableArguments {
        @Argument(help: "The user.")
        var user: String

        @Option(name: .customLong("for"), help: "How long, as in 90s, 30m or 7d. Without it: for ever.")
        var time: String?

        @Option(help: "The reason, which the user is told; at most 200 bytes.")
        var reason = ""

        @OptionGroup var order: CommandOrder

        func give(_ type: String, done: String) async throws {
            let milliseconds = try time.map { try DurationArgument.milliseconds($0, of: "--for", example: "1h") }
            try await order.give([type, user, milliseconds.map { "\($0)" } ?? "", reason], tool: "user", done: done)
        }
    }

    /// The arguments of what ends a sanction.
    struct Lifted: ParsableArguments {
        @Argument(help: "The user.")
        var user: String

        @OptionGroup var order: CommandOrder

        func give(_ type: String, done: String) async throws {
            try await order.give([type, user, "", ""], tool: "user", done: done)
        }
    }
}
