import ChatCore

/// What sessions, and programs without one, ask about conversations.
extension SessionHost {
    private var steps: ConversationSteps {
        ConversationSteps(
            context: context, roomsPerUser: settings.rooms.limits.conversationsPerUser, pageBytes: pageBytes)
    }

    /// A session asks. What is read of a room, or is long, waits for its turn.
    func converse(_ order: ConversationOrder, ref: Ref?, _ session: LocalSession) {
        switch order {
        case .participants, .star, .stars: return page(.conversation(order, ref), ref: ref, session)
        case .direct, .create, .invite, .leave, .remove, .role, .notify, .block, .unblock, .blocked, .unstar: break
        }
        let (id, user) = (session.id, session.user)
        let mayDoAll = mayDoAll(in: order.room(of: user), session)
        if !order.isRead, let room = order.room(of: user) {
            let rate = session.rate
            atHome(of: room) { rate.charge($0.costOfTelling(room), now: $0.context.now) }
        }
        steps.carryOut(order, by: user, mayDoAll: mayDoAll) { [self] result in
            guard let session = sessions[id] else { return }
            switch result {
            case .success(let answer): session.outlet.send(.conversation(ref: ref, answer))
            case .failure(let error): fail(error, ref, session)
            }
        }
    }

    private func fail(_ error: WireError, _ ref: Ref?, _ session: LocalSession) {
        if let limit = HubLimit(ofConversations: error.code) { context.refused(by: limit) }
        session.outlet.send(.error(ref: ref, error))
    }

    /// Whether the session's token lets it moderate the room, whatever its role. In development mode nobody's does.
    private func mayDoAll(in room: RoomName?, _ session: LocalSession) -> Bool {
        guard let room, let grant = session.grant else { return false }
        return (session.rooms[room]?.rights ?? grant.rights(in: room)).contains(.moderate)
    }

    func read(_ order: ConversationOrder, ref: Ref?, _ session: LocalSession) {
        let (id, rate) = (session.id, session.rate)
        steps.carryOut(order, by: session.user, mayDoAll: false) { [self] result in
            if case .success(let answer) = result { rate.charge(RequestCost.cost(of: answer), now: context.now) }
            guard let session = sessions[id] else { return }
            session.isPaging = false
            switch result {
            case .success(let answer): session.outlet.send(.conversation(ref: ref, answer))
            case .failure(let error): fail(error, ref, session)
            }
            sendPages(session)
        }
    }

    /// Erases a part of what is known of a user.
    public func erase(_ user: UserID, _ answer: @escaping (Result<ErasureProgress, WireError>) -> Void) {
        steps.erase(user, answer)
    }

    /// Somebody without a session asks.
    public func converse(
        _ order: ConversationOrder, by user: UserID?, mayDoAll: Bool,
        _ answer: @escaping (Result<ConversationAnswer, WireError>) -> Void
    ) {
        steps.carryOut(order, by: user, mayDoAll: mayDoAll, answer)
    }
}
