import ChatCore
import ChatHub
import Logging

/// Runs the sweeper on the first loop's connections. Confined to that loop, except where noted.
final class Keeper: @unchecked Sendable {
    // Proof for @unchecked: `loop` is constant; the rest is accessed only on that loop, or is Sendable.

    let loop: Loop
    /// The node's heartbeat. May be used on any loop.
    let pulse: NodePulse
    /// Whether Redis accepts the node's writes. May be used on any loop.
    let health: WriteHealth
    /// The messages to the operator, for all loops together.
    let news: NodeNews
    private var machine: SweepStateMachine
    private let logger: Logger

    init(loop: Loop, pulse: NodePulse, logger: Logger) {
        self.loop = loop
        self.pulse = pulse
        self.health = WriteHealth(metrics: loop.metrics, logger: logger)
        self.news = NodeNews(logger: logger)
        self.machine = SweepStateMachine(
            node: loop.settings.hub.node, watchesVersions: loop.broker.link.keepsOldList)
        self.logger = logger
    }

    /// Redis had forgotten this node, so its rooms have to be entered again.
    func forgotten() { logger.warning("redis had forgotten this node, entering its rooms again") }

    func saw(_ nodes: [NodeID: UInt64], in room: RoomName) {
        for (node, value) in nodes { machine.saw(node, value: value, in: room) }
    }

    /// The first loop's command connection was lost or restored. In both cases other nodes need time to send their
    /// heartbeats.
    func connectionChanged() { machine.reset() }

    /// Learns the versions of the live nodes when the node starts.
    func begin() {
        var actions: [SweepStateMachine.Action] = []
        machine.began(&actions)
        carryOut(actions)
    }

    /// Looks for dead nodes and takes them out of their rooms. It does not do so while Redis refuses our own heartbeat
    /// or other writes, because then no node's heartbeat is accepted, and afterwards the nodes need time to send them.
    func round() {
        guard health.mayJudge else { return machine.reset() }
        var actions: [SweepStateMachine.Action] = []
        machine.roundBegan(&actions)
        carryOut(actions)
    }

    /// Asks Redis how much of its memory it uses. From `percent` on no new room is created, until the use is a little
    /// lower again.
    func lookAtMemory(percent: Int) async {
        guard case .success(.memory(let used, let most)) = await loop.ask(.memory) else { return }
        let share = most == 0 ? 0 : Double(used) / Double(most)
        loop.metrics.redisMemoryShare.set(share)
        let space = loop.settings.hub.redisSpace
        let limit = Double(percent) / 100
        let isShort = share >= (space.isShort ? limit - Self.slack : limit)
        guard percent < 100, isShort != space.isShort else { return }
        space.isShort = isShort
        if isShort {
            logger.warning("redis has hardly any memory left, so no new room can be created until it has more")
        } else {
            logger.notice("redis has memory again, so new rooms can be created")
        }
    }

    /// Asks which books relays read, for which rooms are noted. If Redis does not answer, nothing changes.
    func lookForRelays() async {
        guard case .success(.relayed(let books)) = await loop.ask(.relay(.books)) else { return }
        loop.settings.hub.relay.set(books)
    }

    private static let slack = 0.02

    /// `last`: the last report of the node that was seen.
    private static func metadata(_ node: NodeID, _ last: NodeReport?) -> Logger.Metadata {
        var metadata: Logger.Metadata = [LogKey.peer: "\(node)"]
        if let last { metadata[LogKey.members] = "\(last.sessions)" }
        return metadata
    }

    private func carryOut(_ actions: [SweepStateMachine.Action]) {
        for action in actions {
            switch action {
            case .submit(let request, let serial):
                // A dead node may have stored what it has not noted, and its devices leave.
                if case .leave(let room, _, _, _, _) = request {
                    for book in RoomBook.allCases { loop.rooms.note(room, book) }
                }
                loop.broker.ask(request) { [self] result in
                    if !health.mayJudge { machine.reset() }
                    var next: [SweepStateMachine.Action] = []
                    machine.completed(serial: serial, result, &next)
                    carryOut(next)
                }
            case .keepOldList(let isKept):
                for loop in loop.all { loop.run { loop.rooms.keepOldList(isKept) } }
            case .found(let node, let last):
                logger.info("a node is dead, sweeping its rooms", metadata: Self.metadata(node, last))
            case .swept(let node, let last, let rooms):
                if rooms > 0 { loop.metrics.nodesSwept.increment() }
                // A node that finds nothing left to do logs at a lower level, because another node has reported it.
                var metadata = Self.metadata(node, last)
                metadata[LogKey.rooms] = "\(rooms)"
                metadata[LogKey.remedy] =
                    "see that node's log and why it ended, or hung for longer than MARTLET_NODE_LEASE"
                logger.log(
                    level: rooms > 0 ? .warning : .notice, "a dead node is swept, its members have left its rooms",
                    metadata: metadata)
            }
        }
    }
}
