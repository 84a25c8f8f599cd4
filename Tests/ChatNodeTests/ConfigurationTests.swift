import ChatAccess
import ChatArchive
import ChatCore
import ChatGateway
import ChatHub
import FoundationEssentials
import Logging
import Testing

@testable import ChatNode

@Suite struct ConfigurationTests {
    /// For each variable a value that is not the default, and a configuration with which it is valid.
    static let valid: [String: String] = [
        "MARTLET_HOST": "::1", "MARTLET_PORT": "0", "MARTLET_ALLOWED_ORIGINS": "https://chat.example",
        "MARTLET_SOCKET_SEND_BUFFER": "32KiB", "MARTLET_SOCKET_RECEIVE_BUFFER": "16KiB",
        "MARTLET_REDIS_MEMORY_PERCENT": "70", "MARTLET_MEMORY_ROOMS": "2MiB",
        "MARTLET_LIMIT_COST_PER_SECOND": "2000", "MARTLET_LIMIT_COST_BURST": "3000",
        "MARTLET_LIMIT_USER_BYTES_PER_SECOND": "4KiB", "MARTLET_LIMIT_USER_BYTES_BURST": "5KiB",
        "MARTLET_HANDSHAKE_TIMEOUT": "3s", "MARTLET_SESSION_HEARTBEAT": "2m", "MARTLET_NODE_NAME": "west-1",
        "MARTLET_NODE_LEASE": "20s", "MARTLET_HEARTBEAT_INTERVAL": "1s", "MARTLET_DRAIN_TIME": "0s",
        "MARTLET_EVENT_LOOPS": "7",
        "MARTLET_REDIS_URL": "rediss+sentinel://redis.example:6380/main/2", "MARTLET_REDIS_USER": "martlet",
        "MARTLET_REDIS_PASSWORD": "p@ss word", "MARTLET_REDIS_DEADLINE": "250ms", "MARTLET_KEY_PREFIX": "chat/test:",
        "MARTLET_REDIS_NAME_WAIT": "5m", "MARTLET_REDIS_SENTINEL_USER": "guard",
        "MARTLET_REDIS_SENTINEL_PASSWORD": "hush", "MARTLET_ACK_REPLICAS": "2", "MARTLET_ACK_DEADLINE": "400ms",
        "MARTLET_HISTORY_LENGTH": "50", "MARTLET_HISTORY_BYTES": "2MiB", "MARTLET_PAGE_BYTES": "64KiB",
        "MARTLET_HISTORY_HELD_LENGTH": "60", "MARTLET_HISTORY_HELD_BYTES": "3MiB",
        "MARTLET_HISTORY_HELD_FOR": "archive,hook-a1", "MARTLET_EDIT_WINDOW": "1h",
        "MARTLET_ROOM_MEMORY_BYTES": "1MiB", "MARTLET_ROOM_TTL": "30d", "MARTLET_CONVERSATION_TTL": "60d",
        "MARTLET_RECEIPTS_PARTICIPANTS": "31", "MARTLET_LIMIT_PARTICIPANTS": "32",
        "MARTLET_LIMIT_CONVERSATIONS_PER_USER": "33",
        "MARTLET_LINGER": "1m",
        "MARTLET_PRESENCE_INTERVAL": "1s",
        "MARTLET_ROOM_VIEW_INTERVAL": "45s", "MARTLET_LIMIT_FRAME_BYTES": "4KiB",
        "MARTLET_LIMIT_ROOMS_PER_SESSION": "3",
        "MARTLET_LIMIT_SESSIONS_PER_NODE": "4", "MARTLET_LIMIT_SESSIONS_PER_USER": "2",
        "MARTLET_LIMIT_REQUESTS_PER_SECOND": "5", "MARTLET_LIMIT_REQUEST_BURST": "6",
        "MARTLET_LIMIT_REQUESTS_PER_SECOND_PER_USER": "15", "MARTLET_LIMIT_HANDSHAKES_PER_SECOND": "16",
        "MARTLET_LIMIT_JOINS_PER_SECOND": "17", "MARTLET_LIMIT_OUTBOUND_BYTES": "2MiB",
        "MARTLET_LIMIT_WAITING_SENDS_PER_SESSION": "8", "MARTLET_LIMIT_WAITING_SENDS_PER_ROOM": "9",
        "MARTLET_LIMIT_SEND_WAIT": "30s", "MARTLET_LIMIT_HISTORY_PAGE": "11", "MARTLET_LIMIT_ROSTER_PAGE": "12",
        "MARTLET_LIMIT_ROSTER_INLINE": "13", "MARTLET_LIMIT_BAD_FRAMES_PER_MINUTE": "14", "MARTLET_LOG_LEVEL": "trace",
        "MARTLET_REDIS_CA": "/etc/passwd", "MARTLET_REDIS_CERTIFICATE": "/etc/group", "MARTLET_REDIS_KEY": "/etc/hosts",
        "MARTLET_STOMP": "on", "MARTLET_STOMP_PORT": "61613",
        "MARTLET_ADMIN_PORT": "9100", "MARTLET_ADMIN_HOST": "::1", "MARTLET_PROXY_PROTOCOL": "accept",
        "MARTLET_TLS_CERTIFICATE": "/etc/passwd", "MARTLET_TLS_KEY": "/etc/group",
        "MARTLET_LOG_FORMAT": "json", "MARTLET_LOG_QUEUE_BYTES": "8KiB",
        "MARTLET_HOOKS": "/etc/passwd", "MARTLET_ARCHIVE_COLD": "30d", "MARTLET_RELAY_STREAMS": "off",
        "MARTLET_RELAY_STREAM_LENGTH": "500", "MARTLET_RELAY_ROOMS": "team:*,x:**",
        "MARTLET_RELAY_TYPES": "message.created,presence.*",
        "MARTLET_ARCHIVE": "sqlite:/var/lib/a.db", "MARTLET_RELAY_LEASE": "3s", "MARTLET_RELAY_SCAN": "1h",
        "MARTLET_WEBHOOKS_KEY": "a key of twenty-four bytes, or more", "MARTLET_WEBHOOKS_HOSTS": "Hooks.internal,::1",
        "MARTLET_WEBHOOKS_TIMEOUT": "7s", "MARTLET_WEBHOOKS_RETRIES": "1s,2h", "MARTLET_WEBHOOKS_CA": "/etc/passwd",
        "MARTLET_RELAY_PORT": "9200", "MARTLET_RELAY_HOST": "::1", "MARTLET_WEBHOOKS_ENDPOINTS": "33",
        "MARTLET_WEBHOOKS_DEAD_LETTERS": "44",
        "MARTLET_HTTP_RESPONSE_TIMEOUT": "40s", "MARTLET_HTTP_IDLE_TIMEOUT": "2m", "MARTLET_CLOSE_TIMEOUT": "4s",
        "MARTLET_LISTEN_BACKLOG": "77", "MARTLET_TRUSTED_ADDRESSES": "192.0.2.1", "MARTLET_LIMIT_CONNECTIONS": "18",
        "MARTLET_LIMIT_CONNECTIONS_PER_ADDRESS": "19", "MARTLET_LIMIT_BYTES_PER_SECOND_PER_ADDRESS": "20KiB",
        "MARTLET_LIMIT_FAILURES_PER_MINUTE_PER_ADDRESS": "23", "MARTLET_LIMIT_HEAD_BYTES": "21KiB",
        "MARTLET_LIMIT_POLLS_PER_NODE": "28", "MARTLET_LIMIT_POLLS_PER_USER": "29", "MARTLET_LIMIT_POLL_WAIT": "31s",
        "MARTLET_LIMIT_TICKETS_PER_MINUTE_PER_USER": "27",
        "MARTLET_LIMIT_HEAD_FIELDS": "22", "MARTLET_AUTH": "auto",
        "MARTLET_SOCKETIO": "on", "MARTLET_SOCKETIO_PROFILE": "chat",
        "MARTLET_WORDS": "/etc/passwd", "MARTLET_WORDS_MODE": "mask",
        "MARTLET_HOOK_URL": "https://hook.example/decide", "MARTLET_HOOK_TIMEOUT": "2s",
        "MARTLET_HOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "MARTLET_HOOK_ON_FAILURE": "refuse",
        "MARTLET_ANONYMOUS": "chat", "MARTLET_TOKEN_HMAC_SECRET": "a secret of thirty-two bytes, or more",
        "MARTLET_TOKEN_HMAC_SECRET_PREVIOUS": "another secret of thirty-two bytes@1800000000",
        "MARTLET_TOKEN_PUBLIC_KEYS": "/etc/hosts,/etc/group", "MARTLET_TOKEN_JWKS_URL": "https://issuer.example/keys",
        "MARTLET_TOKEN_ISSUER": "https://issuer.example", "MARTLET_TOKEN_AUDIENCE": "chat",
        "MARTLET_TOKEN_LEEWAY": "5s", "MARTLET_TOKEN_GRACE": "6s", "MARTLET_TOKEN_MAX_LIFETIME": "7d",
        "MARTLET_TOKEN_ALGORITHMS": "HS256,EdDSA", "MARTLET_TOKEN_COOKIE": "__Host-chat",
        "MARTLET_API_KEYS": "bot:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08:read+send@team:*",
    ]

    /// Whatever the table shows as its default can be written, too.
    @Test func noneCanBeWritten() throws {
        let variables = [
            "MARTLET_ARCHIVE", "MARTLET_ARCHIVE_COLD", "MARTLET_ADMIN_PORT", "MARTLET_STOMP_PORT", "MARTLET_RELAY_PORT",
            "MARTLET_TOKEN_JWKS_URL", "MARTLET_HOOK_URL",
        ]
        let none = Dictionary(uniqueKeysWithValues: variables.map { ($0, "none") })
        let configuration = try NodeConfiguration.load(environment: none)
        #expect(configuration.archive == nil && configuration.archiveCold == nil)
        #expect(configuration.listener.adminPort == nil && configuration.listener.stompPort == nil)
        #expect(configuration.relay.port == nil && configuration.access.keySet == nil)
        #expect(configuration.screening.hook == nil)
    }

    @Test func everyVariableIsReadIntoItsPlace() throws {
        #expect(Set(Self.valid.keys) == Set(NodeConfiguration.variables))
        let configuration = try NodeConfiguration.load(environment: Self.valid)
        #expect(configuration.listener.host == "::1")
        #expect(configuration.listener.port == 0)
        #expect(configuration.rooms.receipts == 31)
        #expect(configuration.listener.speaksStomp && configuration.listener.stompPort == 61_613)
        #expect(configuration.listener.allowedOrigins == .only(["https://chat.example"]))
        #expect(configuration.listener.handshakeTimeout == .seconds(3))
        #expect(configuration.listener.sessionHeartbeat == .seconds(120))
        #expect(configuration.listener.sendBuffer == 32_768 && configuration.listener.receiveBuffer == 16_384)
        #expect(configuration.rooms.heldFor == ["archive", "hook-a1"])
        #expect(configuration.redis.memoryPercent == 70 && configuration.rooms.allMemoryBytes == 2_097_152)
        #expect(configuration.listener.responseTimeout == .seconds(40))
        #expect(configuration.listener.idleTimeout == .seconds(120))
        #expect(configuration.listener.closeTimeout == .seconds(4))
        #expect(configuration.listener.backlog == 77)
        #expect(configuration.listener.proxyProtocol == .accept)
        #expect(configuration.listener.adminPort == 9_100 && configuration.listener.adminHost == "::1")
        #expect(configuration.certificateFiles == CertificateFiles(certificate: "/etc/passwd", key: "/etc/group"))
        #expect(configuration.certificateProblem()?.message.contains("no PEM certificate") == true)
        #expect(configuration.listener.trustedAddresses.description == "192.0.2.1")
        #expect(configuration.socketIO.mode == .on && configuration.socketIO.profile == "chat")
        let access = configuration.access
        #expect(access.mode == .automatic && access.isOn && access.anonymous == .chat)
        #expect(access.secret?.revealed == "a secret of thirty-two bytes, or more")
        #expect(access.previousSecrets.all.map(\.validUntil) == [1_800_000_000_000])
        #expect(access.publicKeyFiles == ["/etc/hosts", "/etc/group"])
        #expect(access.keySet?.description == "https://issuer.example/keys")
        #expect(access.issuer == "https://issuer.example" && access.audience == "chat")
        #expect(access.leeway == .seconds(5) && access.grace == .seconds(6))
        #expect(access.longestLife == .seconds(7 * 86_400))
        #expect(access.algorithms == [.hs256, .edDSA] && access.cookie == "__Host-chat")
        #expect(access.apiKeys.keys.keys.map(\.name) == ["bot"])
        #expect(configuration.screening.wordsFile == "/etc/passwd" && configuration.screening.wordsMode == .mask)
        #expect(configuration.screening.hook?.description == "https://hook.example/decide")
        #expect(configuration.screening.hookSecret?.revealed == "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        let hook = configuration.hookSettings
        #expect(hook?.timeout == .seconds(2) && hook?.allowsUndecided == false && hook?.waitingInRoom == 9)
        let relay = configuration.relay
        #expect(!relay.hasStreams && relay.streamLength == 500)
        #expect(relay.rooms.map(\.description) == ["team:*", "x:**"])
        #expect(relay.types == ["message.created", "presence.*"])
        #expect(configuration.archive == .sqlite(path: "/var/lib/a.db"))
        #expect(configuration.archiveCold == .seconds(30 * 86_400))
        #expect(configuration.screening.hooksFile == "/etc/passwd")
        #expect(configuration.hooksProblem()?.message.hasPrefix("MARTLET_HOOKS: it is no JSON") == true)
        #expect(relay.lease == .seconds(3) && relay.scan == .seconds(3_600))
        #expect(relay.webhooksKey?.revealed == "a key of twenty-four bytes, or more")
        #expect(relay.port == 9_200 && relay.host == "::1")
        #expect(relay.webhookEndpoints == 33 && relay.webhookDeadLetters == 44)
        #expect(relay.webhookHosts == ["hooks.internal", "::1"] && relay.webhookTimeout == .seconds(7))
        #expect(relay.webhookRetries == [.seconds(1), .seconds(7_200)] && relay.webhookAuthorityFile == "/etc/passwd")
        #expect(NodeConfiguration.Relay().webhookRetries.reduce(.zero, +) > .seconds(2 * 86_400))
        #expect(configuration.rooms.editWindow == .seconds(3_600))
        #expect(configuration.node.name == "west-1")
        #expect(configuration.node.lease == .seconds(20))
        #expect(configuration.node.heartbeatInterval == .seconds(1))
        #expect(configuration.node.drainTime == .zero)
        #expect(configuration.node.eventLoops == 7)
        #expect(configuration.redis.address.text == "rediss+sentinel://redis.example:6380/main/2")
        #expect(configuration.redis.user == "martlet")
        #expect(configuration.redis.password?.revealed == "p@ss word")
        #expect(configuration.redis.deadline == .milliseconds(250))
        #expect(configuration.redis.keyPrefix == "chat/test:")
        #expect(configuration.redis.nameWait == .seconds(300))
        #expect(configuration.redis.sentinelUser == "guard")
        #expect(configuration.redis.sentinelPassword?.revealed == "hush")
        #expect(configuration.redis.ackReplicas == 2)
        #expect(configuration.redis.ackDeadline == .milliseconds(400))
        #expect(configuration.rooms.historyLength == 50)
        #expect(configuration.rooms.timeToLive == .seconds(30 * 86_400))
        #expect(configuration.rooms.conversationTimeToLive == .seconds(60 * 86_400))
        #expect(configuration.rooms.linger == .seconds(60))
        #expect(configuration.rooms.presenceInterval == .seconds(1))
        #expect(configuration.rooms.viewInterval == .seconds(45))
        #expect(configuration.rooms.memoryBytes == 1_048_576)
        #expect(configuration.log.level == .trace)
        #expect(configuration.log.format == .json)
        #expect(configuration.log.queueBytes == 8_192)
        #expect(configuration.limits == Self.limits)
        #expect(configuration.given == Set(Self.valid.keys))
        #expect(configuration.warnings.isEmpty)
    }

    static var limits: Limits {
        var limits = Limits()
        limits.frameBytes = 4_096
        limits.costPerSecond = 2_000
        limits.costBurst = 3_000
        limits.userBytesPerSecond = 4_096
        limits.userBytesBurst = 5_120
        limits.roomsPerSession = 3
        limits.sessionsPerNode = 4
        limits.sessionsPerUser = 2
        limits.requestsPerSecond = 5
        limits.requestBurst = 6
        limits.requestsPerSecondPerUser = 15
        limits.handshakesPerSecond = 16
        limits.joinsPerSecond = 17
        limits.outboundBytes = 2_097_152
        limits.waitingSendsPerSession = 8
        limits.waitingSendsPerRoom = 9
        limits.sendWait = .seconds(30)
        limits.participants = 32
        limits.conversationsPerUser = 33
        limits.historyPage = 11
        limits.rosterPage = 12
        limits.rosterInline = 13
        limits.badFramesPerMinute = 14
        limits.connections = 18
        limits.connectionsPerAddress = 19
        limits.bytesPerSecondPerAddress = 20_480
        limits.headBytes = 21_504
        limits.headFields = 22
        limits.failuresPerMinutePerAddress = 23
        limits.ticketsPerMinutePerUser = 27
        limits.pollsPerNode = 28
        limits.pollsPerUser = 29
        limits.pollWait = .seconds(31)
        return limits
    }

    @Test func everyFieldOfLimitsHasAVariable() {
        let fields = Mirror(reflecting: Limits()).children.compactMap(\.label)
        let variables = NodeConfiguration.variables.filter { $0.hasPrefix("MARTLET_LIMIT_") }
        let expected = fields.map { field in
            "MARTLET_LIMIT_" + field.map { $0.isUppercase ? "_\($0)" : $0.uppercased() }.joined()
        }
        #expect(Set(variables) == Set(expected))
    }

    @Test func aListOfWordsThatCannotBeUsedIsNamedByFileAndLine() throws {
        let path = FileManager.default.temporaryDirectory.appending(path: "words-\(UInt64.random(in: 0...UInt64.max))")
            .path
        defer { try? FileManager.default.removeItem(atPath: path) }
        func problem(_ content: [UInt8]) throws -> String? {
            try Data(content).write(to: URL(filePath: path))
            return try NodeConfiguration.load(environment: ["MARTLET_WORDS": path]).wordsProblem()?.message
        }
        #expect(try problem(Array("# words\nass\n".utf8)) == nil)
        #expect(try problem(Array("ass\n\na\u{7}b\n".utf8))?.hasPrefix("MARTLET_WORDS: \(path):3: ") == true)
        #expect(try problem([0xFF, 0x0A]) == "MARTLET_WORDS: \(path): it is not UTF-8")
        let warned = try NodeConfiguration.load(environment: ["MARTLET_WORDS_MODE": "mask"])
        #expect(warned.warnings.map(\.variable) == ["MARTLET_WORDS_MODE"])
    }

    @Test func anEmptyEnvironmentGivesTheDefaults() throws {
        let configuration = try NodeConfiguration.load(environment: ["PATH": "/bin"])
        #expect(configuration.listener.host == "127.0.0.1")
        #expect(configuration.listener.port == 8080)
        #expect(configuration.redis.address.text == "redis://127.0.0.1:6379")
        #expect(configuration.redis.keyPrefix == "martlet:")
        #expect(configuration.node.heartbeatInterval == .seconds(5))
        #expect(configuration.node.eventLoops >= 1)
        #expect(HostName.isNodeName(configuration.node.name))
        #expect(configuration.limits == Limits())
        #expect(configuration.given.isEmpty)
        #expect(configuration.warnings.isEmpty)
    }

    @Test func theDefaultsObeyTheirOwnRules() {
        let defaults = NodeConfiguration()
        #expect(defaults.crossProblems(unread: []).isEmpty)
        for setting in NodeConfiguration.settings {
            let shown = setting.show(defaults)
            guard shown != "none" else { continue }
            var copy = defaults
            #expect(setting.apply(shown, &copy) == nil, "\(setting.variable) refuses its own default \(shown)")
            #expect(setting.show(copy) == shown)
        }
    }

    @Test func theHeartbeatFollowsTheLeaseUnlessItIsGiven() throws {
        let derived = try NodeConfiguration.load(environment: ["MARTLET_NODE_LEASE": "10s"])
        #expect(derived.node.heartbeatInterval == .milliseconds(3_333))
        let given = try NodeConfiguration.load(
            environment: ["MARTLET_NODE_LEASE": "10s", "MARTLET_HEARTBEAT_INTERVAL": "500ms"])
        #expect(given.node.heartbeatInterval == .milliseconds(500))
    }

    @Test func effectiveValuesListEverySettingOnceInOrder() throws {
        let configuration = try NodeConfiguration.load(environment: [
            "MARTLET_PORT": "9000", "MARTLET_NODE_NAME": "a\u{301}b",
        ])
        let values = configuration.effectiveValues()
        #expect(values.map(\.variable) == NodeConfiguration.variables)
        #expect(values.first { $0.variable == "MARTLET_PORT" }?.value == "9000")
        #expect(values.filter { !$0.isDefault }.map(\.variable) == ["MARTLET_PORT", "MARTLET_NODE_NAME"])
        #expect(values.first { $0.variable == "MARTLET_NODE_NAME" }?.value == "a\u{301}b")
        #expect(values.first { $0.variable == "MARTLET_NODE_LEASE" }?.value == "15s")
        #expect(values.first { $0.variable == "MARTLET_LIMIT_FRAME_BYTES" }?.value == "64KiB")
    }

    @Test func secretsAreShownNowhere() throws {
        let secret = "hunter2"
        let configuration = try NodeConfiguration.load(environment: [
            "MARTLET_REDIS_URL": "redis://ana:\(secret)@redis.example:6379/3", "MARTLET_REDIS_PASSWORD": secret,
        ])
        var dumped = ""
        dump(configuration, to: &dumped)
        let shown = [
            "\(configuration.effectiveValues())", "\(configuration)", String(reflecting: configuration), dumped,
            String(reflecting: configuration.redis.password), "\(configuration.redis.address)",
        ]
        for text in shown { #expect(!text.contains(secret)) }
        #expect(configuration.redis.address.description == "redis://ana:***@redis.example:6379/3")
        #expect(configuration.redis.password?.revealed == secret)
    }

    @Test func theMarkdownTableHasOneRowForEachVariableAndTheSameOnEveryMachine() throws {
        let table = NodeConfiguration.markdownTable()
        let rows = table.split(separator: "\n")
        #expect(rows.count == NodeConfiguration.variables.count + 2)
        for row in rows { #expect(row.split(separator: "|", omittingEmptySubsequences: false).count == 7, "\(row)") }
        for (row, variable) in zip(rows.dropFirst(2), NodeConfiguration.variables) {
            #expect(row.hasPrefix("| `\(variable)` |"))
        }
        #expect(table.contains("| `MARTLET_NODE_NAME` | string | the host's name |"))
        #expect(table.contains("| `MARTLET_EVENT_LOOPS` | int | number of cores |"))
        #expect(table.contains("| `MARTLET_LINGER` | duration | `10s` | 0s to 1h |"))
    }
}
