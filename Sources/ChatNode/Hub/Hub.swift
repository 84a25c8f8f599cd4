import ChatCore
import ChatGateway
import Logging
import NIOConcurrencyHelpers
import NIOCore

/// The node as the gateway sees it: finds the shard for everything.
final class Hub: ChatService {
    let shards: [Shard]
    let admission: Admission
    private let shardOfLoop: [ObjectIdentifier: Int]
    private let settings: ShardSettings
    private let metrics: NodeMetrics
    /// What the counters have been told of the shards' own counts.
    private let counted = NIOLockedValueBox((messages: UInt64(0), deliveries: UInt64(0)))
    private let gateway = NIOLockedValueBox<GatewayServer?>(nil)

    init(shards: [Shard], settings: ShardSettings, metrics: NodeMetrics) {
        self.shards = shards
        self.settings = settings
        self.metrics = metrics
        self.admission = Admission(limits: settings.rooms.limits)
        self.shardOfLoop = Dictionary(
            shards.enumerated().map { (ObjectIdentifier($1.loop), $0) }, uniquingKeysWith: { first, _ in first })
    }

    private func shard(on loop: any EventLoop) -> Shard? {
        shardOfLoop[ObjectIdentifier(loop)].map { shards[$0] }
    }

    // MARK: sessions

    func openSession(_ identity: SessionIdentity, outlet: any SessionOutlet) -> Result<SessionID, CloseReason> {
        guard let shard = shard(on: outlet.loop) else { return .failure(.internalError) }
        switch admission.enter(identity.user) {
        case .failure(let reason):
            shard.metrics.refused(reason)
            return .failure(reason)
        case .success(let rate): return .success(shard.openSession(identity, rate: rate, outlet: outlet))
        }
    }

    func perform(_ body: ClientRequest.Body, ref: Ref?, from session: SessionID, on loop: any EventLoop) {
        shard(on: loop)?.perform(body, ref: ref, from: session)
    }

    func sessionDrained(_ session: SessionID, on loop: any EventLoop) {
        shard(on: loop)?.sessionDrained(session)
    }

    func sessionClosed(_ session: SessionID, on loop: any EventLoop) {
        guard let closed = shard(on: loop)?.sessionClosed(session) else { return }
        admission.leave(closed.user)
    }

    /// Of the loop of one of our shards, on which all sessions are. (Of any other: one for the caller alone.)
    func tick(of loop: any EventLoop) -> LoopTick {
        shard(on: loop)?.tick ?? LoopTick(of: loop)
    }

    func urgentDescriptors(on loop: any EventLoop) -> [CInt] {
        shard(on: loop).map { $0.link.descriptors + [$0.doorbell.descriptor] } ?? []
    }

    func readUrgent(on loop: any EventLoop) -> Bool {
        guard let shard = shard(on: loop) else { return true }
        shard.doorbell.answer()
        return shard.link.readAnswers()
    }

    // MARK: HTTP

    private func homeShard(of room: RoomName) -> Shard { shards[Shard.home(of: room, among: shards.count)] }

    func history(room: RoomName, query: HistoryQuery) async throws(WireError) -> HistoryPage {
        var query = query
        query.limit = max(1, min(query.limit, settings.rooms.limits.historyPage))
        query.bytes = settings.rooms.limits.historyPageBytes
        switch await homeShard(of: room).ask(.history(room: room, query: query)) {
        case .success(.history(let page)):
            return page.limited(toBytes: settings.rooms.limits.historyPageBytes, anchor: query.anchor)
        case .success: throw BrokerError.malformed("").wireError("history")
        case .failure(let error): throw error.wireError("history")
        }
    }

    func say(room: RoomName, content: MessageContent) async throws(WireError) -> (position: Position, repeated: Bool) {
        guard admission.rate(of: content.user).take(now: homeShard(of: room).now) else {
            metrics.limitRefusals[.requestsPerSecondPerUser].increment()
            let most = settings.rooms.limits.userRequestsPerSecond
            throw WireError(.rateLimited, "the user makes more than \(most) requests a second on this node")
        }
        var content = content
        if content.at == 0 { content.at = settings.wallClock() }
        let home = homeShard(of: room)
        var result = await home.ask(.say(room: room, content: content))
        // Each call reads a piece of the log: as many as its bounds allow, a few in all.
        for _ in 0..<Self.mostReads where result == .failure(.again) {
            result = await home.ask(.say(room: room, content: content))
        }
        switch result {
        case .success(.said(let position, let repeated)):
            guard await home.isReplicated(in: room) else {
                throw Shard.notReplicated(position, replicas: settings.ackReplicas)
            }
            return (position, repeated)
        case .success: throw BrokerError.malformed("").wireError("say")
        case .failure(let error): throw error.wireError("say")
        }
    }

    /// How often a `say` with a key is repeated while Redis reads the room's log, 256 messages or 64 KB at a time.
    private static let mostReads = 1_000

    func roster(room: RoomName, cursor: String?) async throws(WireError) -> RosterPage {
        let place = RosterCursor(cursor)
        switch await homeShard(of: room).ask(.roster(room: room, cursor: place.part)) {
        case .success(.roster(let part)):
            return part.page(at: place, limit: settings.rooms.limits.rosterPage)
        case .success: throw BrokerError.malformed("").wireError("roster")
        case .failure(let error): throw error.wireError("roster")
        }
    }

    func readiness() async -> Readiness {
        if admission.isDraining { return Readiness(reasons: ["the node is leaving"]) }
        var reasons: [String] = []
        for shard in shards {
            let reason = await shard.unreadiness()
            if let reason { reasons.append(reason) }
        }
        metrics.ready.set(reasons.isEmpty ? 1.0 : 0.0)
        return Readiness(reasons: reasons)
    }

    func metricsText() async -> String {
        let load = await load()
        metrics.sessions.set(Double(load.sessions))
        metrics.rooms.set(Double(load.rooms))
        metrics.waitingSends.set(Double(load.waitingSends))
        counted.withLockedValue { counted in
            metrics.publications.increment(by: Int(clamping: load.messages &- counted.messages))
            metrics.deliveries.increment(by: Int(clamping: load.deliveries &- counted.deliveries))
            counted = (load.messages, load.deliveries)
        }
        metrics.polls[.found].raise(to: load.polls.found)
        metrics.polls[.slept].raise(to: load.polls.slept)
        if let gateway = gateway.withLockedValue({ $0 }) { metrics.take(await gateway.counters()) }
        return metrics.text()
    }

    // MARK: the node's own business

    /// From now on `/metrics` tells what the gateway counts.
    func attach(_ server: GatewayServer) {
        gateway.withLockedValue { $0 = server }
    }

    /// What the node is doing, over all shards.
    func load() async -> Load {
        var load = Load(sessions: admission.total)
        for shard in shards {
            let part = await withCheckedContinuation { continuation in
                shard.run { continuation.resume(returning: shard.load()) }
            }
            load.rooms += part.rooms
            load.messages &+= part.messages
            load.deliveries &+= part.deliveries
            load.waitingSends += part.waitingSends
            load.polls.found &+= part.polls.found
            load.polls.slept &+= part.polls.slept
        }
        return load
    }
}

/// What a node, or one of its shards, is doing.
struct Load: Sendable {
    var sessions = 0
    var rooms = 0
    var waitingSends = 0
    /// Since the process began.
    var messages: UInt64 = 0
    var deliveries: UInt64 = 0
    var polls = BusyPoll.Ends()
}
