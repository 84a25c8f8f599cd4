import ChatCore

/// The sessions that one loop accepted: where each stands in its rooms, what it asks, and what it is told.
///
/// Whether a session is in a room is known once on each side: here by ``RoomStanding`` (how far it has caught up), on the room's home loop
/// by the room's machine (who is in the room). A request that only members may make is answered by the home loop, which sees requests in
/// the order in which they were made.
///
/// Not thread-safe: confined to its loop.
public final class SessionHost {
    /// The loop's number in the node, and how many there are.
    let index: Int
    let loops: Int
    let settings: HubSettings
    unowned let context: any SessionHostContext
    var sessions: [SessionID: LocalSession] = [:]
    private var nextSession: UInt64 = 1
    /// This loop's share of the node's joins.
    private var joinRate: TokenBucket
    /// Frames handed to sessions, since the node started.
    public internal(set) var deliveries: UInt64 = 0

    /// `count`: how many loops the node has.
    public init(
        index: Int, of count: Int, settings: HubSettings, context: any SessionHostContext
    ) {
        self.index = index
        self.loops = max(1, count)
        self.settings = settings
        self.context = context
        let joins = (settings.rooms.limits.joinsPerSecond + count - 1) / max(1, count)
        joinRate = TokenBucket(perSecond: joins, burst: joins, now: context.now)
    }

    /// How many sessions there are.
    public var count: Int { sessions.count }

    // MARK: coming and going

    /// A client was admitted. `rate`: what its user may ask of the node.
    public func open(_ identity: SessionIdentity, rate: UserRate, outlet: any SessionOutlet) -> SessionID {
        let id = SessionID(number: nextSession, loop: index, protocolID: outlet.protocolID)
        nextSession += 1
        let device = identity.device ?? (try? DeviceName("session-\(id.raw)")) ?? Self.unnamedDevice
        sessions[id] = LocalSession(
            id: id, user: identity.user, device: device, outlet: outlet, since: context.now, rate: rate)
        context.noted(.opened(identity.user, device), by: id)
        return id
    }

    private static let unnamedDevice: DeviceName = {
        guard let name = try? DeviceName("session") else { preconditionFailure("session is a device name") }
        return name
    }()

    /// The connection has gone: the session leaves its rooms. Returns whose it was; nil: it had gone before.
    public func close(_ id: SessionID) -> UserID? {
        guard let session = sessions.removeValue(forKey: id) else { return nil }
        for (room, membership) in session.rooms {
            membership.local?.remove(id)
            leaveHome(room, session)
        }
        return session.user
    }

    /// Whether the session has asked to be in the room, and has not left it since.
    package func hasAsked(_ id: SessionID, for room: RoomName) -> Bool { sessions[id]?.rooms[room] != nil }

    /// The `ref` of the session's join that waits for its answer; see ``RoomStanding/unanswered``.
    package func unansweredJoin(of id: SessionID, in room: RoomName) -> Ref?? {
        sessions[id]?.rooms[room]?.standing.unanswered ?? nil
    }

    // MARK: requests

    /// A request that passed the session's own limits.
    public func perform(_ body: ClientRequest.Body, ref: Ref?, from id: SessionID) {
        guard let session = sessions[id] else { return }
        let (now, rate) = (context.now, session.rate)
        guard rate.take(now: now) else { return refuse(.requestsPerSecondPerUser, ref, session) }
        guard rate.spend(RequestCost.before(body), patience: patience(with: body, of: session), now: now) else {
            return refuse(.costPerSecond, ref, session)
        }
        switch body {
        case .join(let room, let after, let history): join(room, after: after, history: history, ref: ref, session)
        case .leave(let room): leave(room, ref: ref, session)
        case .send(let request):
            guard rate.say(request.byteCount, now: now) else { return refuse(.userBytesPerSecond, ref, session) }
            let at = context.wallClock
            atHome(of: request.room) { $0.send(request, ref: ref, from: id, at: at, rate) }
        case .signal(let room, let name, let data):
            atHome(of: room) { $0.signal(name, data: data, ref: ref, from: id, in: room, rate) }
        case .roster(let room, let cursor):
            // A member is answered from memory, others from Redis.
            guard session.rooms[room] != nil else { return page(.roster(room, cursor, ref), ref: ref, session) }
            atHome(of: room) { $0.roster(of: room, cursor: cursor, ref: ref, for: id, rate) }
        case .history(let room, let query): page(.history(room, query, ref), ref: ref, session)
        case .ping: session.outlet.send(.pong(ref: ref))
        }
    }

    /// Runs the body with the rooms of the loop that is home to the room.
    func atHome(of room: RoomName, _ body: @escaping @Sendable (RoomHost) -> Void) {
        context.atHome(RoomHost.home(of: room, among: loops), body)
    }

    /// After how many bursts the session is refused this: one more join of a room that it is in is no coming back.
    private func patience(with body: ClientRequest.Body, of session: LocalSession) -> UInt64 {
        if case .join(let room, _, _) = body, session.rooms[room] != nil { return 1 }
        return body.patience
    }

    /// Answers that a limit forbids it, and counts that.
    func refuse(_ limit: HubLimit, _ ref: Ref?, _ session: LocalSession) {
        context.refused(by: limit)
        session.outlet.send(.error(ref: ref, error(of: limit)))
    }

    private func error(of limit: HubLimit) -> WireError {
        let limits = settings.rooms.limits
        return switch limit {
        case .requestsPerSecondPerUser:
            WireError(
                .rateLimited,
                "the user's sessions on this node make more than \(limits.userRequestsPerSecond) requests a second")
        case .joinsPerSecond:
            WireError(.rateLimited, "this node is asked for more than \(limits.joinsPerSecond) joins a second")
        case .costPerSecond: limits.tooDear
        case .userBytesPerSecond: limits.tooManyBytes
        case .redisMemory: .noSpaceInRedis
        case .waitingPages:
            WireError(.tooManyWaiting, "\(Self.maxWaitingPages) requests of the session for pages wait already")
        case .waitingSendsPerRoom: WireError(.tooManyWaiting, "too many sends wait in this room")
        }
    }

    // MARK: join and leave

    private func join(_ room: RoomName, after: Position?, history: Int?, ref: Ref?, _ session: LocalSession) {
        guard joinRate.take(now: context.now) else { return refuse(.joinsPerSecond, ref, session) }
        // Until the answer, nothing of the room is for this session: the answer holds all that it missed.
        if let membership = session.rooms[room] {
            stopDelivering(membership, session)
            if let unanswered = membership.standing.unanswered {
                let error = WireError(.tooManyWaiting, "join: another join of the same room came behind it")
                session.outlet.send(.error(ref: unanswered, error))
            }
            session.rooms[room]?.local = nil
            session.rooms[room]?.standing.joinAsked(ref)
        } else {
            session.rooms[room] = LocalMembership(standing: RoomStanding(joining: ref), local: nil)
        }
        let history = min(history ?? 0, settings.rooms.limits.historyPage)
        guard settings.redisSpace.isShort else {
            return askToJoin(room, after: after, history: history, ref: ref, session)
        }
        joinIfItExists(room, after: after, history: history, ref: ref, session)
    }

    func askToJoin(_ room: RoomName, after: Position?, history: Int, ref: Ref?, _ session: LocalSession) {
        let request = JoinRequest(
            session: session.id, user: session.user, device: session.device, since: session.since, ref: ref,
            after: after, history: history)
        let rate = session.rate
        atHome(of: room) { $0.join(request, to: room, rate) }
    }

    /// While Redis has hardly any memory left: a room that is there may be joined, but none is begun.
    private func joinIfItExists(
        _ room: RoomName, after: Position?, history: Int, ref: Ref?, _ session: LocalSession
    ) {
        let id = session.id
        findOut(whether: room) { [self] exists in
            // It may have left, or have joined anew, while Redis was asked.
            guard let session = sessions[id], let asked = session.rooms[room]?.standing.unanswered, asked == ref else {
                return
            }
            if exists { return askToJoin(room, after: after, history: history, ref: ref, session) }
            session.rooms[room] = nil
            refuse(.redisMemory, ref, session)
        }
    }

    /// Whether a node is in the room, or something was said there. True also if Redis did not answer: whoever asks will find out.
    public func findOut(whether room: RoomName, exists then: @escaping (Bool) -> Void) {
        context.ask(.holders(room: room)) { [context] result in
            guard case .success(.holders(let nodes)) = result, nodes.isEmpty else { return then(true) }
            context.ask(.history(room: room, query: HistoryQuery(anchor: .newest, limit: 0))) { result in
                guard case .success(.history(let page)) = result else { return then(true) }
                then(page.newest != nil)
            }
        }
    }

    private func leave(_ room: RoomName, ref: Ref?, _ session: LocalSession) {
        guard let membership = session.rooms.removeValue(forKey: room) else {
            return session.outlet.send(.error(ref: ref, WireError(.notJoined, "leave: not in this room")))
        }
        context.noted(.left(room), by: session.id)
        stopDelivering(membership, session)
        if let unanswered = membership.standing.unanswered {
            let error = WireError(.notJoined, "join: the room was left before the join was answered")
            session.outlet.send(.error(ref: unanswered, error))
        }
        leaveHome(room, session)
        session.outlet.send(.left(ref: ref, room: room))
    }

    /// Broadcasts are not for the session any more, and an answer with a page does not count.
    private func stopDelivering(_ membership: LocalMembership, _ session: LocalSession) {
        membership.local?.remove(session.id)
        guard membership.standing.isAskingForPage else { return }
        session.isPaging = false
        sendPages(session)
    }

    private func leaveHome(_ room: RoomName, _ session: LocalSession) {
        let (id, rate) = (session.id, session.rate)
        atHome(of: room) { $0.leave(id, room, rate) }
    }

    // MARK: charges

    /// Bytes of a long frame came in, which had to be read whatever they are. Returns for how long the session is not to be read from.
    public func heard(_ bytes: Int, from id: SessionID) -> Duration {
        guard let rate = sessions[id]?.rate else { return .zero }
        let now = context.now
        rate.charge(RequestCost.read(bytes: bytes), now: now)
        return min(rate.debt(now: now), .seconds(1))
    }
}

extension WireError {
    /// The answer to who would begin a room while Redis has hardly any memory left.
    public static let noSpaceInRedis = WireError(
        .noSpace, "redis has hardly any memory left, so no room is begun for now")
}

extension BrokerError {
    /// What a client is told when a request to Redis fails. `what`: the client's request.
    public func wireError(_ what: String) -> WireError {
        switch self {
        case .refused, .missing: WireError(.unavailable, "\(what): the room changed meanwhile; try again")
        case .notStored(let text): WireError(.notStored, "\(what): redis refuses: \(text)")
        case .notConnected: WireError(.unavailable, "\(what): no connection to redis")
        case .again: WireError(.unavailable, "\(what): redis has to read more of the room's log first; try again")
        case .outcomeUnknown: WireError(.unavailable, "\(what): redis did not answer in time")
        case .malformed: WireError(.internalError, "\(what): redis gave an answer that makes no sense")
        }
    }
}
