import ChatCore
import ChatHub
import Logging
import NIOCore

/// Determines whether messages of a loop make a full round through the broker: ``Probe``s for each part of the broker
/// that fails independently, and the answer of `/readyz`. Confined to its loop.
final class ReadinessProof: @unchecked Sendable {
    // Proof for @unchecked: all members except the constants are accessed only on the loop.

    private let link: any BrokerLink
    private unowned let rooms: RoomHost
    private unowned let context: LoopContext
    /// One probe for each part of the broker that fails independently.
    private(set) var probes: [Probe] = []
    /// Whether all of them have been proven at the same time before.
    private var wasWhole = false
    /// Whether all rooms have returned since the time when no part of the broker was reached.
    private var areRoomsBack = false
    /// The callers that wait for the probes' rounds.
    private var waits: [UInt64: () -> Void] = [:]
    private var nextWait: UInt64 = 1
    /// Why the connections were last lost, or could not be made.
    private var commandsTrouble: String?
    private var subscriptionsTrouble: String?

    init(link: any BrokerLink, rooms: RoomHost, context: LoopContext) {
        self.link = link
        self.rooms = rooms
        self.context = context
    }

    private var now: Moment { context.now }

    // MARK: rounds

    /// Begins a round for each part of the broker for which one is due: SUBSCRIBE, PUBLISH, receive the message,
    /// UNSUBSCRIBE.
    func begin() {
        let scopes = link.scopes
        let (node, shard) = (context.settings.hub.node, context.index)
        probes = scopes.compactMap { scope in
            probes.first { scope.contains($0.entity) } ?? Probe(node: node, shard: shard, in: scope)
        }
        for probe in probes.indices where isReached(probes[probe]) && probes[probe].begin(now: now) {
            link.subscribe(probes[probe].entity)
        }
        beginWrites()
    }

    /// Tests for each part of the broker whether anything can be stored there.
    func beginWrites() {
        for probe in probes.indices where isReached(probes[probe]) && probes[probe].beginWrite(now: now) {
            let entity = probes[probe].entity
            context.ask(.tryStoring(entity)) { [self] in writeAnswered($0, of: entity) }
        }
    }

    private func writeAnswered(_ result: Result<BrokerReply, BrokerError>, of entity: Entity) {
        guard let probe = probes.firstIndex(where: { $0.entity == entity }) else { return }
        let write = Probe.Write(result)
        guard let asked = probes[probe].answered(write) else { return }
        switch write {
        case .taken: context.keeper?.health.stored(asked: asked, now: now)
        case .refused(let text):
            // Refusals of a known kind were counted when they came.
            if RefusalKind(text: text) == nil { context.keeper?.health.refused(.other, text, now: now) }
        case .lost: break
        }
        proofCame()
    }

    /// The channel of a probe is subscribed.
    func subscribed(_ entity: Entity) {
        guard let probe = probes.firstIndex(where: { $0.entity == entity }), let event = probes[probe].subscribed()
        else { return }
        context.ask(.publish(on: entity, event: event)) { [self] result in
            // Redis refused it, or the connection was lost, which says nothing about the subscription.
            guard case .failure(let error) = result, let probe = probes.firstIndex(where: { $0.entity == entity })
            else { return }
            if case .notStored(let text) = error { probes[probe].failed(text) } else { probes[probe].failed() }
        }
    }

    /// An event came on the channel of a probe.
    func heard(_ event: ChatCore.ChannelEvent, on entity: Entity) {
        guard let probe = probes.firstIndex(where: { $0.entity == entity }), probes[probe].heard(event, now: now)
        else { return }
        link.unsubscribe(entity)
        proofCame()
    }

    private func proofCame() {
        let areProven = probes.allSatisfy { isProven($0) }
        if areProven, rooms.commands.isWhole, rooms.subscriptions.isWhole { wasWhole = true }
        if areProven || whyUnready() == nil || probes.contains(where: { $0.refusal != nil }) { endWaits() }
    }

    private func endWaits() {
        let waits = waits
        self.waits = [:]
        for wait in waits.values { wait() }
    }

    // MARK: connections

    func reset(in scope: BrokerScope) {
        for probe in probes.indices where scope.contains(probes[probe].entity) { probes[probe].reset() }
    }

    func commandsLost(_ reason: String) {
        if rooms.commands.isEmpty { areRoomsBack = false }
        commandsTrouble = reason
    }

    func subscriptionsLost(_ reason: String, _ scope: BrokerScope) {
        if rooms.subscriptions.isEmpty { areRoomsBack = false }
        subscriptionsTrouble = reason
        reset(in: scope)
        endWaits()
    }

    /// Closes connections on which no message makes a full round, and begins the rounds that are due. Returns true if
    /// all is well. To be called once a second.
    func audit(deadline: Duration) -> Bool {
        // The answer may be among the data from Redis that this loop has not read yet.
        let overdue = probes.indices.filter {
            isReached(probes[$0]) && probes[$0].isOverdue(now: now, deadline: deadline)
                && (!link.hasUnread || probes[$0].isOverdue(now: now, deadline: deadline * Self.mostPatience))
        }
        guard overdue.isEmpty else {
            context.logger.warning(
                "a message did not make a full round through redis in time, closing its connections",
                metadata: [LogKey.shard: "\(context.index)", LogKey.milliseconds: "\(deadline.wholeMilliseconds)"])
            context.metrics.alarms.increment()
            for probe in overdue {
                probes[probe].reset()
                link.reset(probes[probe].entity)
            }
            return false
        }
        begin()
        return true
    }

    /// A loop that never finishes reading the data from Redis does not wait for ever.
    private static let mostPatience = 5

    private func isReached(_ probe: Probe) -> Bool { rooms.isReached(probe.entity) }

    // MARK: readiness

    /// Calls `then` with the reason why messages of this loop do not make a full round, or with nil if one just did.
    /// Waits for the proof, but not longer than `patience`.
    func unreadiness(within patience: Duration, _ then: @escaping (String?) -> Void) {
        begin()
        let reason = whyUnready()
        if probes.contains(where: { $0.refusal != nil }) { return then(reason) }
        // If all needed connections are up, only the proof is missing.
        let unproven = probes.filter { !isProven($0) }
        let canWait = wasWhole ? unproven.contains { isReached($0) } : unproven.allSatisfy { isReached($0) }
        if reason == nil || !canWait || unproven.isEmpty { return then(reason) }
        let id = nextWait
        nextWait += 1
        waits[id] = { [self] in then(whyUnready()) }
        context.schedule(after: patience) { [self] in waits.removeValue(forKey: id)?() }
    }

    private func isProven(_ probe: Probe) -> Bool {
        isReached(probe) && probe.isFresh(now: now) && probe.canStore(now: now)
    }

    /// The reason why this loop is not ready, or nil. One Redis has one part, and a Cluster has one for each master. A
    /// node that has never had all of them is not ready. Later a part may fail and return without making the node
    /// unready, because it fails for all nodes: if all were unready, a proxy would let nobody into the rooms of the
    /// other masters either. After all parts have failed, a node is ready when its rooms are entered again.
    func whyUnready() -> String? {
        let shard = "shard \(context.index)"
        if !wasWhole || !probes.contains(where: { isProven($0) }) {
            areRoomsBack = false
            if probes.isEmpty || !rooms.commands.isWhole {
                return "\(shard): no command connection to redis" + some(rooms.commands) + why(commandsTrouble)
            }
            if !rooms.subscriptions.isWhole {
                return "\(shard): no subscribe connection to redis" + some(rooms.subscriptions)
                    + why(subscriptionsTrouble)
            }
            if let refusal = probes.lazy.compactMap(\.refusal).first {
                let remedy = RefusalKind(text: refusal).map { "; \($0.remedy)" } ?? ""
                return "\(shard): redis refuses, nothing can be said: \(refusal)\(remedy)"
            }
            return "\(shard): no message went round through redis lately; see whether redis hangs (martlet doctor)"
        }
        if areRoomsBack { return nil }
        let waiting = rooms.recoveringRooms
        areRoomsBack = waiting == 0
        return waiting > 0 ? "\(shard): \(waiting) rooms are not entered again yet" : nil
    }

    private func some(_ reach: BrokerReach) -> String {
        reach.isEmpty ? "" : " for some of the cluster's slots"
    }

    private func why(_ trouble: String?) -> String {
        (trouble.map { ": \($0)" } ?? "") + "; see that redis runs and can be reached from here (martlet doctor)"
    }
}
