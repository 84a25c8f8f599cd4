import ChatCore
import ChatGateway
import ChatRedis

/// Everything that a node counts and measures: each metric declared once, with its help text, and bound to its handle
/// when the node starts. Machines count nothing; those who run their actions do.
///
/// Names are `martlet_<noun>_<unit>`, in seconds and bytes, counters end in `_total`; labels are words of ours and the
/// number of a loop, never a room, member, session or path, as every value of a label is a series that a monitoring
/// system keeps for weeks.
public final class NodeMetrics: Sendable {
    public let registry: PrometheusRegistry

    // Sessions
    public let sessions: PrometheusGauge
    public let sessionsOpened: PrometheusCounter
    public let sessionsClosed: CounterSet<SessionEnd>
    public let sessionsRefused: CounterSet<SessionEnd>
    public let framesReceived: CounterSet<GatewayCounters.RequestType>
    public let framesSent: PrometheusCounter
    public let bytesSent: PrometheusCounter
    public let connections: PrometheusGauge
    public let connectionsRefused: PrometheusCounter
    public let connectionsTimedOut: PrometheusCounter
    public let refusals: CounterSet<GatewayCounters.Refusal>
    public let full: PrometheusGauge
    public let timesFull: PrometheusCounter
    public let acceptErrors: PrometheusCounter
    public let outboundQueueBytes: PrometheusGauge
    public let kernelBytes: PrometheusGauge
    public let limitRefusals: CounterSet<LimitLabel>

    // Rooms
    public let rooms: PrometheusGauge
    public let waitingSends: PrometheusGauge
    public let roomsMemory: PrometheusGauge
    public let roomsMemoryReleased: PrometheusCounter
    public let redisMemoryShare: PrometheusGauge
    public let appends: CounterSet<AppendResult>
    public let publishes: PrometheusCounter
    public let publications: PrometheusCounter
    public let deliveries: PrometheusCounter
    public let deliveriesDropped: CounterSet<DropReason>
    public let fanout: PrometheusHistogram
    public let brokerLag: PrometheusHistogram
    public let enters: PrometheusCounter
    public let views: CounterSet<ViewReason>
    public let holesRepaired: PrometheusCounter
    public let gaps: PrometheusCounter
    public let resets: PrometheusCounter
    public let alarms: PrometheusCounter
    public let recoveries: CounterSet<RecoveryResult>
    public let presenceRefresh: PrometheusHistogram

    // Redis and the node
    public let redisReconnects: PrometheusCounter
    public let redisCommands: HistogramSet<RedisCodec.Operation>
    public let redisSentCommands: PrometheusCounter
    public let redisSentBytes: PrometheusCounter
    public let redisHeard: PrometheusCounter
    public let redisHeardBytes: PrometheusCounter
    public let redisUnreadable: PrometheusCounter
    public let redisRefusals: CounterSet<RefusalKind>
    public let redisIgnored: CounterSet<IgnoredData>
    public let replication: PrometheusHistogram
    public let notReplicated: PrometheusCounter
    public let nodesSwept: PrometheusCounter
    public let ready: PrometheusGauge

    /// Declares all metrics in `registry`, which must not be another node's. `node` is the node's configured name.
    public init(registry: PrometheusRegistry = PrometheusRegistry(), version: String, node: String) {
        let r = registry
        self.registry = r
        sessions = r.gauge("martlet_sessions", help: "Sessions connected to this node.")
        sessionsOpened = r.counter("martlet_sessions_opened_total", help: "Sessions that finished their handshake.")
        sessionsClosed = CounterSet(
            r, "martlet_sessions_closed_total", label: "reason", help: "Sessions that ended, by reason.")
        sessionsRefused = CounterSet(
            r, "martlet_sessions_refused_total", label: "reason",
            help: "Sessions refused at their handshake, by reason.")
        framesReceived = CounterSet(
            r, "martlet_frames_received_total", label: "type", help: "Frames from clients, by type.")
        framesSent = r.counter("martlet_frames_sent_total", help: "Frames handed to sessions, of all kinds.")
        bytesSent = r.counter("martlet_sent_bytes_total", help: "Bytes written to sessions.")
        connections = r.gauge("martlet_connections", help: "Open connections, WebSocket and HTTP.")
        connectionsRefused = r.counter(
            "martlet_connections_refused_total", help: "Connections refused because there were too many.")
        refusals = CounterSet(
            r, "martlet_refusals_total", label: "reason",
            help: "Connections and requests sent away before there was a session, by reason.")
        full = r.gauge(
            "martlet_full",
            help: "1 while new connections are sent away because there are too many, or too many open files.")
        timesFull = r.counter("martlet_full_total", help: "Times that the node became full.")
        acceptErrors = r.counter(
            "martlet_accept_errors_total", help: "Connections that had come and that the kernel could not give.")
        connectionsTimedOut = r.counter(
            "martlet_connections_timed_out_total", help: "Connections that took too long over a request or handshake.")
        outboundQueueBytes = r.gauge("martlet_outbound_queue_bytes", help: "Bytes waiting to be written to sessions.")
        kernelBytes = r.gauge(
            "martlet_socket_unsent_bytes",
            help: "Bytes in the kernel's buffers for sessions that are behind, as of their last heartbeats.")
        limitRefusals = CounterSet(
            r, "martlet_limit_refusals_total", label: "limit", help: "Requests and sessions refused because of a limit."
        )

        rooms = r.gauge("martlet_rooms", help: "Rooms that this node is in.")
        waitingSends = r.gauge("martlet_waiting_sends", help: "Sends that wait for their answer.")
        roomsMemory = r.gauge("martlet_rooms_memory_bytes", help: "Bytes of messages that rooms have in memory.")
        roomsMemoryReleased = r.counter(
            "martlet_rooms_memory_released_bytes_total",
            help: "Bytes of messages that rooms gave back because of MARTLET_MEMORY_ROOMS.")
        redisMemoryShare = r.gauge(
            "martlet_redis_memory_ratio",
            help:
                "How much of its maxmemory Redis uses, from 0 to 1; above MARTLET_REDIS_MEMORY_PERCENT no room is begun."
        )
        appends = CounterSet(
            r, "martlet_appends_total", label: "result", help: "Answers to appends of this node, by result.")
        publishes = r.counter(
            "martlet_publishes_total", help: "Messages that this node put on a channel for other nodes.")
        publications = r.counter(
            "martlet_publications_total",
            help: "Messages shown to this node's sessions, once for each room, whoever said them.")
        deliveries = r.counter("martlet_deliveries_total", help: "Messages handed to sessions, once for each session.")
        deliveriesDropped = CounterSet(
            r, "martlet_deliveries_dropped_total", label: "reason",
            help: "Frames not handed to a session that was behind, by kind.")
        fanout = r.histogram(
            "martlet_fanout_seconds",
            help: "Time from a message's turn in its room to its hand-over to the last local session.",
            bounds: [0.000_01, 0.000_025] + PrometheusHistogram.secondBounds)
        brokerLag = r.histogram(
            "martlet_broker_lag_seconds",
            help: "Age of messages of other nodes when they are heard, by two nodes' clocks.",
            bounds: PrometheusHistogram.secondBounds + [30, 60])
        enters = r.counter("martlet_enters_total", help: "Times that this node entered a room.")
        views = CounterSet(r, "martlet_views_total", label: "reason", help: "Rooms read again from Redis, by reason.")
        holesRepaired = r.counter("martlet_holes_repaired_total", help: "Holes in a room filled from its log.")
        gaps = r.counter(
            "martlet_gaps_total", help: "Holes that the log no longer fills, announced to a room's sessions.")
        resets = r.counter("martlet_resets_total", help: "Rooms whose log was lost or set back.")
        alarms = r.counter(
            "martlet_alarms_total",
            help: "Answers of Redis that contradict what the node knew of a room, which it then entered anew.")
        recoveries = CounterSet(
            r, "martlet_recoveries_total", label: "result",
            help: "Joins of clients that came back with a position, by result.")
        presenceRefresh = r.histogram(
            "martlet_presence_refresh_seconds",
            help: "Time of one round of the node's heartbeat, which keeps the presence of all its members.")

        redisReconnects = r.counter("martlet_redis_reconnects_total", help: "Redis connections that were lost.")
        redisCommands = HistogramSet(
            r, "martlet_redis_command_seconds", label: "command", help: "Time from a request to Redis to its answer.",
            bounds: PrometheusHistogram.secondBounds)
        redisSentCommands = r.counter("martlet_redis_commands_total", help: "Commands sent to Redis.")
        redisSentBytes = r.counter("martlet_redis_sent_bytes_total", help: "Bytes of commands sent to Redis.")
        redisHeard = r.counter("martlet_redis_heard_total", help: "Messages heard on subscribed channels.")
        redisHeardBytes = r.counter(
            "martlet_redis_heard_bytes_total", help: "Bytes of messages heard on subscribed channels.")
        redisUnreadable = r.counter(
            "martlet_redis_unreadable_total", help: "Messages heard on subscribed channels that are none of ours.")
        redisRefusals = CounterSet(
            r, "martlet_redis_refusals_total", label: "kind",
            help: "Commands that Redis refused while its connections stayed, by the kind of its error.")
        redisIgnored = CounterSet(
            r, "martlet_redis_ignored_total", label: "kind",
            help: "What Redis holds or says that no node wrote, by kind: it was left out, and martlet doctor finds it.")
        replication = r.histogram(
            "martlet_replication_seconds",
            help: "Time until enough replicas had what was stored, with MARTLET_ACK_REPLICAS.",
            bounds: PrometheusHistogram.secondBounds)
        notReplicated = r.counter(
            "martlet_not_replicated_total",
            help: "Sends that were stored, but which not enough replicas had in time, with MARTLET_ACK_REPLICAS.")
        nodesSwept = r.counter(
            "martlet_nodes_swept_total", help: "Dead nodes that this node has taken out of at least one room.")
        ready = r.gauge("martlet_ready", help: "1 while the node is ready, that is while messages really go round.")
        r.gauge(
            "martlet_build_info", help: "Always 1; what runs, in the labels.",
            labels: [("version", version), ("node", node)]
        ).set(1.0)
        r.collect(
            "martlet_log_dropped_total", kind: .counter,
            help: "Log lines dropped because nobody read standard error and MARTLET_LOG_QUEUE_BYTES were waiting."
        ) { Double(LogWriter.standard.dropped) }
        Self.declareProcess(r)
    }

    /// What the kernel knows, under the names that all Prometheus clients give it.
    private static func declareProcess(_ r: PrometheusRegistry) {
        r.collect("process_cpu_seconds_total", kind: .counter, help: "User and system CPU time.") {
            ProcessSample.current()?.cpuSeconds
        }
        r.collect("process_resident_memory_bytes", help: "Resident memory.") { ProcessSample.current()?.residentBytes }
        r.collect("process_threads", help: "Threads.") { ProcessSample.current()?.threads }
        r.collect("process_open_fds", help: "Open files and sockets.") { ProcessSample.openFiles() }
        r.collect("process_max_fds", help: "Files and sockets that may be open.") {
            OpenFileLimit.current.map(Double.init)
        }
        let start = ProcessSample.startTime()
        r.collect("process_start_time_seconds", help: "When the process began, in seconds since 1970.") { start }
    }
}

extension NodeMetrics {
    /// The text for `/metrics`.
    public func text() -> String { registry.render() }

    /// Counts what a room says is worth counting.
    public func count(_ counter: RoomCounter) {
        switch counter {
        case .appended: appends[.stored].increment()
        case .published: publishes.increment()
        case .refused: appends[.refused].increment()
        case .repeated: appends[.repeated].increment()
        case .notStored: appends[.notStored].increment()
        case .view(let reason): views[reason].increment()
        case .entered: enters.increment()
        case .holeRepaired: holesRepaired.increment()
        case .gap: gaps.increment()
        case .reset: resets.increment()
        case .alarm: alarms.increment()
        case .sendTimedOut: limitRefusals[.sendWait].increment()
        case .ignored(let kind): redisIgnored[kind].increment()
        }
    }

    /// A session was refused at its handshake.
    public func refused(_ reason: CloseReason) {
        sessionsRefused[.closed(reason)].increment()
        switch reason {
        case .nodeFull: limitRefusals[.sessionsPerNode].increment()
        case .tooManySessions: limitRefusals[.sessionsPerUser].increment()
        case .draining, .slow, .unauthenticated, .abuse, .heartbeatMissed, .ended, .internalError, .badName, .forbidden:
            break
        }
    }

    /// Whether a loop's `commands` or `subscriptions` connection is up. Looks the metric up by name: for rare events.
    public func redisUp(connection: String, shard: Int, _ isUp: Bool) {
        registry.gauge(
            "martlet_redis_up", help: "1 while the loop's connection to Redis is ready.",
            labels: [("connection", connection), ("shard", "\(shard)")]
        ).set(isUp ? 1.0 : 0.0)
    }
}
