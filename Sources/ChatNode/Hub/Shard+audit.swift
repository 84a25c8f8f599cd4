import ChatCore
import Logging
import NIOCore

/// What a shard looks into although nothing seems wrong.
extension Shard {
    // MARK: proof that messages go round

    /// Begins a round if one is due: SUBSCRIBE, PUBLISH, hear it, UNSUBSCRIBE. On the loop.
    func startProbe() {
        guard commandsIdentity != nil, subscriptionsIdentity != nil, probe.begin(now: now) else { return }
        link.subscribe(probe.room)
    }

    func sendProbe() {
        guard let event = probe.subscribed() else { return }
        ask(.publish(room: probe.room, event: event)) { [self] result in
            // Redis said no, or the connection went: that says nothing of the subscription.
            if case .failure = result { probe.failed() }
        }
    }

    func probeHeard(_ event: ChatCore.ChannelEvent) {
        guard probe.heard(event, now: now) else { return }
        link.unsubscribe(probe.room)
        endProbeWaits()
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
        let waiting = rooms.reduce(0) { $0 + (($1?.look { $0.isRecovering } ?? false) ? 1 : 0) }
        return waiting > 0 ? "shard \(index): \(waiting) rooms are not entered again yet" : nil
    }

    // MARK: every second

    /// Proves the connections, whoever asks or not, and looks at the tails of some shared rooms. On the loop.
    func auditConnections(deadline: Duration) {
        guard commandsIdentity != nil, subscriptionsIdentity != nil else { return }
        if probe.isOverdue(now: now, deadline: deadline) {
            logger.warning(
                "a message did not go round through redis in time, giving its connections up",
                metadata: [LogKey.shard: "\(index)", LogKey.milliseconds: "\(deadline)"])
            metrics.alarms.increment()
            probe.reset()
            return link.reset()
        }
        startProbe()
        auditTails()
    }

    private func auditTails() {
        let slots = tails.round(slots: rooms.count) { rooms[$0]?.look { $0.isShared } ?? false }
        for slot in slots {
            guard let room = rooms[slot] else { continue }
            let (name, generation) = (room.machine.room, room.generation)
            ask(.history(room: name, query: HistoryQuery(anchor: .newest, limit: 0))) { [self] result in
                guard case .success(.history(let page)) = result, let newest = page.newest,
                    let room = self.room(named: name), room.generation == generation
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
