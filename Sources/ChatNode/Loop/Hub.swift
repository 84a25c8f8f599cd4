import ChatAccess
import ChatCore
import ChatGateway
import ChatHub
import Logging
import NIOConcurrencyHelpers
import NIOCore

/// The node as the gateway sees it. It passes each call to the right loop.
final class Hub: ChatService {
    let loops: [Loop]
    let admission: Admission
    /// What was imposed on users in all rooms.
    let sanctions = NodeSanctions()
    private let polls: PollBook
    private let indices: [ObjectIdentifier: Int]
    private let settings: LoopSettings
    let metrics: NodeMetrics
    /// The part of the loops' own counts that the counters have been given already.
    private let counted = NIOLockedValueBox((messages: UInt64(0), deliveries: UInt64(0)))
    private let gateway = NIOLockedValueBox<GatewayServer?>(nil)
    private let tokens = NIOLockedValueBox<TokenAuthenticator?>(nil)
    /// Where other nodes are, by their IDs, which are never used again.
    private let addresses = NIOLockedValueBox((asked: Moment?.none, known: [String: NodeAddress]()))
    private let metricsCache = TextCache(lasts: .milliseconds(250))

    init(loops: [Loop], settings: LoopSettings, metrics: NodeMetrics) {
        self.loops = loops
        self.settings = settings
        self.metrics = metrics
        self.admission = Admission(limits: settings.hub.rooms.limits)
        self.polls = PollBook(limits: settings.hub.rooms.limits)
        self.indices = Dictionary(
            loops.enumerated().map { (ObjectIdentifier($1.eventLoop), $0) }, uniquingKeysWith: { first, _ in first })
    }

    private func loop(_ eventLoop: any EventLoop) -> Loop? {
        indices[ObjectIdentifier(eventLoop)].map { loops[$0] }
    }

    // MARK: sessions

    func openSession(
        _ identity: SessionIdentity, outlet: any SessionOutlet, on loop: any EventLoop
    ) -> Result<SessionID, CloseReason> {
        guard let loop = self.loop(loop) else { return .failure(.internalError) }
        guard sanctions.refusalOfPresence(of: identity.user, now: settings.wallClock()) == nil else {
            metrics.refused(.banned)
            return .failure(.banned)
        }
        switch admission.enter(identity.user) {
        case .failure(let reason):
            metrics.refused(reason)
            return .failure(reason)
        case .success(let rate): return .success(loop.sessions.open(identity, rate: rate, outlet: outlet))
        }
    }

    func perform(_ body: ClientRequest.Body, ref: Ref?, from session: SessionID, on loop: any EventLoop) {
        self.loop(loop)?.sessions.perform(body, ref: ref, from: session)
    }

    func heard(bytes: Int, from session: SessionID, on loop: any EventLoop) -> Duration {
        self.loop(loop)?.sessions.heard(bytes, from: session) ?? .zero
    }

    func refused(_ session: SessionID, on loop: any EventLoop) -> Duration {
        self.loop(loop)?.sessions.refused(session) ?? SessionHost.leastPause
    }

    func renew(
        _ session: SessionID, _ answer: Result<Identity, WireError>, ref: Ref?, on loop: any EventLoop
    ) {
        self.loop(loop)?.sessions.renew(session, answer, ref: ref)
    }

    func sessionDrained(_ session: SessionID, on loop: any EventLoop) {
        self.loop(loop)?.sessions.drained(session)
    }

    func sessionClosed(_ session: SessionID, on loop: any EventLoop) {
        guard let user = self.loop(loop)?.sessions.close(session) else { return }
        admission.leave(user)
    }

    /// The tick of one of the node's loops, which accept all sessions; for any other loop a new tick for the caller
    /// alone.
    func tick(of loop: any EventLoop) -> LoopTick {
        self.loop(loop)?.tick ?? LoopTick(of: loop)
    }

    // MARK: HTTP

    func allow(_ right: Rights, in room: RoomName, by grant: Grant?) throws(WireError) {
        if let error = AccessDecision.refusal(of: right, in: room, by: grant) {
            if let label = RightLabel(right) { metrics.forbidden[label].increment() }
            throw error
        }
        try refuseBanned(grant)
    }

    /// Refuses a user who is banned in all rooms, also what is about no room. A server's key is not the user in whose
    /// name it sends.
    func refuseBanned(_ grant: Grant?) throws(WireError) {
        guard let grant, !grant.permissions.actsForOthers else { return }
        if let error = sanctions.refusalOfPresence(of: grant.user, now: settings.wallClock()) { throw error }
    }

    func home(of room: RoomName) -> Loop { loops[RoomHost.home(of: room, among: loops.count)] }
    var wallClock: UInt64 { settings.wallClock() }
    var editWindow: UInt64 { settings.hub.editWindow }
    var replicas: Int { settings.ackReplicas }

    func history(room: RoomName, query: HistoryQuery, by grant: Grant?) async throws(WireError) -> HistoryPage {
        try allow(.read, in: room, by: grant)
        let rate = try takeRead(by: grant)
        try await refuseBanned(grant, in: room, "history")
        var query = query
        query.limit = max(1, min(query.limit, settings.hub.rooms.limits.historyPage))
        query.bytes = settings.hub.rooms.limits.historyPageBytes
        query.isFolded = true
        switch await home(of: room).ask(.history(room: room, query: query)) {
        case .success(.history(let page)):
            rate?.charge(RequestCost.finding(query.anchor) + RequestCost.page(page, of: query), now: .now)
            return page.limited(toBytes: settings.hub.rooms.limits.historyPageBytes, anchor: query.anchor)
        case .success: throw BrokerError.malformed("").wireError("history")
        case .failure(let error): throw error.wireError("history")
        }
    }

    func poll(
        room: RoomName, after: Position?, limit: Int, wait: Duration, by grant: Grant?, from address: PeerAddress?
    ) async throws(WireError) -> Arrivals {
        try allow(.read, in: room, by: grant)
        guard !admission.isDraining else { throw WireError(.draining, "the node is leaving") }
        let reader = grant.flatMap { $0.permissions.actsForOthers ? nil : $0.user }
        let rate = try take(RequestCost.request, by: grant)
        let limits = settings.hub.rooms.limits
        let key = reader.map { PollBook.Key.user($0) } ?? address.map { .address($0) }
        if let limit = polls.enter(key) {
            metrics.limitRefusals[limit].increment()
            throw WireError(.tooManyWaiting, "too many requests wait for messages already")
        }
        defer { polls.leave(key) }
        let home = home(of: room)
        if await !home.call({ $0.rooms.isInUse(room) }) {
            rate?.charge(RequestCost.newRoom, now: .now)
            if settings.hub.redisSpace.isShort, await !home.exists(room) {
                metrics.limitRefusals[.redisMemory].increment()
                throw .noSpaceInRedis
            }
        }
        var wait = max(.zero, min(wait, limits.pollWait))
        if let expiresAt = grant?.expiresAt {
            let now = settings.wallClock()
            wait = min(wait, .milliseconds(Int64(clamping: expiresAt - min(now, expiresAt))))
        }
        let request = PollRequest(
            room: room, after: after, limit: max(1, min(limit, limits.historyPage)), user: reader, until: .now + wait)
        let arrivals = try await home.poll(request).get()
        // Rights may have ended while the request waited.
        try allow(.read, in: room, by: grant)
        if let grant, let error = tokens.withLockedValue({ $0 })?.refusal(of: grant, now: settings.wallClock()) {
            throw error
        }
        rate?.charge(RequestCost.page(arrivals.page.messages, read: false), now: .now)
        return arrivals
    }

    /// Answers all requests that wait for messages, as the node leaves.
    func endPolls() async {
        for loop in loops { await loop.call { $0.rooms.endPolls() } }
    }

    func say(room: RoomName, content: MessageContent, by grant: Grant?) async throws(WireError) -> Said {
        try allow(.send, in: room, by: grant)
        if let error = sanctions.refusalOfSending(by: content.user, now: settings.wallClock()) { throw error }
        let home = home(of: room)
        let cost = await home.call { $0.rooms.cost(ofSaying: content, in: room) }
        let bytes = (content.text?.utf8.count ?? 0) + (content.data?.utf8.count ?? 0)
        try charge(content.user, bytes: bytes, cost, now: home.now)
        if settings.hub.redisSpace.isShort, await !home.exists(room) {
            metrics.limitRefusals[.redisMemory].increment()
            throw .noSpaceInRedis
        }
        var content = content
        if content.at == 0 { content.at = settings.wallClock() }
        // Who may moderate is bound by sanctions, but not by the room's rules.
        let obeysRules = !(grant?.rights(in: room).contains(.moderate) ?? false)
        var result: Result<BrokerReply, BrokerError>
        (content, result) = try await home.say(content, in: room, obeysRules: obeysRules).get()
        let request = BrokerRequest.say(room: room, content: content, obeysRules: obeysRules)
        // Each call reads a piece of the log, so a few calls read as much as the log's bounds allow.
        for _ in 0..<Self.mostReads where result == .failure(.again) {
            result = await home.ask(request)
        }
        switch result {
        case .success(.said(let position, let repeated)):
            if !repeated { await tellMentioned(by: content, at: position, in: room) }
            guard await home.isReplicated(in: room) else {
                throw .notReplicated(position, replicas: settings.ackReplicas)
            }
            return Said(position: position, repeated: repeated, cost: cost)
        case .success: throw BrokerError.malformed("").wireError("say")
        case .failure(let error): throw error.wireError("say")
        }
    }

    /// How often a `say` with a key is repeated while Redis reads the room's log, 256 messages or 64 KB at a time.
    private static let mostReads = 1_000

    /// Takes a read over HTTP from what its user may spend on this node, over HTTP and in sessions together. Returns
    /// the rate, to be charged what the read costs; nil in development mode, where only the address pays.
    func takeRead(by grant: Grant?) throws(WireError) -> UserRate? {
        try take(RequestCost.request + RequestCost.read, by: grant)
    }

    func take(_ cost: UInt64, by grant: Grant?) throws(WireError) -> UserRate? {
        guard let grant, !grant.permissions.actsForOthers else { return nil }
        let rate = admission.rate(of: grant.user)
        guard rate.take(now: .now) else {
            metrics.limitRefusals[.requestsPerSecondPerUser].increment()
            let most = settings.hub.rooms.limits.userRequestsPerSecond
            throw WireError(.rateLimited, "the user makes more than \(most) requests a second on this node")
        }
        guard rate.spend(cost, now: .now) else {
            metrics.limitRefusals[.costPerSecond].increment()
            throw settings.hub.rooms.limits.tooDear
        }
        return rate
    }

    /// Charges a message that is sent over HTTP to its user, like one from a session.
    func charge(_ user: UserID, bytes: Int, _ cost: UInt64, now: Moment) throws(WireError) {
        let rate = admission.rate(of: user)
        let limits = settings.hub.rooms.limits
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

    func roster(room: RoomName, cursor: String?, by grant: Grant?) async throws(WireError) -> RosterPage {
        try allow(.read, in: room, by: grant)
        let rate = try takeRead(by: grant)
        try await refuseBanned(grant, in: room, "roster")
        let place = RosterCursor(cursor)
        switch await home(of: room).ask(.reading(.people(room: room, cursor: place.part))) {
        case .success(.reading(.people(let part))):
            rate?.charge(RequestCost.roster(part.members.count, read: true), now: .now)
            return part.page(at: place, limit: settings.hub.rooms.limits.rosterPage)
        case .success: throw BrokerError.malformed("").wireError("roster")
        case .failure(let error): throw error.wireError("roster")
        }
    }

    /// Who may not be in the room may not read it either. Servers read for others.
    private func refuseBanned(_ grant: Grant?, in room: RoomName, _ what: String) async throws(WireError) {
        guard let grant, !grant.permissions.actsForOthers else { return }
        try await refuseOutsider(grant.user, of: room, what)
    }

    /// Refuses a user who may not be in the room: who is banned, or no participant of a room that is for participants.
    func refuseOutsider(
        _ user: UserID?, of room: RoomName, _ what: String = "participants"
    ) async throws(WireError) {
        guard let user else { return }
        switch await home(of: room).ask(.rules(room: room, of: user)) {
        case .success(.rules(let rules)):
            if let error = rules.refusal(ofJoinBy: user, in: room, now: settings.wallClock()) { throw error }
        case .success: throw BrokerError.malformed("").wireError(what)
        case .failure(let error): throw error.wireError(what)
        }
    }

    func moderate(
        room: RoomName, _ moderation: Moderation, by: String, grant: Grant?
    ) async throws(WireError) -> Moderated {
        try allow(.moderate, in: room, by: grant)
        let home = home(of: room)
        let cost = await home.call { $0.rooms.cost(ofModerating: room) }
        _ = try take(RequestCost.request + cost, by: grant)
        switch await home.ask(.moderate(room: room, moderation, by: by)) {
        case .success(.moderated(let reply)): return Moderated(reply, cost: cost)
        case .success: throw BrokerError.malformed("").wireError("moderate")
        case .failure(let error): throw error.wireError("moderate")
        }
    }

    func moderation(room: RoomName, by grant: Grant?) async throws(WireError) -> RoomModeration {
        try allow(.moderate, in: room, by: grant)
        let rate = try takeRead(by: grant)
        switch await home(of: room).ask(.rules(room: room, of: nil)) {
        case .success(.rules(let rules)):
            rate?.charge(RequestCost.roster(rules.sanctionCount, read: true), now: .now)
            return rules.inForce(at: settings.wallClock())
        case .success: throw BrokerError.malformed("").wireError("moderation")
        case .failure(let error): throw error.wireError("moderation")
        }
    }

    func command(_ command: NodeCommand, by: String) async throws(WireError) -> Position {
        guard let first = loops.first else { throw WireError(.unavailable, "the node is starting") }
        switch await first.ask(.command(command, by: by)) {
        case .success(.commanded(let position)): return position
        case .success: throw BrokerError.malformed("").wireError("command")
        case .failure(let error): throw error.wireError("command")
        }
    }

    func sanctions(of user: UserID) -> [Sanction.Kind: Sanction] {
        sanctions.sanctions(of: user, now: settings.wallClock())
    }

    func readiness() async -> Readiness {
        if admission.isDraining { return Readiness(reasons: ["the node is leaving"]) }
        // The loops are asked concurrently, because each may wait for a proof that does not come.
        let reasons = await withTaskGroup(of: (Int, String?).self) { tasks in
            for loop in loops { tasks.addTask { (loop.index, await loop.unreadiness()) } }
            return await tasks.reduce(into: [(Int, String)]()) { all, one in
                if let reason = one.1 { all.append((one.0, reason)) }
            }
        }.sorted { $0.0 < $1.0 }.map(\.1)
        let tokens = tokens.withLockedValue { $0 }
        let trouble = tokens?.keySetTrouble
        let fatal = trouble.flatMap { $0.isFatal ? $0.text : nil }
        var all = reasons + (fatal.map { [$0] } ?? [])
        if let tokens, !tokens.knowsRevocations { all.append("the node has not read which tokens are revoked") }
        metrics.ready.set(all.isEmpty ? 1.0 : 0.0)
        return Readiness(reasons: all, warnings: fatal == nil ? trouble.map { [$0.text] } ?? [] : [])
    }

    /// The metrics. They are made at most four times a second, because that reads state on every loop.
    func metricsText() async -> String { await metricsCache.text { await self.makeMetricsText() } }

    private func makeMetricsText() async -> String {
        let load = await load()
        metrics.sessions.set(Double(load.sessions))
        metrics.rooms.set(Double(load.rooms))
        metrics.waitingSends.set(Double(load.waitingSends))
        metrics.polls.set(Double(load.polls))
        metrics.userChannels.set(Double(load.userChannels))
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

    // MARK: the node itself

    /// From now on readiness includes the keys of tokens.
    func attach(_ authenticator: TokenAuthenticator?) {
        tokens.withLockedValue { $0 = authenticator }
    }

    /// From now on `/metrics` includes the gateway's counts.
    func attach(_ server: GatewayServer) {
        gateway.withLockedValue { $0 = server }
    }

    func keep(_ record: String, under secret: String, for life: Duration) async {
        guard let loop = loops.first, let name = Self.recordName(secret) else { return }
        _ = await loop.ask(.storeTicket(name, allows: record, life: life))
    }

    func takeRecord(under secret: String) async -> String? {
        guard let loop = loops.first, let name = Self.recordName(secret) else { return nil }
        guard case .success(.ticket(let record)) = await loop.ask(.takeTicket(name)) else { return nil }
        return record
    }

    /// Records are where tickets are, under names that no ticket can have.
    private static func recordName(_ secret: String) -> TicketName? {
        TicketName(APIKeys.hash(of: "socket.io " + secret))
    }

    /// The list of nodes is asked for at most once a second, whatever clients ask.
    func address(of node: String) async -> NodeAddress? {
        let now = Moment.now
        let (known, isFresh) = addresses.withLockedValue { addresses in
            let isFresh = addresses.asked.map { now - $0 < .seconds(1) } ?? false
            if !isFresh, addresses.known[node] == nil { addresses.asked = now }
            return (addresses.known[node], isFresh)
        }
        if known != nil || isFresh { return known }
        guard let loop = loops.first, case .success(.nodes(let records)) = await loop.ask(.nodes) else { return nil }
        var found: [String: NodeAddress] = [:]
        for record in records {
            guard let report = record.report else { continue }
            found[record.node.text] = NodeAddress(reported: report.address, name: record.node.name)
        }
        let all = found
        addresses.withLockedValue { $0.known = all }
        return all[node]
    }

    /// The present load of the node, over all loops.
    func load() async -> HubLoad {
        var load = HubLoad(sessions: admission.total)
        if let counters = await gateway.withLockedValue({ $0 })?.counters() {
            load.protocols = counters.sessionsByProtocol.filter { $0.value > 0 }
        }
        for loop in loops {
            let part = await loop.call { $0.load }
            load.rooms += part.rooms
            load.messages &+= part.messages
            load.deliveries &+= part.deliveries
            load.waitingSends += part.waitingSends
            load.polls += part.polls
            load.userChannels += part.userChannels
            load.memory.add(part.memory)
        }
        return load
    }
}
