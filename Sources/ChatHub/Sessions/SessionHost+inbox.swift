import ChatCore

/// The requests of sessions about their users' conversations.
extension SessionHost {
    func perform(_ request: InboxRequest, ref: Ref?, _ session: LocalSession) {
        let (id, user) = (session.id, session.user)
        if let error = request.refusal(by: session.grant) {
            context.forbade(.read)
            return session.outlet.send(.error(ref: ref, error))
        }
        switch request {
        case .read(let room, let position):
            atHome(of: room) { $0.read(room, position, by: user, ref: ref, from: id) }
        case .list(let limit, let cursor): list(limit: limit, cursor: cursor, ref: ref, session)
        case .watch(let rooms): watch(rooms, ref: ref, session)
        case .unwatch(let rooms):
            for room in rooms where session.watched.remove(room) != nil { atHome(of: room) { $0.unwatch(room, id) } }
            session.outlet.send(.inbox(.watching(ref: ref, session.watched.sorted { $0.text < $1.text })))
        case .online(let users): findOnline(users, ref: ref, session)
        case .showLastSeen(let isShown): showLastSeen(isShown, ref: ref, session)
        }
    }

    // MARK: watching

    private func watch(_ rooms: [RoomName], ref: Ref?, _ session: LocalSession) {
        for room in rooms {
            let rights = session.rooms[room]?.rights ?? session.grant?.rights(in: room) ?? .all
            guard let error = AccessDecision.refusal(of: .read, by: rights) else { continue }
            context.forbade(.read)
            return session.outlet.send(.error(ref: ref, error))
        }
        let most = settings.rooms.limits.roomsPerSession
        guard session.watched.union(rooms).count <= most else {
            let error = WireError(.tooManyRooms, "watch: a session may watch \(most) rooms")
            return session.outlet.send(.error(ref: ref, error))
        }
        let (id, user, rate) = (session.id, session.user, session.rate)
        for room in rooms where session.watched.insert(room).inserted {
            atHome(of: room) { $0.watch(room, id, user, rate) }
        }
        session.outlet.send(.inbox(.watching(ref: ref, session.watched.sorted { $0.text < $1.text })))
    }

    // MARK: who is online

    private func findOnline(_ users: [UserID], ref: Ref?, _ session: LocalSession) {
        let id = session.id
        OnlineCheck.begin(users, for: session.user, by: context) { [weak self] result in
            guard let session = self?.sessions[id] else { return }
            switch result {
            case .success(let online): session.outlet.send(.inbox(.online(ref: ref, online)))
            case .failure(let error): session.outlet.send(.error(ref: ref, error.wireError("online")))
            }
        }
    }

    private func showLastSeen(_ isShown: Bool?, ref: Ref?, _ session: LocalSession) {
        let id = session.id
        context.ask(.user(UserRequest(.showLastSeen(isShown), of: session.user))) { [weak self] result in
            guard let session = self?.sessions[id] else { return }
            switch result {
            case .success(.user(.shown(let isShown))):
                session.outlet.send(.inbox(.lastSeen(ref: ref, isShown: isShown)))
            case .success: session.outlet.send(.error(ref: ref, BrokerError.malformed("").wireError("lastSeen")))
            case .failure(let error): session.outlet.send(.error(ref: ref, error.wireError("lastSeen")))
            }
        }
    }

    // MARK: the inbox

    private func list(limit: Int, cursor: InboxCursor?, ref: Ref?, _ session: LocalSession) {
        guard !session.isListing else {
            return session.outlet.send(
                .error(ref: ref, WireError(.tooManyWaiting, "inbox: another request for the inbox is waiting")))
        }
        session.isListing = true
        let (id, rate, grant) = (session.id, session.rate, session.grant)
        let mayRead = { (room: RoomName) in AccessDecision.refusal(of: .read, in: room, by: grant) == nil }
        InboxReading.begin(of: session.user, by: context, paidBy: rate, mayRead: mayRead) { [weak self] result, _ in
            guard let self, let session = sessions[id] else { return }
            session.isListing = false
            switch result {
            case .success(let all):
                let page = InboxPage(of: all, known: cursor ?? InboxCursor(), limit: limit)
                session.outlet.send(.inbox(.page(ref: ref, page)))
            case .failure(let error): session.outlet.send(.error(ref: ref, error.wireError("inbox")))
            }
        }
    }
}

extension InboxRequest {
    /// Why the bearer of the grant may not ask for that; nil if nothing forbids it, or if each room decides.
    fileprivate func refusal(by grant: Grant?) -> WireError? {
        switch self {
        case .list, .online, .showLastSeen: AccessDecision.refusalOfReadingAnything(by: grant)
        case .read, .watch, .unwatch: nil
        }
    }
}
