import ChatCore
import ChatGateway
import Glibc
import Logging
import NIOCore

/// Everything about a node that can be tuned, with its defaults. Read from the environment by ``load(environment:)``,
/// or built and changed in code by tests.
///
/// The names, types and ranges of the variables are declared in `NodeConfiguration+Settings.swift`; ``markdownTable()``
/// lists them.
public struct NodeConfiguration: Sendable {
    public var listener = Listener()
    public var redis = Redis()
    public var node = Node()
    public var rooms = Rooms()
    public var log = Log()
    public var limits = Limits()

    /// The variables that the environment gave, by name.
    public internal(set) var given: Set<String> = []
    /// What an operator should know, though the node starts: misspelt names, values without effect.
    public internal(set) var warnings: [ConfigurationWarning] = []

    /// All defaults.
    public init() {}
}

extension NodeConfiguration {
    /// Where clients connect, and what is asked of a connection.
    public struct Listener: Sendable, Hashable {
        /// The address to listen on (string, default: 127.0.0.1, an IP address or a host name). The default lets nobody
        /// in from outside, as without tokens anybody may claim to be any user.
        public var host = "127.0.0.1"
        /// The port for WebSocket and HTTP (int, default: 8080, range: 0 to 65535). 0: any free one.
        public var port = 8080
        /// The web pages that may open a WebSocket (list, default: *).
        public var allowedOrigins = Origins.any
        /// How long a new connection may take to become a WebSocket or to send its HTTP request (duration, default:
        /// 10s, range: 100ms to 5m).
        public var handshakeTimeout: Duration = .seconds(10)
        /// How long an HTTP answer may take (duration, default: 30s, range: 1s to 1h).
        public var responseTimeout: Duration = .seconds(30)
        /// How long an HTTP connection may stay open between requests (duration, default: 75s, range: 1s to 1h).
        public var idleTimeout: Duration = .seconds(75)
        /// How long a peer may take to read the last of what it was sent and to close (duration, default: 5s, range: 100ms to
        /// 1m).
        public var closeTimeout: Duration = .seconds(5)
        /// Connections that the kernel holds before they are accepted (int, default: 4096, range: 1 to 65535).
        public var backlog = 4_096
        /// Where proxies stand (list, default: loopback,local).
        public var trustedAddresses = TrustedAddresses.standard
        /// How often a session is sent a ping; without an answer to two it is closed (duration, default: 25s, range: 1s
        /// to 10m, whole seconds).
        public var sessionHeartbeat: Duration = .seconds(25)
        /// How much the kernel keeps for a connection that does not read, and for one that is not read from; it takes twice that, for its
        /// own bookkeeping (bytes, default: 128KiB and 64KiB, range: 4KiB to 64MiB).
        public var sendBuffer = 131_072
        public var receiveBuffer = 65_536

        public init() {}
    }

    /// How the node reaches Redis.
    public struct Redis: Sendable, Hashable {
        /// Where Redis is (URL, default: redis://127.0.0.1:6379).
        public var address = BrokerAddress.standard
        /// The ACL user; replaces the one in the URL (string, default: none).
        public var user: String?
        /// The password; replaces the one in the URL (string, secret, default: none).
        public var password: Secret?
        /// PEM files: of the authority that signed Redis' certificate, of our own certificate and its key (path, default: none).
        public var authorityFile: String?
        public var certificateFile: String?
        public var keyFile: String?
        /// How long Redis may take to answer a command before the connection counts as dead (duration, default: 2s,
        /// range: 50ms to 1m).
        public var deadline: Duration = .seconds(2)
        /// The sentinels' own ACL user and password (string, default: none): those in the URL are for Redis.
        public var sentinelUser: String?
        public var sentinelPassword: Secret?
        /// How long a node that starts waits for the host name of Redis to resolve before it gives up (duration, default:
        /// 30s, range: 0s to 1h). Containers start in any order; a name that is misspelt never resolves.
        public var nameWait: Duration = .seconds(30)
        /// From what share of its maxmemory on no room is begun (int, default: 90, range: 1 to 100; 100: never mind).
        public var memoryPercent = 90
        /// How many replicas must have a message before its sender is told `sent` (int, default: 0, range: 0 to 16).
        public var ackReplicas = 0
        /// How long they may take (duration, default: 1s, range: 10ms to 1m).
        public var ackDeadline: Duration = .seconds(1)
        /// What all keys and channels begin with (string, default: `martlet:`). Nodes with another prefix are another
        /// chat.
        public var keyPrefix = "martlet:"

        public init() {}
    }

    /// The node among the other nodes.
    public struct Node: Sendable, Hashable {
        /// The node's name, to which each start adds a random part (string, default: the host's name).
        public var name = HostName.current()
        /// After how long without a heartbeat the others take the node for dead (duration, default: 15s, range: 1s to
        /// 10m).
        public var lease: Duration = .seconds(15)
        /// How often the node says that it lives (duration, default: a third of the lease, range: 100ms to 5m). Nil:
        /// the default.
        public var explicitHeartbeatInterval: Duration?
        /// Over how long a leaving node spreads the reconnects of its sessions (duration, default: 10s, range: 0s to
        /// 10m).
        public var drainTime: Duration = .seconds(10)
        /// How many event loops, each with its rooms and its two Redis connections (int, default: number of cores,
        /// range: 1 to 256).
        public var eventLoops = min(256, max(1, System.coreCount))

        public init() {}

        /// How often the node says that it lives, in whole milliseconds.
        public var heartbeatInterval: Duration {
            explicitHeartbeatInterval ?? .milliseconds(lease.wholeMilliseconds / 3)
        }
    }

    /// What a room costs and keeps.
    public struct Rooms: Sendable, Hashable {
        /// How long a node stays in a room after its last session left (duration, default: 10s, range: 0s to 1h).
        public var linger: Duration = .seconds(10)
        /// About how many of its newest messages a room keeps, in Redis and in the memory of its nodes. Also the window
        /// in which a repeated send is recognised (int, default: 1000, range: 1 to 100000).
        public var historyLength = 1_000
        /// How much of Redis' memory a room's log may take (bytes, default: 4MiB, range: 64KiB to 1GiB).
        public var historyBytes = 4 * 1_048_576
        /// How much of a log one read brings (bytes, default: 128KiB, range: 4KiB to 16MiB).
        public var pageBytes = 131_072
        /// How many bytes of messages a node remembers of one room (bytes, default: 4MiB, range: 64KiB to 1GiB).
        public var memoryBytes = 4 * 1_048_576
        /// How many bytes of messages it remembers of all rooms (bytes, default: 512MiB, range: 1MiB to 1TiB).
        public var allMemoryBytes = 512 * 1_048_576
        /// How long a room without any node is kept (duration, default: 7d, range: 1s to 3650d).
        public var timeToLive: Duration = .seconds(7 * 86_400)
        /// How often a quiet room is compared with its log, spread by a quarter (duration, default: 30s, range: 1s to
        /// 1h).
        public var viewInterval: Duration = .seconds(30)
        /// How long joins and leaves are gathered into one notice (duration, default: 100ms, range: 10ms to 10s).
        public var presenceInterval: Duration = .milliseconds(100)

        public init() {}
    }

    /// What the node writes to standard error.
    public struct Log: Sendable, Hashable {
        public enum Format: String, Sendable, CaseIterable {
            /// `<time> <level> <message> <key>=<value> …`
            case text
            /// One JSON object a line.
            case json
        }

        /// The least important level that is written (default: info).
        public var level = Logger.Level.info
        /// (default: text)
        public var format = Format.text
        /// Bytes of lines that may wait for whoever reads them (default: 1,048,576).
        public var queueBytes = 1_048_576

        public init() {}
    }
}
