import CLinux
import ChatCore
import ChatGateway
import ChatHub
import Logging
import ServiceLifecycle

/// The periodic work of a node: it sends heartbeats, looks for nodes that have stopped sending them, audits its
/// connections, and in the end leaves in order.
final class NodeLife: Sendable {
    private let node: NodeID
    private let configuration: NodeConfiguration
    private let hub: Hub
    private let keeper: Keeper
    private let commands: CommandReader
    private let words: WordFile?
    private let logger: Logger
    private var pulse: NodePulse { keeper.pulse }

    var address: String {
        get { pulse.address }
        set { pulse.address = newValue }
    }

    init(
        node: NodeID, configuration: NodeConfiguration, hub: Hub, keeper: Keeper, commands: CommandReader,
        words: WordFile?, logger: Logger
    ) {
        self.node = node
        self.configuration = configuration
        self.hub = hub
        self.keeper = keeper
        self.commands = commands
        self.words = words
        self.logger = logger
    }

    /// How long Redis keeps a heartbeat. As nodes sweep every sixth of the lease, the members of a dead node are
    /// removed within the lease.
    static func timeToLive(lease: Duration) -> Duration { lease * 2 / 3 }
    private var sweepInterval: Duration { configuration.node.lease / 6 }

    /// Registers the node before it accepts sessions, so that no other node sweeps it as a dead one. Stops waiting
    /// after `patience`.
    func firstBeat(within patience: Duration) async {
        let end = ContinuousClock.now + patience
        while await !beat(), ContinuousClock.now < end, !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(50))
        }
        keeper.loop.run { [keeper] in keeper.begin() }
    }

    /// Runs until the node is asked to leave.
    func run() async {
        await cancelWhenGracefulShutdown {
            await withTaskGroup(of: Void.self) { tasks in
                tasks.addTask { await self.beatForever() }
                tasks.addTask { await self.sweepForever() }
                tasks.addTask { await self.auditForever() }
                tasks.addTask { await self.watchMemoryForever() }
                tasks.addTask { await self.tellForever() }
                tasks.addTask { await self.endExpiredForever() }
                tasks.addTask { await self.commands.run() }
                if let words = self.words { tasks.addTask { await words.watch() } }
                await tasks.waitForAll()
            }
        }
    }

    private func beatForever() async {
        while !Task.isCancelled {
            let heard = await beat()
            let pause = heard ? configuration.node.heartbeatInterval : configuration.node.heartbeatInterval / 5
            do { try await Task.sleep(for: pause) } catch { return }
        }
    }

    private func sweepForever() async {
        var rounds = 0
        while !Task.isCancelled {
            // The random pause keeps nodes from sweeping at the same moment.
            do { try await Task.sleep(for: sweepInterval * Double.random(in: 0.75...1)) } catch { return }
            keeper.loop.run { [keeper] in keeper.round() }
            rounds += 1
            // Only a failover, or data sent on a connection that was believed dead, makes this audit necessary, so once
            // in two leases is enough.
            if rounds % 12 == 0 {
                for loop in hub.loops { loop.run { loop.broker.audits.compareHoldings() } }
            }
        }
    }

    /// Makes every shard test its connections and compare its shared rooms.
    private func auditForever() async {
        let deadline = configuration.redis.deadline
        while !Task.isCancelled {
            do { try await Task.sleep(for: .seconds(Double.random(in: 0.9...1.1))) } catch { return }
            for loop in hub.loops { loop.run { loop.audit(deadline: deadline) } }
        }
    }

    /// Watches whether Redis has memory for new rooms and whether there are relays, and returns unused memory of this
    /// node to the system.
    private func watchMemoryForever() async {
        var freed: UInt64 = 0
        var round = 0
        while !Task.isCancelled {
            await keeper.lookAtMemory(percent: configuration.redis.memoryPercent)
            await keeper.lookForRelays()
            do { try await Task.sleep(for: Self.memoryInterval) } catch { return }
            round += 1
            guard round % Self.roundsPerTrim == 0 else { continue }
            let now = await hub.load().memory.freed
            guard now &- freed >= Self.worthATrim else { continue }
            freed = now
            // This runs on a thread that serves no sessions. Without it the allocator keeps freed pages that lie
            // between used ones.
            memory_give_back()
        }
    }

    private static let memoryInterval: Duration = .seconds(2)
    private static let roundsPerTrim = 15
    private static let worthATrim: UInt64 = 16 * 1_048_576

    /// Logs whether the node is ready, and what has happened.
    private func tellForever() async {
        while !Task.isCancelled {
            do { try await Task.sleep(for: .seconds(1)) } catch { return }
            let readiness = await hub.readiness()
            guard !Task.isCancelled, !hub.admission.isDraining else { return }
            let now = keeper.loop.now
            keeper.news.readiness(readiness.reasons, waiting: await hub.load().waitingSends, now: now)
            keeper.news.tick(now: now)
        }
    }

    /// Ends the sessions whose tokens have expired.
    private func endExpiredForever() async {
        while !Task.isCancelled {
            do { try await Task.sleep(for: .milliseconds(500)) } catch { return }
            for loop in hub.loops { loop.run { loop.sessions.endExpired() } }
        }
    }

    /// Sends one heartbeat. Returns whether Redis accepted it.
    @discardableResult
    private func beat() async -> Bool {
        pulse.update(await hub.load(), draining: hub.admission.isDraining)
        guard let beat = pulse.beat(clock: WallClock.milliseconds) else { return false }
        let began = ContinuousClock.now
        let answer = await keeper.loop.ask(beat.request)
        keeper.loop.metrics.presenceRefresh.observe(ContinuousClock.now - began)
        let verdict = pulse.answered(beat, answer)
        keeper.health.heartbeat(verdict, answer, now: keeper.loop.now)
        switch verdict {
        case .failed: return false
        case .taken: return true
        case .forgotten:
            keeper.loop.run { [hub, keeper] in
                keeper.forgotten()
                for loop in hub.loops { loop.run { loop.rooms.nodeForgotten() } }
            }
            return true
        }
    }

    /// Leaves in order (promise 12): the node accepts no more sessions, tells its own when to reconnect, gives up its
    /// rooms and removes itself from Redis.
    func leave(_ gateway: GatewayServer) async {
        let began = ContinuousClock.now
        let load = await hub.load()
        logger.notice(
            "leaving, telling sessions to reconnect elsewhere",
            metadata: [
                LogKey.members: "\(load.sessions)", LogKey.rooms: "\(load.rooms)",
                LogKey.waiting: "\(load.waitingSends)",
                LogKey.milliseconds: "\(configuration.node.drainTime.wholeMilliseconds)",
            ])
        hub.admission.drain()
        // Detached from the cancelled task, so that the cancellation does not interrupt leaving.
        await Task.detached { [self] in
            await beat()
            await gateway.stopAccepting()
            await hub.endPolls()
            await gateway.closeAll(.draining, spread: configuration.node.drainTime)
            await gateway.stop()
            let end = ContinuousClock.now + .seconds(3)
            while ContinuousClock.now < end {
                var left = 0
                for loop in hub.loops { left += await loop.call { $0.rooms.leaveRooms() } }
                if left == 0 { break }
                try? await Task.sleep(for: .milliseconds(20))
            }
            pulse.end()
            var forgotten = await keeper.loop.ask(.forget(node))
            while case .success(.forgetting(let cursor)) = forgotten {
                forgotten = await keeper.loop.ask(.forget(node, cursor: cursor))
            }
            let rest = await hub.load()
            logger.notice(
                "the node has left",
                metadata: [
                    LogKey.members: "\(rest.sessions)", LogKey.rooms: "\(rest.rooms)",
                    LogKey.waiting: "\(rest.waitingSends)",
                    LogKey.milliseconds: "\((ContinuousClock.now - began).wholeMilliseconds)",
                ])
        }.value
    }
}
