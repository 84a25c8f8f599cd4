import ChatCore

/// The sessions that one loop accepted: their state in each room, their requests, and what is sent to them.
///
/// Membership is recorded once on each side: here by ``RoomStanding`` (how far the session has caught up), and on the
/// room's home loop by the room's machine (who is in the room). A members-only request is refused by
/// ``SessionStateMachine`` before it gets here, or by the home loop, which sees requests in the order in which they
/// were made; never by this host.
///
/// Not thread-safe: confined to its loop.
public final class SessionHost {
    /// The loop's number in the node, and the number of loops.
    let index: Int
    let loops: Int
    let settings: HubSettings
    unowned let context: any SessionHostContext
    var sessions: [SessionID: LocalSession] = [:]
    private var nextSession: UInt64 = 1
    /// What was imposed on users in all rooms.
    var userSanctions = UserSanctions()
    /// When the sessions' tokens expire.
    var expiries = Expiries()
    /// This loop's share of the node's joins.
    private var joinRate: TokenBucket
    /// Frames handed to sessions, since the node started.
    public internal(set) var deliveries: UInt64 = 0

    /// `count`: the number of loops of the node.
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

    /// The number of sessions.
    public var count: Int { sessions.count }

    // MARK: opening and closing sessions

    /// A client was admitted. `rate`: the rate limits of its user.
    public func open(_ identity: SessionIdentity, rate: UserRate, outlet: any SessionOutlet) -> SessionID {
        let id = SessionID(number: nextSession, loop: index, protocolID: outlet.protocolID)
        nextSession += 1
        let device = identity.device ?? (try? DeviceName("session-\(id.raw)")) ?? Self.unnamedDevice
        sessions[id] = LocalSession(
            id: id, user: identity.user, device: device, grant: identity.identity.grant, outlet: outlet,
            since: context.now, rate: rate)
        expiries.add(identity.identity.grant, of: id)
        context.noted(.opened(identity.user, device), by: id)
        let user = identity.user
        context.atHome(of: user) { $0.came(id, of: user) }
        return id
    }

    private static let unnamedDevice: DeviceName = {
        guard let name = try? DeviceName("session") else { preconditionFailure("session is a device name") }
        return name
    }()

    /// The connection was closed: the session leaves its rooms. Returns its user; nil if it was closed before.
    public func close(_ id: SessionID) -> UserID? {
        guard let session = sessions.removeValue(forKey: id) else { return nil }
        for (room, membership) in session.rooms {
            membership.local?.remove(id)
            leaveHome(room, session)
        }
        for room in session.watched { atHome(of: room) { $0.unwatch(room, id) } }
        let user = session.user
        context.atHome(of: user) { $0.went(id, of: user) }
        return user
    }

    /// Whether the session has asked to be in the room, and has not left it since.
    package func hasAsked(_ id: SessionID, for room: RoomName) -> Bool { sessions[id]?.rooms[room] != nil }

    // MARK: requests

    /// Carries out a request that passed the session's own limits.
    public func perform(_ body: ClientRequest.Body, ref: Ref?, from id: SessionID) {
        guard let session = sessions[id] else { return }
        let (now, rate) = (context.now, session.rate)
        guard rate.take(now: now) else { return refuse(.requestsPerSecondPerUser, ref, session) }
        guard rate.spend(RequestCost.before(body), patience: patience(with: body, of: session), now: now) else {
            return refuse(.costPerSecond, ref, session)
        }
        guard isAllowed(body, ref, session) else { return }
        switch body {
        case .join(let room, let after, let history): join(room, after: after, history: history, ref: ref, session)
        case .leave(let room): leave(room, ref: ref, session)
        case .send(var request):
            guard rate.say(request.byteCount, now: now) else { return refuse(.userBytesPerSecond, ref, session) }
            let at = context.wallClock
            if let error = userSanctions.refusalOfSending(by: session.user, now: at) {
                return session.outlet.send(.error(ref: ref, error))
            }
            request.rights = rightsToSend(in: request.room, session)
            atHome(of: request.room) { [request] in $0.send(request, ref: ref, from: id, at: at, rate) }
        case .signal(let room, let name, let data):
            atHome(of: room) { $0.signal(name, data: data, ref: ref, from: id, in: room, rate) }
        case .roster(let room, let cursor):
            // A member is answered from memory, other sessions from Redis.
            guard session.rooms[room] != nil else { return page(.roster(room, cursor, ref), ref: ref, session) }
            atHome(of: room) { $0.roster(of: room, cursor: cursor, ref: ref, for: id, rate) }
        case .history(let room, let query): page(.history(room, query, ref), ref: ref, session)
        case .ping: session.outlet.send(.pong(ref: ref))
        case .conversation(let order): converse(order, ref: ref, session)
        case .inbox(let request): perform(request, ref: ref, session)
        case .moderate(let room, let moderation): moderate(room, moderation, ref: ref, session)
        case .amend(let request): amend(request, ref: ref, session)
        case .token: assertionFailure("the gateway asks its authenticator about a token")
        }
    }

    /// The session's rights in the room. In development mode everybody has all of them, except that nobody counts as a
    /// moderator, so that the rules of a room hold for somebody.
    private func rightsToSend(in room: RoomName, _ session: LocalSession) -> Rights {
        guard session.grant != nil else { return Rights.all.subtracting(.moderate) }
        return session.rooms[room]?.rights ?? []
    }

    /// Runs the body on the room's home loop, with that loop's rooms.
    func atHome(of room: RoomName, _ body: @escaping @Sendable (RoomHost) -> Void) {
        context.atHome(RoomHost.home(of: room, among: loops), body)
    }

    /// After how many bursts the session is refused this request. A repeated join of a room that it is in does not
    /// count as a reconnect.
    private func patience(with body: ClientRequest.Body, of session: LocalSession) -> UInt64 {
        if case .join(let room, _, _) = body, session.rooms[room] != nil { return 1 }
        return body.patience
    }

    /// Answers that a limit was reached, and counts the refusal.
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
            WireError(.rateLimited, "this node gets more than \(limits.joinsPerSecond) joins a second")
        case .costPerSecond: limits.tooDear
        case .userBytesPerSecond: limits.tooManyBytes
        case .redisMemory: .noSpaceInRedis
        case .waitingPages:
            WireError(.tooManyWaiting, "\(Self.maxWaitingPages) requests of the session for pages are waiting already")
        case .waitingSendsPerRoom: WireError(.tooManyWaiting, "too many sends are waiting in this room")
        case .participants: ConversationRefusal.full.error
        case .conversationsPerUser: .tooManyEntries
        }
    }

    // MARK: join and leave

    private func join(_ room: RoomName, after: Position?, history: Int?, ref: Ref?, _ session: LocalSession) {
        guard joinRate.take(now: context.now) else { return refuse(.joinsPerSecond, ref, session) }
        var isMember = false
        // Until the answer nothing of the room is sent to this session, because the answer holds all that it missed.
        if let membership = session.rooms[room] {
            isMember = membership.local != nil
            stopDelivering(membership, session)
            if let unanswered = membership.standing.unanswered {
                let error = WireError(.tooManyWaiting, "join: a later join of the same room has replaced it")
                session.outlet.send(.error(ref: unanswered, error))
            }
            session.rooms[room]?.local = nil
            session.rooms[room]?.standing.joinAsked(ref)
        } else {
            session.rooms[room] = LocalMembership(
                standing: RoomStanding(joining: ref), local: nil, rights: session.grant?.rights(in: room) ?? .all)
        }
        let history = min(history ?? 0, settings.rooms.limits.historyPage)
        guard settings.redisSpace.isShort, !isMember else {
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

    /// While Redis has hardly any memory left, existing rooms can be joined, but no new room is created.
    private func joinIfItExists(
        _ room: RoomName, after: Position?, history: Int, ref: Ref?, _ session: LocalSession
    ) {
        let id = session.id
        findOut(whether: room) { [self] exists in
            // The session may have left or joined anew while Redis was asked.
            guard let session = sessions[id], let asked = session.rooms[room]?.standing.unanswered, asked == ref else {
                return
            }
            if exists { return askToJoin(room, after: after, history: history, ref: ref, session) }
            session.rooms[room] = nil
            // An earlier join of the same session may have reached the room.
            leaveHome(room, session)
            refuse(.redisMemory, ref, session)
        }
    }

    /// Whether a node is in the room, or its log has held a message. The result is also true if Redis did not answer,
    /// because the request that follows will then fail by itself.
    public func findOut(whether room: RoomName, exists then: @escaping (Bool) -> Void) {
        context.ask(.holders(room: room)) { [context] result in
            guard case .success(.holders(let nodes)) = result, nodes.isEmpty else { return then(true) }
            context.ask(.history(room: room, query: HistoryQuery(anchor: .newest, limit: 0))) { result in
                guard case .success(.history(let page)) = result else { return then(true) }
                then(page.newest != nil)
            }
        }
    }

    /// Takes the session out of the room, and answers `left` whatever it had of the room: a session whose join was
    /// refused meanwhile is out of the room, which is what it asks for. That a session never joined is answered by
    /// ``SessionStateMachine``.
    private func leave(_ room: RoomName, ref: Ref?, _ session: LocalSession) {
        if let membership = session.rooms.removeValue(forKey: room) {
            context.noted(.left(room), by: session.id)
            stopDelivering(membership, session)
            if let unanswered = membership.standing.unanswered {
                // What became of the join, which gets no other answer.
                let error = WireError(.notJoined, "join: the room was left before the join was answered")
                session.outlet.send(.error(ref: unanswered, error))
            }
        }
        leaveHome(room, session)
        session.outlet.send(.left(ref: ref, room: room))
    }

    /// Ends broadcasts to the session; an answer with a page that is still under way is ignored.
    func stopDelivering(_ membership: LocalMembership, _ session: LocalSession) {
        membership.local?.remove(session.id)
        guard membership.standing.isAskingForPage else { return }
        session.isPaging = false
        sendPages(session)
    }

    func leaveHome(_ room: RoomName, _ session: LocalSession) {
        let (id, rate) = (session.id, session.rate)
        atHome(of: room) { $0.leave(id, room, rate) }
    }

    // MARK: charges

    /// Charges for the bytes of a long frame, which had to be read whatever they are. Returns for how long the session
    /// must not be read from.
    public func heard(_ bytes: Int, from id: SessionID) -> Duration {
        guard let rate = sessions[id]?.rate else { return .zero }
        let now = context.now
        rate.charge(RequestCost.read(bytes: bytes), now: now)
        let debt = rate.debt(now: now)
        return debt > .zero ? pause(of: id, debt) : .zero
    }

    /// Charges for a request of the session that was refused because of a limit. Returns for how long the session must
    /// not be read from: until its user has paid for what was done, within bounds.
    public func refused(_ id: SessionID) -> Duration {
        guard let rate = sessions[id]?.rate else { return Self.leastPause }
        let now = context.now
        rate.charge(RequestCost.refusal, now: now)
        return max(Self.leastPause, pause(of: id, max(rate.debt(now: now), Self.leastPause)))
    }

    /// After a refusal.
    public static let leastPause: Duration = .milliseconds(100)
    /// A client must hear in time that its connection is alive.
    private static let mostPause: Duration = .seconds(1)

    /// For how long a session is not read from. Up to twice the debt, a part that depends on the session: otherwise all
    /// sessions of a user would be read again at the moment at which the user has paid.
    private func pause(of id: SessionID, _ debt: Duration) -> Duration {
        min(debt, Self.mostPause / 2) * (1 + Double(id.raw >> 16 & 15) / 16)
    }
}

extension WireError {
    /// The error for a session that would create a room while Redis has hardly any memory left.
    public static let noSpaceInRedis = WireError(
        .noSpace, "redis has hardly any memory left, so no room is begun for now")
}

extension BrokerError {
    /// The error for a client whose request to Redis failed. `what`: the client's request.
    public func wireError(_ what: String) -> WireError {
        switch self {
        case .refused, .missing: WireError(.unavailable, "\(what): the room changed meanwhile; try again")
        case .forbidden(let error): error
        case .notStored(let text): WireError(.notStored, "\(what): redis refuses: \(text)")
        case .notConnected: WireError(.unavailable, "\(what): no connection to redis")
        case .again: WireError(.unavailable, "\(what): redis has to read more of the room's log first; try again")
        case .outcomeUnknown: WireError(.unavailable, "\(what): redis did not answer in time")
        case .malformed: WireError(.internalError, "\(what): redis sent an answer that could not be parsed")
        }
    }
}
