/// What follows from rules that were read.
extension RoomStateMachine {
    /// The most sanctions of which all members are told at once. A node that was away may have missed more.
    private static let mostToldToAll = 32

    /// The rules are others than before: members are told, banned users and who is no participant leave, and rules that
    /// look back see what memory holds. (Sends that wait are decided when they go out.)
    mutating func applyRules(now: Moment, _ actions: inout [RoomAction]) {
        if sanctions.looksBack {
            for index in 0..<order.recent.count { sanctions.shown(order.recent[index].content, now: wallClock) }
        }
        tellRules(&actions)
        if sanctions.hasPendingIndexes { actions.append(.settleIndexes) }
        guard let moderation = sanctions.moderation, moderation.mayShutOut(of: room) else { return }
        let out = members.all.filter {
            moderation.refusal(ofJoinBy: $0.value.user, in: room, now: wallClock) != nil
        }
        guard !out.isEmpty else { return }
        for (session, member) in out.sorted(by: { $0.key < $1.key }) {
            expel(session, member, by: moderation, now: now, &actions)
        }
        considerLinger(now: now)
    }

    /// Tells members what has changed, once for each version of the rules.
    private mutating func tellRules(_ actions: inout [RoomAction]) {
        guard let (before, after) = sanctions.takeNews() else { return }
        // Those who wait for the answer to their join are told in it.
        let live = members.all.filter { $0.value.state == .live }
        guard !live.isEmpty else { return }
        if after.policy != before?.policy ?? RoomPolicy() {
            actions.append(.deliverRules(after.policy, version: after.version))
        }
        if let changes = after.participantChanges(since: before) { actions.append(.deliverParticipants(changes)) }
        let changes = after.sanctionChanges(since: before, now: wallClock)
        for change in changes.prefix(Self.mostToldToAll) { actions.append(.deliverSanction(change)) }
        for change in changes.dropFirst(Self.mostToldToAll) {
            for (session, member) in live where member.user == change.user {
                actions.append(.answer(session, .sanction(room: room, change)))
            }
        }
    }

    private mutating func expel(
        _ session: SessionID, _ member: RoomMember, by moderation: RoomModeration, now: Moment,
        _ actions: inout [RoomAction]
    ) {
        guard let error = moderation.refusal(ofJoinBy: member.user, in: room, now: wallClock) else { return }
        if member.waitingSends > 0 { endSends(of: session, error, &actions) }
        _ = members.remove(session)
        presence.sessionLeft(session)
        presence.went(member.user, member.device, now: now + settings.presenceInterval)
        if case .waiting(let join) = member.state, !(join.ref?.isOfPage ?? false) {
            actions.append(.refuseJoin(session, .error(ref: join.ref, error)))
        } else {
            let ban = moderation.ban(of: member.user, now: wallClock)
            let why = moderation.policy.members == .nobody ? "the room is closed" : ""
            let removal =
                ban.map { Removal(.banned, until: error.until, text: $0.reason) } ?? Removal(.removed, text: why)
            actions.append(.remove(session, removal))
        }
    }
}
