import ChatCore

/// What sessions, and programs without one, ask about conversations.
extension SessionHost {
    private var steps: ConversationSteps {
        ConversationSteps(context: context, roomsPerUser: settings.rooms.limits.conversationsPerUser)
    }

    /// A session asks. Who belongs to a room is a long answer, which waits for its turn.
    func converse(_ order: ConversationOrder, ref: Ref?, _ session: LocalSession) {
        if case .participants(let room) = order { return page(.participants(room, ref), ref: ref, session) }
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
            case .failure(let error): session.outlet.send(.error(ref: ref, error))
            }
        }
    }

    /// Whether the session's token lets it moderate the room, whatever its role. In development mode nobody's does.
    private func mayDoAll(in room: RoomName?, _ session: LocalSession) -> Bool {
        guard let room, let grant = session.grant else { return false }
        return (session.rooms[room]?.rights ?? grant.rights(in: room)).contains(.moderate)
    }

    func readParticipants(_ room: RoomName, ref: Ref?, _ session: LocalSession) {
        let (id, rate) = (session.id, session.rate)
        steps.carryOut(.participants(room), by: session.user, mayDoAll: false) { [self] result in
            if case .success(.participants(_, let list?, _)) = result {
                rate.charge(RequestCost.roster(list.participants.count, read: true), now: context.now)
            }
            guard let session = sessions[id] else { return }
            session.isPaging = false
            switch result {
            case .success(let answer): session.outlet.send(.conversation(ref: ref, answer))
            case .failure(let error): session.outlet.send(.error(ref: ref, error))
            }
            sendPages(session)
        }
    }

    /// Somebody without a session asks.
    public func converse(
        _ order: ConversationOrder, by user: UserID?, mayDoAll: Bool,
        _ answer: @escaping (Result<ConversationAnswer, WireError>) -> Void
    ) {
        steps.carryOut(order, by: user, mayDoAll: mayDoAll, answer)
    }
}
