import ChatCore

/// How a ``RedisLink`` behaves.
public struct RedisLinkSettings: Sendable {
    /// Where Redis is; without use if `master` is given.
    public var url: RedisURL
    /// Sentinel names the master: both connections lead there, and follow when it is another.
    public var master: RedisMaster?
    /// What kind of Redis is expected there.
    public var kind = RedisServerKind.single
    /// A third connection, on which ``BrokerLink/confirm(replicas:within:_:)`` waits for replicas.
    public var confirmsReplicas = false
    /// Names the node in CLIENT LIST: `martlet:<node>:<loop>:<commands|subscriptions|replicas>`.
    public var nodeName: String
    public var loopIndex: Int
    /// How long a command may be unanswered before its connection is given up: RESP has no request IDs, so there is
    /// no other way to leave it. Also for SUBSCRIBE, UNSUBSCRIBE and PING.
    public var commandTimeout: Duration
    /// How long a try to connect may take, set-up included; the name look-up and TCP connect, and then the set-up,
    /// each.
    public var connectTimeout: Duration
    /// A connection on which nothing was asked for so long is asked PING, so that a silent death is seen after this +
    /// `commandTimeout`.
    public var pingInterval: Duration
    /// First wait after a failure, doubled up to `backoffLongest`, with jitter.
    public var backoffFirst: Duration
    public var backoffLongest: Duration
    /// A connection that lasted so long was a good one: the next failure waits `backoffFirst`.
    public var stableAfter: Duration
    /// Bytes of requests that may be unanswered on the command connection. Beyond that a request completes as
    /// `.notStored`: Redis is there but too slow, so trying again later helps, while `.notConnected` would make the
    /// caller wait for a reconnect that never comes.
    public var queuedBytes: Int

    public init(
        url: RedisURL, nodeName: String = "node", loopIndex: Int = 0, commandTimeout: Duration = .seconds(5),
        connectTimeout: Duration = .seconds(5), pingInterval: Duration = .seconds(3),
        backoffFirst: Duration = .milliseconds(50), backoffLongest: Duration = .seconds(5),
        stableAfter: Duration = .seconds(10), queuedBytes: Int = 64 << 20
    ) {
        self.url = url
        self.nodeName = nodeName
        self.loopIndex = loopIndex
        self.commandTimeout = commandTimeout
        self.connectTimeout = connectTimeout
        self.pingInterval = pingInterval
        self.backoffFirst = backoffFirst
        self.backoffLongest = backoffLongest
        self.stableAfter = stableAfter
        self.queuedBytes = queuedBytes
    }

    func handshake(_ role: RedisConnectionRole, _ url: RedisURL) -> RedisHandshakeStateMachine.Settings {
        // CLIENT SETNAME takes printable ASCII without spaces (`src/networking.c`, validateClientName).
        let name = nodeName.unicodeScalars.map { (0x21...0x7E).contains($0.value) ? Character($0) : "_" }
        return RedisHandshakeStateMachine.Settings(
            user: url.user, password: url.password, database: url.database,
            clientName: "martlet:\(String(name)):\(loopIndex):\(role.rawValue)", checksLibrary: role == .commands,
            address: url.description, kind: kind)
    }
}

/// What kind of Redis a connection takes.
public enum RedisServerKind: Sendable, Hashable {
    /// A master that is no part of a Cluster.
    case single
    /// A master of a Cluster: channels are sharded (SSUBSCRIBE).
    case clusterMaster
    /// Any node of a Cluster: it is only asked who serves what.
    case clusterNode
}

/// The connections of a link.
public enum RedisConnectionRole: String, Sendable, CaseIterable {
    case commands
    case subscriptions
    /// Only if replicas are waited for.
    case replicas
}

/// Told what a link does, for metrics. Called on the link's loop, often: count and return.
public protocol RedisLinkObserver: AnyObject {
    /// One write left with so many commands and bytes; `queuedBytes` of requests are unanswered with it.
    func redisSent(commands: Int, bytes: Int, queuedBytes: Int)
    /// A request of kind `operation` (``RedisEncoded/operation``) was answered, so long after it was submitted.
    func redisAnswered(operation: UInt8, nanoseconds: UInt64)
    /// A message came on a subscribed channel; `accepted` is false if its payload is no ``ChannelEvent``.
    func redisHeard(bytes: Int, accepted: Bool)
    /// Something of what Redis holds or says was left out.
    func redisIgnored(_ kind: IgnoredData)
    /// A connection was set up. `attempt` is 1 at the first try.
    func redisConnected(_ role: RedisConnectionRole, attempt: Int)
    /// A connection was lost, or could not be set up.
    func redisDisconnected(_ role: RedisConnectionRole)
}
