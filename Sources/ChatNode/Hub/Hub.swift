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
    private let metricsCache = TextCache(lasts: .milliseconds(250))

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

    func heard(bytes: Int, from session: SessionID, on loop: any EventLoop) -> Duration {
        shard(on: loop)?.heard(bytes, from: session) ?? .zero
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

    func say(room: RoomName, content: MessageContent) async throws(WireError) -> Said {
        let home = homeShard(of: room)
        let cost = await home.cost(ofSaying: content, in: room)
        try charge(content, cost, now: home.now)
        if settings.redisSpace.isShort, await !home.exists(room) {
            metrics.limitRefusals[.redisMemory].increment()
            throw Shard.noSpace
        }
        var content = content
        if content.at == 0 { content.at = settings.wallClock() }
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
            return Said(position: position, repeated: repeated, cost: cost)
        case .success: throw BrokerError.malformed("").wireError("say")
        case .failure(let error): throw error.wireError("say")
        }
    }

    /// How often a `say` with a key is repeated while Redis reads the room's log, 256 messages or 64 KB at a time.
    private static let mostReads = 1_000

    /// Whoever says so over HTTP: it counts as what that user says.
    private func charge(_ content: MessageContent, _ cost: UInt64, now: Moment) throws(WireError) {
        let rate = admission.rate(of: content.user)
        let limits = settings.rooms.limits
        let bytes = (content.text?.utf8.count ?? 0) + (content.data?.utf8.count ?? 0)
        guard rate.take(now: now) else {
            metrics.limitRefusals[.requestsPerSecondPerUser].increment()
            let most = limits.userRequestsPerSecond
            throw WireError(.rateLimited, "the user makes more than \(most) requests a second on this node")
        }
        guard rate.say(bytes, now: now) else {
            metrics.limitRefusals[.userBytesPerSecond].increment()
            throw limits.tooManyBytes
        }
        guard rate.spend(cost, now: now) else {
            metrics.limitRefusals[.costPerSecond].increment()
            throw limits.tooDear
        }
    }

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
        // All at once: each may wait for a proof that does not come.
        let reasons = await withTaskGroup(of: (Int, String?).self) { tasks in
            for shard in shards { tasks.addTask { (shard.index, await shard.unreadiness()) } }
            return await tasks.reduce(into: [(Int, String)]()) { all, one in
                if let reason = one.1 { all.append((one.0, reason)) }
            }
        }.sorted { $0.0 < $1.0 }.map(\.1)
        metrics.ready.set(reasons.isEmpty ? 1.0 : 0.0)
        return Readiness(reasons: reasons)
    }

    /// Made at most four times a second: it looks at everything, on every loop.
    func metricsText() async -> String { await metricsCache.text { await self.makeMetricsText() } }

    private func makeMetricsText() async -> String {
        let load = await load()
        metrics.sessions.set(Double(load.sessions))
        metrics.rooms.set(Double(load.rooms))
        metrics.waitingSends.set(Double(load.waitingSends))
        counted.withLockedValue { counted in
            metrics.publications.increment(by: Int(clamping: load.messages &- counted.messages))
            metrics.deliveries.increment(by: Int(clamping: load.deliveries &- counted.deliveries))
            counted = (load.messages, load.deliveries)
        }
        metrics.roomsMemory.set(Int64(load.memory.used))
        metrics.roomsMemoryReleased.raise(to: load.memory.released)
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
            load.memory.add(part.memory)
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
    /// Of messages that rooms have in memory, in bytes; taken back because of the limit; and that together with what went with its room.
    var memory = RoomsMemory(limit: 0)
}
