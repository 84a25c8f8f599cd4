import ChatCore
import Logging
import NIOCore

/// What a shard looks into although nothing seems wrong.
extension Shard {
    // MARK: proof that messages go round

    /// Begins a round for each part of the broker that is due for one: SUBSCRIBE, PUBLISH, hear it, UNSUBSCRIBE. On the loop.
    func startProbes() {
        let scopes = link.scopes
        probes = scopes.compactMap { scope in
            probes.first { scope.contains($0.room) } ?? Probe(node: settings.node, shard: index, in: scope)
        }
        for probe in probes.indices where isReached(probes[probe]) && probes[probe].begin(now: now) {
            link.subscribe(probes[probe].room)
        }
    }

    private func isReached(_ probe: Probe) -> Bool {
        commands.identity(of: probe.room) != nil && subscriptions.identity(of: probe.room) != nil
    }

    func resetProbes(in scope: BrokerScope) {
        for probe in probes.indices where scope.contains(probes[probe].room) { probes[probe].reset() }
    }

    func sendProbe(_ probe: Int) {
        guard let event = probes[probe].subscribed() else { return }
        let room = probes[probe].room
        ask(.publish(room: room, event: event)) { [self] result in
            // Redis said no, or the connection went: that says nothing of the subscription.
            guard case .failure = result, let probe = probes.firstIndex(where: { $0.room == room }) else { return }
            probes[probe].failed()
        }
    }

    func probeHeard(_ event: ChatCore.ChannelEvent, _ probe: Int) {
        guard probes[probe].heard(event, now: now) else { return }
        link.unsubscribe(probes[probe].room)
        if probes.allSatisfy({ $0.isFresh(now: now) }) { endProbeWaits() }
    }

    func endProbeWaits() {
        let waits = probeWaits
        probeWaits = [:]
        for wait in waits.values { wait() }
    }

    /// Why this shard cannot carry a message round; nil: it just did. Waits for the proof, but not longer than `patience`.
    func unreadiness(within patience: Duration = .seconds(2)) async -> String? {
        await withCheckedContinuation { continuation in
            run { [self] in
                startProbes()
                let canWait = !probes.isEmpty && probes.allSatisfy { isReached($0) }
                if !canWait || probes.allSatisfy({ $0.isFresh(now: now) }) {
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
        if probes.isEmpty || !commands.isWhole {
            return "shard \(index): no command connection to redis" + some(commands)
        }
        if !subscriptions.isWhole { return "shard \(index): no subscribe connection to redis" + some(subscriptions) }
        if !probes.allSatisfy({ $0.isFresh(now: now) }) {
            return "shard \(index): no message went round through redis lately"
        }
        let waiting = rooms.reduce(0) { $0 + (($1?.look { $0.isRecovering } ?? false) ? 1 : 0) }
        return waiting > 0 ? "shard \(index): \(waiting) rooms are not entered again yet" : nil
    }

    private func some(_ reach: BrokerReach) -> String {
        reach.isEmpty ? "" : " for some of the cluster's slots"
    }

    // MARK: every second

    /// Proves the connections, whoever asks or not, and looks at the tails of some shared rooms. On the loop.
    func auditConnections(deadline: Duration) {
        guard !commands.isEmpty, !subscriptions.isEmpty else { return }
        if probes.contains(where: { isReached($0) && $0.isOverdue(now: now, deadline: deadline) }) {
            logger.warning(
                "a message did not go round through redis in time, giving its connections up",
                metadata: [LogKey.shard: "\(index)", LogKey.milliseconds: "\(deadline)"])
            metrics.alarms.increment()
            resetProbes(in: .everything)
            return link.reset()
        }
        startProbes()
        auditTails()
        restRooms()
    }

    private func auditTails() {
        let slots = tails.round(slots: rooms.count) { rooms[$0]?.isShared ?? false }
        for slot in slots {
            guard let room = rooms[slot] else { continue }
            let (name, generation) = (room.name, room.generation)
            ask(.history(room: name, query: HistoryQuery(anchor: .newest, limit: 0))) { [self] result in
                guard case .success(.history(let page)) = result, let newest = page.newest,
                    let room = self.room(named: name), room.generation == generation, !room.reaches(newest)
                else { return }
                happen(in: room) { $0.logReaches(newest, now: $1, &$2) }
            }
        }
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
