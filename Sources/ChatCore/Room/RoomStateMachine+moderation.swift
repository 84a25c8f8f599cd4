/// What follows from rules that were read.
extension RoomStateMachine {
    /// The rules are others than before: banned users leave, and rules that look back see what memory holds. (Sends
    /// that wait are decided when they go out.)
    mutating func applyRules(now: Moment, _ actions: inout [RoomAction]) {
        if sanctions.looksBack {
            for index in 0..<order.recent.count { sanctions.shown(order.recent[index].content, now: wallClock) }
        }
        guard let moderation = sanctions.moderation, !moderation.bans.isEmpty else { return }
        let banned = members.all.filter { moderation.ban(of: $0.value.user, now: wallClock) != nil }
        guard !banned.isEmpty else { return }
        for (session, member) in banned.sorted(by: { $0.key < $1.key }) {
            expel(session, member, by: moderation, now: now, &actions)
        }
        considerLinger(now: now)
    }

    private mutating func expel(
        _ session: SessionID, _ member: RoomMember, by moderation: RoomModeration, now: Moment,
        _ actions: inout [RoomAction]
    ) {
        guard let error = moderation.refusal(ofJoinBy: member.user, now: wallClock) else { return }
        if member.waitingSends > 0 { endSends(of: session, error, &actions) }
        _ = members.remove(session)
        presence.sessionLeft(session)
        presence.went(member.user, member.device, now: now + settings.presenceInterval)
        if case .waiting(let join) = member.state, !(join.ref?.isOfPage ?? false) {
            actions.append(.refuseJoin(session, .error(ref: join.ref, error)))
        } else {
            actions.append(.remove(session, Removal(.banned, until: error.until)))
        }
    }
}
