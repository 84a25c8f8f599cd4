import ChatCore
import Glibc
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
        startWriteProbes()
    }

    /// Asks of each part of the broker whether anything can be stored there: an append, and a function. On the loop.
    func startWriteProbes() {
        for probe in probes.indices where isReached(probes[probe]) && probes[probe].beginWrite(now: now) {
            let room = probes[probe].room
            guard let user = try? UserID("~probe") else { continue }
            ask(.append(room: room, epoch: 1, content: MessageContent(user: user, at: 1, text: "probe"))) {
                [self] result in
                guard case .taken = Probe.Write(result) else { return writeAnswered(result, in: room) }
                ask(.view(room: room, after: nil, page: PageBounds(count: 1))) { [self] in writeAnswered($0, in: room) }
            }
        }
    }

    private func writeAnswered(_ result: Result<BrokerReply, BrokerError>, in room: RoomName) {
        guard let probe = probes.firstIndex(where: { $0.room == room }) else { return }
        let write = Probe.Write(result)
        guard let asked = probes[probe].answered(write) else { return }
        switch write {
        case .taken: keeper?.health.stored(asked: asked, now: now)
        case .refused(let text):
            // What has a kind was counted when it came.
            if RefusalKind(text: text) == nil { keeper?.health.refused(.other, text, now: now) }
        case .lost: break
        }
        proofCame()
    }

    private func isReached(_ probe: Probe) -> Bool { isReached(probe.room) }

    private func isReached(_ room: RoomName) -> Bool {
        commands.identity(of: room) != nil && subscriptions.identity(of: room) != nil
    }

    func resetProbes(in scope: BrokerScope) {
        for probe in probes.indices where scope.contains(probes[probe].room) { probes[probe].reset() }
    }

    func sendProbe(_ probe: Int) {
        guard let event = probes[probe].subscribed() else { return }
        let room = probes[probe].room
        ask(.publish(room: room, event: event)) { [self] result in
            // Redis said no, or the connection went: that says nothing of the subscription.
            guard case .failure(let error) = result, let probe = probes.firstIndex(where: { $0.room == room }) else {
                return
            }
            if case .notStored(let text) = error { probes[probe].failed(text) } else { probes[probe].failed() }
        }
    }

    func probeHeard(_ event: ChatCore.ChannelEvent, _ probe: Int) {
        guard probes[probe].heard(event, now: now) else { return }
        link.unsubscribe(probes[probe].room)
        proofCame()
    }

    private func proofCame() {
        let areProven = probes.allSatisfy { isProven($0) }
        if areProven, commands.isWhole, subscriptions.isWhole { wasWhole = true }
        if areProven || whyUnready() == nil || probes.contains(where: { $0.refusal != nil }) { endProbeWaits() }
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
                let reason = whyUnready()
                if probes.contains(where: { $0.refusal != nil }) { return continuation.resume(returning: reason) }
                // What is up only has to be proven.
                let unproven = probes.filter { !isProven($0) }
                let canWait = wasWhole ? unproven.contains { isReached($0) } : unproven.allSatisfy { isReached($0) }
                if reason == nil || !canWait || unproven.isEmpty { return continuation.resume(returning: reason) }
                let id = nextContinuation
                nextContinuation += 1
                probeWaits[id] = { [self] in continuation.resume(returning: whyUnready()) }
                loop.assumeIsolated().scheduleTask(in: .nanoseconds(patience.nanosecondsRoundedUp)) { [self] in
                    probeWaits.removeValue(forKey: id)?()
                }
            }
        }
    }

    private func isProven(_ probe: Probe) -> Bool {
        isReached(probe) && probe.isFresh(now: now) && probe.canStore(now: now)
    }

    /// A Redis has one part, and a Cluster one for each master. A node that has never had all of them is not ready; later a part may be
    /// away and come back, as it does for all nodes then: were all red, a proxy would let nobody into the rooms of the others either. After
    /// all of them were away a node is ready when the rooms are entered again.
    func whyUnready() -> String? {
        if !wasWhole || !probes.contains(where: { isProven($0) }) {
            areRoomsBack = false
            if probes.isEmpty || !commands.isWhole {
                return "shard \(index): no command connection to redis" + some(commands) + why(commandsTrouble)
            }
            if !subscriptions.isWhole {
                return "shard \(index): no subscribe connection to redis" + some(subscriptions)
                    + why(subscriptionsTrouble)
            }
            if let refusal = probes.lazy.compactMap(\.refusal).first {
                let remedy = RefusalKind(text: refusal).map { "; \($0.remedy)" } ?? ""
                return "shard \(index): redis refuses, nothing can be said: \(refusal)\(remedy)"
            }
            return
                "shard \(index): no message went round through redis lately; see whether redis hangs (martlet doctor)"
        }
        if areRoomsBack { return nil }
        let waiting = rooms.count { $0.map { isReached($0.name) && ($0.look { $0.isRecovering } ?? false) } ?? false }
        areRoomsBack = waiting == 0
        return waiting > 0 ? "shard \(index): \(waiting) rooms are not entered again yet" : nil
    }

    private func some(_ reach: BrokerReach) -> String {
        reach.isEmpty ? "" : " for some of the cluster's slots"
    }

    private func why(_ trouble: String?) -> String {
        (trouble.map { ": \($0)" } ?? "") + "; see that redis runs and can be reached from here (martlet doctor)"
    }

    // MARK: every second

    /// Proves the connections, whoever asks or not, and looks at the tails of some shared rooms. On the loop.
    func auditConnections(deadline: Duration) {
        guard !commands.isEmpty, !subscriptions.isEmpty else { return }
        // What Redis has said and this loop has not read yet may be the answer.
        let overdue = probes.indices.filter {
            isReached(probes[$0]) && probes[$0].isOverdue(now: now, deadline: deadline)
                && (!link.hasUnread || probes[$0].isOverdue(now: now, deadline: deadline * Self.mostPatience))
        }
        guard overdue.isEmpty else {
            logger.warning(
                "a message did not go round through redis in time, giving its connections up",
                metadata: [LogKey.shard: "\(index)", LogKey.milliseconds: "\(deadline)"])
            metrics.alarms.increment()
            for probe in overdue {
                probes[probe].reset()
                link.reset(probes[probe].room)
            }
            return
        }
        startProbes()
        auditTails()
        restRooms()
    }

    /// A loop that never gets to the end of what Redis says is no reason to wait for ever.
    private static let mostPatience = 5

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
