import ChatCore
import ChatGateway
import Metrics
import Testing

@testable import ChatNode
@testable import ChatRedis

@Suite struct MetricsTests {
    private func read(_ registry: PrometheusRegistry) throws -> Exposition {
        try Exposition(registry.render())
    }

    @Test func theTextIsAsTheFormatAsks() {
        let registry = PrometheusRegistry()
        registry.counter("martlet_deliveries_total", help: "Messages.\nAnd \"more\" \\.").increment(by: 41)
        registry.gauge("martlet_b", help: "Two.", labels: [("b", "2"), ("a", "x\"y\\z\n")]).set(-0.25)
        let histogram = registry.histogram(
            "martlet_a_seconds", help: "Time.", labels: [("type", "t")], bounds: [0.5, 0.000_05, 1])
        histogram.observe(0.5)
        histogram.observe(7)
        let text = registry.render()
        #expect(
            text == #"""
                # HELP martlet_a_seconds Time.
                # TYPE martlet_a_seconds histogram
                martlet_a_seconds_bucket{type="t",le="5e-05"} 0
                martlet_a_seconds_bucket{type="t",le="0.5"} 1
                martlet_a_seconds_bucket{type="t",le="1"} 1
                martlet_a_seconds_bucket{type="t",le="+Inf"} 2
                martlet_a_seconds_sum{type="t"} 7.5
                martlet_a_seconds_count{type="t"} 2
                # HELP martlet_b Two.
                # TYPE martlet_b gauge
                martlet_b{a="x\"y\\z\n",b="2"} -0.25
                # HELP martlet_deliveries_total Messages.\nAnd "more" \\.
                # TYPE martlet_deliveries_total counter
                martlet_deliveries_total 41
                # HELP martlet_metrics_refused_total Metrics not shown because their name is taken by another kind of metric.
                # TYPE martlet_metrics_refused_total counter
                martlet_metrics_refused_total 0

                """#)
    }

    @Test func whatIsWrittenIsReadBackWhateverTheLabelsHold() throws {
        let registry = PrometheusRegistry()
        let values = [
            "", "\\", "\"", "\n", "\\n", "a,b=\"c\"}", "안녕 👋🏽", "\u{0}\u{1B}[2J", String(repeating: "\\", count: 128),
        ]
        for (index, value) in values.enumerated() {
            registry.gauge("x", help: "A \\ and\na line.", labels: [("l", value)]).set(Int64(index))
        }
        let read = try read(registry)
        for (index, value) in values.enumerated() { #expect(read.value("x", ["l": value]) == Double(index)) }
        #expect(read.families["x"]?.help == "A \\ and\na line.")
    }

    @Test func numbersAreWrittenAsGoReadsThem() throws {
        let registry = PrometheusRegistry()
        let values = [
            0, -1, 1.5, 1e-9, 1e300, 9_007_199_254_740_992, .infinity, -.infinity, .greatestFiniteMagnitude,
            .leastNonzeroMagnitude,
        ]
        for (index, value) in values.enumerated() {
            registry.gauge("x", help: "", labels: [("i", "\(index)")]).set(value)
        }
        registry.gauge("nan", help: "").set(Double.nan)
        let read = try read(registry)
        for (index, value) in values.enumerated() { #expect(read.value("x", ["i": "\(index)"]) == value) }
        #expect(read.value("nan")?.isNaN == true)
    }

    @Test func bucketsHoldWhatIsAtMostTheirBound() throws {
        let registry = PrometheusRegistry()
        let histogram = registry.histogram("h", help: "", bounds: [1, 2, 4])
        for value in [-1, 0, 1, 1.000_001, 2, 3, 4, 4.1, .infinity] { histogram.observe(value) }
        histogram.observe(Double.nan)
        let read = try read(registry)
        #expect(["1", "2", "4", "+Inf"].map { read.value("h_bucket", ["le": $0]) } == [3, 5, 7, 9])
        #expect(read.value("h_count") == 9)
        #expect(read.value("h_sum") == .infinity)
    }

    @Test func durationsAreSecondsAndNeverNegative() throws {
        let registry = PrometheusRegistry()
        let histogram = registry.histogram("h", help: "", bounds: [0.001, 1])
        histogram.observe(.microseconds(1_000))
        histogram.observe(.milliseconds(1_500))
        histogram.observe(.seconds(-5))
        histogram.recordNanoseconds(500_000_000)
        histogram.recordNanoseconds(.min)
        let read = try read(registry)
        #expect(read.value("h_bucket", ["le": "0.001"]) == 3)
        #expect(read.value("h_bucket", ["le": "1"]) == 4)
        #expect(abs((read.value("h_sum") ?? 0) - 2.001) < 1e-9)
    }

    @Test func moreBoundsThanAHistogramCanHaveAreLeftOut() throws {
        let registry = PrometheusRegistry()
        registry.histogram("h", help: "", bounds: (0..<100).map(Double.init) + [.nan, .infinity]).observe(50)
        registry.histogram("none", help: "", bounds: []).observe(50)
        let read = try read(registry)
        #expect(read.families["h"]?.samples.count == PrometheusHistogram.maxBounds + 3)
        #expect(read.value("none_bucket", ["le": "+Inf"]) == 1)
    }

    @Test func countersOnlyGrow() throws {
        let registry = PrometheusRegistry()
        let counter = registry.counter("c_total", help: "")
        counter.increment()
        counter.increment(by: -5)
        counter.increment(by: 3)
        #expect(try read(registry).value("c_total") == 4)
    }

    @Test func theSameNameAndLabelsGiveTheSameHandle() {
        let registry = PrometheusRegistry()
        let one = registry.counter("c_total", help: "first", labels: [("a", "1"), ("b", "2")])
        #expect(one === registry.counter("c_total", help: "later", labels: [("b", "2"), ("a", "1")]))
        #expect(one !== registry.counter("c_total", help: "", labels: [("a", "2"), ("b", "2")]))
    }

    @Test func aNameTakenByAnotherKindIsRefusedAndCounted() throws {
        let registry = PrometheusRegistry()
        registry.counter("x", help: "").increment()
        registry.gauge("x", help: "").set(9.0)
        registry.histogram("x", help: "").observe(1.0)
        registry.histogram("h", help: "").observe(1.0)
        registry.gauge("h_sum", help: "").set(9.0)
        registry.gauge("y_count", help: "").set(5.0)
        registry.histogram("y", help: "").observe(1.0)
        let read = try read(registry)
        #expect(read.value("x") == 1)
        #expect(read.value("h_sum") == 1)
        #expect(read.value("y_count") == 5)
        #expect(read.value("martlet_metrics_refused_total") == 4)
    }

    @Test func labelSetsAreBounded() throws {
        let registry = PrometheusRegistry(seriesLimit: 3)
        for user in 0..<1_000 {
            registry.counter("c_total", help: "", labels: [("user", "\(user)")]).increment()
        }
        let read = try read(registry)
        #expect(read.families["c_total"]?.samples.count == 4)
        #expect(read.value("c_total", ["user": "other"]) == 997)
    }

    @Test func namesThatPrometheusDoesNotAllowAreChanged() throws {
        let registry = PrometheusRegistry()
        registry.counter("http.server-requests", help: "", labels: [("a.b", "1"), ("__x", "2"), ("9", "3"), ("", "4")])
            .increment()
        registry.histogram("1h", help: "", labels: [("le", "5")]).observe(1)
        registry.counter("", help: "").increment()
        let read = try read(registry)
        #expect(read.families["http_server_requests"] != nil)
        #expect(read.value("_1h_count", ["label_le": "5"]) == 1)
        #expect(read.value("_") == 1)
    }

    @Test func collectorsAreAskedAtEachScrapeAndMayUseTheRegistry() throws {
        let registry = PrometheusRegistry()
        let scrapes = registry.counter("scrapes_total", help: "")
        registry.collect("now", help: "") {
            scrapes.increment()
            return Double(scrapes.current)
        }
        registry.collect("made_total", kind: .counter, help: "") {
            registry.counter("within_total", help: "").increment()
            return 1
        }
        registry.collect("absent", help: "") { nil }
        registry.collect("wrong", kind: .histogram, help: "") { 1 }
        #expect(try read(registry).value("now") == 1)
        let second = try read(registry)
        #expect(second.value("now") == 2)
        #expect(second.value("within_total") == 2)
        #expect(second.value("absent") == nil)
        #expect(second.families["wrong"] == nil)
    }

    @Test func nothingIsLostWhenManyThreadsCount() async throws {
        let registry = PrometheusRegistry()
        let rounds = 20_000
        await withTaskGroup(of: Void.self) { group in
            for task in 0..<8 {
                group.addTask {
                    let counter = registry.counter("c_total", help: "")
                    let gauge = registry.gauge("g", help: "")
                    let histogram = registry.histogram("h", help: "", bounds: [1, 2, 3])
                    for round in 0..<rounds {
                        counter.increment(by: 2)
                        gauge.add(task % 2 == 0 ? 1 : -0.5)
                        histogram.observe(Double(round % 4))
                        if round % 5_000 == 0 { _ = registry.render() }
                    }
                }
            }
            for _ in 0..<50 {
                group.addTask { #expect(throws: Never.self) { try Exposition(registry.render()) } }
            }
        }
        let read = try read(registry)
        #expect(read.value("c_total") == Double(8 * rounds * 2))
        #expect(read.value("g") == Double(4 * rounds) * 0.5)
        #expect(read.value("h_count") == Double(8 * rounds))
        #expect(read.value("h_sum") == Double(8 * rounds) * 1.5)
        #expect(read.value("h_bucket", ["le": "1"]) == Double(4 * rounds))
    }

    @Test func librariesReportThroughSwiftMetrics() throws {
        let registry = PrometheusRegistry()
        let counter = Counter(label: "http.requests", dimensions: [("method", "GET")], factory: registry)
        counter.increment(by: 3)
        FloatingPointCounter(label: "work", factory: registry).increment(by: 1.5)
        Gauge(label: "level", factory: registry).record(7)
        Meter(label: "meter", factory: registry).increment(by: 2)
        Recorder(label: "size", dimensions: [], aggregate: true, factory: registry).record(100)
        Metrics.Timer(label: "http.duration", factory: registry).recordMilliseconds(250)
        let read = try read(registry)
        #expect(read.value("http_requests", ["method": "GET"]) == 3)
        #expect(read.value("work") == 1.5)
        #expect(read.families["work"]?.type == "counter")
        #expect(read.value("level") == 7)
        #expect(read.value("meter") == 2)
        #expect(read.value("size_bucket", ["le": "64"]) == 0)
        #expect(read.value("size_bucket", ["le": "256"]) == 1)
        #expect(read.value("http_duration_seconds_sum") == 0.25)
        counter.destroy()
        #expect(try self.read(registry).families["http_requests"] == nil)
    }
}

@Suite struct MetricsOfANodeTests {
    @Test func aNodesTextIsWellFormedAndNamedByTheRules() throws {
        let metrics = NodeMetrics(version: "1.2.3", node: "west \"1\"")
        metrics.redisUp(connection: "commands", shard: 0, true)
        let read = try Exposition(metrics.text())
        #expect(read.value("martlet_build_info", ["version": "1.2.3", "node": "west \"1\""]) == 1)
        #expect(read.value("martlet_redis_up", ["connection": "commands", "shard": "0"]) == 1)
        #expect(read.value("martlet_metrics_refused_total") == 0)
        for (name, family) in read.families {
            #expect(name.hasPrefix("martlet_") || name.hasPrefix("process_"))
            #expect(family.help.hasSuffix("."), "\(name)")
            #expect((family.type == "counter") == name.hasSuffix("_total"), "\(name)")
            #expect(family.type != "histogram" || name.hasSuffix("_seconds"), "\(name)")
            for sample in family.samples {
                let known: Set = [
                    "le", "reason", "kind", "type", "result", "limit", "command", "connection", "shard", "version",
                    "node", "right", "carrier",
                ]
                #expect(Set(sample.labels.keys).isSubset(of: known), "\(sample)")
            }
        }
    }

    @Test func theListOfTheStyleGuideIsThere() throws {
        let read = try Exposition(NodeMetrics(version: "1", node: "n").text())
        for name in [
            "martlet_sessions", "martlet_rooms", "martlet_sessions_closed_total", "martlet_frames_received_total",
            "martlet_publications_total", "martlet_deliveries_total", "martlet_deliveries_dropped_total",
            "martlet_fanout_seconds",
            "martlet_broker_lag_seconds", "martlet_redis_reconnects_total", "martlet_redis_command_seconds",
            "martlet_recoveries_total", "martlet_outbound_queue_bytes", "martlet_presence_refresh_seconds",
            "martlet_build_info",
            "martlet_appends_total", "martlet_publishes_total", "martlet_views_total", "martlet_holes_repaired_total",
            "martlet_gaps_total", "martlet_resets_total", "martlet_limit_refusals_total", "martlet_waiting_sends",
            "process_cpu_seconds_total", "process_resident_memory_bytes",
        ] {
            #expect(read.families[name] != nil, "\(name)")
        }
    }

    @Test func whatARoomCountsIsCountedWhereItBelongs() throws {
        let metrics = NodeMetrics(version: "1", node: "n")
        let counters: [(RoomCounter, String, [String: String])] = [
            (.appended, "martlet_appends_total", ["result": "stored"]), (.published, "martlet_publishes_total", [:]),
            (.refused, "martlet_appends_total", ["result": "refused"]),
            (.repeated, "martlet_appends_total", ["result": "repeated"]),
            (.notStored, "martlet_appends_total", ["result": "notStored"]), (.entered, "martlet_enters_total", [:]),
            (.view(.quiet), "martlet_views_total", ["reason": "quiet"]),
            (.holeRepaired, "martlet_holes_repaired_total", [:]),
            (.gap, "martlet_gaps_total", [:]), (.reset, "martlet_resets_total", [:]),
            (.alarm, "martlet_alarms_total", [:]),
            (.sendTimedOut, "martlet_limit_refusals_total", ["limit": "sendWait"]),
        ]
        for (counter, name, labels) in counters {
            #expect(try Exposition(metrics.text()).value(name, labels) == 0)
            metrics.count(counter)
            #expect(try Exposition(metrics.text()).value(name, labels) == 1)
        }
    }

    @Test func everyReasonAndEveryKindHasItsSeries() throws {
        let metrics = NodeMetrics(version: "1", node: "n")
        for reason in CloseReason.allCases { metrics.sessionsClosed[.closed(reason)].increment() }
        metrics.framesReceived[.ping].increment()
        metrics.refused(.nodeFull)
        metrics.refused(.tooManySessions)
        let read = try Exposition(metrics.text())
        #expect(read.value("martlet_sessions_closed_total", ["reason": "peer"]) == 0)
        for reason in CloseReason.allCases {
            #expect(read.value("martlet_sessions_closed_total", ["reason": reason.name]) == 1)
        }
        #expect(read.value("martlet_frames_received_total", ["type": "ping"]) == 1)
        #expect(read.value("martlet_limit_refusals_total", ["limit": "sessionsPerNode"]) == 1)
        #expect(read.value("martlet_limit_refusals_total", ["limit": "sessionsPerUser"]) == 1)
        #expect(read.value("martlet_sessions_refused_total", ["reason": "tooManySessions"]) == 1)
        #expect(RecoveryResult(.fresh) == nil && RecoveryResult(.complete) == .complete)
    }

    @Test func whatTheGatewayCountedIsTakenOver() throws {
        let metrics = NodeMetrics(version: "1", node: "n")
        var counters = GatewayCounters()
        counters.sessions = 3
        counters.connections = 5
        counters.queuedBytes = 700
        counters.sessionsOpened = 9
        counters.sessionsClosed = ["peer": 2, "slow": 3, "gone": 1, "protocolError": 4]
        counters.sessionsByProtocol = ["martlet.v1": 2, "stomp": 1]
        counters.framesReceived = [.send: 8]
        counters.framesSent = 80
        counters.bytesSent = 8_000
        counters.framesDropped = [.presence: 6, .signal: 7]
        counters.badFrames = ["frameTooLarge": 2, "badFrame": 1]
        counters.handshakesRefused = [401: 4]
        counters.connectionsRefused = 11
        counters.connectionsTimedOut = 12
        metrics.take(counters)
        metrics.take(counters)
        let read = try Exposition(metrics.text())
        let expected: [(String, [String: String], Double)] = [
            ("martlet_sessions", [:], 3), ("martlet_connections", [:], 5), ("martlet_outbound_queue_bytes", [:], 700),
            ("martlet_protocol_sessions", ["protocol": "martlet.v1"], 2),
            ("martlet_protocol_sessions", ["protocol": "stomp"], 1),
            ("martlet_sessions_opened_total", [:], 9), ("martlet_sessions_closed_total", ["reason": "peer"], 2),
            ("martlet_sessions_closed_total", ["reason": "slow"], 3),
            ("martlet_sessions_closed_total", ["reason": "gone"], 1),
            ("martlet_sessions_closed_total", ["reason": "protocolError"], 4),
            ("martlet_frames_received_total", ["type": "send"], 8), ("martlet_frames_sent_total", [:], 80),
            ("martlet_sent_bytes_total", [:], 8_000), ("martlet_deliveries_dropped_total", ["reason": "presence"], 6),
            ("martlet_deliveries_dropped_total", ["reason": "signal"], 7),
            ("martlet_frames_bad_total", ["code": "badFrame"], 1),
            ("martlet_handshakes_refused_total", ["status": "401"], 4),
            ("martlet_connections_refused_total", [:], 11), ("martlet_connections_timed_out_total", [:], 12),
            ("martlet_limit_refusals_total", ["limit": "frameBytes"], 2),
            ("martlet_limit_refusals_total", ["limit": "outboundBytes"], 3),
        ]
        for (name, labels, value) in expected { #expect(read.value(name, labels) == value, "\(name) \(labels)") }
    }

    @Test func whatARedisLinkDoesIsCounted() throws {
        let metrics = NodeMetrics(version: "1", node: "n")
        let observer = RedisMetrics(metrics, shard: 1)
        observer.redisSent(commands: 3, bytes: 100, queuedBytes: 40)
        observer.redisAnswered(operation: RedisCodec.Operation.once.rawValue, nanoseconds: 2_000_000)
        observer.redisAnswered(operation: 255, nanoseconds: .max)
        observer.redisHeard(bytes: 10, accepted: true)
        observer.redisHeard(bytes: 10, accepted: false)
        let read = try Exposition(metrics.text())
        #expect(read.value("martlet_redis_commands_total") == 3)
        #expect(read.value("martlet_redis_sent_bytes_total") == 100)
        #expect(read.value("martlet_redis_queued_bytes", ["shard": "1"]) == 40)
        #expect(read.value("martlet_redis_command_seconds_sum", ["command": "once"]) == 0.002)
        #expect(read.value("martlet_redis_command_seconds_count", ["command": "done"]) == 1)
        #expect(read.value("martlet_redis_heard_total") == 2)
        #expect(read.value("martlet_redis_heard_bytes_total") == 20)
        #expect(read.value("martlet_redis_unreadable_total") == 1)
    }

    @Test func theKernelsLineIsReadWhateverTheProgramIsCalled() {
        let stat =
            "7 (a) b (c)) S 1 7 7 0 -1 4194304 900 0 0 0 250 50 0 0 20 0 3 0 12345 100000000 "
            + "2000 18446744073709551615 1\n"
        let sample = ProcessSample(stat: stat, ticksPerSecond: 100, pageBytes: 4_096)
        #expect(sample?.cpuSeconds == 3)
        #expect(sample?.threads == 3)
        #expect(sample?.startSeconds == 123.45)
        #expect(sample?.residentBytes == 8_192_000)
        for broken in ["", "7 (x", "7 (x) S 1 2", "7 (x) S 1 7 7 0 -1 1 1 0 0 0 x y 0 0 20 0 3 0 1 1 1 1"] {
            #expect(ProcessSample(stat: broken, ticksPerSecond: 100, pageBytes: 4_096) == nil)
        }
    }

    @Test func theProcessIsSeenAsItIs() throws {
        let read = try Exposition(NodeMetrics(version: "1", node: "n").text())
        #expect((read.value("process_resident_memory_bytes") ?? 0) > 1_000_000)
        #expect((read.value("process_cpu_seconds_total") ?? -1) >= 0)
        #expect((read.value("process_start_time_seconds") ?? 0) > 1_600_000_000)
        #expect((read.value("process_open_fds") ?? 0) >= 3)
        #expect((read.value("process_max_fds") ?? 0) > 3)
        #expect((read.value("process_threads") ?? 0) >= 1)
    }
}
