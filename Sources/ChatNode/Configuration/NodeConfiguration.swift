public import ChatArchive
import ChatCore
import ChatGateway
import Glibc
import Logging
import NIOCore

/// All settings of a node, with their defaults. They are read from the environment by ``load(environment:)``, or built
/// and changed in code by tests.
///
/// The names, types and ranges of the variables are declared in `NodeConfiguration+Settings.swift`; ``markdownTable()``
/// lists them.
public struct NodeConfiguration: Sendable {
    public var listener = Listener()
    public var access = Access()
    public var screening = Screening()
    public var socketIO = SocketIOSettings()
    public var redis = Redis()
    public var node = Node()
    public var rooms = Rooms()
    public var log = Log()
    public var relay = Relay()
    /// Where messages are archived, and what the logs no longer hold is read (default: none).
    public var archive: ArchiveAddress?
    /// How long after its last message a room without nodes leaves Redis, if it is archived (duration, default: never).
    public var archiveCold: Duration?
    public var limits = Limits()

    /// The variables that the environment gave, by name.
    public internal(set) var given: Set<String> = []
    /// What an operator should know although the node starts: misspelt names, and values without effect.
    public internal(set) var warnings: [ConfigurationWarning] = []

    /// All defaults.
    public init() {}
}

extension NodeConfiguration {
    /// The address on which the node listens, and what it demands of connections.
    public struct Listener: Sendable, Hashable {
        /// The address to listen on (string, default: 127.0.0.1, an IP address or a host name). The default accepts no
        /// connections from other machines, because without tokens anybody may claim to be any user.
        public var host = "127.0.0.1"
        /// The port for WebSocket and HTTP (int, default: 8080, range: 0 to 65535). 0 means any free port.
        public var port = 8080
        /// The port for `/metrics`, health and readiness (int, default: none, range: 0 to 65535), and the address to
        /// listen on there (string, default: 127.0.0.1).
        public var adminPort: Int?
        public var adminHost = "127.0.0.1"
        /// Whether STOMP is spoken (bool, default: on), and the TCP port for it (int, default: none, range: 0 to
        /// 65535).
        public var speaksStomp = true
        public var stompPort: Int?
        /// PEM files: the node's certificate with those of the authorities below the root, and its key; with them the
        /// port speaks TLS (path, default: none).
        public var certificateFile: String?
        public var keyFile: String?
        /// The origins of web pages that may open a WebSocket (list, default: *).
        public var allowedOrigins = Origins.any
        /// How long a new connection may take to become a WebSocket or to send its HTTP request (duration, default:
        /// 10s, range: 100ms to 5m).
        public var handshakeTimeout: Duration = .seconds(10)
        /// How long an HTTP answer may take (duration, default: 30s, range: 1s to 1h).
        public var responseTimeout: Duration = .seconds(30)
        /// How long an HTTP connection may stay open between requests (duration, default: 75s, range: 1s to 1h).
        public var idleTimeout: Duration = .seconds(75)
        /// How long a peer may take to read the rest of its data and to close the connection (duration, default: 5s,
        /// range: 100ms to 1m).
        public var closeTimeout: Duration = .seconds(5)
        /// The length of the queue of connections that the kernel has completed and the node has not accepted yet (int,
        /// default: 4096, range: 1 to 65535).
        public var backlog = 4_096
        /// The addresses of reverse proxies (list, default: loopback,local).
        public var trustedAddresses = TrustedAddresses.standard
        /// Whether these proxies may begin a connection with a header of the PROXY protocol (word, default: off).
        public var proxyProtocol = ProxyProtocol.off
        /// The interval of pings to a session. A session that leaves two unanswered is closed (duration, default: 25s,
        /// range: 1s to 10m, whole seconds).
        public var sessionHeartbeat: Duration = .seconds(25)
        /// The kernel's send and receive buffer of a connection (bytes, default: 128KiB and 64KiB, range: 4KiB to
        /// 64MiB). The kernel takes twice that, for its own bookkeeping.
        public var sendBuffer = 131_072
        public var receiveBuffer = 65_536

        public init() {}
    }

    /// What becomes of headers of the PROXY protocol.
    public enum ProxyProtocol: String, Sendable, CaseIterable {
        /// They are bad requests.
        case off
        /// Trusted proxies may send them.
        case accept
    }

    /// The connection to Redis.
    public struct Redis: Sendable, Hashable {
        /// The URL of Redis (URL, default: redis://127.0.0.1:6379).
        public var address = BrokerAddress.standard
        /// The ACL user; replaces the one in the URL (string, default: none).
        public var user: String?
        /// The password; replaces the one in the URL (string, secret, default: none).
        public var password: Secret?
        /// PEM files: the certificate of the authority that signed Redis' certificate, the node's own certificate, and
        /// its key (path, default: none).
        public var authorityFile: String?
        public var certificateFile: String?
        public var keyFile: String?
        /// How long Redis may take to answer a command before the connection counts as lost (duration, default: 2s,
        /// range: 50ms to 1m).
        public var deadline: Duration = .seconds(2)
        /// The ACL user and password for the sentinels (string, default: none). Those in the URL are for Redis.
        public var sentinelUser: String?
        public var sentinelPassword: Secret?
        /// How long a starting node waits for the host name of Redis to resolve before it gives up (duration, default:
        /// 30s, range: 0s to 1h). Containers start in any order, but a misspelt name never resolves.
        public var nameWait: Duration = .seconds(30)
        /// The share of Redis' maxmemory from which on no new room is created (int, default: 90, range: 1 to 100; 100
        /// switches the check off).
        public var memoryPercent = 90
        /// How many replicas must have a message before its sender gets `sent` (int, default: 0, range: 0 to 16).
        public var ackReplicas = 0
        /// How long these replicas may take (duration, default: 1s, range: 10ms to 1m).
        public var ackDeadline: Duration = .seconds(1)
        /// The prefix of all keys and channels (string, default: `martlet:`). Nodes with different prefixes are
        /// separate chats.
        public var keyPrefix = "martlet:"

        public init() {}
    }

    /// The node as the other nodes see it.
    public struct Node: Sendable, Hashable {
        /// The node's name, to which each start adds a random part (string, default: the name of the host).
        public var name = HostName.current()
        /// How long after its last heartbeat the other nodes consider the node dead (duration, default: 15s, range: 1s
        /// to 10m).
        public var lease: Duration = .seconds(15)
        /// The interval of heartbeats (duration, default: a third of the lease, range: 100ms to 5m). Nil means the
        /// default.
        public var explicitHeartbeatInterval: Duration?
        /// The time over which a leaving node spreads the reconnects of its sessions (duration, default: 10s, range: 0s
        /// to 10m).
        public var drainTime: Duration = .seconds(10)
        /// The number of event loops, each with its own rooms and its own two connections to Redis (int, default: the
        /// number of cores, range: 1 to 256).
        public var eventLoops = min(256, max(1, System.coreCount))

        public init() {}

        /// The interval of heartbeats, in whole milliseconds.
        public var heartbeatInterval: Duration {
            explicitHeartbeatInterval ?? .milliseconds(lease.wholeMilliseconds / 3)
        }
    }

    /// The bounds and intervals of a room.
    public struct Rooms: Sendable, Hashable {
        /// How long a node stays in a room after its last session left (duration, default: 10s, range: 0s to 1h).
        public var linger: Duration = .seconds(10)
        /// About how many of its newest messages a room keeps, in Redis and in the memory of its nodes. A repeated send
        /// is recognised within the same window (int, default: 1000, range: 1 to 100000).
        public var historyLength = 1_000
        /// Of how many participants at most a room is told what they have read.
        public var receipts = 100
        /// How much memory of Redis the log of a room may take (bytes, default: 4MiB, range: 64KiB to 1GiB).
        public var historyBytes = 4 * 1_048_576
        /// The same bounds of a room with participants as long as one of them has not read the messages.
        public var heldLength = 10_000
        public var heldBytes = 16 * 1_048_576
        /// Sinks of relays for which logs are held like that (list, default: none).
        public var heldFor: [String] = []
        /// How long users may edit and delete their own messages; zero: for ever.
        public var editWindow: Duration = .seconds(86_400)
        /// How many bytes of a log one read returns at most (bytes, default: 128KiB, range: 4KiB to 16MiB).
        public var pageBytes = 131_072
        /// How many bytes of messages a node keeps in memory for one room (bytes, default: 4MiB, range: 64KiB to 1GiB).
        public var memoryBytes = 4 * 1_048_576
        /// How many bytes of messages a node keeps in memory for all rooms (bytes, default: 512MiB, range: 1MiB to
        /// 1TiB).
        public var allMemoryBytes = 512 * 1_048_576
        /// How long Redis keeps a room that no node holds (duration, default: 7d, range: 1s to 3650d).
        public var timeToLive: Duration = .seconds(7 * 86_400)
        /// The same of a room with participants (duration, default: 90d, range: 1s to 3650d).
        public var conversationTimeToLive: Duration = .seconds(90 * 86_400)
        /// The interval at which a quiet room is compared with its log, varied by a quarter (duration, default: 30s,
        /// range: 1s to 1h).
        public var viewInterval: Duration = .seconds(30)
        /// The time over which joins and leaves are collected into one notice (duration, default: 100ms, range: 10ms to
        /// 10s).
        public var presenceInterval: Duration = .milliseconds(100)

        public init() {}
    }

    /// The log, which the node writes to standard error.
    public struct Log: Sendable, Hashable {
        public enum Format: String, Sendable, CaseIterable {
            /// `<time> <level> <message> <key>=<value> …`
            case text
            /// One JSON object per line.
            case json
        }

        /// The least important level that is written (default: info).
        public var level = Logger.Level.info
        /// The format of a line (default: text).
        public var format = Format.text
        /// How many bytes of log lines may wait to be written (default: 1,048,576).
        public var queueBytes = 1_048_576

        public init() {}
    }
}
