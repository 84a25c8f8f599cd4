import ChatCore
import Logging
import NIOCore

/// What the loop's broker connections say.
extension Shard: BrokerLinkDelegate {
    /// Tags of requests that no room made.
    static let ownTag: UInt32 = .max

    func brokerCompleted(_ tag: RequestTag, _ result: Result<BrokerReply, BrokerError>) {
        if case .failure(.notStored(let text)) = result { redisRefused(text, tag) }
        if tag.owner == Self.ownTag {
            continuations.removeValue(forKey: tag.serial)?(result)
            return
        }
        guard tag.wantsAnswer, Int(tag.owner) < rooms.count,
            let room = rooms[Int(tag.owner)], room.generation == tag.generation
        else { return }
        // Whatever asked has seen to how long the room stays awake.
        happen(in: room, awake: .zero) { $0.completed(serial: tag.serial, result, now: $1, &$2) }
    }

    func brokerSubscribed(_ name: RoomName) {
        if let probe = probes.firstIndex(where: { $0.room == name }) { return sendProbe(probe) }
        guard let room = room(named: name) else { return }
        happen(in: room) { $0.subscribed(now: $1, &$2) }
    }

    func brokerUnsubscribed(_ name: RoomName) {
        guard let room = room(named: name) else { return }
        happen(in: room) { $0.unsubscribed(now: $1, &$2) }
    }

    func brokerHeard(_ name: RoomName, _ event: ChatCore.ChannelEvent) {
        if let probe = probes.firstIndex(where: { $0.room == name }) { return probeHeard(event, probe) }
        guard let room = room(named: name) else { return }
        if case .message(let message, _) = event {
            let lag = Double(settings.wallClock()) - Double(message.content.at)
            metrics.brokerLag.observe(max(0, lag / 1_000))
        }
        happen(in: room) { $0.heard(event, now: $1, &$2) }
    }

    func brokerKnows(_ name: RoomName, _ position: Position, base: UInt64) -> Bool {
        room(named: name)?.look { $0.knows(position, base: base) } ?? false
    }

    func brokerCommandsUp(_ identity: BrokerIdentity, _ scope: BrokerScope) {
        commands.came(scope, identity)
        metrics.redisUp(connection: "commands", shard: index, commands.isWhole)
        note("command", scope, isWhole: commands.isWhole)
        // First of all on this connection, before a room can be entered on it.
        if scope.holdsNodes, let keeper, keeper.shard === self { keeper.connectionChanged() }
        if scope.holdsNodes { sayWeLive() }
        if scope.holdsNodes, !scope.isWhole { holdAgain(outside: scope) }
        happenEverywhere(in: scope) { $0.commandsUp(identity, now: $1, &$2) }
        startProbes()
    }

    func brokerCommandsDown(_ reason: String, _ scope: BrokerScope) {
        if !commands.isEmpty, !scope.isOneSlot { metrics.redisReconnects.increment() }
        commands.went(scope)
        if commands.isEmpty { areRoomsBack = false }
        audit.reset()
        if scope.holdsNodes, let keeper, keeper.shard === self { keeper.connectionChanged() }
        metrics.redisUp(connection: "commands", shard: index, false)
        commandsTrouble = reason
        note("command", scope, isWhole: false, reason)
        refuseHeld()
        happenEverywhere(in: scope) { $0.commandsDown(now: $1, &$2) }
    }

    func brokerSubscriptionsUp(_ identity: BrokerIdentity, _ scope: BrokerScope) {
        subscriptions.came(scope, identity)
        metrics.redisUp(connection: "subscriptions", shard: index, subscriptions.isWhole)
        note("subscribe", scope, isWhole: subscriptions.isWhole)
        resetProbes(in: scope)
        happenEverywhere(in: scope) { $0.subscriptionsUp(now: $1, &$2) }
        startProbes()
    }

    func brokerSubscriptionsDown(_ reason: String, _ scope: BrokerScope) {
        if !subscriptions.isEmpty, !scope.isOneSlot { metrics.redisReconnects.increment() }
        subscriptions.went(scope)
        if subscriptions.isEmpty { areRoomsBack = false }
        resetProbes(in: scope)
        endProbeWaits()
        metrics.redisUp(connection: "subscriptions", shard: index, false)
        subscriptionsTrouble = reason
        note("subscribe", scope, isWhole: false, reason)
        happenEverywhere(in: scope) { $0.subscriptionsDown(now: $1, &$2) }
    }

    /// `reason`: why it is down. Of a Cluster the connection to each master gets its own line, too.
    private func note(_ name: String, _ scope: BrokerScope, isWhole: Bool, _ reason: String? = nil) {
        if !scope.isWhole {
            var metadata: Logger.Metadata = [
                LogKey.shard: "\(index)", LogKey.channel: "\(name)", LogKey.slots: "\(scope.slots.summary)",
            ]
            if let reason { metadata[LogKey.error] = "\(reason)" }
            // A Cluster's slots move by the thousand, one after the other.
            let level: Logger.Level = scope.isOneSlot ? .debug : .info
            logger.log(
                level: level, reason == nil ? "redis serves slots again" : "redis does not serve slots",
                metadata: metadata)
        }
        guard !scope.isOneSlot, isWhole || reason != nil else { return }
        keeper?.news.connection(name, shard: index, down: reason, now: now)
    }

    func brokerRefused(_ text: String) {
        guard let kind = RefusalKind(text: text) else { return }
        keeper?.health.refused(kind, text, now: now)
    }

    /// Redis said no, and is still there. If it is about more than one key, we ask at once whether anything can be stored.
    private func redisRefused(_ text: String, _ tag: RequestTag) {
        guard let kind = RefusalKind(text: text) else { return }
        let isOfRoom = tag.owner != Self.ownTag && Int(tag.owner) < rooms.count
        keeper?.health.refused(kind, text, in: isOfRoom ? rooms[Int(tag.owner)]?.name : nil, now: now)
        if kind.isGeneral, isOfRoom { startWriteProbes() }
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

    /// What the node wrote down of its rooms may be lost with a failover. Rooms of the same master are entered again, and thereby held;
    /// those of other masters notice nothing.
    private func holdAgain(outside scope: BrokerScope) {
        for case let room? in rooms where room.look({ $0.isHeld }) ?? true && !scope.contains(room.name) {
            let tag = RequestTag(owner: room.slot, generation: room.generation, serial: RequestTag.ignoredSerial)
            link.submit(.hold(room: room.name, node: settings.node), tag: tag)
        }
    }

    /// The node's heartbeat, on this shard's connection.
    private func sayWeLive() {
        guard let pulse = keeper?.pulse, let beat = pulse.beat(clock: settings.wallClock()) else { return }
        ask(beat.request) { [self] result in
            let verdict = pulse.answered(beat, result)
            keeper?.health.heartbeat(verdict, result, now: now)
            // Rooms of this shard enter after the heartbeat anyway.
            if verdict == .forgotten { nodeWasForgotten(except: self) }
        }
    }

    /// Redis knew nothing of this node any more: rooms that think they are in it may be in it no longer.
    func nodeWasForgotten(except entering: Shard? = nil) {
        logger.warning("redis had forgotten this node, entering its rooms again")
        for shard in shards where shard !== entering { shard.run { shard.nodeWasForgotten() } }
    }

    /// The node's lease had run out: others may have taken it out of its rooms.
    private func nodeWasForgotten() {
        happenEverywhere { $0.nodeForgotten(now: $1, &$2) }
    }

    /// Passes the nodes that a room lists to the sweeper, which compares them with those that live.
    func suspect(_ nodes: [NodeID: UInt64], in room: HomeRoom) {
        let others = nodes.filter { $0.key != settings.node }
        guard !others.isEmpty, let keeper else { return }
        let name = room.name
        keeper.shard.run { keeper.saw(others, in: name) }
    }
}
