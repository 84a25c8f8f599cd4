extension RoomStateMachine {
    /// A session wants to be in the room, or (already in it) wants to catch up once more.
    public mutating func join(_ request: JoinRequest, now: Moment, _ actions: inout [RoomAction]) {
        let pending = PendingJoin(
            ref: request.ref, after: request.after, history: request.history, deadline: now + settings.limits.sendWait)
        if members[request.session] == nil {
            members[request.session] = RoomMember(
                user: request.user, device: request.device, state: .waiting(pending), since: request.since,
                resumed: request.after != nil)
            presence.came(request.user, request.device, now: now + settings.presenceInterval)
        } else {
            members[request.session]?.state = .waiting(pending)
        }
        waitingJoins.removeAll { $0 == request.session }
        waitingJoins.append(request.session)
        lingerUntil = nil
        if phase == .out { begin(now: now, &actions) }
        if isInside { answerJoins(now: now, &actions) }
    }

    /// A session leaves the room, or is gone.
    public mutating func leave(_ session: SessionID, now: Moment, _ actions: inout [RoomAction]) {
        guard let member = members.removeValue(forKey: session) else { return }
        waitingJoins.removeAll { $0 == session }
        if member.waitingSends > 0 { forgetSends(of: session) }
        presence.went(member.user, member.device, now: now + settings.presenceInterval)
        considerLinger(now: now)
    }

    /// Answers every join that can be answered now. One read of the log serves all that need one.
    mutating func answerJoins(now: Moment, _ actions: inout [RoomAction]) {
        guard isInside, !waitingJoins.isEmpty else { return }
        var later: [SessionID] = []
        for session in waitingJoins {
            guard let member = members[session], case .waiting(let join) = member.state else { continue }
            if let answer = joinAnswer(join, for: member.user) {
                members[session]?.state = .live
                actions.append(.goLive(session, answer))
            } else {
                later.append(session)
            }
        }
        waitingJoins = later
        if !later.isEmpty { wantView(.join, now: now, &actions) }
    }

    /// The log is being read: a join that came later needs another read.
    mutating func markAsked(_ session: SessionID) {
        guard case .waiting(var join)? = members[session]?.state else { return }
        join.asked = true
        members[session]?.state = .waiting(join)
    }

    mutating func markViewed(_ session: SessionID) {
        guard case .waiting(var join)? = members[session]?.state, join.asked else { return }
        join.viewed = true
        members[session]?.state = .waiting(join)
    }

    /// The answer from memory; nil if the log has to be read first, because the position is ahead of ours (race 16).
    private func joinAnswer(_ join: PendingJoin, for user: UserID) -> Joined? {
        guard let last else { return nil }
        var resumption = Resumption.fresh
        var messages: [Message] = []
        if let after = join.after {
            if !join.viewed, after > Position(epoch: epoch, seq: last.seq) || after.seq > last.seq { return nil }
            let replay = recent.messages(after: max(after.seq, recent.completeAfter))
            switch judge(after, firstAfter: replay.first?.position.seq) {
            case .ok:
                resumption = .complete
                messages = replay
            case .gap(_, let lastMissing):
                let next = replay.first?.position ?? Position(epoch: epoch, seq: lastMissing + 1)
                resumption = .gap(Gap(after: after, before: next))
                messages = replay
            case .rewound:
                resumption = .reset(Reset(position: last, reason: .rewound))
                messages = recent.newest(join.history)
            }
        } else {
            messages = recent.newest(join.history)
        }
        let roster = presence.joinedRoster(including: user)
        return Joined(
            ref: join.ref, room: room, position: last, messages: messages, members: roster.members, count: roster.count,
            resumption: resumption)
    }

    /// What the log, as we know it, says of a client's position.
    private func judge(_ after: Position, firstAfter: UInt64?) -> Verdict {
        guard let last else { return .rewound }
        if let same = recent.message(seq: after.seq), same.position != after { return .rewound }
        return chain.verdict(of: after, epoch: epoch, last: last.seq, firstAfter: firstAfter)
    }

    mutating func failJoin(_ session: SessionID, _ error: WireError, _ actions: inout [RoomAction]) {
        guard let member = members[session], case .waiting(let join) = member.state else { return }
        members[session] = nil
        if member.waitingSends > 0 { forgetSends(of: session) }
        presence.went(member.user, member.device, now: join.deadline)
        actions.append(.refuseJoin(session, .error(ref: join.ref, error)))
    }

    /// Joins that waited too long fail; the client may try again.
    mutating func expireJoins(now: Moment, _ actions: inout [RoomAction]) {
        while let session = waitingJoins.first, case .waiting(let join)? = members[session]?.state, join.deadline <= now {
            waitingJoins.removeFirst()
            let why = lastRefusal.map { ": \($0)" } ?? ""
            failJoin(session, WireError(.unavailable, "join: redis did not answer in time\(why)"), &actions)
        }
        considerLinger(now: now)
    }
}
