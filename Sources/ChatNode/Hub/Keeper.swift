import ChatCore
import Logging

/// Runs the sweeper on the first shard's connections. Confined to that shard's loop.
final class Keeper: @unchecked Sendable {  // `shard` is constant; the rest is touched on `shard.loop` only
    let shard: Shard
    /// The node's heartbeat. May be used on any shard.
    let pulse: NodePulse
    /// Whether Redis takes what the node wants to store. May be used on any shard.
    let health: WriteHealth
    private var machine: SweepStateMachine
    private let logger: Logger

    init(shard: Shard, pulse: NodePulse, logger: Logger) {
        self.shard = shard
        self.pulse = pulse
        self.health = WriteHealth(metrics: shard.metrics, logger: logger)
        self.machine = SweepStateMachine(node: shard.settings.node)
        self.logger = logger
    }

    func saw(_ nodes: [NodeID: UInt64], in room: RoomName) {
        for (node, value) in nodes { machine.saw(node, value: value, in: room) }
    }

    /// The first shard's command connection is gone, or there again: either way the others need time to say that they live.
    func connectionChanged() { machine.reset() }

    /// Looks for dead nodes and takes them out of their rooms; not while Redis does not take our own heartbeat or refuses anything else:
    /// then nobody's comes through, and afterwards they need time to say that they live.
    func round() {
        guard health.mayJudge else { return machine.reset() }
        var actions: [SweepStateMachine.Action] = []
        machine.roundBegan(&actions)
        carryOut(actions)
    }

    /// Asks Redis how much of its memory it uses: from `percent` on no room is begun, until it is a little less again.
    func lookAtMemory(percent: Int) async {
        guard case .success(.memory(let used, let most)) = await shard.ask(.memory) else { return }
        let share = most == 0 ? 0 : Double(used) / Double(most)
        shard.metrics.redisMemoryShare.set(share)
        let space = shard.settings.redisSpace
        let limit = Double(percent) / 100
        let isShort = share >= (space.isShort ? limit - Self.slack : limit)
        guard percent < 100, isShort != space.isShort else { return }
        space.isShort = isShort
        if isShort {
            logger.warning("redis has hardly any memory left, no room is begun until it has")
        } else {
            logger.notice("redis has memory again, rooms are begun")
        }
    }

    private static let slack = 0.02

    private func carryOut(_ actions: [SweepStateMachine.Action]) {
        for action in actions {
            switch action {
            case .submit(let request, let serial):
                shard.ask(request) { [self] result in
                    if !health.mayJudge { machine.reset() }
                    var next: [SweepStateMachine.Action] = []
                    machine.completed(serial: serial, result, &next)
                    carryOut(next)
                }
            case .found(let node):
                logger.notice("a node is dead, sweeping its rooms", metadata: [LogKey.peer: "\(node)"])
            case .swept(let node):
                logger.notice("a dead node is swept", metadata: [LogKey.peer: "\(node)"])
            }
        }
    }
}
