import ArgumentParser
import ChatCore
import ChatNode
import ChatRedis
import RedisSchema

extension RedisPlace {
    /// The reply to one command. Exits with code 2 and the reason if Redis cannot be asked, and with 1 if it refuses.
    /// `tool`: the subcommand, which the message begins with. `remedy`: what the message of a refusal ends with.
    func ask(
        _ tool: String, remedy: String = "", _ command: (RedisKeys) -> [String]
    ) async throws -> RedisValue {
        try await askEach(tool, remedy: remedy) { [command($0)] }.first ?? .null
    }

    /// The replies to several commands, over one connection. Exits as for one command, with 1 if Redis refuses any.
    func askEach(
        _ tool: String, remedy: String = "", _ commands: (RedisKeys) -> [[String]]
    ) async throws -> [RedisValue] {
        let (target, keys) = try await resolved(tool)
        let commands = commands(keys)
        guard !commands.isEmpty else { return [] }
        let replies: [RedisValue]
        do throws(RedisSetupError) {
            let redis = try await RedisServers.connect(target, name: tool)
            replies = try await redis.ask(commands)
            await redis.close()
        } catch {
            StandardError.write("\(tool): \(error)\n")
            throw ExitCode(2)
        }
        for reply in replies {
            guard let error = reply.error else { continue }
            StandardError.write("\(tool): redis refuses: \(error)\(remedy)\n")
            throw ExitCode(1)
        }
        return replies
    }
}

/// Durations of the command line.
enum DurationArgument {
    /// In milliseconds. `name`: the argument, for the message of one that is no duration.
    static func milliseconds(_ text: String, of name: String, example: String) throws -> UInt64 {
        do {
            return UInt64(clamping: try DurationText.parse(text).wholeMilliseconds)
        } catch {
            throw ValidationError("\(name) \(text) is no duration: \(error.hint ?? "such as \(example)")")
        }
    }
}
