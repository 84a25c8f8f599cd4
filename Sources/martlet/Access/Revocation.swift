import ArgumentParser
import ChatCore
import ChatGateway
import ChatNode
import ChatRedis
import Glibc
import RedisSchema

/// Writes a command to the stream of commands in Redis, which all nodes read. It needs no node.
struct CommandOrder: ParsableArguments {
    @OptionGroup var place: RedisPlace

    /// `words`: the arguments of `martlet_command` without who orders it, which comes last. Exits with code 2 and the
    /// reason if Redis cannot be asked, and with 1 if it refuses. `tool`: the name of the subcommand.
    func give(_ words: [String], tool: String, done: String) async throws {
        let (target, keys) = try await place.resolved(tool)
        let call = ["FCALL", "martlet_command", "1", keys.commands] + words + ["martlet command line"]
        let reply: RedisValue
        do throws(RedisSetupError) {
            let redis = try await RedisServers.connect(target, name: tool)
            reply = try await redis.ask([call]).first ?? .null
            await redis.close()
        } catch {
            StandardError.write("\(tool): \(error)\n")
            throw ExitCode(2)
        }
        if let error = reply.error {
            StandardError.write("\(tool): redis refuses: \(error); a node of this version loads the function\n")
            throw ExitCode(1)
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
        let until: UInt64
        do {
            until = WallClock.milliseconds + UInt64(clamping: try DurationText.parse(keep).wholeMilliseconds)
        } catch {
            throw ValidationError("--keep \(keep) is no duration: \(error.hint ?? "such as 30d")")
        }
        try await order.give(["revoke", subject, name, "", "\(until)"], tool: "revoke", done: "revoked")
    }
}
