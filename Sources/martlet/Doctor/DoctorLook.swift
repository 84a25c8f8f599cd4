import ChatCore
import ChatNode
import ChatRedis
import ChatRelay
import RedisSchema

/// The settings of an examination.
struct DoctorOptions: Sendable {
    /// The environment, as `serve` would read it.
    var environment: [String: String]
    /// The maximum number of keys to scan.
    var keyLimit = 200_000
    /// The maximum number of rooms to examine.
    var roomLimit = 20_000
    /// How long to wait for a heartbeat of each node.
    var wait: Duration = .seconds(6)
    /// How long after the first pass the rooms with findings are examined again.
    var secondLook: Duration = .milliseconds(1_500)
}

/// Examines everything, in bounded batches that only read, and collects the findings of the rules.
struct DoctorLook {
    let options: DoctorOptions
    /// Called with the current step and the progress (0…1).
    let progress: @Sendable (String, Double) -> Void
    var report = DoctorReport()

    init(_ options: DoctorOptions, progress: @escaping @Sendable (String, Double) -> Void) {
        self.options = options
        self.progress = progress
    }

    mutating func run() async -> DoctorReport {
        report.add(DoctorServer.configuration(options.environment))
        let given = options.environment.keys.count { NodeConfiguration.variables.contains($0) }
        report.fine(.configuration, "\(given) variables are set, and a node would start with them")
        let configuration: NodeConfiguration
        do throws(ConfigurationError) {
            configuration = try NodeConfiguration.loadForTools(environment: options.environment)
        } catch {
            report.unseen.append("Redis, nodes and rooms: the environment does not say where Redis is")
            return report
        }
        guard !configuration.redis.address.isMemory else {
            report.fine(.redis, "MARTLET_REDIS_URL is memory:, a node alone that shares nothing to look at")
            return report
        }
        do {
            let whole = try? NodeConfiguration.load(environment: options.environment)
            progress("looking for Redis", 0)
            try await examine(
                try await configuration.findRedis(), try configuration.redisKeys(),
                replicas: whole?.redis.ackReplicas ?? 0)
        } catch let error as RedisSetupError {
            report.add([DoctorServer.connection(error)])
            report.unseen.append("nodes, keys and rooms: there is no connection to Redis")
        } catch {
            report.add([
                Finding(.must, .redis, nil, "it cannot be looked at: \(error)", do: "see that Redis runs and answers")
            ])
        }
        return report
    }

    private mutating func examine(_ target: RedisTarget, _ keys: RedisKeys, replicas: Int) async throws {
        progress("asking Redis", 0)
        let redis = try await RedisServers.connect(target, name: "doctor")
        let servers = await present(redis, replicas: replicas)
        try await settings(servers)
        try await writes(servers, keys)
        let here = try await clock(servers)
        let nodes = try await nodesOrWhyNot(redis, keys)
        try await library(servers, nodes?.nodes.count { $0.report != nil } ?? 0)
        try await rights(servers, keys, user: target.user ?? "default")
        // Without the nodes it is impossible to tell which nodes of a room are dead.
        guard let nodes else { return }
        report.add(DoctorNodes.findings(nodes.nodes, at: nodes.time, keys))
        let living = nodes.nodes.filter { $0.report != nil }
        report.fine(.nodes, DoctorNodes.summary(living))
        try await clocks(redis, keys, living, here: here)
        try await events(redis, keys, at: nodes.time)
        try await scan(redis, servers, keys, nodes)
        await redis.close()
    }

    private mutating func nodesOrWhyNot(_ redis: RedisServers, _ keys: RedisKeys) async throws -> TopSample? {
        do {
            let sample = try await nodes(redis, keys)
            // The scan finds keys of the wrong type. Keys that we may not read would make living nodes look dead.
            if let refused = sample.problems.first(where: {
                $0.contains("NOPERM") || $0.contains("CLUSTERDOWN")
            }) {
                throw TopError(refused)
            }
            return sample
        } catch let error as TopError {
            if error.description.contains("WRONGTYPE") {
                report.add([
                    Finding(
                        .must, .keys, keys.nodes, "one of the nodes' own keys is of a foreign type: \(error)",
                        do: "see what it is and who wrote it, then RENAME or DEL it")
                ])
            }
            report.unseen.append("nodes, keys and rooms: \(error)")
            return nil
        }
    }

    static func list(_ names: [String]) -> String {
        names.prefix(8).joined(separator: ", ") + (names.count > 8 ? " …" : "")
    }

    // MARK: Nodes

    private func nodes(_ redis: RedisServers, _ keys: RedisKeys) async throws -> TopSample {
        let queries = TopQueries(keys: keys)
        var sample = try queries.begin(try await redis.ask(queries.beginning))
        let commands = queries.nodes(sample.nodes, cursors: [:], slice: 1)
        _ = queries.readNodes(try await redis.ask(commands), cursors: [:], into: &sample)
        return sample
    }

    /// What relays and their sinks are behind.
    private mutating func events(_ redis: RedisServers, _ keys: RedisKeys, at time: UInt64) async throws {
        let queries = TopEventQueries(keys: keys)
        guard var events = queries.begin(try await redis.ask(queries.beginning), at: time) else {
            return report.fine(.events, "there never was a relay, so nobody waits for events")
        }
        queries.read(try await redis.ask(queries.partitions(events)), at: time, into: &events)
        report.add(events.problems.map { Finding(.warning, .events, nil, $0.problem, do: $0.remedy) })
        let store = WebhookStore(keys: keys)
        report.add(Self.endpoints(try await redis.ask([store.read]).first ?? .null, store))
        let sinks = events.sinks.map { "\($0.name) \($0.rooms) rooms behind" }
        report.fine(.events, "\(events.relays.count) relays; sinks: \(Self.list(sinks))")
    }

    /// The webhook endpoints to which nothing is sent. `stored`: the reply to ``WebhookStore/read``.
    static func endpoints(_ stored: RedisValue, _ store: WebhookStore) -> [Finding] {
        if let error = stored.error {
            return [
                Finding(
                    .must, .events, store.read.last,
                    "the webhook endpoints cannot be read: \(error). Relays go on with those "
                        + "that they know, and do not notice new ones",
                    do: "see what it is and who wrote it (TYPE), then RENAME or DEL it")
            ]
        }
        let unreadable = store.unreadable(stored).map { id in
            Finding(
                .warning, .events, nil, "the webhook endpoint \(id) cannot be read, so nothing is sent to it",
                do: "martlet webhooks remove \(ShellText.quoted(id)), and add it again")
        }
        let disabled = store.endpoints(stored).compactMap { endpoint in
            endpoint.disabled.map { why in
                Finding(
                    .warning, .events, nil, "nothing is sent to the webhook endpoint \(endpoint.id): \(why)",
                    do: "martlet webhooks enable \(endpoint.id), once its server wants events again, or remove it")
            }
        }
        return unreadable + disabled
    }

    private mutating func clocks(
        _ redis: RedisServers, _ keys: RedisKeys, _ nodes: [TopSample.Node], here: Int?
    ) async throws {
        var watch = ClockWatch()
        let began = ContinuousClock.now
        while !nodes.isEmpty {
            let replies = try await redis.ask([["TIME"]] + nodes.map { ["GET", keys.node($0.id.text)] })
            var reports: [String: UInt64] = [:]
            for (node, reply) in zip(nodes, replies.dropFirst()) {
                guard let json = reply.string else { continue }
                reports[node.id.text] =
                    Array(json.utf8).withUnsafeBytes { NodeReportReader.report(of: node.id, $0) }.clock
            }
            watch.look(reports, at: replies.first.map(TopQueries.time) ?? 0)
            let passed = ContinuousClock.now - began
            guard !watch.isDone, passed < options.wait else { break }
            progress("waiting for a heartbeat of each node", passed / options.wait)
            try await Task.sleep(for: .milliseconds(100))
        }
        let clocks = watch.clocks.map { DoctorNodes.Clock(node: $0.key, skew: $0.value) }.sorted { $0.node < $1.node }
        report.add(DoctorNodes.findings(clocks, here: here))
        if !watch.unknown.isEmpty, options.wait > .zero {
            report.unseen.append("the clocks of \(Self.list(watch.unknown)): no heartbeat came in \(options.wait)")
            let time = TopQueries.time(try await redis.ask([["TIME"]]).first ?? .null)
            let lease = (try? NodeConfiguration.load(environment: options.environment))?.node.lease ?? .seconds(15)
            report.add(
                DoctorNodes.silent(nodes.filter { watch.unknown.contains($0.id.text) }, at: time, lease: lease))
        }
        report.fine(
            .clocks,
            "\(clocks.count) nodes and this machine differ from Redis' by less than "
                + "\(TopText.span(UInt64(DoctorNodes.skewWarning)))"
        )
    }

    // MARK: Keys and rooms

    private mutating func scan(
        _ redis: RedisServers, _ servers: [DoctorTarget], _ keys: RedisKeys, _ nodes: TopSample
    ) async throws {
        let queries = DoctorQueries(keys: keys)
        guard let names = try await keyNames(servers, queries) else { return }
        let rules = rules(keys, nodes)
        var rooms: [String] = []
        var seen: Set<String> = []
        var suspects: [String] = []
        for start in stride(from: 0, to: names.count, by: 500) {
            let piece = Array(names[start..<min(start + 500, names.count)])
            let facts = queries.readTypes(piece, try await redis.ask(queries.types(piece)))
            for key in facts {
                if rules.finding(key) != nil { suspects.append(key.name) }
                if case .room(let room, _) = KeyKind(key.name, keys), seen.insert(room).inserted { rooms.append(room) }
            }
            progress("looking at keys", Double(start) / Double(max(1, names.count)))
        }
        if rooms.count > options.roomLimit {
            report.unseen.append("\(rooms.count - options.roomLimit) of \(rooms.count) rooms (--rooms)")
            rooms.removeLast(rooms.count - options.roomLimit)
        }
        try await judge(redis, queries, rules, rooms: rooms, keys: suspects)
        report.fine(.keys, "\(names.count) of this prefix, each of its type")
        report.fine(.rooms, "\(rooms.count) looked at: no dead node, no hole, nothing that stays for ever")
    }

    private func rules(_ keys: RedisKeys, _ nodes: TopSample) -> DoctorKeys {
        var rules = DoctorKeys(
            keys: keys, living: Set(nodes.nodes.filter { $0.report != nil }.map(\.id.text)),
            registered: Set(nodes.nodes.map(\.id.text)))
        rules.time = nodes.time
        if let configuration = try? NodeConfiguration.load(environment: options.environment) {
            rules.roomTTL = Int(clamping: Int64(configuration.rooms.timeToLive / .milliseconds(1)))
            rules.conversationTTL = Int(clamping: Int64(configuration.rooms.conversationTimeToLive / .milliseconds(1)))
        }
        return rules
    }

    /// All keys with the prefix, up to the limit; nil if they cannot be listed.
    private mutating func keyNames(_ servers: [DoctorTarget], _ queries: DoctorQueries) async throws -> [String]? {
        var total = 0
        for server in servers { total += try await server.inspector.ask("DBSIZE").integer ?? 0 }
        var names: Set<String> = []
        var looked = 0
        for server in servers {
            var cursor = "0"
            repeat {
                guard looked < options.keyLimit else {
                    report.unseen.append("keys beyond the first \(options.keyLimit) of about \(total) (--keys)")
                    return names.sorted()
                }
                let reply = try await server.inspector.ask("SCAN", cursor, "MATCH", queries.pattern, "COUNT", "1000")
                if let error = reply.error {
                    report.unseen.append("keys and rooms: \(error) (redis/users.acl allows it)")
                    return nil
                }
                guard let parts = reply.array, parts.count == 2, let next = parts[0].string else { return nil }
                names.formUnion((parts[1].array ?? []).compactMap(\.string))
                cursor = next
                looked += 1_000
                progress("listing keys", min(1, Double(looked) / Double(max(1, total))))
            } while cursor != "0"
        }
        return names.sorted()
    }

    /// Examines rooms, and a moment later examines everything with findings once more, because nodes come and go
    /// meanwhile.
    private mutating func judge(
        _ redis: RedisServers, _ queries: DoctorQueries, _ rules: DoctorKeys, rooms: [String], keys: [String]
    ) async throws {
        var first: Set<String> = []
        var odd: [String] = []
        let (all, unserved) = try await look(redis, queries, rooms)
        if unserved > 0 { report.unseen.append("\(unserved) of \(rooms.count) rooms: no master could be asked") }
        for facts in all {
            let findings = rules.findings(facts)
            if !findings.isEmpty { odd.append(facts.name) }
            first.formUnion(findings.map(\.identity))
        }
        guard !odd.isEmpty || !keys.isEmpty else { return }
        progress("examining the findings again", 0)
        try await Task.sleep(for: options.secondLook)
        let now = self.rules(queries.keys, try await nodes(redis, queries.keys))
        for facts in try await look(redis, queries, odd).facts {
            report.add(now.findings(facts).filter { first.contains($0.identity) })
        }
        for start in stride(from: 0, to: keys.count, by: 500) {
            let piece = Array(keys[start..<min(start + 500, keys.count)])
            let facts = queries.readTypes(piece, try await redis.ask(queries.types(piece)))
            report.add(facts.compactMap { now.finding($0) })
        }
    }

    /// The state of the rooms, and the number of rooms whose master could not be asked.
    private func look(
        _ redis: RedisServers, _ queries: DoctorQueries, _ rooms: [String]
    ) async throws -> (facts: [RoomFacts], unserved: Int) {
        var result: [RoomFacts] = []
        var unserved = 0
        for start in stride(from: 0, to: rooms.count, by: 50) {
            let piece = rooms[start..<min(start + 50, rooms.count)]
            let replies = try await redis.ask(piece.flatMap { queries.room($0) })
            for (index, room) in piece.enumerated() {
                let place = index * DoctorQueries.commandsPerRoom
                let answers = replies[place..<min(place + DoctorQueries.commandsPerRoom, replies.count)]
                guard !answers.contains(where: \.isUnserved) else {
                    unserved += 1
                    continue
                }
                var facts = queries.readRoom(room, answers)
                if let first = facts.first, let last = facts.last, last.seq >= first.seq,
                    UInt64(facts.length) < last.seq - first.seq + 1
                {
                    let log = queries.keys.key(.log, of: room)
                    facts.holes = DoctorQueries.holes(
                        try await redis.ask("XRANGE", log, "-", "+", "COUNT", "\(DoctorQueries.logPage)"))
                    if facts.keys[.overlay]?.type == "hash" {
                        let (seqs, command) = queries.overlay(room, facts.holes)
                        let states = seqs.isEmpty ? [] : try await redis.ask([command])
                        let erased = states.first.map { DoctorQueries.tombstones(seqs, $0) } ?? []
                        facts.tombstones = UInt64(erased.count)
                        facts.holes = DoctorQueries.holes(facts.holes, without: erased)
                    }
                }
                result.append(facts)
            }
            progress("looking at rooms", Double(start) / Double(rooms.count))
        }
        return (result, unserved)
    }
}
