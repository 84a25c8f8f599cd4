import ChatCore
import ChatGateway
import NIOCore

/// The sessions' side: what arrives from this loop's clients, and what arrives for them.
extension Shard {
    // MARK: from clients

    func openSession(_ identity: SessionIdentity, outlet: any SessionOutlet) -> SessionID {
        let id = SessionID(number: nextSession, loop: index)
        nextSession += 1
        let device = identity.device ?? (try? DeviceName("session-\(id.raw)")) ?? Self.unnamedDevice
        sessions[id] = LocalSession(id: id, user: identity.user, device: device, outlet: outlet, since: now)
        return id
    }

    private static let unnamedDevice: DeviceName = {
        guard let name = try? DeviceName("session") else { preconditionFailure("session is a device name") }
        return name
    }()

    func perform(_ body: ClientRequest.Body, ref: Ref?, from id: SessionID) {
        guard let session = sessions[id] else { return }
        switch body {
        case .join(let room, let after, let history): join(room, after: after, history: history, ref: ref, session)
        case .leave(let room): leave(room, ref: ref, session)
        case .send(let request):
            let at = settings.wallClock()
            atHome(of: request.room, ref, session) { $0.send(request, ref: ref, from: id, at: at, now: $1, &$2) }
        case .signal(let room, let name, let data):
            atHome(of: room, ref, session) { machine, _, actions in
                machine.signal(session: id, ref: ref, name: name, data: data, &actions)
            }
        case .roster(let room, let cursor): roster(room, cursor, ref: ref, session)
        case .history(let room, let query): history(room, query, ref: ref, session)
        case .ping: session.outlet.send(.pong(ref: ref))
        }
    }

    private func join(_ room: RoomName, after: Position?, history: Int?, ref: Ref?, _ session: LocalSession) {
        // Until the answer, nothing of the room is for this session: the answer holds all that it missed.
        if let local = session.rooms[room] { local?.remove(session.id) }
        sessions[session.id]?.rooms.updateValue(nil, forKey: room)
        let request = JoinRequest(
            session: session.id, user: session.user, device: session.device, since: session.since, ref: ref,
            after: after,
            history: min(history ?? 0, settings.rooms.limits.historyPage))
        let home = home(of: room)
        home.run {
            let room = home.openRoom(room)
            if !room.machine.has(request.session) { room.sessionsByLoop[request.session.loop] += 1 }
            home.happen(in: room) { $0.join(request, now: $1, &$2) }
        }
    }

    private func leave(_ room: RoomName, ref: Ref?, _ session: LocalSession) {
        guard let joined = session.rooms[room] else {
            return session.outlet.send(.error(ref: ref, WireError(.notJoined, "leave: not in this room")))
        }
        joined?.remove(session.id)
        sessions[session.id]?.rooms.removeValue(forKey: room)
        leaveHome(room, session.id)
        session.outlet.send(.left(ref: ref, room: room))
    }

    private func leaveHome(_ name: RoomName, _ session: SessionID) {
        let home = home(of: name)
        home.run {
            guard let room = home.room(named: name), room.machine.has(session) else { return }
            room.sessionsByLoop[session.loop] -= 1
            home.happen(in: room) { $0.leave(session, now: $1, &$2) }
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
        if session.rooms[room] != nil {
            return atHome(of: room, ref, session) { machine, _, actions in
                machine.roster(session: id, ref: ref, cursor: cursor, &actions)
            }
        }
        let limit = settings.rooms.limits.rosterPage
        read(.roster(room: room), "roster", ref: ref, for: id) { reply in
            guard case .roster(let snapshot) = reply else { return nil }
            return .roster(ref: ref, room: room, snapshot.page(after: cursor, limit: limit))
        }
    }

    private func history(_ room: RoomName, _ query: HistoryQuery, ref: Ref?, _ session: LocalSession) {
        var query = query
        query.limit = min(query.limit, settings.rooms.limits.historyPage)
        let bytes = settings.rooms.limits.historyPageBytes
        read(.history(room: room, query: query), "history", ref: ref, for: session.id) { [query] reply in
            guard case .history(let page) = reply else { return nil }
            return .history(ref: ref, room: room, page.limited(toBytes: bytes, anchor: query.anchor))
        }
    }

    /// Asks the broker and answers the session, if it is still there.
    private func read(
        _ request: BrokerRequest, _ what: String, ref: Ref?, for id: SessionID,
        _ event: @escaping (BrokerReply) -> ServerEvent?
    ) {
        ask(request) { [self] result in
            guard let outlet = sessions[id]?.outlet else { return }
            switch result {
            case .success(let reply):
                outlet.send(event(reply) ?? .error(ref: ref, BrokerError.malformed("").wireError(what)))
            case .failure(let error):
                outlet.send(.error(ref: ref, error.wireError(what)))
            }
        }
    }

    func sessionClosed(_ id: SessionID) -> LocalSession? {
        guard let session = sessions.removeValue(forKey: id) else { return nil }
        for (room, local) in session.rooms {
            local?.remove(id)
            leaveHome(room, id)
        }
        return session
    }

    // MARK: for clients

    /// What a home loop made in one tick for the sessions of this loop, in order.
    func receive(_ batch: [Delivery]) {
        for delivery in batch {
            switch delivery {
            case .broadcast(let room, let frame, let own): broadcast(room, frame, own)
            case .signal(let room, let frame, let except):
                for member in room.members where member.session != except { member.outlet.send(frame) }
            case .goLive(let room, let id, let joined): goLive(room, id, joined)
            case .answer(let id, let event): sessions[id]?.outlet.send(event)
            case .refuse(let room, let id, let event):
                // A session that joined again meanwhile keeps its new join.
                guard let session = sessions[id] else { continue }
                room.remove(id)
                sessions[id]?.rooms.removeValue(forKey: room.room)
                session.outlet.send(event)
            }
        }
    }

    private func broadcast(_ room: LocalRoom, _ frame: SharedFrame, _ own: OwnFrame?) {
        deliveries &+= UInt64(room.members.count)
        guard let own else {
            for member in room.members { member.outlet.send(frame) }
            return
        }
        for member in room.members {
            member.outlet.send(member.outlet.user == own.user ? own.frame : frame)
        }
    }

    /// Messages in one `joined`; what is missed beyond comes as `message` frames behind it.
    private static let joinedPage = 100

    private func goLive(_ room: LocalRoom, _ id: SessionID, _ joined: Joined) {
        guard let session = sessions[id], session.rooms[room.room] != nil else { return }
        var answer = joined
        var rest: ArraySlice<Message> = []
        if answer.messages.count > Self.joinedPage {
            rest = answer.messages[Self.joinedPage...]
            answer.messages = Array(answer.messages[..<Self.joinedPage])
        }
        session.outlet.send(.joined(answer))
        for message in rest {
            let showKey = message.content.user == session.user
            session.outlet.send(.message(room: room.room, message, showKey: showKey))
        }
        deliveries &+= UInt64(joined.messages.count)
        sessions[id]?.rooms.updateValue(room, forKey: room.room)
        room.add(id, session.outlet)
    }
}

extension BrokerError {
    /// What a client is told when a read or a `say` fails.
    func wireError(_ what: String) -> WireError {
        switch self {
        case .refused, .missing: WireError(.unavailable, "\(what): the room changed meanwhile; try again")
        case .notStored(let text): WireError(.notStored, "\(what): redis refuses: \(text)")
        case .notConnected: WireError(.unavailable, "\(what): no connection to redis")
        case .outcomeUnknown: WireError(.unavailable, "\(what): redis did not answer in time")
        case .malformed: WireError(.internalError, "\(what): redis gave an answer that makes no sense")
        }
    }
}
