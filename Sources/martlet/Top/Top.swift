import ArgumentParser
import ChatNode
import ChatRedis
import Foundation
import RedisSchema

/// `martlet top`: the activity of nodes and rooms, as seen from Redis alone.
struct Top: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Watch nodes and rooms by reading Redis.",
        discussion: """
            Redraws a screen for each sample on a terminal (q exits), writes lines of name=value pairs in a pipe, \
            and one object for each sample with --json. It only reads: 3 commands for each sample (in a Cluster one \
            more for each further master), 4 for each node, 3 for each room, and for relays 34 and 48 for each sink; \
            none of them grows with the data. If there are more rooms than --rooms, it reads those that were busy, and the others in turn. Exits 2 if \
            Redis cannot be read.
            """)

    @OptionGroup var place: RedisPlace

    @Option(
        help: "Seconds between two samples (default: 2; with --once 6, so that every node has sent two heartbeats).")
    var interval: Double?

    @Option(help: "Exit after this many views.")
    var count: Int?

    @Flag(help: "One view, after one interval: --count 1.")
    var once = false

    @Option(help: "Largest number of rooms to read in one sample.")
    var rooms = 1_000

    @Option(help: "Number of rooms in plain lines and JSON.")
    var show = 20

    @Flag(help: "One JSON object for each sample.")
    var json = false

    func validate() throws {
        if !(0.1...3_600).contains(interval ?? 2) {
            throw ValidationError("--interval must be from 0.1 to 3600 seconds")
        }
        if let count, !(1...1_000_000).contains(count) { throw ValidationError("--count must be from 1 to 1000000") }
        if !(1...100_000).contains(rooms) { throw ValidationError("--rooms must be from 1 to 100000") }
        if !(0...100_000).contains(show) { throw ValidationError("--show must be from 0 to 100000") }
    }

    func run() async throws {
        let (target, keys) = try await place.resolved("top")
        var options = TopOptions(target: target, keys: keys)
        options.interval = .seconds(interval ?? (once ? 6 : 2))
        options.count = once ? 1 : count
        options.roomLimit = rooms
        options.roomsShown = show
        options.json = json
        let code = await TopRun(options).run()
        if code != 0 { throw ExitCode(code) }
    }
}

/// The address of Redis for the tools: that of a node, unless the command line gives another one.
struct RedisPlace: ParsableArguments {
    @Option(help: "URL of Redis (default: MARTLET_REDIS_URL, _USER and _PASSWORD, as for serve).")
    var redis: String?

    @Option(help: "Prefix of the keys (default: MARTLET_KEY_PREFIX, or martlet:).")
    var prefix: String?

    /// Exits with code 2 and the reason if the address cannot be determined.
    func resolved(_ tool: String) async throws -> (RedisTarget, RedisKeys) {
        do {
            let configuration = try NodeConfiguration.loadForTools(environment: merged)
            guard !configuration.redis.address.isMemory else {
                throw TopError("MARTLET_REDIS_URL is memory:, so there is no Redis to read")
            }
            return (try await configuration.findRedis(), try configuration.redisKeys())
        } catch {
            StandardError.write("\(tool): \(error)\n")
            throw ExitCode(2)
        }
    }

    /// The environment, overridden by the command line. A URL on the command line comes with its own user and password.
    var merged: [String: String] {
        var environment = ProcessInfo.processInfo.environment
        if let redis {
            environment["MARTLET_REDIS_URL"] = redis
            environment["MARTLET_REDIS_USER"] = nil
            environment["MARTLET_REDIS_PASSWORD"] = nil
        }
        if let prefix { environment["MARTLET_KEY_PREFIX"] = prefix }
        return environment
    }
}
