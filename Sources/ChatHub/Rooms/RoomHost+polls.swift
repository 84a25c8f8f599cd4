import ChatCore

/// Polls: readers without a session, who wait for messages of a room. They are not present. While any waits, the node
/// is in the room like for a session, so a message that arrives answers all of them without a read of Redis.
extension RoomHost {
    /// Waits for messages. `then` is called once, on this loop: at once, or later. Returns what ``endPoll(_:)`` takes.
    @discardableResult
    public func poll(
        _ request: PollRequest, _ then: @escaping (Result<Arrivals, WireError>) -> Void
    ) -> UInt64 {
        let room = openRoom(request.room)
        awaken(room)
        let isFirst = room.polls == nil
        let polls = room.polls ?? RoomPolls()
        room.polls = polls
        let id = self.polls.add(request.room, until: request.until)
        polls.all[id] = RoomPolls.Poll(request: request, state: .unsettled, then: then)
        polls.unsettled.append(id)
        context.wake(at: request.until)
        if isFirst {
            happen(.watched(true), in: room)
        } else {
            settlePolls(room)
        }
        return id
    }

    /// Answers the poll with nothing, as its client has gone. Does nothing if it was answered before.
    public func endPoll(_ id: UInt64) {
        guard let name = polls.room(of: id) else { return }
        guard let room = room(named: name), let poll = room.polls?.all[id] else { return polls.remove(id) }
        awaken(room)
        answer(id, poll, emptyAnswer(to: poll, room), room)
        endWatching(room)
    }

    /// Answers all polls with nothing, as the node leaves.
    public func endPolls() {
        for name in polls.names {
            guard let room = room(named: name), let all = room.polls?.all else { continue }
            for (id, poll) in all { answer(id, poll, emptyAnswer(to: poll, room), room) }
            endWatching(room)
        }
    }

    /// The time of these polls is over.
    func pollTimePassed(now: Moment) {
        var rooms: [HomeRoom] = []
        while let id = polls.popDue(now) {
            guard let name = polls.room(of: id), let room = room(named: name), let poll = room.polls?.all[id] else {
                polls.remove(id)
                continue
            }
            answer(id, poll, emptyAnswer(to: poll, room), room)
            if rooms.last !== room { rooms.append(room) }
        }
        for room in rooms { endWatching(room) }
    }

    private func emptyAnswer(to poll: RoomPolls.Poll, _ room: HomeRoom) -> Result<Arrivals, WireError> {
        switch poll.state {
        case .waiting(let after): .success(Arrivals(newest: after))
        case .unsettled, .reading:
            .failure(WireError(.unavailable, "the room could not be read in time"))
        }
    }

    // MARK: what the room does

    /// The room has skipped messages that the log does not hold any more.
    func tellPolls(_ room: HomeRoom, _ gap: Gap) {
        guard let polls = room.polls else { return }
        // A page can announce one gap, before its messages.
        if polls.hasNews { answerWaiting(room, polls) }
        polls.gap = gap
    }

    /// The room goes on at another position.
    func tellPolls(_ room: HomeRoom, _ reset: Reset) {
        guard let polls = room.polls else { return }
        _ = polls.takeNews()
        let arrivals = Arrivals(page: Arrivals(newest: reset.position).page, reset: reset)
        for (id, poll) in polls.all {
            if case .waiting = poll.state { answer(id, poll, .success(arrivals), room) }
        }
    }

    /// Something happened to a room with polls: answers those that can be answered now.
    func settlePolls(_ room: HomeRoom) {
        guard let polls = room.polls else { return }
        if polls.hasNews { answerWaiting(room, polls) }
        if !polls.unsettled.isEmpty, room.look({ $0.isLive }) ?? false { compare(room, polls) }
        endWatching(room)
    }

    /// The last poll was answered: the room is left after a while.
    private func endWatching(_ room: HomeRoom) {
        guard let polls = room.polls, polls.all.isEmpty else { return }
        room.polls = nil
        if !room.isWatched { happen(.watched(false), in: room) }
    }

    /// Answers the polls that wait with the messages that were shown. Those with the same limit share one answer.
    private func answerWaiting(_ room: HomeRoom, _ polls: RoomPolls) {
        let (messages, gap) = polls.takeNews()
        let newest = room.look { $0.position } ?? nil
        var shared: [Int: Arrivals] = [:]
        for (id, poll) in polls.all {
            guard case .waiting(let after) = poll.state else { continue }
            let first = messages.first?.position.seq ?? gap?.before.seq ?? 0
            let arrivals: Arrivals
            if after.seq < first {
                arrivals =
                    shared[poll.request.limit]
                    ?? Arrivals(
                        messages, after: after, gap: gap, limit: poll.request.limit, bytes: pollBytes, newest: newest)
                shared[poll.request.limit] = arrivals
            } else {
                // Its reader was ahead of this node.
                let later = messages.filter { $0.position.seq > after.seq }
                guard !later.isEmpty else { continue }
                arrivals = Arrivals(
                    later, after: after, gap: nil, limit: poll.request.limit, bytes: pollBytes, newest: newest)
            }
            answer(id, poll, .success(arrivals), room)
        }
    }

    private var pollBytes: Int { settings.rooms.limits.historyPageBytes }

    /// Compares the positions of new polls with the room, which is live.
    private func compare(_ room: HomeRoom, _ polls: RoomPolls) {
        let new = polls.unsettled
        polls.unsettled = []
        for id in new {
            guard let poll = polls.all[id] else { continue }
            let now = context.now
            guard let missed = room.look({ $0.missed(after: poll.request.after, now: now) }) else {
                polls.unsettled.append(id)
                continue
            }
            take(missed, id, poll, room, polls)
        }
    }

    private func take(
        _ missed: RoomStateMachine.Missed, _ id: UInt64, _ poll: RoomPolls.Poll, _ room: HomeRoom, _ polls: RoomPolls
    ) {
        switch missed {
        case .unknown: polls.unsettled.append(id)
        case .nothing(let newest): polls.all[id]?.state = .waiting(after: poll.request.after ?? newest)
        case .messages(let messages, let gap):
            let newest = room.look { $0.position } ?? nil
            let arrivals = Arrivals(
                messages, after: poll.request.after ?? Position(epoch: 0, seq: 0), gap: gap, limit: poll.request.limit,
                bytes: pollBytes, newest: newest)
            answer(id, poll, .success(arrivals), room)
        case .reset(let reset):
            answer(id, poll, .success(Arrivals(page: Arrivals(newest: reset.position).page, reset: reset)), room)
        case .inLog: read(id, poll, room, polls)
        }
    }

    /// Reads the log for a poll whose position the room's memory does not know. One read serves all polls with the same
    /// position.
    private func read(_ id: UInt64, _ poll: RoomPolls.Poll, _ room: HomeRoom, _ polls: RoomPolls) {
        guard let after = poll.request.after else { return }
        polls.all[id]?.state = .reading
        let isFirst = polls.reading[after] == nil
        polls.reading[after, default: []].append(id)
        guard isFirst else { return }
        let limits = settings.rooms.limits
        let bounds = PageBounds(
            count: limits.historyPage, bytes: min(settings.rooms.pageBytes, limits.historyPageBytes))
        context.ask(.view(room: room.name, after: after, page: bounds)) { [weak self] result in
            self?.hasRead(result, after, room)
        }
    }

    private func hasRead(_ result: Result<BrokerReply, BrokerError>, _ after: Position, _ room: HomeRoom) {
        guard let polls = room.polls, let ids = polls.reading.removeValue(forKey: after) else { return }
        defer { endWatching(room) }
        awaken(room)
        let now = context.now
        guard case .success(.view(let view)) = result,
            let missed = room.look({ $0.missed(after: after, in: view, now: now) })
        else {
            let failure = if case .failure(let error) = result { error } else { BrokerError.malformed("") }
            let error = Result<Arrivals, WireError>.failure(failure.wireError("messages"))
            for id in ids { if let poll = polls.all[id] { answer(id, poll, error, room) } }
            return
        }
        // Messages may have been shown while the log was read.
        let shown = (room.look { $0.position } ?? nil)?.seq ?? 0
        var shared: [Int: Arrivals] = [:]
        for id in ids {
            guard let poll = polls.all[id] else { continue }
            switch missed {
            case .messages(let messages, let gap):
                let limit = poll.request.limit
                let arrivals =
                    shared[limit]
                    ?? Arrivals(
                        messages, after: after, gap: gap, limit: limit, bytes: pollBytes,
                        newest: Position(epoch: view.epoch, seq: view.last), hasMore: view.hasMore)
                shared[limit] = arrivals
                answer(id, poll, .success(arrivals), room)
            case .nothing where shown <= after.seq:
                // The room is not further than the reader: what it shows next is compared with the reader's position.
                polls.all[id]?.state = .waiting(after: after)
            case .nothing, .unknown, .inLog:
                polls.all[id]?.state = .unsettled
                polls.unsettled.append(id)
            case .reset: take(missed, id, poll, room, polls)
            }
        }
        if case .nothing = missed, !polls.unsettled.isEmpty, room.look({ $0.isLive }) ?? false {
            compare(room, polls)
        }
    }

    /// Answers a poll, unless its user was banned meanwhile.
    private func answer(
        _ id: UInt64, _ poll: RoomPolls.Poll, _ result: Result<Arrivals, WireError>, _ room: HomeRoom
    ) {
        room.polls?.all[id] = nil
        polls.remove(id)
        if case .success = result, let user = poll.request.user,
            let error = room.look({ $0.refusalOfReading(by: user) }) ?? nil
        {
            return poll.then(.failure(error))
        }
        poll.then(result)
    }
}
