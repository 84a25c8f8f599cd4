import ChatCore
import Logging

extension NodeConfiguration {
    /// All variables, in the order in which they are shown.
    static let settings: [Setting] =
        listenerSettings + accessSettings + screeningSettings + socketIOSettings + nodeSettings + redisSettings
        + roomSettings + limitSettings + relaySettings + logSettings

    private static let listenerSettings: [Setting] = [
        Setting(
            "host", \.listener.host, hostRule,
            "Address to listen on. `0.0.0.0` accepts connections from everywhere; that requires keys of tokens, or "
                + "`MARTLET_AUTH=none`."),
        Setting("port", \.listener.port, .int(0...65_535), "Port for WebSocket and HTTP; `0` means any free one."),
        Setting(
            "admin.port", \.listener.adminPort, ValueRule.int(0...65_535).orNone(),
            "Port for operators: `/metrics` is served there, and no longer on the port for clients; `/healthz` and "
                + "`/readyz` are on both. It speaks plain HTTP."
        ),
        Setting(
            "admin.host", \.listener.adminHost, hostRule, "Address to listen on for operators."),
        Setting(
            "stomp", \.listener.speaksStomp, .word([("on", true), ("off", false)]),
            "Whether STOMP is spoken, at `/stomp` and where its servers usually have it."),
        Setting(
            "stomp.port", \.listener.stompPort, ValueRule.int(0...65_535).orNone(),
            "TCP port for STOMP without WebSocket, at the address of `MARTLET_HOST`; its usual number is 61613. With a "
                + "certificate it speaks TLS."
        ),
        Setting(
            "tls.certificate", \.listener.certificateFile, ValueRule.file.optional(),
            "PEM file of the node's certificate, followed by those of the authorities below the root. With it the port "
                + "speaks TLS (1.2 or newer) and nothing else. A new file is in use a few seconds later, without a "
                + "restart."
        ),
        Setting(
            "tls.key", \.listener.keyFile, ValueRule.file.optional(),
            "PEM file of its private key, without a passphrase."),
        Setting(
            "allowed.origins", \.listener.allowedOrigins, .origins,
            "Origins of web pages that may open a WebSocket and use the API. Programs that send no `Origin` are "
                + "not checked."),
        Setting(
            "handshake.timeout", \.listener.handshakeTimeout, .duration(.milliseconds(100)...(.seconds(300))),
            "Time within which a new connection must become a WebSocket or send its HTTP request."),
        Setting(
            "http.response.timeout", \.listener.responseTimeout, .duration(.seconds(1)...(.seconds(3_600))),
            "Time that an HTTP answer, or the next part of a long one, may take; then its connection is closed."),
        Setting(
            "http.idle.timeout", \.listener.idleTimeout, .duration(.seconds(1)...(.seconds(3_600))),
            "Time that an HTTP connection may stay open between requests. It must be longer than that of a proxy, "
                + "which otherwise sends requests on closed connections."
        ),
        Setting(
            "close.timeout", \.listener.closeTimeout, .duration(.milliseconds(100)...(.seconds(60))),
            "Time that a peer has to read the rest of its data and to close; then the connection is closed."),
        Setting(
            "listen.backlog", \.listener.backlog, .int(1...65_535),
            "Connections that the kernel keeps until the node accepts them, at most `net.core.somaxconn`."),
        Setting(
            "trusted.addresses", \.listener.trustedAddresses, .addresses,
            "Addresses of proxies. Their connections are not limited by address, and their `X-Forwarded-For` is "
                + "trusted, so that each of their clients has its own budget; clients that they do not name share "
                + "that of the proxy. `loopback` and `local` (private networks) stand for ranges, `none` for no "
                + "proxy."
        ),
        Setting(
            "proxy.protocol", \.listener.proxyProtocol, .word(ProxyProtocol.allCases.map { ($0.rawValue, $0) }),
            "With `accept`, a connection from one of these addresses may begin with a header of the PROXY protocol "
                + "(version 1 or 2, before TLS), and is then treated like one from the client that the header names. "
                + "From any other address such a header is a bad request."
        ),
        Setting(
            "session.heartbeat", \.listener.sessionHeartbeat,
            .duration(.seconds(1)...(.seconds(600)), in: .seconds),
            "Time between the node's pings to a session. A session that leaves two unanswered is closed."),
        Setting(
            "socket.send.buffer", \.listener.sendBuffer, .bytes(4_096...67_108_864),
            "Size of the kernel's send buffer of a connection (the kernel takes twice that); further data waits "
                + "in the node. Without a bound, a client that reads nothing can occupy 4 MB in the kernel. A size "
                + "above bandwidth times round trip of the clients gains nothing."
        ),
        Setting(
            "socket.receive.buffer", \.listener.receiveBuffer, .bytes(4_096...67_108_864),
            "Size of the kernel's receive buffer of a connection."),
    ]

    static let hostRule = ValueRule.string(
        "address or host name", expected: "an IP address (IPv6 without brackets) or a host name, without a port",
        isValid: HostName.isListenable)

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
            "Time without a heartbeat after which the other nodes consider the node dead."),
        Setting(
            "heartbeat.interval", \.node.explicitHeartbeatInterval,
            ValueRule.duration(.milliseconds(100)...(.seconds(300))).optional(), default: "a third of the lease",
            "Time between the node's heartbeats to Redis.", show: { DurationText.show($0.node.heartbeatInterval) }),
        Setting(
            "drain.time", \.node.drainTime, .duration(.zero...(.seconds(600))),
            "Time over which a leaving node spreads the reconnects of its sessions."),
        Setting(
            "event.loops", \.node.eventLoops, .int(1...256), default: "number of cores",
            "Number of event loops. Each has its own rooms and two connections to Redis. Nodes on one machine "
                + "share its cores."),
    ]

    private static let redisSettings: [Setting] = [
        Setting(
            "redis.url", \.redis.address, .address,
            "URL of Redis, of sentinels, or of nodes of a Cluster. With `memory:` the node runs alone and needs "
                + "no Redis."
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
            "PEM file of the node's own certificate, if Redis requires one (`tls-auth-clients`)."),
        Setting("redis.key", \.redis.keyFile, ValueRule.file.optional(), "PEM file of its private key."),
        Setting(
            "redis.deadline", \.redis.deadline, .duration(.milliseconds(50)...(.seconds(60))),
            "Time within which Redis must answer a command; then the connection counts as lost."),
        Setting(
            "redis.name.wait", \.redis.nameWait, .duration(.zero...(.seconds(3_600))),
            "Time that a starting node waits for the host name of Redis to resolve before it exits."),
        Setting(
            "redis.memory.percent", \.redis.memoryPercent, .int(1...100),
            "Share of Redis' `maxmemory` from which on no new room is created (`noSpace`); existing rooms "
                + "continue. `100` switches the check off."
        ),
        Setting(
            "redis.sentinel.user", \.redis.sentinelUser, userRule,
            "ACL user at the sentinels; the one in the URL is for Redis."),
        Setting(
            "redis.sentinel.password", \.redis.sentinelPassword, ValueRule.secret.optional(), secret: true,
            "Password of the sentinels; the one in the URL is for Redis."),
        Setting(
            "ack.replicas", \.redis.ackReplicas, .int(0...16),
            "Number of replicas that must have a message before its sender gets `sent`."),
        Setting(
            "ack.deadline", \.redis.ackDeadline, .duration(.milliseconds(10)...(.seconds(60))),
            "Time that the replicas may take; then the sender gets `notReplicated`."),
        Setting(
            "key.prefix", \.redis.keyPrefix,
            .string(
                "1 to 64 bytes",
                expected: "1 to 64 bytes without white space, control characters, braces or any of * ? [ ] \\",
                isValid: isKeyPrefix),
            "Prefix of all keys and channels in Redis. Nodes with different prefixes are separate chats."),
    ]

    private static let userRule = ValueRule.string(
        "", expected: "an ACL user name without white space or control characters",
        isValid: { !$0.unicodeScalars.contains { $0.properties.isWhitespace || Printable.isTreacherous($0) } }
    ).optional()

    private static let roomSettings: [Setting] = [
        Setting(
            "history.length", \.rooms.historyLength, .int(1...100_000),
            "Number of messages that a room keeps (about), and among which a repeated send is recognised."),
        Setting(
            "receipts.participants", \.rooms.receipts, .int(0...1_000),
            "Participants of a conversation up to which its sessions are told what each of them has read."),
        Setting(
            "history.bytes", \.rooms.historyBytes, .bytes(65_536...1_073_741_824),
            "Bytes of Redis' memory that the messages of a room take at most (about). This bounds rooms with long "
                + "messages, because the cost of a read grows with its bytes."
        ),
        Setting(
            "history.held.length", \.rooms.heldLength, .int(1...100_000),
            "Number of messages up to which the log of a conversation is held for participants who have not read it. "
                + "Behind that they get a `gap`. Not above `MARTLET_HISTORY_LENGTH`: nothing is held."),
        Setting(
            "history.held.bytes", \.rooms.heldBytes, .bytes(65_536...1_073_741_824),
            "Bytes of Redis' memory up to which the log of a conversation is held so. This bounds conversations with "
                + "a participant who never comes back."),
        Setting(
            "history.held.for", \.rooms.heldFor, .sinks,
            "Sinks of relays, with commas between them, such as `archive,streams`, for which the logs of all rooms are "
                + "held up to the same bounds: a sink that was down gets what it has missed instead of a `gap`. A name "
                + "that no relay has holds everything up to the bounds."),
        Setting(
            "edit.window", \.rooms.editWindow, .duration(.zero...(.seconds(3_650 * 86_400))),
            "Time in which users may edit and delete their own messages; `0` means for ever. Who may change the "
                + "messages of others is not bound by it."),
        Setting(
            "page.bytes", \.rooms.pageBytes, .bytes(4_096...16_777_216),
            "Bytes of messages that one read of a room returns, at least one message. 128 KiB keep Redis busy for "
                + "0.5 ms if messages are long, and for 3 ms if they are a thousand short ones; all other requests "
                + "wait for that time."
        ),
        Setting(
            "room.memory.bytes", \.rooms.memoryBytes, .bytes(65_536...1_073_741_824),
            "Bytes of messages that a node keeps in memory for one room."),
        Setting(
            "memory.rooms", \.rooms.allMemoryBytes, .bytes(1_048_576...1_099_511_627_776),
            "The same for all rooms together. Above it, the rooms without messages for the longest time release "
                + "theirs, and read Redis when they are needed. This bounds a user with thousands of rooms."
        ),
        Setting(
            "room.ttl", \.rooms.timeToLive, .duration(.seconds(1)...(.seconds(3_650 * 86_400))),
            "Time that Redis keeps a room that no node holds."),
        Setting(
            "conversation.ttl", \.rooms.conversationTimeToLive, .duration(.seconds(1)...(.seconds(3_650 * 86_400))),
            "The same of a room with participants, who may be away for long; at least as long as other rooms."),
        Setting(
            "linger", \.rooms.linger, .duration(.zero...(.seconds(3_600))),
            "Time that a node stays in a room after its last session left."),
        Setting(
            "presence.interval", \.rooms.presenceInterval, .duration(.milliseconds(10)...(.seconds(10))),
            "Time over which joins and leaves are collected into one notice."),
        Setting(
            "room.view.interval", \.rooms.viewInterval, .duration(.seconds(1)...(.seconds(3_600))),
            "Time after which a quiet room is compared with its log in Redis."),
    ]

    private static let limitSettings: [Setting] = [
        Setting(
            "limit.frame.bytes", \.limits.frameBytes, .bytes(1_024...16_777_216),
            "Largest size of a frame from a client, and of the body of an HTTP request."),
        Setting(
            "limit.rooms.per.session", \.limits.roomsPerSession, .int(1...10_000),
            "Number of rooms that a session may join."),
        Setting(
            "limit.sessions.per.node", \.limits.sessionsPerNode, .int(1...10_000_000),
            "Number of sessions on this node."),
        Setting(
            "limit.sessions.per.user", \.limits.sessionsPerUser, .int(1...1_000_000),
            "Number of sessions of one user on this node."),
        Setting(
            "limit.requests.per.second", \.limits.requestsPerSecond, .int(1...1_000_000),
            "Requests a second of a session, in the long run."),
        Setting(
            "limit.request.burst", \.limits.requestBurst, .int(1...10_000_000),
            "Requests of a session at once, after a quiet time."),
        Setting(
            "limit.requests.per.second.per.user", \.limits.requestsPerSecondPerUser,
            ValueRule.int(1...4_000_000).optional(), default: "4 × that of a session",
            "Requests a second of all sessions of a user on this node together, including posts over HTTP.",
            show: { "\($0.limits.userRequestsPerSecond)" }),
        Setting(
            "limit.cost.per.second", \.limits.costPerSecond, .int(1_000...10_000_000),
            "Estimated cost of all sessions of a user on this node together, and of each address over HTTP, in "
                + "microseconds of CPU time a second. It is the time of this node or of Redis, whichever is more; "
                + "reads of Redis count twice, because Redis serves all nodes. This bounds few but expensive "
                + "requests: long messages and signals to many, rosters, pages, key look-ups, new rooms. Above it "
                + "requests get `rateLimited`."
        ),
        Setting(
            "limit.cost.burst", \.limits.costBurst, .int(1_000...100_000_000),
            "The same at once, after a quiet time. Joins are refused only above five times that, because a client "
                + "that reconnects joins all its rooms at once."
        ),
        Setting(
            "limit.user.bytes.per.second", \.limits.userBytesPerSecond, .bytes(1_024...1_073_741_824),
            "Bytes of messages a second of a user, so that nobody fills Redis. Above it sends get `rateLimited`."),
        Setting(
            "limit.user.bytes.burst", \.limits.userBytesBurst, .bytes(1_024...1_073_741_824),
            "The same at once, after a quiet time."),
        Setting(
            "limit.connections", \.limits.connections,
            ValueRule.int(1...10_000_000).optional(), default: "10000 more than sessions",
            "Number of connections of all kinds on this node, at most what the limit of open files allows. "
                + "Further ones are told that the node is full.",
            show: { "\($0.limits.allConnections)" }),
        Setting(
            "limit.connections.per.address", \.limits.connectionsPerAddress, .int(1...1_000_000),
            "Number of connections of one address (of a /64 in IPv6) that are not sessions, so that nobody can "
                + "occupy all of them. Further ones get 429."
        ),
        Setting(
            "limit.bytes.per.second.per.address", \.limits.bytesPerSecondPerAddress, .bytes(1_024...1_073_741_824),
            "Bytes a second that such connections of one address may send, four times as many at once. Further "
                + "bytes wait, because reading costs CPU."
        ),
        Setting(
            "limit.failures.per.minute.per.address", \.limits.failuresPerMinutePerAddress, .int(1...1_000_000),
            "Handshakes and authentications of one address that may be refused in a minute, and also at once. Above "
                + "it, WebSocket handshakes and requests with credentials get 429 before anybody looks at them."
        ),
        Setting(
            "limit.tickets.per.minute.per.user", \.limits.ticketsPerMinutePerUser, .int(1...1_000_000),
            "Tickets (`POST /api/tickets`) that one user may take from this node in a minute, and also at once. "
                + "Further ones get 429."
        ),
        Setting(
            "limit.polls.per.node", \.limits.pollsPerNode, .int(1...10_000_000),
            "Number of HTTP requests that wait for messages (`wait=`) on this node. Further ones get 429."),
        Setting(
            "limit.polls.per.user", \.limits.pollsPerUser, .int(1...1_000_000),
            "The same of one user, and of one address for requests without a user."),
        Setting(
            "limit.poll.wait", \.limits.pollWait, .duration(.milliseconds(100)...(.seconds(600))),
            "Longest time that such a request waits, whatever it asks for. It must be shorter than the time after "
                + "which a proxy gives up."
        ),
        Setting(
            "limit.head.bytes", \.limits.headBytes, .bytes(1_024...1_048_576),
            "Bytes of the head of a request or handshake, including cookies. A longer one gets 431 (or 414)."),
        Setting(
            "limit.head.fields", \.limits.headFields, .int(10...10_000),
            "Number of fields in such a head. Further ones get 431."
        ),
        Setting(
            "limit.handshakes.per.second", \.limits.handshakesPerSecond, .int(1...1_000_000),
            "WebSocket handshakes a second on this node. Further ones get 503 and may try again."),
        Setting(
            "limit.joins.per.second", \.limits.joinsPerSecond, .int(1...1_000_000),
            "Joins a second on this node. Further ones get `rateLimited`."),
        Setting(
            "limit.outbound.bytes", \.limits.outboundBytes, .bytes(2_048...1_073_741_824),
            "Bytes that may wait for one session before it is closed as slow."),
        Setting(
            "limit.waiting.sends.per.session", \.limits.waitingSendsPerSession, .int(1...1_000_000),
            "Number of unanswered sends of one session."),
        Setting(
            "limit.waiting.sends.per.room", \.limits.waitingSendsPerRoom, .int(1...1_000_000),
            "Number of unanswered sends of this node's sessions in one room."),
        Setting(
            "limit.send.wait", \.limits.sendWait, .duration(.milliseconds(100)...(.seconds(600))),
            "Time that a send may wait before it fails as `unavailable`."),
        Setting(
            "limit.participants", \.limits.participants, .int(2...1_000),
            "Number of participants of one room. Invitations beyond it get `tooManyParticipants`."),
        Setting(
            "limit.conversations.per.user", \.limits.conversationsPerUser, .int(1...1_000),
            "Number of rooms to which one user may belong. Above it the user cannot be invited: `tooManyEntries`."),
        Setting(
            "limit.history.page", \.limits.historyPage, .int(1...10_000),
            "Number of messages in one `history` answer."),
        Setting(
            "limit.roster.page", \.limits.rosterPage, .int(1...10_000),
            "Number of members in one `roster` answer."),
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
            "Bytes of log lines that may wait while nobody reads the log. Further lines are dropped and counted; "
                + "the node never waits."
        ),
    ]

    /// Braces are not allowed, because the first pair in a key is its Cluster hash tag. Pattern characters are not
    /// allowed, because the prefix is used in ACL rules and in SCAN.
    private static func isKeyPrefix(_ text: String) -> Bool {
        (1...64).contains(text.utf8.count)
            && !text.unicodeScalars.contains { scalar in
                scalar.properties.isWhitespace || Printable.isTreacherous(scalar)
                    || "{}*?[]\\".unicodeScalars.contains(scalar)
            }
    }
}
