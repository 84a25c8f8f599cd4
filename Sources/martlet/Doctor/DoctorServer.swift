import ChatNode
import ChatRedis
import RedisSchema

/// What is to be said about the environment, the server, its functions and our rights in it. Pure.
enum DoctorServer {
    // MARK: Configuration

    /// What `martlet serve` would say of this environment.
    static func configuration(_ environment: [String: String]) -> [Finding] {
        let warnings: [ConfigurationWarning]
        var findings: [Finding] = []
        do throws(ConfigurationError) {
            warnings = try NodeConfiguration.load(environment: environment).warnings
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

    /// `MARTLET_ACK_REPLICAS` replicas must be there, or no send is acknowledged.
    static func replicas(_ found: Int, wanted: Int) -> [Finding] {
        guard found < wanted else { return [] }
        return [
            Finding(
                .must, .redis, "MARTLET_ACK_REPLICAS",
                "it is \(wanted), and \(found) replicas follow this Redis: no send is acknowledged",
                do: "bring the replicas back, or lower MARTLET_ACK_REPLICAS")
        ]
    }

    static func findings(_ advice: [RedisAdvice]) -> [Finding] {
        advice.map { advice in
            Finding(
                advice.weight == .must ? .must : .warning, .settings, advice.subject, advice.problem, do: advice.remedy)
        }
    }

    /// Why there is no connection. Some reasons are findings, and there is nothing else to look at.
    static func connection(_ error: RedisSetupError) -> Finding? {
        switch error.code {
        case .wrongVersion:
            Finding(.must, .redis, nil, error.message, do: "install Redis 7.0 or later, or Valkey")
        case .replica: Finding(.must, .redis, nil, error.message, do: "let MARTLET_REDIS_URL name the master")
        case .notPermitted:
            Finding(.must, .redis, nil, error.message, do: "give the user the rights of redis/users.acl")
        case .cluster:
            Finding(
                .must, .redis, nil, error.message, do: "let MARTLET_REDIS_URL name what is there")
        case .unknownMaster:
            Finding(
                .must, .redis, nil, error.message,
                do: "correct the master's name in MARTLET_REDIS_URL, or sentinel monitor it")
        case .unreachable, .unknownHost, .timedOut, .tls, .wrongPassword, .passwordNeeded, .noSuchDatabase, .notRedis,
            .library, .busy, .closed, .moved, .noSentinel,
            .noCluster:
            nil
        }
    }

    // MARK: Library

    /// `list`: the reply to `FUNCTION LIST LIBRARYNAME martlet WITHCODE`. `nodes`: how many live.
    static func library(_ list: RedisValue, nodes: Int) -> [Finding] {
        let libraries = (list.array ?? []).map(\.pairs)
        guard let library = libraries.first(where: { $0["library_name"]?.string == FunctionLibrary.name }) else {
            let problem = "the function library is not there"
            return nodes == 0
                ? [Finding(.ok, .library, nil, problem + " yet: the first node that starts loads it")]
                : [
                    Finding(
                        .must, .library, FunctionLibrary.name,
                        problem + ", though \(nodes) nodes live: somebody flushed it, or another Redis answers them",
                        do:
                            "nodes load it again when they next need it; if not: cat redis/functions/*.lua | redis-cli -x FUNCTION LOAD REPLACE"
                    )
                ]
        }
        guard let code = library["library_code"]?.string else { return [] }
        let version = FunctionLibrary.version(in: Array(code.utf8))
        let ours = FunctionLibrary.version
        if version < ours {
            return [
                Finding(
                    .warning, .library, FunctionLibrary.name, "it has version \(version), this martlet brings \(ours)",
                    do:
                        "the first node of this version that starts loads its own; or cat redis/functions/*.lua | redis-cli -x FUNCTION LOAD REPLACE"
                )
            ]
        }
        if version > ours {
            return [
                Finding(
                    .warning, .library, FunctionLibrary.name,
                    "it has version \(version), newer than this martlet's \(ours)",
                    do: "nothing while older nodes are being replaced; otherwise update this one")
            ]
        }
        guard Array(code.utf8) == FunctionLibrary.source else {
            return [
                Finding(
                    .must, .library, FunctionLibrary.name,
                    "it calls itself version \(version) but is not the one that this martlet brings: somebody changed it",
                    do: "cat redis/functions/*.lua | redis-cli -x FUNCTION LOAD REPLACE")
            ]
        }
        return []
    }

    // MARK: Rights

    /// One of each kind of command that a node or its functions give, as `MULTI` takes them: Redis checks rights when it queues a
    /// command, and nothing of this is ever carried out.
    static func rehearsal(_ keys: RedisKeys) -> [[String]] {
        let room = "martlet-doctor"
        func key(_ kind: RoomKey) -> String { keys.key(kind, of: room) }
        let (log, nodes, epochs, meta, roster) = (key(.log), key(.nodes), key(.epochs), key(.meta), key(.roster))
        let node = keys.node(room)
        let held = keys.rooms(ofNode: room)
        return [
            ["PING"], ["INFO", "server"], ["TIME"], ["CONFIG", "GET", "timeout"], ["FUNCTION", "LOAD", "REPLACE", ""],
            ["FCALL", "martlet_version", "0"], ["SUBSCRIBE", keys.channel(of: room)],
            ["UNSUBSCRIBE", keys.channel(of: room)],
            ["PUBLISH", keys.channel(of: room), ""], ["TYPE", log], ["EXISTS", log], ["PERSIST", log], ["PTTL", log],
            ["PEXPIRE", log, "1"], ["DEL", node], ["GET", node], ["SET", node, "", "PX", "1"],
            ["XADD", log, "NOMKSTREAM", "1-1", "a", "b"], ["XRANGE", log, "-", "+"], ["XREVRANGE", log, "+", "-"],
            ["XINFO", "STREAM", log], ["XSETID", log, "1-1"], ["XGROUP", "CREATE", log, "g", "0"],
            ["XGROUP", "DESTROY", log, "g"], ["HGET", meta, "a"], ["HSET", nodes, "a", "b"], ["HDEL", nodes, "a"],
            ["HLEN", roster], ["HEXISTS", nodes, "a"], ["HGETALL", nodes], ["LRANGE", epochs, "0", "1"],
            ["LINDEX", epochs, "0"], ["RPUSH", epochs, "a"], ["RPOP", epochs], ["LPOP", epochs], ["SADD", held, "a"],
            ["SREM", held, "a"], ["SMEMBERS", held], ["ZADD", keys.nodes, "1", "a"], ["ZREM", keys.nodes, "a"],
            ["ZRANGE", keys.nodes, "0", "-1"],
        ]
    }

    /// `replies`: to `MULTI`, then to each of ``rehearsal(_:)``. Nil if rights cannot be told (the user may not even `MULTI`).
    static func rights(_ replies: [RedisValue], _ keys: RedisKeys, user: String) -> [Finding]? {
        let commands = rehearsal(keys)
        guard replies.count == commands.count + 1, replies[0].error == nil else { return nil }
        var missing: [String] = []
        for (command, reply) in zip(commands, replies.dropFirst()) {
            guard let error = reply.error, error.hasPrefix("NOPERM") else { continue }
            let name =
                ["CONFIG", "FUNCTION", "XINFO", "XGROUP"].contains(command[0])
                ? "\(command[0]) \(command[1])" : command[0]
            if !missing.contains(name) { missing.append(name) }
        }
        guard !missing.isEmpty else { return [] }
        let problem =
            "it may not, on keys and channels that begin with \(keys.prefix): \(missing.joined(separator: ", "))"
        // A node lives without settings to compare.
        let harmless = missing == ["CONFIG GET"]
        return [
            Finding(
                harmless ? .warning : .must, .rights, "user \(user)", problem,
                do:
                    "give a node's user the rights of the user martlet in redis/users.acl (with your prefix in place of martlet:)"
            )
        ]
    }
}
