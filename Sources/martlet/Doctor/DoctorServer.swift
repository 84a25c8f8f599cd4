import ChatCore
import ChatNode
import ChatRedis
import RedisSchema

/// The findings about the environment, the server, its functions and our rights there. Pure.
enum DoctorServer {
    // MARK: Configuration

    /// The problems that `martlet serve` would report for this environment. Reads the files that it names.
    static func configuration(_ environment: [String: String]) -> [Finding] {
        let warnings: [ConfigurationWarning]
        var findings: [Finding] = []
        do throws(ConfigurationError) {
            let configuration = try NodeConfiguration.load(environment: environment)
            warnings = configuration.warnings
            for problem in [
                configuration.certificateProblem(), configuration.wordsProblem(), configuration.socketIOProblem(),
            ].compactMap({ $0 }) {
                findings.append(
                    Finding(
                        .must, .configuration, problem.variables.joined(separator: ", "), problem.message,
                        do: "correct the files: a node with this environment does not start"))
            }
        } catch {
            warnings = error.warnings
            for problem in error.problems {
                findings.append(
                    Finding(
                        .must, .configuration, problem.variables.joined(separator: ", "), problem.message,
                        do: "change it: a node with this environment does not start (martlet serve --list-variables)"))
            }
        }
        for warning in warnings {
            findings.append(
                Finding(.warning, .configuration, warning.variable, warning.message, do: "correct or remove it"))
        }
        return findings
    }

    // MARK: Server

    /// `MARTLET_ACK_REPLICAS` replicas must be connected, or no send is acknowledged. `server`, here and below, names
    /// one of several masters.
    static func replicas(_ found: Int, wanted: Int, at server: String? = nil) -> [Finding] {
        guard found < wanted else { return [] }
        let what = server.map { "the master at \($0): no send in its rooms" } ?? "this Redis: no send"
        return [
            Finding(
                .must, .redis, "MARTLET_ACK_REPLICAS",
                "it is \(wanted), and \(found) replicas follow \(what) is acknowledged",
                do: "bring the replicas back, or lower MARTLET_ACK_REPLICAS")
        ]
    }

    static func findings(_ advice: [RedisAdvice], at server: String? = nil) -> [Finding] {
        advice.map { advice in
            Finding(
                advice.weight == .must ? .must : .warning, .settings, place(advice.subject, server), advice.problem,
                do: advice.remedy)
        }
    }

    private static func place(_ what: String, _ server: String?) -> String {
        server.map { "\(what) at \($0)" } ?? what
    }

    /// The redis-cli call for one of several masters, `host:port`.
    private static func cli(_ server: String?) -> String {
        guard let server, let colon = server.lastIndex(of: ":") else { return "redis-cli" }
        let host = server[..<colon].filter { $0 != "[" && $0 != "]" }
        return "redis-cli -h \(host) -p \(server[server.index(after: colon)...])"
    }

    /// The slots of a Cluster that no master claims. `server` is one on which to repair that.
    static func unserved(_ slots: SlotSet, at server: String?) -> [Finding] {
        guard !slots.isEmpty else { return [] }
        return [
            Finding(
                .must, .redis, "slots \(slots.summary)",
                "nobody serves them: their rooms wait, and with cluster-require-full-coverage yes (the default) all "
                    + "rooms do",
                do: "redis-cli --cluster fix \(server ?? "HOST:PORT"), or CLUSTER ADDSLOTS at one of the masters")
        ]
    }

    /// A master of a Cluster that cannot be reached while others can.
    static func away(_ server: String, _ slots: SlotSet?, _ error: RedisSetupError) -> Finding {
        Finding(
            .must, .redis, "the master at \(server)",
            "\(error.message); the rooms of its slots (\(slots?.summary ?? "all")) wait",
            do: error.mayHeal
                ? "bring it back, or let a replica take over (CLUSTER FAILOVER FORCE at the replica)"
                : remedy(error.code))
    }

    /// Why there is no connection; without one, nothing else can be examined.
    static func connection(_ error: RedisSetupError) -> Finding {
        Finding(.must, .redis, nil, error.message, do: remedy(error.code))
    }

    private static func remedy(_ code: RedisSetupError.Code) -> String {
        switch code {
        case .unreachable, .closed:
            "see that Redis runs there, listens on that address (bind, protected-mode) and no firewall is in between; "
                + "or correct MARTLET_REDIS_URL"
        case .unknownHost: "correct the host name in MARTLET_REDIS_URL, or add it to DNS"
        case .timedOut:
            "see whether Redis hangs (its log, SLOWLOG, a script that runs, a process that is stopped) or a firewall "
                + "drops packets; with TLS there, use rediss://"
        case .tls:
            "a private authority: MARTLET_REDIS_CA=file.pem; a certificate of ours: MARTLET_REDIS_CERTIFICATE and "
                + "MARTLET_REDIS_KEY; no TLS there: redis://"
        case .wrongPassword, .passwordNeeded:
            "set MARTLET_REDIS_PASSWORD (and MARTLET_REDIS_USER for an ACL user) to what Redis wants"
        case .noSuchDatabase: "correct the database number in MARTLET_REDIS_URL, or raise databases in redis.conf"
        case .notRedis: "correct the port in MARTLET_REDIS_URL: something else answers there"
        case .library:
            "see why the functions cannot be loaded: cat redis/functions/*.lua | redis-cli -x FUNCTION LOAD REPLACE"
        case .busy: "wait until Redis has read its data (INFO persistence), or end the script that runs (SCRIPT KILL)"
        case .moved: "look again: Sentinel is just naming another master"
        case .noSentinel: "see that the sentinels run and can be reached, or correct MARTLET_REDIS_URL"
        case .noCluster: "see that nodes of the Cluster run and can be reached, or correct MARTLET_REDIS_URL"
        case .wrongVersion: "install Redis 7.0 or later, or Valkey"
        case .replica: "let MARTLET_REDIS_URL name the master, or promote it (REPLICAOF NO ONE)"
        case .notPermitted: "give the user the rights of redis/users.acl"
        case .cluster: "let MARTLET_REDIS_URL name what is there"
        case .unknownMaster: "correct the master's name in MARTLET_REDIS_URL, or sentinel monitor it"
        }
    }

    // MARK: Writes

    /// An append to the log of a room that does not exist: it is refused like any other append would be, and otherwise
    /// writes nothing.
    static func write(_ keys: RedisKeys) -> [String] {
        ["XADD", keys.key(.log, of: "~martlet-doctor"), "NOMKSTREAM", "1-1", "a", "b"]
    }

    static func written(_ reply: RedisValue, at server: String? = nil) -> [Finding] {
        guard let error = reply.error else { return [] }
        // The rights are checked one by one elsewhere.
        let kind = RefusalKind(text: error)
        if kind == .noPermission { return [] }
        return [
            Finding(
                .must, .redis, server.map { "the master at \($0)" },
                "it refuses every write, so nothing can be said: \(error)", do: (kind ?? .other).remedy)
        ]
    }

    // MARK: Library

    /// `list` is the reply to `FUNCTION LIST LIBRARYNAME martlet WITHCODE`, `nodes` the number of living nodes.
    static func library(_ list: RedisValue, nodes: Int, at server: String? = nil) -> [Finding] {
        let name = place(FunctionLibrary.name, server)
        let load = "cat redis/functions/*.lua | \(cli(server)) -x FUNCTION LOAD REPLACE"
        let libraries = (list.array ?? []).map(\.pairs)
        guard let library = libraries.first(where: { $0["library_name"]?.string == FunctionLibrary.name }) else {
            let problem = "the function library is not there"
            return nodes == 0
                ? [Finding(.ok, .library, nil, problem + " yet: the first node that starts loads it")]
                : [
                    Finding(
                        .must, .library, name,
                        problem + ", though \(nodes) nodes live: somebody flushed it, or another Redis answers them",
                        do: "nodes load it again when they next need it; if not: \(load)"
                    )
                ]
        }
        guard let code = library["library_code"]?.string else { return [] }
        let version = FunctionLibrary.version(in: Array(code.utf8))
        let ours = FunctionLibrary.version
        if version < ours {
            return [
                Finding(
                    .warning, .library, name, "it has version \(version), this martlet brings \(ours)",
                    do: "the first node of this version that starts loads its own; or \(load)"
                )
            ]
        }
        if version > ours {
            return [
                Finding(
                    .warning, .library, name,
                    "it has version \(version), newer than this martlet's \(ours)",
                    do: "nothing while older nodes are being replaced; otherwise update this one")
            ]
        }
        guard Array(code.utf8) == FunctionLibrary.source else {
            return [
                Finding(
                    .must, .library, name,
                    "it calls itself version \(version) but is not the one that this martlet brings: somebody changed "
                        + "it",
                    do: load)
            ]
        }
        return []
    }

    // MARK: Rights

    /// One command of each kind that a node or its functions issue, to be queued after `MULTI`: Redis checks rights
    /// when it queues a command, and none of these is ever executed.
    static func rehearsal(_ keys: RedisKeys) -> [[String]] {
        let room = "martlet-doctor"
        func key(_ kind: RoomKey) -> String { keys.key(kind, of: room) }
        let (log, nodes, epochs, meta, roster) = (key(.log), key(.nodes), key(.epochs), key(.meta), key(.roster))
        let node = keys.node(room)
        let held = keys.rooms(ofNode: room)
        let sharded = keys.isClustered ? "S" : ""
        let channel = keys.channel(of: room)
        return (keys.isClustered ? [["CLUSTER", "NODES"]] : []) + [
            ["PING"], ["INFO", "server"], ["TIME"], ["CONFIG", "GET", "timeout"], ["FUNCTION", "LOAD", "REPLACE", ""],
            ["FCALL", "martlet_version", "0"], ["\(sharded)SUBSCRIBE", channel], ["\(sharded)UNSUBSCRIBE", channel],
            ["\(sharded)PUBLISH", channel, ""], ["TYPE", log], ["EXISTS", log], ["PERSIST", log], ["PTTL", log],
            ["PEXPIRE", log, "1"], ["DEL", node], ["GET", node], ["SET", node, "", "PX", "1"],
            ["XADD", log, "NOMKSTREAM", "1-1", "a", "b"], ["XRANGE", log, "-", "+"], ["XREVRANGE", log, "+", "-"],
            ["XINFO", "STREAM", log], ["XSETID", log, "1-1"], ["XGROUP", "CREATE", log, "g", "0"],
            ["XGROUP", "DESTROY", log, "g"], ["HGET", meta, "a"], ["HSET", nodes, "a", "b"], ["HDEL", nodes, "a"],
            ["HLEN", roster], ["HEXISTS", nodes, "a"], ["HGETALL", nodes], ["LRANGE", epochs, "0", "1"],
            ["LINDEX", epochs, "0"], ["RPUSH", epochs, "a"], ["RPOP", epochs], ["LPOP", epochs], ["SADD", held, "a"],
            ["SREM", held, "a"], ["SMEMBERS", held], ["ZADD", keys.nodes, "1", "a"], ["ZREM", keys.nodes, "a"],
            ["ZRANGE", keys.nodes, "0", "-1"], ["XDEL", log, "1-1"], ["HMGET", meta, "a"], ["HVALS", nodes],
            ["HINCRBY", meta, "ops", "1"], ["ZREMRANGEBYSCORE", key(.amendments), "-inf", "1"],
            ["HSCAN", roster, "0"], ["HKEYS", roster], ["HRANDFIELD", key(.overlay), "1"], ["SISMEMBER", held, "a"],
            ["SCARD", held], ["XLEN", log], ["XTRIM", log, "MAXLEN", "1"], ["MEMORY", "USAGE", log],
            ["ZCOUNT", key(.amendments), "0", "1"], ["ZMSCORE", keys.nodes, "a"],
        ]
    }

    /// `replies` are those to `MULTI` and then to each of ``rehearsal(_:)``. Nil if rights cannot be determined
    /// (because the user may not even use `MULTI`).
    static func rights(
        _ replies: [RedisValue], _ keys: RedisKeys, user: String, at server: String? = nil
    ) -> [Finding]? {
        let commands = rehearsal(keys)
        guard replies.count == commands.count + 1, replies[0].error == nil else { return nil }
        var missing: [String] = []
        for (command, reply) in zip(commands, replies.dropFirst()) {
            guard let error = reply.error, error.hasPrefix("NOPERM") else { continue }
            let name =
                ["CLUSTER", "CONFIG", "FUNCTION", "XINFO", "XGROUP", "MEMORY"].contains(command[0])
                ? "\(command[0]) \(command[1])" : command[0]
            if !missing.contains(name) { missing.append(name) }
        }
        guard !missing.isEmpty else { return [] }
        let problem =
            "it may not, on keys and channels that begin with \(keys.prefix): \(missing.joined(separator: ", "))"
        // A node can work without comparing the settings.
        let harmless = missing == ["CONFIG GET"]
        return [
            Finding(
                harmless ? .warning : .must, .rights, place("user \(user)", server), problem,
                do:
                    "give a node's user the rights of the user martlet in redis/users.acl (with your prefix in place "
                    + "of martlet:)"
            )
        ]
    }
}
