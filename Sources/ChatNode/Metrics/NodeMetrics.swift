import ChatCore
import ChatGateway
import ChatRedis

/// All metrics of a node. Each is declared once, with its help text, and bound to its handle when the node starts.
/// State machines do not count; the code that carries out their actions does.
///
/// Names are `martlet_<noun>_<unit>`, in seconds and bytes, and those of counters end in `_total`. Labels are fixed
/// words and the number of a loop, never a room, member, session or path: every value of a label is a series that a
/// monitoring system keeps for weeks.
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
    public let forbidden: CounterSet<RightLabel>
    public let tokens: CounterSet<CarrierLabel>
    public let tokenRefusals: CounterSet<TokenRefusal>
    public let tickets: PrometheusCounter
    public let keySetFetches: CounterSet<KeySetResult>
    public let words: CounterSet<WordResult>
    public let hookDecisions: CounterSet<HookResult>
    public let hookAnswers: PrometheusHistogram
    /// Pages of history that were refused because the archive could not be read.
    public let archiveFailures: PrometheusCounter

    // Rooms
    public let rooms: PrometheusGauge
    public let waitingSends: PrometheusGauge
    public let polls: PrometheusGauge
    public let reads: PrometheusCounter
    public let userChannels: PrometheusGauge
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

    /// Declares all metrics in `registry`, which must not belong to another node. `node` is the node's configured name.
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
            help: "Connections and requests refused before there was a session, by reason.")
        full = r.gauge(
            "martlet_full",
            help: "1 while new connections are refused because there are too many connections or open files.")
        timesFull = r.counter("martlet_full_total", help: "Times that the node became full.")
        acceptErrors = r.counter(
            "martlet_accept_errors_total", help: "Connections that the kernel could not hand over (accept failed).")
        connectionsTimedOut = r.counter(
            "martlet_connections_timed_out_total", help: "Connections that took too long over a request or handshake.")
        outboundQueueBytes = r.gauge("martlet_outbound_queue_bytes", help: "Bytes waiting to be written to sessions.")
        kernelBytes = r.gauge(
            "martlet_socket_unsent_bytes",
            help: "Bytes in the kernel's buffers for slow sessions, as of their last heartbeats.")
        forbidden = CounterSet(
            r, "martlet_forbidden_total", label: "right",
            help: "Requests that were refused because the token gives no right to them in the room.")
        tokens = CounterSet(
            r, "martlet_tokens_total", label: "carrier", help: "Tokens that were accepted, by the way they came.")
        tokenRefusals = CounterSet(
            r, "martlet_token_refusals_total", label: "reason",
            help: "Tokens and keys that were refused, by what is wrong with them.")
        tickets = r.counter("martlet_tickets_total", help: "Tickets that were issued.")
        words = CounterSet(
            r, "martlet_word_messages_total", label: "result",
            help: "Messages that had a word of the list, by what was done with them.")
        hookDecisions = CounterSet(
            r, "martlet_hook_decisions_total", label: "result",
            help: "Messages that the hook was to decide about, by what it decided, or why it did not.")
        archiveFailures = r.counter(
            "martlet_archive_failures_total",
            help: "Pages of history that were refused because the archive could not be read.")
        hookAnswers = r.histogram(
            "martlet_hook_seconds", help: "Time from a question to the hook until its answer, or its failure.",
            bounds: PrometheusHistogram.secondBounds)
        keySetFetches = CounterSet(
            r, "martlet_key_set_fetches_total", label: "result", help: "Attempts to fetch the key set, by result.")
        limitRefusals = CounterSet(
            r, "martlet_limit_refusals_total", label: "limit", help: "Requests and sessions refused because of a limit."
        )

        rooms = r.gauge("martlet_rooms", help: "Rooms that this node is in.")
        waitingSends = r.gauge("martlet_waiting_sends", help: "Sends that are not answered yet.")
        polls = r.gauge("martlet_polls", help: "HTTP requests that wait for messages (long polls).")
        reads = r.counter(
            "martlet_reads_total", help: "Read positions that Redis was asked to store, several in one call.")
        userChannels = r.gauge(
            "martlet_user_channels", help: "Users to whose channels the node is subscribed.")
        roomsMemory = r.gauge("martlet_rooms_memory_bytes", help: "Bytes of messages that rooms keep in memory.")
        roomsMemoryReleased = r.counter(
            "martlet_rooms_memory_released_bytes_total",
            help: "Bytes of messages that rooms released because of MARTLET_MEMORY_ROOMS.")
        redisMemoryShare = r.gauge(
            "martlet_redis_memory_ratio",
            help:
                "Share of maxmemory that Redis uses, 0 to 1. From MARTLET_REDIS_MEMORY_PERCENT on no room is created."
        )
        appends = CounterSet(
            r, "martlet_appends_total", label: "result", help: "Answers to appends of this node, by result.")
        publishes = r.counter(
            "martlet_publishes_total", help: "Messages that this node published for other nodes.")
        publications = r.counter(
            "martlet_publications_total",
            help: "Messages delivered to the sessions of a room on this node, counted once, whoever sent them.")
        deliveries = r.counter(
            "martlet_deliveries_total", help: "Messages delivered to sessions, counted once for each session.")
        deliveriesDropped = CounterSet(
            r, "martlet_deliveries_dropped_total", label: "reason",
            help: "Frames that slow sessions were not sent, by kind.")
        fanout = r.histogram(
            "martlet_fanout_seconds",
            help: "Time from the ordering of a message in its room to its delivery to the last local session.",
            bounds: [0.000_01, 0.000_025] + PrometheusHistogram.secondBounds)
        brokerLag = r.histogram(
            "martlet_broker_lag_seconds",
            help: "Age of messages of other nodes when they arrive, by the clocks of both nodes.",
            bounds: PrometheusHistogram.secondBounds + [30, 60])
        enters = r.counter("martlet_enters_total", help: "Times that this node entered a room.")
        views = CounterSet(r, "martlet_views_total", label: "reason", help: "Rooms read again from Redis, by reason.")
        holesRepaired = r.counter(
            "martlet_holes_repaired_total", help: "Holes in a room that were filled from its log.")
        gaps = r.counter(
            "martlet_gaps_total",
            help: "Holes that the log could not fill, which were announced to the sessions of the room.")
        resets = r.counter("martlet_resets_total", help: "Times that the log of a room was lost or set back.")
        alarms = r.counter(
            "martlet_alarms_total",
            help: "Answers of Redis that contradicted the state of a room, which the node then entered again.")
        recoveries = CounterSet(
            r, "martlet_recoveries_total", label: "result",
            help: "Joins with a position, by result.")
        presenceRefresh = r.histogram(
            "martlet_presence_refresh_seconds",
            help: "Time of one heartbeat of the node, which keeps the presence of all its members.")

        redisReconnects = r.counter("martlet_redis_reconnects_total", help: "Redis connections that were lost.")
        redisCommands = HistogramSet(
            r, "martlet_redis_command_seconds", label: "command", help: "Time from a request to Redis to its answer.",
            bounds: PrometheusHistogram.secondBounds)
        redisSentCommands = r.counter("martlet_redis_commands_total", help: "Commands sent to Redis.")
        redisSentBytes = r.counter("martlet_redis_sent_bytes_total", help: "Bytes of commands sent to Redis.")
        redisHeard = r.counter("martlet_redis_heard_total", help: "Messages received on subscribed channels.")
        redisHeardBytes = r.counter(
            "martlet_redis_heard_bytes_total", help: "Bytes of messages received on subscribed channels.")
        redisUnreadable = r.counter(
            "martlet_redis_unreadable_total",
            help: "Messages received on subscribed channels that no node can have sent.")
        redisRefusals = CounterSet(
            r, "martlet_redis_refusals_total", label: "kind",
            help: "Commands that Redis refused on a working connection, by the kind of error.")
        redisIgnored = CounterSet(
            r, "martlet_redis_ignored_total", label: "kind",
            help: "Data in Redis that no node wrote, by kind. It was skipped; martlet doctor finds it.")
        replication = r.histogram(
            "martlet_replication_seconds",
            help: "Time until enough replicas had a stored message, with MARTLET_ACK_REPLICAS.",
            bounds: PrometheusHistogram.secondBounds)
        notReplicated = r.counter(
            "martlet_not_replicated_total",
            help: "Messages that were stored, but not on enough replicas in time, with MARTLET_ACK_REPLICAS.")
        nodesSwept = r.counter(
            "martlet_nodes_swept_total", help: "Dead nodes that this node has removed from at least one room.")
        ready = r.gauge(
            "martlet_ready", help: "1 while the node is ready, which means that messages are really delivered.")
        r.gauge(
            "martlet_build_info", help: "Always 1. The labels name the version and the node.",
            labels: [("version", version), ("node", node)]
        ).set(1.0)
        r.collect(
            "martlet_log_dropped_total", kind: .counter,
            help: "Log lines dropped because nobody read standard error and MARTLET_LOG_QUEUE_BYTES were waiting."
        ) { Double(LogWriter.standard.dropped) }
        Self.declareProcess(r)
    }

    /// Metrics that the kernel provides, under the names that all Prometheus clients use.
    private static func declareProcess(_ r: PrometheusRegistry) {
        r.collect("process_cpu_seconds_total", kind: .counter, help: "User and system CPU time.") {
            ProcessSample.current()?.cpuSeconds
        }
        r.collect("process_resident_memory_bytes", help: "Resident memory.") { ProcessSample.current()?.residentBytes }
        r.collect("process_threads", help: "Threads.") { ProcessSample.current()?.threads }
        r.collect("process_open_fds", help: "Open files and sockets.") { ProcessSample.openFiles() }
        r.collect("process_max_fds", help: "Limit of open files and sockets.") {
            OpenFileLimit.current.map(Double.init)
        }
        let start = ProcessSample.startTime()
        r.collect("process_start_time_seconds", help: "Start of the process in seconds since 1970.") { start }
    }
}

extension NodeMetrics {
    /// The text for `/metrics`.
    public func text() -> String { registry.render() }

    /// Counts an event of a room.
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

    /// Counts a session that was refused at its handshake.
    public func refused(_ reason: CloseReason) {
        sessionsRefused[.closed(reason)].increment()
        switch reason {
        case .nodeFull: limitRefusals[.sessionsPerNode].increment()
        case .tooManySessions: limitRefusals[.sessionsPerUser].increment()
        case .draining, .slow, .unauthenticated, .abuse, .heartbeatMissed, .ended, .internalError, .badName, .forbidden,
            .expired, .revoked, .banned:
            break
        }
    }

    /// Records whether the `commands` or `subscriptions` connection of a loop is up. Looks the metric up by name, as
    /// this is rare.
    public func redisUp(connection: String, shard: Int, _ isUp: Bool) {
        registry.gauge(
            "martlet_redis_up", help: "1 while the loop's connection to Redis is ready.",
            labels: [("connection", connection), ("shard", "\(shard)")]
        ).set(isUp ? 1.0 : 0.0)
    }
}
