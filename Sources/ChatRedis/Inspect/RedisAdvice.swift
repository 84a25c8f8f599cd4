import ChatCore

/// A deviation of a Redis server from what Martlet needs. The same rules serve the node, which warns when it starts,
/// and `martlet doctor`, which explains; `redis/redis.conf` gives the reasons in detail.
public struct RedisAdvice: Sendable, Hashable {
    public enum Weight: Sendable, Hashable {
        /// It works, but with a loss of efficiency, or only until some other failure happens.
        case warning
        /// A guarantee is violated, or will be.
        case must
    }

    public var weight: Weight
    /// The name of the setting, or of the subject in INFO.
    public var subject: String
    /// The current value, and its consequence.
    public var problem: String
    /// What to do.
    public var remedy: String

    init(_ weight: Weight, _ subject: String, _ problem: String, _ remedy: String) {
        self.weight = weight
        self.subject = subject
        self.problem = problem
        self.remedy = remedy
    }

    /// The settings that ``on(configuration:info:)`` checks, for one CONFIG GET.
    public static let settings = [
        "stream-node-max-bytes", "maxmemory", "maxmemory-policy", "appendonly", "appendfsync", "save",
        "client-output-buffer-limit", "timeout", "tcp-keepalive", "lazyfree-lazy-expire", "min-replicas-to-write",
    ]
    /// The sections of INFO that it reads.
    public static let sections = ["server", "memory", "persistence", "clients", "stats", "replication", "errorstats"]

    /// All advice on these values. A value that is missing from `configuration` or `info` (an ACL may hide it) is not
    /// checked.
    public static func on(configuration: [String: String], info: [String: String]) -> [RedisAdvice] {
        memory(configuration, info) + durability(configuration, info) + connections(configuration, info)
            + refusals(configuration, info)
    }

    /// Queries a server and checks it. Throws if it cannot be queried. `advice` is empty if everything is fine.
    public static func ask(_ inspector: RedisInspector) async throws(RedisSetupError) -> (
        advice: [RedisAdvice], configuration: [String: String], info: [String: String], refused: [String]
    ) {
        let replies = try await inspector.ask([["CONFIG", "GET"] + settings, ["INFO"] + sections])
        guard replies.count == 2 else { return ([], [:], [:], []) }
        let configuration = replies[0].pairs.compactMapValues(\.string)
        let info = replies[1].info
        return (on(configuration: configuration, info: info), configuration, info, replies.compactMap(\.error))
    }

    // MARK: Rules

    private static func memory(_ configuration: [String: String], _ info: [String: String]) -> [RedisAdvice] {
        var advice: [RedisAdvice] = []
        if let bytes = configuration["stream-node-max-bytes"].flatMap({ Int($0) }), bytes == 0 || bytes > 1_024 {
            advice.append(
                RedisAdvice(
                    .warning, "stream-node-max-bytes",
                    "it is \(bytes): Redis reserves that much for the log and the presence of every room, however "
                        + "short",
                    "set it to 512 (CONFIG SET stream-node-max-bytes 512, and in redis.conf): a small room then takes "
                        + "a sixth"
                ))
        }
        let limit = configuration["maxmemory"].flatMap { Int($0) } ?? 0
        if let policy = configuration["maxmemory-policy"], policy != "noeviction" {
            advice.append(
                limit > 0
                    ? RedisAdvice(
                        .must, "maxmemory-policy",
                        "it is \(policy) with a maxmemory of \(limit) bytes: Redis deletes rooms' logs and nodes' "
                            + "leases in silence when memory is short",
                        "CONFIG SET maxmemory-policy noeviction, and in redis.conf: an error is better than a lost room"
                    )
                    : RedisAdvice(
                        .warning, "maxmemory-policy",
                        "it is \(policy): as soon as somebody sets maxmemory, Redis deletes rooms' logs in silence",
                        "CONFIG SET maxmemory-policy noeviction, and in redis.conf"))
        }
        if limit > 0, let used = info["used_memory"].flatMap({ Int($0) }) {
            let share = Double(used) / Double(limit)
            if share >= 0.8 {
                advice.append(
                    RedisAdvice(
                        share >= 1 ? .must : .warning, "maxmemory",
                        "\(used) of \(limit) bytes are used (\(Int(share * 100)) %): at 100 % nothing can be said in "
                            + "any room",
                        "raise maxmemory, or shorten MARTLET_HISTORY_LENGTH and MARTLET_ROOM_TTL"))
            }
        }
        if configuration["lazyfree-lazy-expire"] == "no" {
            advice.append(
                RedisAdvice(
                    .warning, "lazyfree-lazy-expire",
                    "it is no: a large room that expires stops Redis for as long as it takes to free it",
                    "CONFIG SET lazyfree-lazy-expire yes, and in redis.conf"))
        }
        return advice
    }

    private static func durability(_ configuration: [String: String], _ info: [String: String]) -> [RedisAdvice] {
        var advice: [RedisAdvice] = []
        if configuration["appendonly"] == "no" {
            let saves = configuration["save"].map { !$0.isEmpty } ?? true
            advice.append(
                RedisAdvice(
                    .warning, "appendonly",
                    saves
                        ? "it is no: a crash of Redis loses what was acknowledged since the last snapshot, unless a "
                            + "node remembers it"
                        : "it is no, and no snapshots are made either: a restart of Redis loses everything that no "
                            + "node remembers",
                    "CONFIG SET appendonly yes, and in redis.conf"))
        }
        if configuration["appendonly"] == "yes", configuration["appendfsync"] == "no" {
            advice.append(
                RedisAdvice(
                    .warning, "appendfsync", "it is no: what the system has not written yet is lost with the machine",
                    "CONFIG SET appendfsync everysec, and in redis.conf"))
        }
        if info["aof_enabled"] == "1", let status = info["aof_last_write_status"], status != "ok" {
            advice.append(
                RedisAdvice(
                    .must, "aof_last_write_status",
                    "it is \(status): Redis cannot write its log, and takes no messages (MISCONF)",
                    "see Redis' own log; most often the disk is full"))
        }
        if let status = info["rdb_last_bgsave_status"], status != "ok" {
            advice.append(
                RedisAdvice(
                    .must, "rdb_last_bgsave_status",
                    "it is \(status): the last snapshot failed, and Redis may refuse messages because of it (MISCONF)",
                    "see Redis' own log; most often the disk is full or memory cannot be overcommitted"))
        }
        return advice
    }

    private static func refusals(_ configuration: [String: String], _ info: [String: String]) -> [RedisAdvice] {
        var advice: [RedisAdvice] = []
        if let wanted = configuration["min-replicas-to-write"].flatMap({ Int($0) }), wanted > 0,
            let there = info["min_slaves_good_slaves"].flatMap({ Int($0) }), there < wanted
        {
            advice.append(
                RedisAdvice(
                    .must, "min-replicas-to-write",
                    "it is \(wanted), and \(there) replicas follow closely enough: Redis refuses every write "
                        + "(NOREPLICAS)",
                    "bring the replicas back, or CONFIG SET min-replicas-to-write \(there)"))
        }
        // Errors of single commands are counted there, too; these error codes concern all commands.
        let words = ["OOM", "MISCONF", "NOREPLICAS", "BUSY", "CLUSTERDOWN", "MASTERDOWN"]
        for word in words {
            guard let text = info["errorstat_\(word)"], let count = Int(text.drop { $0 != "=" }.dropFirst()), count > 0,
                let kind = RefusalKind(text: word)
            else { continue }
            advice.append(
                RedisAdvice(
                    .warning, "errorstat_\(word)",
                    "it has refused \(count) commands with \(word) since it started, or since CONFIG RESETSTAT",
                    kind.remedy))
        }
        return advice
    }

    private static func connections(_ configuration: [String: String], _ info: [String: String]) -> [RedisAdvice] {
        var advice: [RedisAdvice] = []
        if let (hard, soft) = configuration["client-output-buffer-limit"].flatMap(pubsubLimit),
            (hard != 0 && hard < 128 << 20) || (soft != 0 && soft < 32 << 20)
        {
            advice.append(
                RedisAdvice(
                    .warning, "client-output-buffer-limit pubsub",
                    "it is \(hard >> 20) MB, or \(soft >> 20) MB for a while: a burst in a large room cuts nodes that "
                        + "are busy for a moment off their channels",
                    "CONFIG SET client-output-buffer-limit \"pubsub 256mb 64mb 60\", and in redis.conf"))
        }
        if let seconds = configuration["timeout"].flatMap({ Int($0) }), seconds > 0 {
            advice.append(
                RedisAdvice(
                    .warning, "timeout",
                    "it is \(seconds): Redis closes idle connections, and a node of quiet rooms is idle",
                    "CONFIG SET timeout 0, and in redis.conf"))
        }
        if configuration["tcp-keepalive"] == "0" {
            advice.append(
                RedisAdvice(
                    .warning, "tcp-keepalive", "it is 0: Redis keeps the connections of machines that are gone",
                    "CONFIG SET tcp-keepalive 60, and in redis.conf"))
        }
        if let now = info["connected_clients"].flatMap({ Int($0) }), let most = info["maxclients"].flatMap({ Int($0) }),
            most > 0,
            now * 10 >= most * 8
        {
            advice.append(
                RedisAdvice(
                    .warning, "maxclients",
                    "\(now) of \(most) connections are in use; each node takes two for each event loop",
                    "raise maxclients, or lower MARTLET_EVENT_LOOPS"))
        }
        if let patterns = info["pubsub_patterns"].flatMap({ Int($0) }), patterns > 0 {
            advice.append(
                RedisAdvice(
                    .warning, "pubsub_patterns",
                    "\(patterns) clients listen to patterns (PSUBSCRIBE): each costs every message that is published",
                    "end them when you have heard enough; nodes never use patterns"))
        }
        return advice
    }

    /// The hard and soft limit in bytes, from `normal 0 0 0 slave … pubsub 33554432 8388608 60`.
    static func pubsubLimit(_ text: String) -> (hard: Int, soft: Int)? {
        let words = text.split(separator: " ")
        guard let place = words.firstIndex(of: "pubsub"), words.count > place + 2, let hard = Int(words[place + 1]),
            let soft = Int(words[place + 2])
        else { return nil }
        return (hard, soft)
    }
}
