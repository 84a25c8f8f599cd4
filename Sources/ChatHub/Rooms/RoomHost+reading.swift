import ChatCore

/// What participants have read: collected here, stored by one call for all of a room, told to the room's sessions and
/// to the users' other devices.
extension RoomHost {
    // MARK: requests

    /// A session's user has read the room up to that position.
    func read(_ name: RoomName, _ position: Position, by user: UserID, ref: Ref?, from session: SessionID) {
        let waiter = ref.map { ReadCollector.Waiter.session(session, $0) }
        if let error = take(name, position, by: user, waiter) {
            post(.answer(session, .error(ref: ref, error)), to: session.loop)
        }
    }

    /// The same for a user who need not have a session. `then` is called once, on this loop, when it is stored.
    public func read(
        _ name: RoomName, _ position: Position, by user: UserID,
        _ then: @escaping (Result<ReadOutcome, WireError>) -> Void
    ) {
        let caller = reading.add(then)
        guard let error = take(name, position, by: user, .caller(caller)) else {
            // Nobody of the room reads along here, so there is nothing to collect.
            if room(named: name) == nil { flushReads(of: name) }
            return
        }
        reading.take(caller)?(.failure(error))
    }

    /// Returns why it was not taken.
    private func take(
        _ name: RoomName, _ position: Position, by user: UserID, _ waiter: ReadCollector.Waiter?
    ) -> WireError? {
        if let room = room(named: name) {
            awaken(room)
            if room.look({ $0.isLive && $0.isOfLostBranch(position) }) ?? false { return ReadOutcome.lostPosition }
            if let receipts = room.reading?.receipts, !receipts.isParticipant(user) { return ReadOutcome.noParticipant }
        }
        guard reading.collector.read(name, user, position, waiter: waiter, now: context.now) else {
            return WireError(.tooManyWaiting, "read: too much that was read is waiting to be stored")
        }
        wakeForReading()
        return nil
    }

    /// A session's message is stored: a participant who says something has read the room up to there, and those whom
    /// the message mentions are told, if they are participants. `isRepeated`: it was stored before, and they were told
    /// then; but whoever stored it may not know who has read it.
    func stored(_ session: SessionID, _ position: Position, _ room: HomeRoom, isRepeated: Bool) {
        let said = room.look { $0.recentMessage(at: position) } ?? nil
        // The session may have left meanwhile.
        guard let receipts = room.reading?.receipts,
            let user = said?.content.user ?? room.look({ $0.user(of: session) }) ?? nil, receipts.isParticipant(user)
        else { return }
        _ = reading.collector.read(room.name, user, position, isOwn: true, now: context.now)
        wakeForReading()
        guard let message = said, !isRepeated else { return }
        for mentioned in message.content.mentioned.prefix(MessageExtra.mostMentions)
        where mentioned != user && receipts.isParticipant(mentioned) {
            publish(UserNotice(.mentioned, room.name, by: user.text, position: position), to: mentioned)
        }
    }

    // MARK: what the room knows

    /// The room was read, with its participants; nil if it has none. `last`: the seq of the log's last entry then.
    /// `isRewound`: the log is not the one that was shown so far.
    func update(_ conversation: Conversation?, last: UInt64, isRewound: Bool, _ room: HomeRoom) {
        guard let conversation, !conversation.participants.isEmpty else {
            room.reading?.hasNoParticipants()
            if room.reading?.isEmpty ?? false { room.reading = nil }
            return
        }
        let reading = room.reading ?? RoomReading()
        room.reading = reading
        let tally = LogTally(last: last, amendments: conversation.amendments)
        let (users, marks) = (conversation.participants.keys, conversation.reads)
        let isVoid = { (position: Position) in room.look { $0.isOfLostBranch(position) } ?? false }
        if reading.receipts == nil {
            reading.receipts = RoomReceipts(participants: users, marks: marks, tally: tally, kept: last)
        } else {
            let new =
                reading.receipts?.update(
                    participants: users, marks: marks, tally: tally, kept: last, isRewound: isRewound, isVoid: isVoid)
                ?? [:]
            told(new, room, reading)
            for read in reading.receipts?.ahead(of: marks) ?? [] {
                _ = self.reading.collector.read(
                    room.name, read.user, read.position, isOwn: true, now: context.now)
            }
            wakeForReading()
        }
        told(reading.settleEarly(isVoid: isVoid), room, reading)
    }

    /// A message is shown in a room with participants or watchers.
    func shown(_ message: Message, _ reading: RoomReading, _ room: HomeRoom) {
        reading.receipts?.shown(message, isAmendment: message.content.isAmendment)
        headChanged(room, reading)
    }

    /// The answer to a join, with what participants have read.
    func withReceipts(_ joined: Joined, _ session: SessionID, _ room: HomeRoom) -> Joined {
        guard let receipts = room.reading?.receipts, !(joined.ref?.isOfPage ?? false) else { return joined }
        var joined = joined
        let user = room.look { $0.user(of: session) } ?? nil
        let own = user.flatMap { user in
            receipts.isParticipant(user)
                ? JoinedReceipts.Own(read: receipts.position(of: user), unread: receipts.unread(of: user)) : nil
        }
        joined.receipts = JoinedReceipts(
            reads: receipts.count <= settings.receipts ? receipts.positions : nil, own: own)
        return joined
    }

    /// These rooms as lines of a participant's inbox; nil for those of which only the broker knows everything.
    public func heads(of names: [RoomName], for user: UserID) -> [RoomHead?] { names.map { head(of: $0, for: user) } }

    private func head(of name: RoomName, for user: UserID) -> RoomHead? {
        guard let room = room(named: name), let receipts = room.reading?.receipts, let mark = receipts.mark(of: user)
        else { return nil }
        return room.inspect(common) { $0.head(of: user, readUpTo: mark, receipts.tally) }
    }

    /// The room's channel, or Redis' answer, says that participants have read up to these marks.
    func heard(_ marks: [UserID: ReadMark], in name: RoomName) {
        guard !marks.isEmpty, let room = room(named: name) else { return }
        let reading = room.reading ?? RoomReading()
        room.reading = reading
        told(reading.heard(marks), room, reading)
    }

    private func told(_ new: [UserID: ReadMark], _ room: HomeRoom, _ reading: RoomReading) {
        guard !new.isEmpty else { return }
        if let receipts = reading.receipts, receipts.count <= settings.receipts {
            tell(.inbox(.receipts(room: room.name, new.mapValues(\.position))), room)
        }
        headChanged(room, reading)
    }

    // MARK: the collector

    /// Nobody of the room is left here: what was read goes out at once.
    func flushReads(of name: RoomName) {
        collect { $0.flush(name, now: $1, &$2) }
    }

    /// All that was read goes out, as the node leaves.
    public func flushReads() {
        collect { $0.flushAll(now: $1, &$2) }
    }

    /// Whether something was read that is not stored yet.
    public var hasUnstoredReads: Bool { !reading.collector.isEmpty }

    func readTimePassed(now: Moment) {
        collect { $0.timePassed(now: $1, &$2) }
        while let name = reading.popPause(now: now) { pauseEnded(name, now: now) }
    }

    /// The broker is reached again.
    func readsConnected() {
        guard !reading.collector.isEmpty else { return }
        collect { $0.connected(now: $1, &$2) }
    }

    private func collect(_ event: (inout ReadCollector, Moment, inout [ReadCollector.Action]) -> Void) {
        var actions: [ReadCollector.Action] = []
        event(&reading.collector, context.now, &actions)
        for action in actions { carryOut(action) }
        wakeForReading()
    }

    private func carryOut(_ action: ReadCollector.Action) {
        switch action {
        case .ask(let name, let reads):
            context.counted(reads: reads.count)
            let request = ReadingRequest.read(room: name, reads, isBooked: settings.relay.reads(.receipts))
            context.ask(.reading(request)) { [weak self] result in self?.answered(result, in: name) }
        case .tell(.session(let session, let ref), let name, let result):
            post(.answer(session, Self.answer(result, ref, name)), to: session.loop)
        case .tell(.caller(let caller), _, let result): reading.take(caller)?(result.flatMap { $0.accepted })
        case .noticed(let name, let user, let mark, let unread):
            let notice = UserNotice(.read, name, position: mark.position, unread: unread)
            publish(notice, to: user)
        case .stored(let name, let marks): heard(marks, in: name)
        }
    }

    /// Tells all sessions of a user, on whatever node.
    func publish(_ notice: UserNotice, to user: UserID) {
        let tag = RequestTag(owner: 0, generation: 0, serial: RequestTag.ignoredSerial)
        link.submit(.publish(on: .user(user), event: .notice(notice)), tag: tag)
    }

    private func answered(_ result: Result<BrokerReply, BrokerError>, in name: RoomName) {
        let outcomes: Result<[ReadOutcome], BrokerError>
        switch result {
        case .success(.reading(.read(let all))):
            outcomes = .success(all)
            note(name, .receipts)
        case .success: outcomes = .failure(.malformed(""))
        case .failure(let error): outcomes = .failure(error)
        }
        collect { $0.answered(outcomes, in: name, now: $1, &$2) }
    }

    private static func answer(
        _ result: Result<ReadOutcome, WireError>, _ ref: Ref, _ name: RoomName
    ) -> ServerEvent {
        switch result.flatMap({ $0.accepted }) {
        case .success(let outcome):
            .inbox(.read(ref: ref, room: name, position: outcome.mark?.position ?? Position(epoch: 0, seq: 0)))
        case .failure(let error): .error(ref: ref, error)
        }
    }

    private func wakeForReading() {
        if let deadline = reading.deadline { context.wake(at: deadline) }
    }
}

extension ReadOutcome {
    static let lostPosition = WireError(.badField, "read: position is none of this room's history")
    static let noParticipant = WireError(.forbidden, "read: only participants of the room have a read position")

    /// The outcome, or why the position was not taken.
    fileprivate var accepted: Swift.Result<ReadOutcome, WireError> {
        switch result {
        case .read, .known: .success(self)
        case .lost: .failure(Self.lostPosition)
        case .stranger: .failure(Self.noParticipant)
        }
    }
}
