/// How sessions join, catch up and leave.
extension RoomStateMachine {
    /// A session wants to be in the room, or is in it and wants to catch up once more.
    mutating func join(_ request: JoinRequest, now: Moment, _ actions: inout [RoomAction]) {
        if members.asks(request, until: now + settings.limits.sendWait) {
            presence.came(request.user, request.device, now: now + settings.presenceInterval)
        }
        lingerUntil = nil
        if phase == .out { begin(now: now, &actions) }
        if isInside { answerJoins(now: now, &actions) }
    }

    /// A session leaves the room, or its connection is gone.
    mutating func leave(_ session: SessionID, now: Moment, _ actions: inout [RoomAction]) {
        guard let member = members.remove(session) else { return }
        if member.waitingSends > 0 {
            // The session may still be connected, and then it waits for each answer (simulator, seed 171057577633).
            failSends(of: session, WireError(.notJoined, "the room was left before the answer"), &actions)
        }
        presence.sessionLeft(session)
        presence.went(member.user, member.device, now: now + settings.presenceInterval)
        considerLinger(now: now)
    }

    /// Answers each join that can be answered now. One read of the log serves all that need one. `older`: messages from
    /// before our memory, for the joins that asked for them.
    mutating func answerJoins(older: OlderMessages? = nil, now: Moment, _ actions: inout [RoomAction]) {
        guard isInside, !members.waiting.isEmpty else { return }
        // The first roster was asked for right behind `enter`; the answer to a join contains it.
        guard presence.position != nil || presence.reading == nil else { return }
        // Newer rules are being read.
        guard sanctions.isCurrent || !settings.rules.contains(.readRules) else { return }
        var later: [SessionID] = []
        var reachBack: [SessionID] = []
        var needsView = false
        for session in members.waiting {
            guard let member = members[session], case .waiting(let join) = member.state else { continue }
            if let error = sanctions.refusal(ofJoinBy: member.user, in: room, now: wallClock) {
                failJoin(session, error, &actions)
                continue
            }
            switch answer(to: join, of: member.user, older: older, now: now) {
            case .joined(let answer):
                members.isLive(session)
                actions.append(.goLive(session, answer))
                if !(join.ref?.isOfPage ?? false) {
                    presence.told(member.user, session, flush: now + settings.presenceInterval)
                }
            case .readNewer:
                needsView = true
                later.append(session)
            case .readOlder:
                later.append(session)
                reachBack.append(session)
            case .awaitReturns:
                later.append(session)
            }
        }
        members.keepWaiting(later)
        considerLinger(now: now)
        if needsView { wantView(.join, now: now, &actions) }
        readOlder(for: reachBack, &actions)
    }

    private enum JoinAnswer {
        case joined(Joined)
        /// The position is ahead of ours: either we lag, or it belongs to a lost branch (race 16).
        case readNewer
        /// Our memory does not reach back to the position; the log may.
        case readOlder
        /// Redis came back without the position, and a node that has its message may put it back.
        case awaitReturns
    }

    private func answer(
        to join: PendingJoin, of user: UserID, older: OlderMessages?, now: Moment
    ) -> JoinAnswer {
        guard let last = order.last else { return .readNewer }
        var resumption = Resumption.fresh
        var messages: [Message] = []
        var hasMore = false
        if let after = join.after {
            if order.isAhead(after), !join.viewed, settings.rules.contains(.readBeforeVerdict) { return .readNewer }
            let memoryFrom = order.recent.completeAfter
            messages = order.recent.messages(after: max(after.seq, memoryFrom))
            let mayBeMore = after.seq < memoryFrom && order.judge(after, firstAfter: after.seq + 1) != .rewound
            if mayBeMore {
                // (A read is repeated if our memory has moved beyond it meanwhile.)
                guard let older, older.serial == join.askedOlder,
                    let joined = older.joined(to: messages, after: after.seq, memoryFrom: memoryFrom)
                else { return .readOlder }
                (messages, hasMore) = joined
                messages = MessageFold.folded(messages)
            } else {
                messages = order.recent.folded(messages)
            }
            switch order.judge(after, firstAfter: messages.first?.position.seq) {
            case .ok:
                resumption = .complete
            case .gap(_, let lastMissing):
                let next = messages.first?.position ?? Position(epoch: order.epoch, seq: lastMissing + 1)
                resumption = .gap(Gap(after: after, before: next))
            case .rewound:
                if nodes.awaitsReturns(now: now) { return .awaitReturns }
                // What is not read yet may be what was put back (simulator, seed 457776858824 of moderation).
                if order.isBehind { return .readNewer }
                resumption = .reset(Reset(position: last, reason: .rewound))
                messages = order.recent.folded(order.recent.newest(join.history))
            }
        } else {
            messages = order.recent.folded(order.recent.newest(join.history))
        }
        let roster = presence.joinedRoster(including: user, limit: settings.limits.rosterInline)
        var joined = Joined(
            ref: join.ref, room: room, position: last, messages: messages, members: roster.members,
            count: roster.count, resumption: resumption, hasMore: hasMore)
        if let moderation = sanctions.moderation {
            joined.rules = moderation.policy == RoomPolicy() ? nil : moderation.policy
            joined.mute = moderation.mute(of: user, now: wallClock)
        }
        return .joined(joined)
    }

    // MARK: older than our memory

    /// Reads a page of the log from the position that the first of these joins gave. One such read is at the broker at
    /// a time; it serves all joins that wait for messages in it.
    private mutating func readOlder(for waiting: [SessionID], _ actions: inout [RoomAction]) {
        guard !reads.isReadingOlder else { return }
        var first: Position?
        var sessions: [SessionID] = []
        for session in waiting {
            guard let after = members.join(of: session)?.after, after.seq < order.recent.completeAfter
            else { continue }
            if first == nil { first = after }
            if let first, after.seq >= first.seq { sessions.append(session) }
        }
        guard let first else { return }
        let request = BrokerRequest.view(room: room, after: first, page: settings.page)
        let serial = submit(request, .older, &actions)
        actions.append(.count(.view(.join)))
        reads.olderBegan(serial: serial)
        members.olderBegan(serial: serial, for: sessions)
    }

    mutating func olderCompleted(
        serial: UInt64, _ result: Result<BrokerReply, BrokerError>, now: Moment, _ actions: inout [RoomAction]
    ) {
        guard reads.takeOlder(serial: serial), isInside else { return }
        switch result {
        case .success(.view(let view)):
            // The log holds nothing more for a position that is rewound.
            let hasMore = view.hasMore && view.verdict != .rewound
            let entries = view.verdict == .rewound ? [] : view.entries
            let reach = hasMore ? entries.last?.position.seq ?? view.last : view.last
            let older = OlderMessages(serial: serial, reach: reach, entries: entries, hasMore: hasMore)
            answerJoins(older: older, now: now, &actions)
        case .failure(.missing):
            enterAgain(now: now, &actions)
        case .success, .failure:
            // Joins ask again after the next view.
            reads.olderFailed(now: now)
        }
    }

    /// Refuses the join of a session that was taken from ``RoomMembers/waiting``.
    mutating func failJoin(_ session: SessionID, _ error: WireError, _ actions: inout [RoomAction]) {
        guard let member = members[session], case .waiting(let join) = member.state else { return }
        if join.ref?.isOfPage ?? false {
            members.isLive(session)
            actions.append(.refusePage(session, .error(ref: join.ref, error)))
            return
        }
        members.removeTaken(session)
        if member.waitingSends > 0 { failSends(of: session, error, &actions) }
        presence.sessionLeft(session)
        presence.went(member.user, member.device, now: join.deadline)
        actions.append(.refuseJoin(session, .error(ref: join.ref, error)))
    }

    /// Refuses joins that waited too long; the client may try again.
    mutating func expireJoins(now: Moment, _ actions: inout [RoomAction]) {
        while let session = members.takeExpired(now: now) {
            let why = lastRefusal.map { ": \($0)" } ?? ""
            failJoin(session, WireError(.unavailable, "join: redis did not answer in time\(why)"), &actions)
        }
        considerLinger(now: now)
    }
}

/// A page of the log from before a node's memory.
struct OlderMessages {
    var serial: UInt64
    /// The log was read up to this seq.
    var reach: UInt64
    var entries: [Message]
    /// The log holds more behind the entries.
    var hasMore: Bool

    /// The messages after `seq`, followed by `memory` (which is complete above `memoryFrom`) unless there are more
    /// between the two than were read. Messages before the last hole are left out, as a `joined` can announce one gap.
    /// Nil: another read is needed.
    func joined(
        to memory: [Message], after seq: UInt64, memoryFrom: UInt64
    ) -> (messages: [Message], hasMore: Bool)? {
        if reach < memoryFrom {
            // The log's next page follows, unless none of this one is news for that session.
            guard hasMore, seq < reach else { return nil }
            return (Self.withoutHoles(entries.filter { $0.position.seq > seq }), true)
        }
        let older = entries.filter { $0.position.seq > seq && $0.position.seq <= memoryFrom }
        guard memory.isEmpty || older.last?.position.seq == memoryFrom else { return (memory, false) }
        return (Self.withoutHoles(older) + memory, false)
    }

    private static func withoutHoles(_ messages: [Message]) -> [Message] {
        var first = messages.endIndex
        while first > messages.startIndex {
            if first < messages.endIndex, messages[first - 1].position.seq + 1 != messages[first].position.seq { break }
            first -= 1
        }
        return Array(messages[first...])
    }
}
