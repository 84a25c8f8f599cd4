import ChatCore

/// The moderations of sessions.
extension SessionHost {
    /// Changes the rules of a room or the sanctions of a user in it, and answers when they are in force.
    func moderate(_ room: RoomName, _ moderation: Moderation, ref: Ref?, _ session: LocalSession) {
        let (id, rate) = (session.id, session.rate)
        atHome(of: room) { rate.charge($0.costOfTelling(room), now: $0.context.now) }
        context.ask(.moderate(room: room, moderation, by: session.user.text)) { [self] result in
            guard let session = sessions[id] else { return }
            switch result {
            case .success(.moderated(let reply)):
                session.outlet.send(.moderated(ref: ref, room: room, reply))
            case .success: session.outlet.send(.error(ref: ref, BrokerError.malformed("").wireError("moderate")))
            case .failure(let error): session.outlet.send(.error(ref: ref, error.wireError("moderate")))
            }
        }
    }
}
