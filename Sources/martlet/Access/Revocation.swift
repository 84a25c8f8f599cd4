import ArgumentParser
import ChatCore
import ChatGateway
import ChatRedis
import RedisSchema

/// Writes a command to the stream of commands in Redis, which all nodes read. It needs no node.
struct CommandOrder: ParsableArguments {
    @OptionGroup var place: RedisPlace

    /// `words`: the arguments of `martlet_command` without who orders it, which comes last. Exits with code 2 and the
    /// reason if Redis cannot be asked, and with 1 if it refuses. `tool`: the name of the subcommand.
    func give(_ words: [String], tool: String, done: String) async throws {
        let reply = try await place.ask(tool, remedy: "; a node of this version loads the function") { keys in
            ["FCALL", "martlet_command", "1", keys.commands] + words + ["martlet command line"]
        }
        Terminal.write("\(done), command \(reply.string ?? "")\n")
    }
}

/// A revocation of tokens, on all nodes within a second.
struct Revocation: ParsableArguments {
    @OptionGroup var order: CommandOrder

    @Option(help: "How long the revocation is kept. It should be as long as the tokens live.")
    var keep = "30d"

    func revoke(_ subject: String, _ name: String) async throws {
        let until = WallClock.milliseconds + (try DurationArgument.milliseconds(keep, of: "--keep", example: "30d"))
        try await order.give(["revoke", subject, name, "", "\(until)"], tool: "revoke", done: "revoked")
    }
}
