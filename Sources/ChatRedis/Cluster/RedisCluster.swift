import ChatCore
import Logging
import NIOConcurrencyHelpers
import NIOCore

/// Knows which masters a Redis Cluster has and which slots each serves, for all links of a node, and notifies the links
/// after each query.
///
/// Queries any node that answers, out of those that the URL names and those that the Cluster reports. It does so every
/// few seconds, and at once when a link found that the topology has changed. It may be used from any thread.
public final class RedisCluster: Sendable {
    public let url: ClusterURL
    private let logger: Logger
    private let loop: any EventLoop
    private let state = NIOLockedValueBox(State())
    private let wake: AsyncStream<Void>.Continuation
    private let wakes: AsyncStream<Void>
    /// Connects links to nodes of the Cluster.
    let connector: RedisConnector
    /// Queries a node for the topology.
    private let question: ClusterQuestion

    private struct State {
        var topology: ClusterTopology?
        var followers: [@Sendable (ClusterTopology) -> Void] = []
        /// The node that probably knows the newest topology.
        var best: ClusterAddress?
        /// Nodes that may have an outdated topology.
        var last: Set<ClusterAddress> = []
        /// Why no node could be queried in the last round.
        var trouble: RedisSetupError?
        /// The number of completed rounds of queries.
        var rounds = 0
        var task: Task<Void, Never>?
    }

    /// The interval between queries while nothing is wrong.
    private static let interval: TimeAmount = .seconds(5)
    /// The minimum pause between two queries.
    private static let pause: Duration = .milliseconds(100)

    /// Throws if the URL's certificate authority cannot be read. Does not connect yet.
    ///
    /// `timeout` applies to connecting to a node and to its answer, each.
    public init(
        _ url: ClusterURL, timeout: Duration = .seconds(1), connectTimeout: Duration = .seconds(5),
        eventLoop: any EventLoop, logger: Logger
    ) throws(RedisSetupError) {
        self.url = url
        self.logger = logger
        loop = eventLoop
        connector = try RedisConnector(url: url.node(ClusterAddress(host: "", port: 0)), timeout: connectTimeout)
        question = ClusterQuestion(
            connector: try RedisConnector(url: connector.url, timeout: timeout), loop: eventLoop)
        (wakes, wake) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    deinit { stop() }

    /// Starts to query. Called once.
    public func start() {
        let timer = loop.scheduleRepeatedTask(initialDelay: Self.interval, delay: Self.interval) { [wake] _ in
            wake.yield()
        }
        wake.yield()
        let task = Task { [weak self, wakes] in
            for await _ in wakes {
                guard await self?.look() == true else { break }
                try? await Task.sleep(for: Self.pause)
            }
            timer.cancel()
        }
        state.withLockedValue { $0.task = task }
    }

    /// Stops; followers are not called any more.
    public func stop() {
        wake.finish()
        state.withLockedValue { state in
            state.followers = []
            state.task?.cancel()
            state.task = nil
        }
    }

    /// `changed` is called after every query, even if the topology is the same, and at once if it is known. It may be
    /// called on any thread.
    func follow(_ changed: @escaping @Sendable (ClusterTopology) -> Void) {
        let known = state.withLockedValue { state in
            state.followers.append(changed)
            return state.topology
        }
        if let known { changed(known) }
    }

    /// Called when the topology seems outdated: queries again soon, `best` first, and `last` only if nobody else
    /// answers.
    func troubled(best: ClusterAddress?, last: ClusterAddress?) {
        state.withLockedValue { state in
            if let best { state.best = best }
            if let last { state.last.insert(last) }
        }
        wake.yield()
    }

    /// The master of a slot, as soon as it is known. Throws the reason if it is not known in time.
    public func find(_ slot: HashSlot, within patience: Duration) async throws(RedisSetupError) -> RedisURL {
        let end = ContinuousClock.now + patience
        while true {
            let (topology, trouble, rounds) = state.withLockedValue { ($0.topology, $0.trouble, $0.rounds) }
            if let master = topology?.masters.first(where: { $0.slots.contains(slot) }) {
                return url.node(master.address)
            }
            if let trouble, !trouble.mayHeal { throw trouble }
            guard ContinuousClock.now < end, !Task.isCancelled else {
                throw trouble
                    ?? RedisSetupError(
                        .noCluster,
                        rounds == 0
                            ? "\(url): no node of the Cluster answered in \(patience)"
                            : "\(url): no master serves slot \(slot.number) (CLUSTER ADDSLOTS)")
            }
            wake.yield()
            try? await Task.sleep(for: .milliseconds(20))
        }
    }

    /// All known masters.
    public var masters: [RedisURL] {
        state.withLockedValue { $0.topology }?.masters.map { url.node($0.address) } ?? []
    }

    // MARK: Asking

    /// Returns false after the object was stopped.
    private func look() async -> Bool {
        var errors: [RedisSetupError] = []
        for target in candidates() {
            guard !Task.isCancelled else { return false }
            do throws(RedisSetupError) {
                learn(try await question.ask(target))
                return true
            } catch {
                errors.append(error)
            }
        }
        failed(errors)
        return !Task.isCancelled
    }

    /// The nodes to query, in order and without duplicates.
    private func candidates() -> [RedisURL] {
        let (best, last, topology) = state.withLockedValue { state in
            defer { (state.best, state.last) = (nil, []) }
            return (state.best, state.last, state.topology)
        }
        let masters = (topology?.masters.map(\.address) ?? []).shuffled()
        let others = (topology?.nodes ?? []).shuffled()
        let known = ([best].compactMap { $0 } + masters + others).map { url.node($0) } + url.seeds
        let suspects = Set(last.map { url.node($0) })
        var seen: Set<RedisURL> = []
        return (known.filter { !suspects.contains($0) } + known).filter { seen.insert($0).inserted }
    }

    private func learn(_ seen: ClusterTopology) {
        let (topology, isNews, wasTroubled, followers) = state.withLockedValue { state in
            let topology = state.topology.map { seen.seen(after: $0) } ?? seen
            // (A migration moves thousands of slots.)
            let isNews =
                topology.masters.map(\.address) != state.topology?.masters.map(\.address)
                || topology.covered != state.topology?.covered
            let wasTroubled = state.trouble != nil
            state.topology = topology
            state.trouble = nil
            state.rounds += 1
            return (topology, isNews, wasTroubled, state.followers)
        }
        if isNews || wasTroubled {
            let masters = topology.masters.map { "\($0.address)" }.sorted().joined(separator: " ")
            logger.notice("the masters of the redis cluster are known", metadata: ["address": "\(masters)"])
            let missing = SlotSet.all.subtracting(topology.covered)
            if !missing.isEmpty {
                logger.warning(
                    "nobody serves some slots of the redis cluster", metadata: ["slots": "\(missing.summary)"])
            }
        }
        for follower in followers { follower(topology) }
    }

    private func failed(_ errors: [RedisSetupError]) {
        // An error that waiting does not cure is the most informative one.
        let error =
            errors.first { !$0.mayHeal } ?? errors.first ?? RedisSetupError(.noCluster, "\(url): no node to ask")
        let isNews = state.withLockedValue { state in
            defer { state.trouble = error }
            return state.trouble?.code != error.code
        }
        if isNews {
            logger.warning("no node of the redis cluster can be asked", metadata: ["error": "\(error.message)"])
        }
    }
}
