import ChatCore
import Logging
import NIOCore

/// What the loop's broker connections say.
extension Shard: BrokerLinkDelegate {
    /// Tags of requests that no room made.
    static let ownTag: UInt32 = .max

    func brokerCompleted(_ tag: RequestTag, _ result: Result<BrokerReply, BrokerError>) {
        if tag.owner == Self.ownTag {
            continuations.removeValue(forKey: tag.serial)?(result)
            return
        }
        guard tag.serial != RoomStateMachine.ignoredSerial, Int(tag.owner) < rooms.count,
            let room = rooms[Int(tag.owner)], room.generation == tag.generation
        else { return }
        happen(in: room) { $0.completed(serial: tag.serial, result, now: $1, &$2) }
    }

    func brokerSubscribed(_ name: RoomName) {
        if name == probe.room { return sendProbe() }
        guard let room = room(named: name) else { return }
        happen(in: room) { $0.subscribed(now: $1, &$2) }
    }

    func brokerUnsubscribed(_ name: RoomName) {
        guard let room = room(named: name) else { return }
        happen(in: room) { $0.unsubscribed(now: $1, &$2) }
    }

    func brokerHeard(_ name: RoomName, _ event: ChatCore.ChannelEvent) {
        if name == probe.room { return probeHeard(event) }
        guard let room = room(named: name) else { return }
        happen(in: room) { $0.heard(event, now: $1, &$2) }
    }

    func brokerCommandsUp(_ identity: BrokerIdentity) {
        commandsIdentity = identity
        metrics.redisUp(connection: "commands", shard: index, true)
        logger.notice("redis command connection is up", metadata: [LogKey.shard: "\(index)"])
        happenEverywhere { $0.commandsUp(identity, now: $1, &$2) }
        startProbe()
    }

    func brokerCommandsDown(_ reason: String) {
        if commandsIdentity != nil { metrics.redisReconnects.increment() }
        commandsIdentity = nil
        audit.reset()
        metrics.redisUp(connection: "commands", shard: index, false)
        logger.warning(
            "redis command connection is down", metadata: [LogKey.shard: "\(index)", LogKey.error: "\(reason)"])
        happenEverywhere { $0.commandsDown(now: $1, &$2) }
    }

    func brokerSubscriptionsUp(_ identity: BrokerIdentity) {
        subscriptionsIdentity = identity
        metrics.redisUp(connection: "subscriptions", shard: index, true)
        logger.notice("redis subscribe connection is up", metadata: [LogKey.shard: "\(index)"])
        probe.reset()
        happenEverywhere { $0.subscriptionsUp(now: $1, &$2) }
        startProbe()
    }

    func brokerSubscriptionsDown(_ reason: String) {
        if subscriptionsIdentity != nil { metrics.redisReconnects.increment() }
        subscriptionsIdentity = nil
        probe.reset()
        endProbeWaits()
        metrics.redisUp(connection: "subscriptions", shard: index, false)
        logger.warning(
            "redis subscribe connection is down", metadata: [LogKey.shard: "\(index)", LogKey.error: "\(reason)"])
        happenEverywhere { $0.subscriptionsDown(now: $1, &$2) }
    }

    // MARK: our own requests

    /// Asks the broker on behalf of the node or of an HTTP request. On the loop.
    func ask(_ request: BrokerRequest, _ then: @escaping (Result<BrokerReply, BrokerError>) -> Void) {
        let serial = nextContinuation
        nextContinuation += 1
        continuations[serial] = then
        link.submit(request, tag: RequestTag(owner: Self.ownTag, generation: 0, serial: serial))
    }

    /// The same from any task.
    func ask(_ request: BrokerRequest) async -> Result<BrokerReply, BrokerError> {
        await withCheckedContinuation { continuation in
            run { [self] in ask(request) { continuation.resume(returning: $0) } }
        }
    }

    /// The node's lease had run out: others may have taken it out of its rooms.
    func nodeWasForgotten() {
        happenEverywhere { $0.nodeForgotten(now: $1, &$2) }
    }

    /// Passes the nodes that a room lists to the sweeper, which compares them with those that live.
    func suspect(_ nodes: [NodeID: UInt64], in room: HomeRoom) {
        let others = nodes.filter { $0.key != settings.node }
        guard !others.isEmpty, let keeper else { return }
        let name = room.machine.room
        keeper.shard.run { keeper.saw(others, in: name) }
    }

    // MARK: proof that messages go round

    /// Begins a round: SUBSCRIBE, PUBLISH, hear it, UNSUBSCRIBE. On the loop.
    func startProbe() {
        guard commandsIdentity != nil, subscriptionsIdentity != nil, probe.begin(now: now) else { return }
        link.subscribe(probe.room)
    }

    private func sendProbe() {
        guard let event = probe.subscribed() else { return }
        ask(.publish(room: probe.room, event: event)) { _ in }
    }

    private func probeHeard(_ event: ChatCore.ChannelEvent) {
        guard probe.heard(event, now: now) else { return }
        link.unsubscribe(probe.room)
        endProbeWaits()
    }

    private func endProbeWaits() {
        let waits = probeWaits
        probeWaits = [:]
        for wait in waits.values { wait() }
    }

    /// Why this shard cannot carry a message round; nil: it just did. Waits for the proof, but not longer than `patience`.
    func unreadiness(within patience: Duration = .seconds(2)) async -> String? {
        await withCheckedContinuation { continuation in
            run { [self] in
                startProbe()
                if probe.isFresh(now: now) || commandsIdentity == nil || subscriptionsIdentity == nil {
                    return continuation.resume(returning: whyUnready())
                }
                let id = nextContinuation
                nextContinuation += 1
                probeWaits[id] = { [self] in continuation.resume(returning: whyUnready()) }
                loop.assumeIsolated().scheduleTask(in: .nanoseconds(patience.nanosecondsRoundedUp)) { [self] in
                    probeWaits.removeValue(forKey: id)?()
                }
            }
        }
    }

    private func whyUnready() -> String? {
        if commandsIdentity == nil { return "shard \(index): no command connection to redis" }
        if subscriptionsIdentity == nil { return "shard \(index): no subscribe connection to redis" }
        if !probe.isFresh(now: now) { return "shard \(index): no message went round through redis lately" }
        let waiting = rooms.reduce(0) { $0 + (($1?.machine.isRecovering ?? false) ? 1 : 0) }
        return waiting > 0 ? "shard \(index): \(waiting) rooms are not entered again yet" : nil
    }

    // MARK: what the node is listed in

    /// Takes the node out of rooms of this shard that Redis lists it in although it does not hold them. On the loop.
    func auditHoldings() {
        var actions: [HoldingsAudit.Action] = []
        audit.roundBegan(&actions)
        carryOut(actions)
    }

    private func carryOut(_ actions: [HoldingsAudit.Action]) {
        for action in actions {
            switch action {
            case .submit(let request, let serial):
                ask(request) { [self] result in
                    var next: [HoldingsAudit.Action] = []
                    // Rooms of other shards are theirs to judge.
                    audit.completed(
                        serial: serial, result, isHeld: { home(of: $0) !== self || slots[$0] != nil }, &next)
                    carryOut(next)
                }
            case .left:
                logger.notice(
                    "redis listed this node in a room that it does not hold", metadata: [LogKey.shard: "\(index)"])
            }
        }
    }
}
