import ArgumentParser
import ChatCore
import ChatGateway
import ChatNode
import ChatRedis
import Glibc
import RedisSchema

/// Writes a revocation to the stream of commands in Redis, which all nodes read. It needs no node.
struct Revocation: ParsableArguments {
    @OptionGroup var place: RedisPlace

    @Option(help: "How long the revocation is kept. It should be as long as the tokens live.")
    var keep = "30d"

    /// Exits with code 2 and the reason if Redis cannot be asked, and with 1 if it refuses.
    func revoke(_ subject: String, _ name: String) async throws {
        let until: UInt64
        do {
            until = WallClock.milliseconds + UInt64(clamping: try DurationText.parse(keep).wholeMilliseconds)
        } catch {
            throw ValidationError("--keep \(keep) is no duration: \(error.hint ?? "such as 30d")")
        }
        let (target, keys) = try await place.resolved("revoke")
        let command = [
            "FCALL", "martlet_command", "1", keys.commands, "revoke", subject, name, "", "\(until)",
            "martlet command line",
        ]
        let reply: RedisValue
        do throws(RedisSetupError) {
            let redis = try await RedisServers.connect(target, name: "revoke")
            reply = try await redis.ask([command]).first ?? .null
            await redis.close()
        } catch {
            StandardError.write("revoke: \(error)\n")
            throw ExitCode(2)
        }
        if let error = reply.error {
            StandardError.write("revoke: redis refuses: \(error); a node of this version loads the function\n")
            throw ExitCode(1)
        }
        Terminal.write("revoked, command \(reply.string ?? "")\n")
    }
}
