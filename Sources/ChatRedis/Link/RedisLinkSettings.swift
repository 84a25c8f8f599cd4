import ChatCore

/// How a ``RedisLink`` behaves.
public struct RedisLinkSettings: Sendable {
    /// The address of Redis; unused if `master` is given.
    public var url: RedisURL
    /// Sentinel names the master: all connections lead there, and follow when it changes.
    public var master: RedisMaster?
    /// The kind of Redis that is expected there.
    public var kind = RedisServerKind.single
    /// A third connection, on which ``BrokerLink/confirm(replicas:within:_:)`` waits for replicas.
    public var confirmsReplicas = false
    /// Names the node in CLIENT LIST: `martlet:<node>:<loop>:<commands|subscriptions|replicas>`.
    public var nodeName: String
    public var loopIndex: Int
    /// How long a command may be unanswered before its connection is closed: RESP has no request IDs, so a single
    /// command cannot be abandoned. It also applies to SUBSCRIBE, UNSUBSCRIBE and PING.
    public var commandTimeout: Duration
    /// The time limit for the name look-up and TCP connect, and separately for the set-up after it.
    public var connectTimeout: Duration
    /// A connection that was idle this long is sent a PING, so that a silent failure is detected after this time plus
    /// `commandTimeout`.
    public var pingInterval: Duration
    /// The delay after the first failure. It doubles up to `backoffLongest`, with jitter.
    public var backoffFirst: Duration
    public var backoffLongest: Duration
    /// A connection that lasted this long was stable: the next failure waits `backoffFirst`.
    public var stableAfter: Duration
    /// The maximum size of unanswered requests on the command connection. Above it a request completes as `.notStored`:
    /// Redis is connected but too slow, so trying again later helps, whereas `.notConnected` would make the caller wait
    /// for a reconnect that never happens.
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
        // CLIENT SETNAME accepts printable ASCII without spaces (`src/networking.c`, validateClientName).
        let name = nodeName.unicodeScalars.map { (0x21...0x7E).contains($0.value) ? Character($0) : "_" }
        return RedisHandshakeStateMachine.Settings(
            user: url.user, password: url.password, database: url.database,
            clientName: "martlet:\(String(name)):\(loopIndex):\(role.rawValue)", checksLibrary: role == .commands,
            address: url.description, kind: kind)
    }
}

/// The kinds of Redis that a connection accepts.
public enum RedisServerKind: Sendable, Hashable {
    /// A master that is not part of a Cluster.
    case single
    /// A master of a Cluster: channels are sharded (SSUBSCRIBE).
    case clusterMaster
    /// Any node of a Cluster, which is only queried for the topology.
    case clusterNode
}

/// The connections of a link.
public enum RedisConnectionRole: String, Sendable, CaseIterable {
    case commands
    case subscriptions
    /// Only if the link waits for replicas.
    case replicas
}

/// Receives a link's events for metrics. Called on the link's loop, often: implementations should only count.
public protocol RedisLinkObserver: AnyObject {
    /// One write with this many commands and bytes was sent; unanswered requests have `queuedBytes` with it.
    func redisSent(commands: Int, bytes: Int, queuedBytes: Int)
    /// A request of kind `operation` (``RedisEncoded/operation``) was answered, this long after it was submitted.
    func redisAnswered(operation: UInt8, nanoseconds: UInt64)
    /// A message arrived on a subscribed channel; `accepted` is false if its payload is not a ``ChannelEvent``.
    func redisHeard(bytes: Int, accepted: Bool)
    /// Data in Redis or in a message were ignored.
    func redisIgnored(_ kind: IgnoredData)
    /// A connection was set up. `attempt` is 1 at the first try.
    func redisConnected(_ role: RedisConnectionRole, attempt: Int)
    /// A connection was lost, or could not be set up.
    func redisDisconnected(_ role: RedisConnectionRole)
}
