public import ChatCore
public import NIOCore
import NIOPosix

/// The single Redis of the nodes, or all masters of their Cluster, for inspection tools: any commands in, their replies
/// out, whichever server has to answer them.
///
/// For a single Redis it is only a ``RedisInspector``. For a Cluster it knows the topology, sends each master its part
/// of a batch in one write, all at the same time, and queries the topology again after a refusal, after a lost
/// connection, and every few seconds. A master that is unreachable costs only the replies that it would have given
/// (``RedisValue/isUnserved``).
public actor RedisServers {
    /// The single Redis, or a master of the Cluster.
    public struct Server: Sendable {
        public let url: RedisURL
        /// Nil for a single Redis, which has all keys.
        public let slots: SlotSet?
        /// Whether it serves the nodes' keys.
        public let hasNodes: Bool
        /// For commands to this server; or the reason why it cannot be reached.
        public let inspector: Result<RedisInspector, RedisSetupError>

        /// `host:port`
        public var name: String { url.place }
        public var kind: RedisServerKind { slots == nil ? .single : .clusterMaster }
    }

    /// The replies of one server to commands that every server was sent.
    public struct Answer: Sendable {
        /// `host:port`
        public let server: String
        public let replies: Result<[RedisValue], RedisSetupError>

        /// The reply to the command at that place; an error if the server could not be asked
        /// (``RedisValue/isUnserved``).
        public subscript(place: Int) -> RedisValue {
            switch replies {
            case .success(let replies): place < replies.count ? replies[place] : .null
            case .failure(let error): ClusterBatch.reply(to: error)
            }
        }
    }

    private struct Connection {
        var inspector: Result<RedisInspector, RedisSetupError>
        /// When to try again after a failure.
        var next: ContinuousClock.Instant
    }

    public nonisolated let target: RedisTarget
    private let name: String
    private let timeout: Duration
    private let loop: any EventLoop
    private let connector: RedisConnector
    private let question: ClusterQuestion
    /// For a Cluster: the topology, and when it was queried.
    private var topology = ClusterTopology(masters: [], nodes: [])
    /// Ordered by their slots.
    private var masters: [ClusterTopology.Master] = []
    private var learned = ContinuousClock.now
    private var connections: [RedisURL: Connection] = [:]

    /// The topology is queried again after this time even if nothing is wrong, as a master may have been added.
    private static let staleness: Duration = .seconds(5)
    /// A master that could not be reached is tried again after this time plus four times the duration of the failed
    /// attempt.
    private static let pause: Duration = .seconds(1)

    /// Connects. Throws the reason if that fails: for a single Redis as ``RedisInspector`` does; for a Cluster if no
    /// node answers the topology query, or no master can be reached. `name` is shown in CLIENT LIST; `timeout` applies
    /// to each connection and to each batch.
    public static func connect(
        _ target: RedisTarget, name: String, timeout: Duration = .seconds(5),
        on loop: any EventLoop = MultiThreadedEventLoopGroup.singleton.any()
    ) async throws(RedisSetupError) -> RedisServers {
        let servers = try RedisServers(target, name, timeout, loop)
        try await servers.start()
        return servers
    }

    private init(
        _ target: RedisTarget, _ name: String, _ timeout: Duration, _ loop: any EventLoop
    ) throws(RedisSetupError) {
        self.target = target
        self.name = name
        self.timeout = timeout
        self.loop = loop
        let url =
            switch target {
            case .single(let url): url
            case .cluster(let url, _): url.node(ClusterAddress(host: "", port: 0))
            }
        connector = try RedisConnector(url: url, timeout: timeout)
        question = ClusterQuestion(
            connector: try RedisConnector(url: url, timeout: min(timeout, .seconds(1))), loop: loop)
    }

    private func start() async throws(RedisSetupError) {
        guard case .cluster = target else {
            _ = try await inspector(connector.url).get()
            return
        }
        try await learn(nil)
        let all = await all
        let errors = all.compactMap { $0.inspector.error }
        guard errors.count == all.count, let error = errors.first(where: { !$0.mayHeal }) ?? errors.first else {
            return
        }
        throw error
    }

    // MARK: Servers

    /// The single Redis, or all masters with slots, ordered by their slots and connected as far as possible.
    public var all: [Server] {
        get async {
            guard case .cluster(let url, let nodesSlot) = target else {
                let inspector = await inspector(connector.url)
                return [Server(url: connector.url, slots: nil, hasNodes: true, inspector: inspector)]
            }
            let masters = masters
            let inspectors = await each(masters.map { url.node($0.address) }) { await self.inspector($0) }
            return zip(masters, inspectors).map { master, inspector in
                Server(
                    url: url.node(master.address), slots: master.slots, hasNodes: master.slots.contains(nodesSlot),
                    inspector: inspector)
            }
        }
    }

    /// The number of servers.
    public var count: Int { target.isCluster ? masters.count : 1 }

    /// The slots of the Cluster that no master claims.
    public var unserved: SlotSet { target.isCluster ? SlotSet.all.subtracting(topology.covered) : SlotSet() }

    public func close() {
        for connection in connections.values { try? connection.inspector.get().close() }
        connections = [:]
    }

    private func inspector(_ url: RedisURL) async -> Result<RedisInspector, RedisSetupError> {
        if let known = connections[url] {
            switch known.inspector {
            case .success: return known.inspector
            case .failure where ContinuousClock.now < known.next: return known.inspector
            case .failure: break
            }
        }
        let began = ContinuousClock.now
        let made: Result<RedisInspector, RedisSetupError>
        do throws(RedisSetupError) {
            made = .success(
                try await RedisInspector.connect(
                    RedisConnector(connector, url: url), name: name, kind: target.isCluster ? .clusterMaster : .single,
                    timeout: timeout, on: loop))
        } catch {
            made = .failure(error)
        }
        let end = ContinuousClock.now
        connections[url] = Connection(inspector: made, next: end + Self.pause + (end - began) * 4)
        return made
    }

    // MARK: Asking

    /// Returns a reply for each command, errors included. Throws if the single Redis, or every master, is unreachable.
    ///
    /// Commands that a Cluster refuses, or that were lost with a connection, are sent once more, so they must only
    /// read.
    public func ask(_ commands: [[String]]) async throws(RedisSetupError) -> [RedisValue] {
        try await ask(commands, each: []).replies
    }

    /// Sends one command.
    public func ask(_ words: String...) async throws(RedisSetupError) -> RedisValue {
        try await ask([words]).first ?? .null
    }

    /// Sends the batch, and in the same writes the commands `extra` to every server.
    public func ask(
        _ commands: [[String]], each extra: [[String]]
    ) async throws(RedisSetupError) -> (replies: [RedisValue], each: [Answer]) {
        guard case .cluster(let url, let nodesSlot) = target else {
            let replies = try await ask(commands + extra, at: connector.url).get()
            let own = Array(replies.dropFirst(commands.count))
            return (
                Array(replies.prefix(commands.count)), [Answer(server: connector.url.place, replies: .success(own))]
            )
        }
        if ContinuousClock.now - learned > Self.staleness { try? await learn(nil) }
        var batch = ClusterBatch(commands, nodesSlot: nodesSlot)
        var answers = await ask(&batch, extra, url)
        var isAnswered = answers.contains { $0.replies.error == nil }
        let isLost = answers.contains { $0.replies.error != nil }
        if batch.isOpen || isLost {
            try? await learn(batch.hint)
            let again = await ask(&batch, isLost ? extra : [], url)
            isAnswered = isAnswered || again.contains { $0.replies.error == nil }
            if isLost, !again.isEmpty { answers = again }
        }
        let isAlone = !isAnswered && !connections.values.contains { $0.inspector.value != nil }
        if isAlone, let error = answers.lazy.compactMap(\.replies.error).first { throw error }
        return (batch.replies, extra.isEmpty ? [] : answers)
    }

    /// Runs one round of a batch. Returns the replies to `extra` of each master, or that it could not be reached.
    private func ask(_ batch: inout ClusterBatch, _ extra: [[String]], _ url: ClusterURL) async -> [Answer] {
        var parts = batch.parts(topology)
        if !extra.isEmpty {
            let all = masters.map { master in
                parts.first { $0.address == master.address } ?? ClusterBatch.Part(address: master.address)
            }
            parts = all + parts.filter { part in !all.contains { $0.address == part.address } }
        }
        let answers = await each(parts) { await self.ask($0.commands + extra, at: url.node($0.address)) }
        var result: [Answer] = []
        for (part, answer) in zip(parts, answers) {
            switch answer {
            case .success(let replies): batch.answered(part, replies.prefix(part.commands.count))
            case .failure(let error): batch.lost(part, error)
            }
            let own = answer.map { Array($0.dropFirst(part.commands.count)) }
            result.append(Answer(server: url.node(part.address).place, replies: own))
        }
        return result
    }

    private func ask(_ commands: [[String]], at url: RedisURL) async -> Result<[RedisValue], RedisSetupError> {
        switch await inspector(url) {
        case .failure(let error): return .failure(error)
        case .success(let inspector):
            do throws(RedisSetupError) {
                return .success(try await inspector.ask(commands))
            } catch {
                // It is connected again the next time.
                if connections[url]?.inspector.value === inspector { connections[url] = nil }
                return .failure(error)
            }
        }
    }

    // MARK: The Cluster

    /// Queries the topology: from masters that are connected first, then from every known node.
    private func learn(_ hint: ClusterAddress?) async throws(RedisSetupError) {
        guard case .cluster(let url, _) = target else { return }
        let known = (topology.masters.map(\.address) + topology.nodes).map { url.node($0) }
        let connected = known.filter { connections[$0]?.inspector.value != nil }
        var seen: Set<RedisURL> = []
        var errors: [RedisSetupError] = []
        for target in [hint].compactMap({ $0 }).map({ url.node($0) }) + connected + known + url.seeds
        where seen.insert(target).inserted {
            do throws(RedisSetupError) {
                let found: ClusterTopology
                if let inspector = connections[target]?.inspector.value {
                    found = try await ClusterQuestion.ask(inspector, at: target)
                } else {
                    found = try await question.ask(target)
                }
                topology = found.seen(after: topology)
                learned = ContinuousClock.now
                masters = topology.masters.map { ($0, $0.slots.slots.first?.number ?? 0) }.sorted { $0.1 < $1.1 }
                    .map(\.0)
                let urls = Set(masters.map { url.node($0.address) })
                for (url, connection) in connections where !urls.contains(url) {
                    connection.inspector.value?.close()
                    connections[url] = nil
                }
                return
            } catch {
                errors.append(error)
            }
        }
        throw errors.first { !$0.mayHeal } ?? errors.first ?? RedisSetupError(.noCluster, "\(url): no node to ask")
    }

    /// Runs the operation for all items concurrently, and returns the results in order.
    private func each<Item: Sendable, Value: Sendable>(
        _ items: [Item], _ body: @escaping @Sendable (Item) async -> Value
    ) async -> [Value] {
        await withTaskGroup(of: (Int, Value).self) { tasks in
            for (index, item) in items.enumerated() { tasks.addTask { (index, await body(item)) } }
            var values: [(Int, Value)] = []
            for await value in tasks { values.append(value) }
            return values.sorted { $0.0 < $1.0 }.map(\.1)
        }
    }
}

extension Result {
    fileprivate var value: Success? { try? get() }

    fileprivate var error: Failure? {
        switch self {
        case .success: nil
        case .failure(let error): error
        }
    }
}
