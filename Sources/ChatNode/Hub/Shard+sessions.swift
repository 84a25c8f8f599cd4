import ChatCore
import ChatGateway
import NIOCore

/// The sessions' side: what arrives from this loop's clients, and what arrives for them.
extension Shard {
    // MARK: from clients

    func openSession(_ identity: SessionIdentity, rate: UserRate, outlet: any SessionOutlet) -> SessionID {
        let id = SessionID(number: nextSession, loop: index)
        nextSession += 1
        let device = identity.device ?? (try? DeviceName("session-\(id.raw)")) ?? Self.unnamedDevice
        sessions[id] = LocalSession(
            id: id, user: identity.user, device: device, outlet: outlet, since: now, rate: rate)
        return id
    }

    private static let unnamedDevice: DeviceName = {
        guard let name = try? DeviceName("session") else { preconditionFailure("session is a device name") }
        return name
    }()

    func perform(_ body: ClientRequest.Body, ref: Ref?, from id: SessionID) {
        guard let session = sessions[id] else { return }
        let (now, rate) = (now, session.rate)
        guard rate.take(now: now) else { return refuse(.requestsPerSecondPerUser, ref, session) }
        guard rate.spend(RequestCost.before(body), patience: patience(with: body, of: session), now: now) else {
            return refuse(.costPerSecond, ref, session)
        }
        switch body {
        case .join(let room, let after, let history): join(room, after: after, history: history, ref: ref, session)
        case .leave(let room): leave(room, ref: ref, session)
        case .send(let request):
            guard rate.say(request.byteCount, now: now) else { return refuse(.userBytesPerSecond, ref, session) }
            let at = settings.wallClock()
            atHome(of: request.room, ref, session) { machine, now, actions in
                guard rate.spend(machine.cost(of: request, from: id), now: now) else {
                    return actions.append(.answer(id, .error(ref: ref, machine.tooDear)))
                }
                machine.send(request, ref: ref, from: id, at: at, now: now, &actions)
            }
        case .signal(let room, let name, let data):
            let bytes = name.utf8.count + (data?.utf8.count ?? 0)
            atHome(of: room, ref, session) { machine, now, actions in
                guard rate.spend(RequestCost.fanOut(bytes: bytes, to: machine.receivers), now: now) else {
                    return actions.append(.answer(id, .error(ref: ref, machine.tooDear)))
                }
                machine.signal(session: id, ref: ref, name: name, data: data, &actions)
            }
        case .roster(let room, let cursor): roster(room, cursor, ref: ref, session)
        case .history(let room, let query): page(.history(room, query, ref), ref: ref, session)
        case .ping: session.outlet.send(.pong(ref: ref))
        }
    }

    /// Answers that a limit forbids it, and counts that.
    func refuse(_ limit: LimitLabel, _ ref: Ref?, _ session: LocalSession) {
        metrics.limitRefusals[limit].increment()
        let limits = settings.rooms.limits
        let error =
            switch limit {
            case .requestsPerSecondPerUser:
                WireError(
                    .rateLimited,
                    "the user's sessions on this node make more than \(limits.userRequestsPerSecond) requests a second")
            case .joinsPerSecond:
                WireError(.rateLimited, "this node is asked for more than \(limits.joinsPerSecond) joins a second")
            case .costPerSecond: limits.tooDear
            case .userBytesPerSecond:
                limits.tooManyBytes
            case .redisMemory: Self.noSpace
            case .waitingPages:
                WireError(.tooManyWaiting, "\(Self.maxWaitingPages) requests of the session for pages wait already")
            case .frameBytes, .roomsPerSession, .sessionsPerNode, .sessionsPerUser, .requestsPerSecond, .outboundBytes,
                .waitingSendsPerSession, .waitingSendsPerRoom, .sendWait, .badFramesPerMinute, .connections,
                .handshakesPerSecond, .costOfAddress, .headBytes, .connectionsPerAddress, .bytesPerSecondPerAddress:
                WireError(.internalError, "a limit that is not looked at here")
            }
        session.outlet.send(.error(ref: ref, error))
    }

    private func join(_ room: RoomName, after: Position?, history: Int?, ref: Ref?, _ session: LocalSession) {
        guard joinRate.take(now: now) else { return refuse(.joinsPerSecond, ref, session) }
        // Until the answer, nothing of the room is for this session: the answer holds all that it missed.
        if let membership = session.rooms[room] {
            left(membership, session)
            if let unanswered = membership.standing.unanswered {
                let error = WireError(.tooManyWaiting, "join: another join of the same room came behind it")
                session.outlet.send(.error(ref: unanswered, error))
            }
            session.rooms[room]?.local = nil
            session.rooms[room]?.standing.joinAsked(ref)
        } else {
            session.rooms[room] = LocalMembership(standing: RoomStanding(joining: ref), local: nil)
        }
        let most = settings.rooms.limits.historyPage
        let history = min(history ?? 0, most)
        guard settings.redisSpace.isShort else {
            return askToJoin(room, after: after, history: history, ref: ref, session)
        }
        joinIfItExists(room, after: after, history: history, ref: ref, session)
    }

    func askToJoin(_ room: RoomName, after: Position?, history: Int, ref: Ref?, _ session: LocalSession) {
        let request = JoinRequest(
            session: session.id, user: session.user, device: session.device, since: session.since, ref: ref,
            after: after, history: history)
        let home = home(of: room)
        let rate = session.rate
        home.run { home.letIn(request, to: room, rate) }
    }

    private func leave(_ room: RoomName, ref: Ref?, _ session: LocalSession) {
        guard let membership = session.rooms.removeValue(forKey: room) else {
            return session.outlet.send(.error(ref: ref, WireError(.notJoined, "leave: not in this room")))
        }
        left(membership, session)
        if let unanswered = membership.standing.unanswered {
            let error = WireError(.notJoined, "join: the room was left before the join was answered")
            session.outlet.send(.error(ref: unanswered, error))
        }
        leaveHome(room, session)
        session.outlet.send(.left(ref: ref, room: room))
    }

    /// Broadcasts are not for the session any more, and an answer with a page does not count.
    private func left(_ membership: LocalMembership, _ session: LocalSession) {
        membership.local?.remove(session.id)
        guard membership.standing.isAskingForPage else { return }
        session.isPaging = false
        sendPages(session)
    }

    private func leaveHome(_ name: RoomName, _ session: LocalSession) {
        let home = home(of: name)
        let (id, rate) = (session.id, session.rate)
        home.run {
            guard let room = home.room(named: name), home.has(id, in: room) else { return }
            room.sessionWent(from: id.loop)
            home.happen(in: room) { machine, now, actions in
                rate.charge(machine.costOfComing, now: now)
                machine.leave(id, now: now, &actions)
            }
        }
    }

    /// Something that only a member may do. The room itself answers a session that is none.
    private func atHome(
        of name: RoomName, _ ref: Ref?, _ session: LocalSession,
        _ event: @escaping @Sendable (inout RoomStateMachine, Moment, inout [RoomAction]) -> Void
    ) {
        let home = home(of: name)
        let id = session.id
        home.run {
            guard let room = home.room(named: name) else {
                return home.post(.answer(id, .error(ref: ref, WireError(.notJoined, "not in this room"))), to: id.loop)
            }
            home.happen(in: room, event)
        }
    }

    /// A member is answered from memory, others from Redis.
    private func roster(_ room: RoomName, _ cursor: String?, ref: Ref?, _ session: LocalSession) {
        let id = session.id
        guard session.rooms[room] != nil else { return page(.roster(room, cursor, ref), ref: ref, session) }
        let rate = session.rate
        atHome(of: room, ref, session) { machine, now, actions in
            guard rate.spend(RequestCost.roster(machine.users, read: false), now: now) else {
                return actions.append(.answer(id, .error(ref: ref, machine.tooDear)))
            }
            machine.roster(session: id, ref: ref, cursor: cursor, &actions)
        }
    }

    func sessionClosed(_ id: SessionID) -> LocalSession? {
        guard let session = sessions.removeValue(forKey: id) else { return nil }
        for (room, membership) in session.rooms {
            membership.local?.remove(id)
            leaveHome(room, session)
        }
        return session
    }

    // MARK: for clients

    /// What a home loop made for the sessions of this loop in one tick, in order; its first delivery at `made`.
    func receive(_ batch: [Delivery], made: Moment) {
        for delivery in batch {
            switch delivery {
            case .broadcast(let room, let frame, let own): broadcast(room, frame, own)
            case .presence(let room, let frame, let except): tell(room, frame, except: Set(except))
            case .signal(let room, let frame, let except):
                room.forEachMember { if $0.session != except { $0.outlet.send(frame) } }
            case .goLive(let room, let id, let joined): goLive(room, id, joined)
            case .answer(let id, let event):
                guard let session = sessions[id] else { continue }
                if case .error(_, let error) = event { count(error) }
                session.outlet.send(event)
            case .refuse(let room, let id, let event): refused(room, id, event)
            }
        }
        metrics.fanout.observe(now - made)
    }

    /// Presence goes to those who catch up, too.
    private func tell(_ room: LocalRoom, _ frame: SharedFrame, except: Set<SessionID>) {
        for (session, outlet) in room.catchingUp where !except.contains(session) { outlet.send(frame) }
        deliveries &+= UInt64(room.count)
        room.forEachMember { if !except.contains($0.session) { $0.outlet.send(frame) } }
    }

    /// From so many members on, a frame is copied for this loop.
    private static let worthACopy = 16

    private func broadcast(_ room: LocalRoom, _ frame: SharedFrame, _ own: OwnMessage?) {
        if frame.kind == .presence {
            for outlet in room.catchingUp.values { outlet.send(frame) }
        }
        deliveries &+= UInt64(room.count)
        let frame = shards.count > 1 && room.count >= Self.worthACopy ? frame.copied() : frame
        guard let own else {
            room.forEachMember { $0.outlet.send(frame) }
            return
        }
        let user = own.message.content.user
        let userHash = user.hashValue
        var ownFrame: SharedFrame?
        room.forEachMember { member in
            guard member.userHash == userHash, member.outlet.user == user else { return member.outlet.send(frame) }
            let own = ownFrame ?? own.frame(in: room.room, codec: codec)
            ownFrame = own
            member.outlet.send(own)
        }
    }

    /// The room answered a join.
    private func goLive(_ room: LocalRoom, _ id: SessionID, _ joined: Joined) {
        guard let session = sessions[id], var membership = session.rooms[room.room] else { return }
        let action = membership.standing.answered(
            joined, for: session.user, bytes: pageBytes, count: Self.joinedPage)
        switch action {
        case .ignore: break
        case .show(let events, let isLive):
            for event in events {
                deliveries &+= event.messageCount
                session.outlet.send(event)
            }
            charge(session.rate, for: events)
            membership.local = room
            session.rooms[room.room] = membership
            if isLive {
                room.add(id, session.outlet)
            } else {
                room.addCatchingUp(id, session.outlet)
                session.pages.append(.missed(room.room))
            }
            if joined.ref?.isOfPage ?? false { session.isPaging = false }
            sendPages(session)
        }
    }

    /// The room refused a join and does not have the session, or could not read a page for it.
    private func refused(_ room: LocalRoom, _ id: SessionID, _ event: ServerEvent) {
        guard let session = sessions[id], case .error(let ref, _) = event else { return }
        switch session.rooms[room.room]?.standing.refused(ref) {
        case .ignore, nil: break
        case .leave:
            session.rooms[room.room]?.local?.remove(id)
            session.rooms[room.room] = nil
            if case .error(_, let error) = event { count(error) }
            session.outlet.send(event)
        case .askAgain:
            session.isPaging = false
            session.pages.append(.missed(room.room))
            sendPages(session)
        }
    }
}

extension ServerEvent {
    fileprivate var messageCount: UInt64 {
        switch self {
        case .joined(let joined): UInt64(joined.messages.count)
        case .message: 1
        case .welcome, .left, .sent, .presence, .signal, .gap, .reset, .draining, .history, .roster, .pong, .error: 0
        }
    }
}

extension BrokerError {
    /// What a client is told when a read or a `say` fails.
    func wireError(_ what: String) -> WireError {
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
