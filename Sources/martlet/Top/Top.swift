import ArgumentParser
import ChatNode
import ChatRedis
import Foundation
import RedisSchema

/// `martlet top`: what the nodes and rooms do, seen from Redis alone.
struct Top: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Watch nodes and rooms, from Redis alone.",
        discussion: """
            On a terminal a screen that is drawn again with each look (q ends it); in a pipe lines of name=value pairs; with --json \
            one object for each look. It only reads: 3 commands a look (of a Cluster one more for each further master), 4 for each \
            node and 3 for each room it looks at, none of which grows with the data. Of more rooms than --rooms it looks at those that were busy, and at others in turn. Exits 2 if \
            Redis cannot be looked at.
            """)

    @OptionGroup var place: RedisPlace

    @Option(help: "Seconds between two looks (default: 2; with --once 6, so that every node has told of itself twice).")
    var interval: Double?

    @Option(help: "End after so many views.")
    var count: Int?

    @Flag(help: "One view, after one interval: --count 1.")
    var once = false

    @Option(help: "Rooms to look at, at most, in one look.")
    var rooms = 1_000

    @Option(help: "Rooms to name in lines and JSON.")
    var show = 20

    @Flag(help: "One JSON object for each look.")
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

/// Where the tools find Redis: as a node does, unless it is said otherwise.
struct RedisPlace: ParsableArguments {
    @Option(help: "Where Redis is (default: MARTLET_REDIS_URL, _USER and _PASSWORD, as for serve).")
    var redis: String?

    @Option(help: "What the keys begin with (default: MARTLET_KEY_PREFIX, or martlet:).")
    var prefix: String?

    /// Exits with code 2 and says why, if there is no telling where.
    func resolved(_ tool: String) async throws -> (RedisTarget, RedisKeys) {
        do {
            let configuration = try NodeConfiguration.loadForTools(environment: merged)
            guard !configuration.redis.address.isMemory else {
                throw TopError("MARTLET_REDIS_URL is memory:, a node alone that shares nothing to look at")
            }
            return (try await configuration.findRedis(), try configuration.redisKeys())
        } catch {
            StandardError.write("\(tool): \(error)\n")
            throw ExitCode(2)
        }
    }

    /// The environment with what was said on the command line in it. A URL of one's own comes with its own user and password.
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
