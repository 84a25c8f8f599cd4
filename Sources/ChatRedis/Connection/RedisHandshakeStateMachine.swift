import ChatCore

/// What Redis reported about itself during set-up.
public struct RedisServerInfo: Sendable, Equatable {
    public var identity: BrokerIdentity
    /// `redis_version`; Valkey reports the version of Redis that it is compatible with.
    public var version: String
    /// The number of replicas that follow it at this moment.
    public var replicas: Int
}

/// The set-up of one connection, until requests may be sent. It authenticates, selects the database, sets the client
/// name, checks that the Redis is one that we support, and, on the command connection, makes sure that it has our
/// functions.
///
/// It takes two or three round trips: everything before the function library is sent at once.
struct RedisHandshakeStateMachine {
    struct Settings: Sendable, Equatable {
        var user: String?
        var password: String?
        var database: Int
        /// The name in CLIENT LIST.
        var clientName: String
        /// Whether the library is checked. The command connection needs it, the subscribe connection does not.
        var checksLibrary: Bool
        /// For messages: the URL without its password.
        var address: String
        var kind = RedisServerKind.single
    }

    /// The oldest version of Redis with Functions and `XADD <ms>-*`.
    static let oldestMajor = 7

    enum Step: Equatable, Sendable {
        case auth
        case select
        case setName
        case infoServer
        case infoReplication
    }

    private enum State: Equatable {
        /// Can transition to: greeting, failed.
        case idle
        /// The pipelined commands were sent; `steps` are not answered yet. Can transition to: checkingLibrary, ready,
        /// failed.
        case greeting(steps: [Step])
        /// Can transition to: loadingLibrary, ready, failed.
        case checkingLibrary(loaded: Bool)
        /// Can transition to: checkingLibrary (once), ready, failed.
        case loadingLibrary
        /// Final.
        case ready
        /// Final.
        case failed
    }

    private let settings: Settings
    private var state = State.idle
    private var server: [Substring: Substring] = [:]

    init(_ settings: Settings) {
        self.settings = settings
    }

    // MARK: Events

    enum ConnectedAction: Equatable {
        /// Send these commands, in one write.
        case send([[String]])
    }

    mutating func connected() -> ConnectedAction {
        var steps: [Step] = []
        var commands: [[String]] = []
        if let password = settings.password {
            steps.append(.auth)
            commands.append(["AUTH"] + (settings.user.map { [$0] } ?? []) + [password])
        }
        if settings.database != 0 {
            steps.append(.select)
            commands.append(["SELECT", "\(settings.database)"])
        }
        steps += [.setName, .infoServer, .infoReplication]
        commands += [["CLIENT", "SETNAME", settings.clientName], ["INFO", "server"], ["INFO", "replication"]]
        state = .greeting(steps: steps)
        return .send(commands)
    }

    /// The content of a reply that matters to the set-up.
    enum Reply: Equatable {
        case text(String)
        case error(String)
        /// The verdict of the codec on the reply to a library check or load.
        case library(RedisLibraryVerdict)
        case other
    }

    /// How to read the next reply.
    enum Expectation: Equatable { case plain, libraryCheck, libraryLoad, nothing }

    var expectation: Expectation {
        switch state {
        case .greeting: .plain
        case .checkingLibrary: .libraryCheck
        case .loadingLibrary: .libraryLoad
        case .idle, .ready, .failed: .nothing
        }
    }

    enum ReplyAction: Equatable {
        case wait
        case checkLibrary
        case loadLibrary
        case ready(RedisServerInfo)
        /// Close the connection.
        case fail(RedisSetupError)
    }

    mutating func received(_ reply: Reply) -> ReplyAction {
        let action: ReplyAction
        switch state {
        case .greeting(var steps):
            guard !steps.isEmpty else { return fail(.notRedis, "answers more than it was asked") }
            let step = steps.removeFirst()
            state = .greeting(steps: steps)
            if let error = answered(step, reply) {
                state = .failed
                return .fail(error)
            }
            action = steps.isEmpty ? greeted() : .wait
        case .checkingLibrary(let loaded):
            action = checked(reply, loaded: loaded)
        case .loadingLibrary:
            action = loadAnswered(reply)
        case .idle, .ready, .failed:
            action = fail(.notRedis, "answers what it was not asked")
        }
        return action
    }

    // MARK: Rules

    private mutating func answered(_ step: Step, _ reply: Reply) -> RedisSetupError? {
        switch (step, reply) {
        case (.auth, .error(let text)): return authError(text)
        case (.select, .error(let text)):
            return general(text) ?? error(.noSuchDatabase, "has no database \(settings.database): \(text)")
        case (.setName, .error(let text)):
            // The name is for people who read CLIENT LIST. An ACL that forbids it does not forbid anything that we
            // need.
            return text.hasPrefix("NOPERM") ? nil : general(text)
        case (.infoServer, .error(let text)), (.infoReplication, .error(let text)):
            return general(text) ?? error(.notRedis, "refuses INFO: \(text)")
        case (.infoServer, .text(let text)), (.infoReplication, .text(let text)):
            read(info: text)
            return nil
        case (.infoServer, .other), (.infoReplication, .other):
            return error(.notRedis, "answers INFO with something that is no text")
        case (.auth, .text), (.select, .text), (.setName, .text):
            return nil
        case (.auth, .other), (.select, .other), (.setName, .other), (_, .library):
            return error(.notRedis, "answers set-up commands with something that is no text")
        }
    }

    private mutating func read(info: String) {
        for line in info.split(whereSeparator: \.isNewline) where line.first != "#" {
            let name = line.prefix { $0 != ":" }
            server[name] = line.dropFirst(name.count + 1)
        }
    }

    private mutating func greeted() -> ReplyAction {
        guard let version = server["redis_version"], let runID = server["run_id"], let role = server["role"] else {
            return fail(.notRedis, "does not say its redis_version, run_id and role in INFO")
        }
        guard server["redis_mode"] != "sentinel" else {
            return fail(.notRedis, "is a sentinel; to be led by it write redis+sentinel://host:26379/<master's name>")
        }
        let isClustered = server["redis_mode"] == "cluster"
        switch settings.kind {
        case .single where isClustered:
            return fail(.cluster, "runs as a Redis Cluster (cluster-enabled yes); write redis+cluster://host:6379")
        case .clusterMaster where !isClustered, .clusterNode where !isClustered:
            return fail(.cluster, "is no node of a Redis Cluster (cluster-enabled no); write redis://host:6379")
        case .single, .clusterMaster, .clusterNode: break
        }
        guard let major = Int(version.prefix { $0 != "." }), major >= Self.oldestMajor else {
            return fail(.wrongVersion, "is Redis \(version.prefix(32)); martlet needs Redis 7.0 or later, or Valkey")
        }
        guard role == "master" || settings.kind == .clusterNode else {
            let master = [server["master_host"], server["master_port"]].compactMap { $0?.prefix(128) }.joined(
                separator: ":")
            return fail(
                .replica, "is a replica of \(master.isEmpty ? "another Redis" : master); martlet needs the master")
        }
        guard settings.checksLibrary else { return succeed(runID: runID) }
        state = .checkingLibrary(loaded: false)
        return .checkLibrary
    }

    private mutating func succeed(runID: Substring) -> ReplyAction {
        state = .ready
        let identity = BrokerIdentity(
            runID: String(runID), replicationID: server["master_replid"].map(String.init) ?? "")
        return .ready(
            RedisServerInfo(
                identity: identity, version: String(server["redis_version"] ?? ""),
                replicas: server["connected_slaves"].flatMap { Int($0) } ?? 0))
    }

    private mutating func checked(_ reply: Reply, loaded: Bool) -> ReplyAction {
        switch reply {
        case .library(.ready):
            return succeed(runID: server["run_id"] ?? "")
        case .library(.load):
            guard !loaded else { return fail(.library, "does not keep the function library that was loaded into it") }
            state = .loadingLibrary
            return .loadLibrary
        case .library(.incompatible(let text)):
            return fail(.library, "cannot be used: \(text)")
        case .error(let text):
            state = .failed
            return .fail(general(text) ?? error(.library, "refuses to show its functions: \(text)"))
        case .text, .other:
            return fail(.notRedis, "answers the look at its functions with something else")
        }
    }

    private mutating func loadAnswered(_ reply: Reply) -> ReplyAction {
        switch reply {
        case .library(.ready):
            return succeed(runID: server["run_id"] ?? "")
        case .library(.load):
            state = .checkingLibrary(loaded: true)
            return .checkLibrary
        case .library(.incompatible(let text)):
            return fail(.library, "did not take the function library: \(text)")
        case .error(let text):
            state = .failed
            return .fail(general(text) ?? error(.library, "refuses the function library: \(text)"))
        case .text, .other:
            return fail(.notRedis, "answers the loading of functions with something else")
        }
    }

    // MARK: Errors

    private func authError(_ text: String) -> RedisSetupError {
        if text.hasPrefix("ERR") && text.contains("without any password configured") {
            return error(.wrongPassword, "has no password set for its default user, but the URL has one")
        }
        if text.hasPrefix("WRONGPASS") || text.hasPrefix("ERR invalid password") {
            let user = settings.user.map { "the user \"\($0)\" or its" } ?? "the"
            return error(.wrongPassword, "does not accept \(user) password of the URL")
        }
        return general(text) ?? error(.wrongPassword, "refuses AUTH: \(text)")
    }

    private func general(_ text: String) -> RedisSetupError? {
        if text.hasPrefix("ERR max number of clients") { return error(.busy, "has too many clients (maxclients)") }
        return switch text.prefix(while: { $0 != " " }) {
        case "NOAUTH": error(.passwordNeeded, "wants a password; write it into the URL as redis://:password@host")
        case "NOPERM":
            error(
                .notPermitted, "does not allow the user \"\(settings.user ?? "default")\" what a node must do: \(text)")
        case "LOADING", "BUSY", "MASTERDOWN", "TRYAGAIN", "CLUSTERDOWN": error(.busy, "is not ready: \(text)")
        case "READONLY": error(.replica, "cannot be written to: \(text)")
        case "OOM", "MISCONF", "NOREPLICAS": error(.busy, "does not take writes: \(text)")
        case "DENIED": error(.notPermitted, "does not take connections from here (protected mode)")
        default: nil
        }
    }

    private mutating func fail(_ code: RedisSetupError.Code, _ text: String) -> ReplyAction {
        state = .failed
        return .fail(error(code, text))
    }

    private func error(_ code: RedisSetupError.Code, _ text: String) -> RedisSetupError {
        RedisSetupError(code, "redis at \(settings.address) \(text)")
    }
}
