import ChatCore
import Logging

extension NodeConfiguration {
    /// All variables, in the order in which they are shown.
    static let settings: [Setting] =
        listenerSettings + nodeSettings + redisSettings + roomSettings + limitSettings + logSettings

    private static let listenerSettings: [Setting] = [
        Setting(
            "host", \.listener.host,
            .string(
                "address or host name",
                expected: "an IP address (IPv6 without brackets) or a host name, without a port",
                isValid: HostName.isListenable),
            "Address to listen on. `0.0.0.0` lets everybody in; without tokens anybody may then claim to be any user."),
        Setting("port", \.listener.port, .int(0...65_535), "Port for WebSocket and HTTP; `0`: any free one."),
        Setting(
            "allowed.origins", \.listener.allowedOrigins, .origins,
            "Web pages that may open a WebSocket and use the API. Programs that send no `Origin` are not asked."),
        Setting(
            "handshake.timeout", \.listener.handshakeTimeout, .duration(.milliseconds(100)...(.seconds(300))),
            "Time that a new connection has to become a WebSocket or to send its HTTP request: slow strangers go."),
        Setting(
            "http.response.timeout", \.listener.responseTimeout, .duration(.seconds(1)...(.seconds(3_600))),
            "Time that an HTTP answer may take, or a part of one that goes on; then its connection is closed."),
        Setting(
            "http.idle.timeout", \.listener.idleTimeout, .duration(.seconds(1)...(.seconds(3_600))),
            "Time that an HTTP connection may stay open between requests. Longer than a proxy's, which would else send into a closed one."
        ),
        Setting(
            "close.timeout", \.listener.closeTimeout, .duration(.milliseconds(100)...(.seconds(60))),
            "Time that a peer has to read the last of what it was sent and to close; then the connection is cut."),
        Setting(
            "listen.backlog", \.listener.backlog, .int(1...65_535),
            "Connections that the kernel holds until the node takes them; `net.core.somaxconn` bounds it."),
        Setting(
            "trusted.addresses", \.listener.trustedAddresses, .addresses,
            "Proxies: their connections are not limited by address, and their `X-Forwarded-For` is believed, so that each of their clients has a budget of its own; all whom they do not name share the proxy's. `loopback` and `local` (private networks) are names for such; `none`: nobody."
        ),
        Setting(
            "session.heartbeat", \.listener.sessionHeartbeat,
            .duration(.seconds(1)...(.seconds(600)), in: .seconds),
            "Time between the node's pings to a session; one that answers none of two is closed."),
        Setting(
            "socket.send.buffer", \.listener.sendBuffer, .bytes(4_096...67_108_864),
            "Bytes that the kernel keeps for a connection whose peer does not read (it takes twice that); more wait in the node. Against readers who read nothing: unbounded, each takes the kernel 4 MB. More than your clients' bandwidth times round trip gains nothing."
        ),
        Setting(
            "socket.receive.buffer", \.listener.receiveBuffer, .bytes(4_096...67_108_864),
            "The same for what the node has not read yet."),
    ]

    private static let nodeSettings: [Setting] = [
        Setting(
            "node.name", \.node.name,
            .string(
                "1 to \(HostName.maxNodeNameBytes) bytes",
                expected: "1 to \(HostName.maxNodeNameBytes) bytes without white space, colons or braces",
                isValid: HostName.isNodeName),
            default: "the host's name", "Name of the node; each start adds a random part to it."),
        Setting(
            "node.lease", \.node.lease, .duration(.seconds(1)...(.seconds(600))),
            "After this time without a heartbeat the other nodes take the node for dead."),
        Setting(
            "heartbeat.interval", \.node.explicitHeartbeatInterval,
            ValueRule.duration(.milliseconds(100)...(.seconds(300))).optional(), default: "a third of the lease",
            "Time between the node's heartbeats to Redis.", show: { DurationText.show($0.node.heartbeatInterval) }),
        Setting(
            "drain.time", \.node.drainTime, .duration(.zero...(.seconds(600))),
            "Time over which a leaving node spreads the reconnects of its sessions."),
        Setting(
            "event.loops", \.node.eventLoops, .int(1...256), default: "number of cores",
            "Event loops; each has its own rooms and two connections to Redis. Nodes on one machine share its cores."),
    ]

    private static let redisSettings: [Setting] = [
        Setting(
            "redis.url", \.redis.address, .address,
            "Where Redis is, or the sentinels that know, or nodes of a Cluster. `memory:` is one node alone, with nothing else installed."
        ),
        Setting(
            "redis.user", \.redis.user, userRule, "ACL user; replaces the one in the URL."),
        Setting(
            "redis.password", \.redis.password, ValueRule.secret.optional(), secret: true,
            "Password; replaces the one in the URL."),
        Setting(
            "redis.ca", \.redis.authorityFile, ValueRule.file.optional(),
            "PEM file of the authority that signed Redis' certificate, for a private one; `rediss://` only."),
        Setting(
            "redis.certificate", \.redis.certificateFile, ValueRule.file.optional(),
            "PEM file of the node's own certificate, if Redis wants one (`tls-auth-clients`)."),
        Setting("redis.key", \.redis.keyFile, ValueRule.file.optional(), "PEM file of its private key."),
        Setting(
            "redis.deadline", \.redis.deadline, .duration(.milliseconds(50)...(.seconds(60))),
            "Time that Redis has to answer a command before the connection counts as dead."),
        Setting(
            "redis.name.wait", \.redis.nameWait, .duration(.zero...(.seconds(3_600))),
            "Time that a node that starts waits for the host name of Redis to resolve before it gives up."),
        Setting(
            "redis.memory.percent", \.redis.memoryPercent, .int(1...100),
            "From this share of Redis' `maxmemory` on no room is begun (`noSpace`): those that are there can go on talking. `100`: never mind."
        ),
        Setting(
            "redis.sentinel.user", \.redis.sentinelUser, userRule,
            "ACL user at the sentinels; the one in the URL is for Redis."),
        Setting(
            "redis.sentinel.password", \.redis.sentinelPassword, ValueRule.secret.optional(), secret: true,
            "Password of the sentinels; the one in the URL is for Redis."),
        Setting(
            "ack.replicas", \.redis.ackReplicas, .int(0...16),
            "Replicas that must have a message before its sender is told `sent`."),
        Setting(
            "ack.deadline", \.redis.ackDeadline, .duration(.milliseconds(10)...(.seconds(60))),
            "Time that the replicas may take; then the sender is told `notReplicated`."),
        Setting(
            "key.prefix", \.redis.keyPrefix,
            .string(
                "1 to 64 bytes",
                expected: "1 to 64 bytes without white space, control characters, braces or any of * ? [ ] \\",
                isValid: isKeyPrefix),
            "Beginning of all keys and channels in Redis; nodes with another prefix are another chat."),
    ]

    private static let userRule = ValueRule.string(
        "", expected: "an ACL user name without white space or control characters",
        isValid: { !$0.unicodeScalars.contains { $0.properties.isWhitespace || Printable.isTreacherous($0) } }
    ).optional()

    private static let roomSettings: [Setting] = [
        Setting(
            "history.length", \.rooms.historyLength, .int(1...100_000),
            "Messages that a room keeps (about), and among which a repeated send is recognised."),
        Setting(
            "history.bytes", \.rooms.historyBytes, .bytes(65_536...1_073_741_824),
            "Bytes of Redis' memory that a room's messages take at most (about). Against rooms of long messages: each read of one costs by its bytes."
        ),
        Setting(
            "page.bytes", \.rooms.pageBytes, .bytes(4_096...16_777_216),
            "Bytes of messages that one read of a room brings, at least one message: Redis is busy with 128 KiB for 0.5 ms if messages are long, for 3 ms if they are a thousand short ones, and everybody else waits for so long."
        ),
        Setting(
            "room.memory.bytes", \.rooms.memoryBytes, .bytes(65_536...1_073_741_824),
            "Bytes of messages that a node remembers of one room."),
        Setting(
            "memory.rooms", \.rooms.allMemoryBytes, .bytes(1_048_576...1_099_511_627_776),
            "The same of all rooms: beyond it those in which nothing was said for longest forget theirs, and read Redis when somebody asks. Against one user with thousands of rooms."
        ),
        Setting(
            "room.ttl", \.rooms.timeToLive, .duration(.seconds(1)...(.seconds(3_650 * 86_400))),
            "Time that a room without any node is kept."),
        Setting(
            "linger", \.rooms.linger, .duration(.zero...(.seconds(3_600))),
            "Time that a node stays in a room after its last session left."),
        Setting(
            "presence.interval", \.rooms.presenceInterval, .duration(.milliseconds(10)...(.seconds(10))),
            "Time over which joins and leaves are gathered into one notice."),
        Setting(
            "room.view.interval", \.rooms.viewInterval, .duration(.seconds(1)...(.seconds(3_600))),
            "Time after which a quiet room is compared with its log in Redis."),
    ]

    private static let limitSettings: [Setting] = [
        Setting(
            "limit.frame.bytes", \.limits.frameBytes, .bytes(1_024...16_777_216),
            "Bytes of one message from a client, and of the body of an HTTP request."),
        Setting(
            "limit.rooms.per.session", \.limits.roomsPerSession, .int(1...10_000), "Rooms that a session may be in."),
        Setting("limit.sessions.per.node", \.limits.sessionsPerNode, .int(1...10_000_000), "Sessions on this node."),
        Setting(
            "limit.sessions.per.user", \.limits.sessionsPerUser, .int(1...1_000_000),
            "Sessions of one user on this node."),
        Setting(
            "limit.requests.per.second", \.limits.requestsPerSecond, .int(1...1_000_000),
            "Requests a second that a session may make in the long run."),
        Setting(
            "limit.request.burst", \.limits.requestBurst, .int(1...10_000_000), "Requests at once after a quiet time."),
        Setting(
            "limit.requests.per.second.per.user", \.limits.requestsPerSecondPerUser,
            ValueRule.int(1...4_000_000).optional(), default: "4 × that of a session",
            "Requests a second that all sessions of a user on this node may make together, and posts over HTTP.",
            show: { "\($0.limits.userRequestsPerSecond)" }),
        Setting(
            "limit.cost.per.second", \.limits.costPerSecond, .int(1_000...10_000_000),
            "Microseconds of work a second (of this node, or of Redis if that is more, reads of which count twice because it serves all nodes) that all a user's sessions on this node may cost together, as the node estimates it; also each address over HTTP. Against requests that are few and dear: long messages and signals to many, rosters, pages, key look-ups, new rooms. More is answered `rateLimited`."
        ),
        Setting(
            "limit.cost.burst", \.limits.costBurst, .int(1_000...100_000_000),
            "The same at once, after a quiet time; five times that before joins are refused, as who comes back joins all rooms at once."
        ),
        Setting(
            "limit.user.bytes.per.second", \.limits.userBytesPerSecond, .bytes(1_024...1_073_741_824),
            "Bytes a second that a user may say in rooms. Against filling Redis; more is answered `rateLimited`."),
        Setting(
            "limit.user.bytes.burst", \.limits.userBytesBurst, .bytes(1_024...1_073_741_824),
            "The same at once, after a quiet time."),
        Setting(
            "limit.connections", \.limits.connections,
            ValueRule.int(1...10_000_000).optional(), default: "10000 more than sessions",
            "Connections of all kinds on this node; more are told that it is full. No more than the limit of open files has room for.",
            show: { "\($0.limits.allConnections)" }),
        Setting(
            "limit.connections.per.address", \.limits.connectionsPerAddress, .int(1...1_000_000),
            "Connections of one address (of IPv6: a /64) that are no sessions: one stranger cannot take all. More are answered 429."
        ),
        Setting(
            "limit.bytes.per.second.per.address", \.limits.bytesPerSecondPerAddress, .bytes(1_024...1_073_741_824),
            "Bytes a second that such connections of one address may bring, four times as many at once; more wait: reading costs CPU."
        ),
        Setting(
            "limit.head.bytes", \.limits.headBytes, .bytes(1_024...1_048_576),
            "Bytes of the head of a request or handshake, cookies included; more are answered 431 (or 414)."),
        Setting(
            "limit.head.fields", \.limits.headFields, .int(10...10_000), "Fields in such a head; more are answered 431."
        ),
        Setting(
            "limit.handshakes.per.second", \.limits.handshakesPerSecond, .int(1...1_000_000),
            "WebSocket handshakes a second that this node takes; more are answered 503 and may come again."),
        Setting(
            "limit.joins.per.second", \.limits.joinsPerSecond, .int(1...1_000_000),
            "Joins a second that this node takes; more are answered `rateLimited`."),
        Setting(
            "limit.outbound.bytes", \.limits.outboundBytes, .bytes(2_048...1_073_741_824),
            "Bytes that may wait for one session before it is closed as slow."),
        Setting(
            "limit.waiting.sends.per.session", \.limits.waitingSendsPerSession, .int(1...1_000_000),
            "Sends of one session that may wait for their answer."),
        Setting(
            "limit.waiting.sends.per.room", \.limits.waitingSendsPerRoom, .int(1...1_000_000),
            "Sends of this node's sessions in one room that may wait for their answer."),
        Setting(
            "limit.send.wait", \.limits.sendWait, .duration(.milliseconds(100)...(.seconds(600))),
            "Time that a send may wait before it fails as `unavailable`."),
        Setting("limit.history.page", \.limits.historyPage, .int(1...10_000), "Messages in one `history` answer."),
        Setting("limit.roster.page", \.limits.rosterPage, .int(1...10_000), "Members in one `roster` answer."),
        Setting(
            "limit.roster.inline", \.limits.rosterInline, .int(0...10_000),
            "Up to this many members `joined` and `presence` name people; above it they only count."),
        Setting(
            "limit.bad.frames.per.minute", \.limits.badFramesPerMinute, .int(1...1_000_000),
            "Unreadable frames a minute before a session is closed for abuse."),
    ]

    private static let logSettings: [Setting] = [
        Setting(
            "log.level", \.log.level, .word(Logger.Level.allCases.map { ($0.rawValue, $0) }),
            "Least important level that is written to standard error."),
        Setting(
            "log.format", \.log.format, .word(Log.Format.allCases.map { ($0.rawValue, $0) }), "Form of a log line."),
        Setting(
            "log.queue.bytes", \.log.queueBytes, .bytes(4_096...1_073_741_824),
            "Bytes of log lines that may wait for a reader who does not read; more are dropped and counted, the node never waits."
        ),
    ]

    /// No braces, as the first pair in a key is its Cluster hash tag, and no pattern characters, as ACL rules and SCAN
    /// are written with the prefix.
    private static func isKeyPrefix(_ text: String) -> Bool {
        (1...64).contains(text.utf8.count)
            && !text.unicodeScalars.contains { scalar in
                scalar.properties.isWhitespace || Printable.isTreacherous(scalar)
                    || "{}*?[]\\".unicodeScalars.contains(scalar)
            }
    }
}
