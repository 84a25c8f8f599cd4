import ChatCore

/// The amendments of sessions.
extension SessionHost {
    func amend(_ request: AmendRequest, ref: Ref?, _ session: LocalSession) {
        let (id, rate, at) = (session.id, session.rate, context.wallClock)
        guard rate.say(request.byteCount, now: context.now) else {
            return refuse(.userBytesPerSecond, ref, session)
        }
        if let error = userSanctions.refusalOfSending(by: session.user, now: at) {
            return session.outlet.send(.error(ref: ref, error))
        }
        let rights = session.rooms[request.room]?.rights ?? session.grant?.rights(in: request.room) ?? .all
        // In development mode nobody counts as a moderator, so that the rules of a room hold for somebody.
        let moderates = session.grant != nil && rights.contains(.moderate)
        let order = AmendOrder(
            request, by: session.user, at: at, window: settings.editWindow,
            mayAmendAny: rights.contains(.amendAny) || request.operation.requirement == .moderate,
            obeysRules: !moderates)
        atHome(of: request.room) { $0.amend(order, ref: ref, from: id, rate) }
    }
}
