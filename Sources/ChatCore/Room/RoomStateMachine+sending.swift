/// How messages are sent: queued, appended or sent once, answered when they are shown.
extension RoomStateMachine {
    /// A member says something. `at`: the node's clock, ms since 1970.
    mutating func accept(
        _ request: SendRequest, ref: Ref?, from session: SessionID, _ member: RoomMember, at: UInt64, now: Moment,
        _ actions: inout [RoomAction]
    ) {
        if let key = request.key {
            if let known = order.recent.position(of: key, by: member.user) {
                return answerRepeated(
                    PendingSend.Waiter(session: session, ref: ref), known.position, at: known.at, &actions)
            }
            if sends.add(.init(session: session, ref: ref), toSendOf: member.user, key: key) {
                return members.sendBegan(session)
            }
        }
        if let error = refusal(of: request, by: member.user, at: at) {
            return actions.append(.answer(session, .error(ref: ref, error)))
        }
        guard sends.count < settings.limits.waitingSendsPerRoom else {
            let text = "send: \(sends.count) sends of this room wait already"
            return actions.append(.answer(session, .error(ref: ref, WireError(.tooManyWaiting, text))))
        }
        let unsure =
            request.key != nil && request.again == nil && settings.rules.contains(.youngRepeats)
            && (member.resumed || now - member.since < settings.youngSession)
        let said = request.key != nil && (request.again ?? (request.since != nil))
        let content = MessageContent(
            user: member.user, at: at, text: request.text, data: request.data,
            key: request.key ?? sends.makeKey(node: node, enterValue: nodes.enterValue), extra: request.extra)
        let number = sends.append(
            PendingSend(
                content: content, rights: request.rights, again: said || unsure, said: said,
                since: said ? request.since : firstTrySince(request),
                deadline: now + settings.limits.sendWait,
                waiters: .init(.init(session: session, ref: ref))),
            clientKey: request.key)
        members.sendBegan(session)
        pump(now: now, decided: number, &actions)
    }

    /// The position behind which the key of a first try may be, if it is stored at all: the one that its client knew,
    /// because a try that was long on its way, or in the socket of a node that was held up, may have been repeated
    /// elsewhere meanwhile (race 4; simulator, seed 2015284). Of a position that is no part of this history nothing
    /// follows.
    private func firstTrySince(_ request: SendRequest) -> Position? {
        guard request.key != nil, let known = request.since, let last = order.last, known.seq < last.seq,
            order.chain.base(of: known.epoch) != nil
        else { return order.last }
        return known
    }

    /// Why the rules forbid the send. (While newer rules are being read it waits, and is decided by those.)
    private func refusal(of request: SendRequest, by user: UserID, at: UInt64) -> WireError? {
        guard sanctions.moderation != nil, sanctions.isCurrent else { return nil }
        let content = MessageContent(user: user, at: at, text: request.text, data: request.data)
        return sanctions.refusal(of: content, in: room, by: request.rights, number: nil, now: wallClock)
    }

    /// Asks the broker for all sends that may go out now, in the order in which they came. `decided`: one that the
    /// rules, if they are known, were found to allow just now.
    mutating func pump(now: Moment, decided: UInt64? = nil, _ actions: inout [RoomAction]) {
        guard isInside, !sends.isEmpty, let shown = order.last, shown.seq >= order.base,
            sends.mayGoOut(in: order.epoch, mixesEpochs: !settings.rules.contains(.oneEpochInFlight), now: now),
            nodes.isEverybodyBack(now: now) || !settings.rules.contains(.awaitReturns),
            sanctions.isCurrent || !settings.rules.contains(.readRules)
        else { return }
        while let number = sends.nextQueued, let send = sends[number], sends.unanswered < settings.appendWindow {
            let isDecided = number == decided && !sanctions.looksBack
            if finishIfKnown(number, send, &actions) || !isDecided && refuseIfForbidden(number, send, &actions) {
                // Nothing to ask.
            } else if needsOnce(send) {
                return submitOnce(from: number, &actions)
            } else {
                sends.appends(number, in: order.epoch, last: order.last)
                if sanctions.looksBack { sanctions.sent(send.content, number: number) }
                actions.append(.submit(append(send.content, shown: shown.seq), serial: RoomRequests.appendBit | number))
            }
            sends.passed(number)
        }
    }

    private func append(_ content: MessageContent, shown: UInt64) -> BrokerRequest {
        let epoch = order.epoch
        let others = hasOthers ? OtherNodes(known: shown, base: order.chain.base(of: epoch)) : nil
        return .append(room: room, epoch: epoch, content: content, others: others, isHeld: mayBeHeld)
    }

    /// Whether the log is held for participants who have not read it, or for sinks of relays.
    private var mayBeHeld: Bool { sanctions.isConversation || settings.holdsForSinks }

    /// Answers a send whose key has been shown since it was queued.
    private mutating func finishIfKnown(_ number: UInt64, _ send: PendingSend, _ actions: inout [RoomAction]) -> Bool {
        guard let key = send.content.key, let known = order.recent.position(of: key, by: send.content.user) else {
            return false
        }
        actions.append(.count(.repeated))
        finish(number, &actions) { .sent(ref: $0, room: $1, position: known.position, at: known.at, repeated: true) }
        return true
    }

    /// Refuses a send that the rules forbid: they may have changed since it was queued.
    private mutating func refuseIfForbidden(
        _ number: UInt64, _ send: PendingSend, _ actions: inout [RoomAction]
    ) -> Bool {
        guard settings.rules.contains(.decideAgain),
            let error = sanctions.refusal(of: send.content, in: room, by: send.rights, number: number, now: wallClock)
        else { return false }
        sanctions.withdraw(number, of: send.content.user)
        finish(number, &actions) { ref, _ in .error(ref: ref, error) }
        return true
    }

    private func needsOnce(_ send: PendingSend) -> Bool {
        send.again || (send.content.clientKey != nil && (!order.isKeyWindowFull(settings) || hasOutwaitedMemory(send)))
    }

    /// Whether our memory no longer reaches back to when the send came. Its client may have reconnected and repeated it
    /// at another node, and the log may have been trimmed since, so that it is not certainly a first try (race 4;
    /// simulator, seed 2181).
    private func hasOutwaitedMemory(_ send: PendingSend) -> Bool {
        guard send.content.clientKey != nil, let since = send.since else { return false }
        return order.ofOurHistory(since).seq < order.recent.completeAfter
    }

    /// Asks the broker for all sends from `first` on that need `once`, up to the first that does not, in one request.
    private mutating func submitOnce(from first: UInt64, _ actions: inout [RoomAction]) {
        guard sends.fits(order.epoch), let last = order.last else { return }
        var numbers: [UInt64] = []
        var batch: [OnceSend] = []
        // Each key of the batch was looked for in our memory. Older messages matter if memory does not hold all keys,
        // or for a repetition that may be older.
        let memoryFrom = order.recent.completeAfter
        var knownFrom = order.isKeyWindowFull(settings) ? 0 : memoryFrom
        let serial = requests.nextSerial
        for number in sends.numbers where number >= first {
            guard let send = sends[number], send.state == .queued else { continue }
            if finishIfKnown(number, send, &actions) || refuseIfForbidden(number, send, &actions) { continue }
            guard needsOnce(send), numbers.count < 64 else { break }
            let since = send.since.map { order.ofOurHistory($0) }
            if let since, since.seq < memoryFrom { knownFrom = memoryFrom }
            if send.said && send.since == nil { knownFrom = memoryFrom }
            sends.goesOnce(number, serial: serial, last: last)
            if sanctions.looksBack { sanctions.sent(send.content, number: number) }
            numbers.append(number)
            let again = send.said || hasOutwaitedMemory(send)
            batch.append(OnceSend(content: send.content, since: since, again: again))
        }
        let request = OnceRequest(
            room: room, node: node, epoch: order.epoch, knownFrom: knownFrom, known: last.seq, sends: batch)
        sends.onceBegan(serial: submit(.once(request), .once(numbers), &actions), in: order.epoch)
    }

    // MARK: answers

    mutating func appendCompleted(
        number: UInt64, _ result: Result<BrokerReply, BrokerError>, now: Moment, _ actions: inout [RoomAction]
    ) {
        guard let (content, tried) = sends.appendAnswered(number) else { return }
        switch result {
        case .success(.appended(let position, let isPublished)):
            appended(number, content, at: position, isPublished: isPublished, now: now, &actions)
        case .failure(.refused):
            actions.append(.count(.refused))
            sends.requeue(number)
            sends.refused(tried)
            // Another node entered. Its epoch may reach us by the channel first, so the log is read only if no other
            // answer is due.
            if sends.unanswered == 0, sends.refusedEpoch >= order.epoch { wantView(.refused, now: now, &actions) }
        case .failure(.missing):
            sends.requeue(number)
            enterAgain(now: now, &actions)
        case .failure(.notStored(let text)):
            sends.requeue(number)
            lastRefusal = text
            sends.pause(until: now + .milliseconds(250))
        case .failure(.notConnected), .failure(.again), .failure(.forbidden):
            sends.requeue(number)
        case .failure(.outcomeUnknown):
            sends.doubt(number)
        case .success, .failure(.malformed):
            sends.doubt(number)
            enterAgain(now: now, &actions)
        }
        pump(now: now, &actions)
    }

    private mutating func appended(
        _ number: UInt64, _ content: MessageContent, at position: Position, isPublished: Bool, now: Moment,
        _ actions: inout [RoomAction]
    ) {
        let isEcho = isPublished && order.wasShown(content, at: position)
        let isOld = position.seq == 0 || hasPassed(position)
        if settings.rules.contains(.alarm), isOld, !isEcho {
            // A log that was set back stored it (race 7): nothing is shown or published until the room was entered
            // again.
            actions.append(.count(.alarm))
            sends.doubt(number)
            return enterAgain(now: now, &actions)
        }
        if lastRefusal != nil { failOvertaken(by: number, content.user, &actions) }
        noteAppended(content, &actions)
        sends.stored(number, at: position, repeated: false, said: content.at)
        if isEcho { return answerShown(position, &actions) }
        let message = Message(position: position, content: content)
        if isPublished {
            actions.append(.count(.published))
        } else if hasOthers {
            let event = ChannelEvent.message(message, base: order.chain.base(of: position.epoch))
            actions.append(.submit(.publish(room: room, event: event), serial: RequestTag.ignoredSerial))
            actions.append(.count(.published))
        }
        sequence(message, now: now, &actions)
    }

    /// A message of ours is in the log. After a number of bytes, the log is trimmed to its bound in bytes: XADD
    /// enforces only the bound in messages. Of a log that may be held it enforces only the highest one,
    /// so a message there counts as much as it takes to trim after so many of them.
    private mutating func noteAppended(_ content: MessageContent, _ actions: inout [RoomAction]) {
        actions.append(.count(.appended))
        let part = settings.historyBytes / 8
        let least = mayBeHeld ? part / Self.trimsAfter : 0
        guard sends.noteAppended(bytes: max(content.storedBytes, least), trimAfter: part) else { return }
        actions.append(.submit(.trim(room: room), serial: RequestTag.ignoredSerial))
    }

    /// The messages after which a log that may be held is trimmed.
    private static let trimsAfter = 64

    /// Whether the order has gone on to that position, or beyond.
    private func hasPassed(_ position: Position) -> Bool {
        order.last.map { position.seq <= $0.seq } ?? false
    }

    /// Answers the sender of the message at `position`, which was shown, or whose place in the log was passed.
    mutating func answerShown(_ position: Position, _ actions: inout [RoomAction]) {
        guard let (number, repeated, at) = sends.storedSend(at: position) else { return }
        finish(number, &actions) { .sent(ref: $0, room: $1, position: position, at: at, repeated: repeated) }
    }

    /// Fails sends that Redis would not store, and that would be tried again after a later one of the same user was
    /// stored.
    private mutating func failOvertaken(by number: UInt64, _ user: UserID, _ actions: inout [RoomAction]) {
        let error = WireError(.notStored, "redis did not store it: \(lastRefusal ?? "")")
        while let earlier = sends.oldestQueued(of: user), earlier < number {
            actions.append(.count(.notStored))
            finish(earlier, &actions) { ref, _ in .error(ref: ref, error) }
        }
    }

    mutating func onceCompleted(
        serial: UInt64, _ numbers: [UInt64], _ result: Result<BrokerReply, BrokerError>, now: Moment,
        _ actions: inout [RoomAction]
    ) {
        sends.onceAnswered(serial: serial)
        switch result {
        case .success(.once(let reply)) where reply.outcomes.count == numbers.count:
            if reply.epoch > order.epoch, isInside {
                if let last = order.last, reply.base < last.seq {
                    actions.append(.count(.alarm))
                    enterAgain(now: now, &actions)
                } else {
                    noteEpoch(reply.epoch, base: reply.base)
                }
            }
            for (number, outcome) in zip(numbers, reply.outcomes) { settle(number, outcome, now: now, &actions) }
            noteHole(now: now)
        case .failure(.refused):
            actions.append(.count(.refused))
            for number in numbers { sends.requeue(number) }
            sends.onceRefused()
            if sends.refusedEpoch >= order.epoch { wantView(.refused, now: now, &actions) }
        case .failure(.missing):
            for number in numbers { sends.requeue(number) }
            enterAgain(now: now, &actions)
        case .failure(.notStored(let text)):
            for number in numbers { sends.requeue(number) }
            lastRefusal = text
            sends.pause(until: now + .milliseconds(250))
        case .failure(.again):
            // Redis read another piece of the log to know the keys in it. The sender who asked pays for that.
            if let payer = numbers.compactMap({ sends[$0]?.waiters.first?.session }).first {
                actions.append(.charge(payer, RequestCost.indexed))
            }
            for number in numbers { sends.requeue(number) }
        case .failure(.notConnected), .failure(.forbidden):
            for number in numbers { sends.requeue(number) }
        case .failure(.outcomeUnknown):
            for number in numbers { sends.doubt(number) }
        case .success, .failure(.malformed):
            for number in numbers { sends.doubt(number) }
            enterAgain(now: now, &actions)
        }
        pump(now: now, &actions)
    }

    private mutating func settle(
        _ number: UInt64, _ outcome: OnceOutcome, now: Moment, _ actions: inout [RoomAction]
    ) {
        guard let send = sends[number] else { return }
        switch outcome {
        case .stored(let position):
            if hasPassed(position), !order.wasShown(position) {
                actions.append(.count(.alarm))
                sends.doubt(number)
                return enterAgain(now: now, &actions)
            }
            noteAppended(send.content, &actions)
            sends.stored(number, at: position, repeated: false, said: send.content.at)
            sequence(Message(position: position, content: send.content), now: now, &actions)
            if hasPassed(position) { answerShown(position, &actions) }
        case .repeated(let position, let at):
            actions.append(.count(.repeated))
            sends.stored(number, at: position, repeated: true, said: at)
            order.reaches(position.seq)
            if hasPassed(position) { answerShown(position, &actions) }
        case .outcomeUnknown:
            let error = WireError(
                .outcomeUnknown, "send: the log was trimmed since the first try; it was not stored now")
            finish(number, &actions) { ref, _ in .error(ref: ref, error) }
        }
    }

    // MARK: ends

    /// Removes the send and tells everybody who waits for it.
    mutating func finish(_ number: UInt64, _ actions: inout [RoomAction], _ event: (Ref?, RoomName) -> ServerEvent) {
        guard let send = sends.remove(number) else { return }
        answer(send.waiters, &actions, event)
    }

    private mutating func answer(
        _ waiters: PendingSend.Waiters, _ actions: inout [RoomAction], _ event: (Ref?, RoomName) -> ServerEvent
    ) {
        for waiter in waiters {
            members.sendEnded(waiter.session)
            actions.append(.answer(waiter.session, event(waiter.ref, room)))
        }
    }

    private func answerRepeated(
        _ waiter: PendingSend.Waiter, _ position: Position, at: UInt64, _ actions: inout [RoomAction]
    ) {
        actions.append(.count(.repeated))
        actions.append(
            .answer(waiter.session, .sent(ref: waiter.ref, room: room, position: position, at: at, repeated: true)))
    }

    /// Drops the sends of a session that is not in the room any more.
    mutating func forgetSends(of session: SessionID) {
        sends.forget(session, drops: settings.rules.contains(.dropOfClosed))
    }

    /// Answers the sends of a session that is not in the room any more, though it is connected (simulator, seed 16078).
    mutating func failSends(of session: SessionID, _ error: WireError, _ actions: inout [RoomAction]) {
        for ref in sends.refs(of: session) {
            let unknown = WireError(.unavailable, "send: \(error.message); try again with the same key")
            actions.append(.answer(session, .error(ref: ref, unknown)))
        }
        forgetSends(of: session)
    }

    /// Answers the sends of a session that is made to leave the room. Those that wait are refused with the error; of
    /// the others it is not known whether they are stored.
    mutating func endSends(of session: SessionID, _ error: WireError, _ actions: inout [RoomAction]) {
        for number in sends.numbers {
            guard let send = sends[number], send.state == .queued,
                send.waiters.contains(where: { $0.session == session }), !finishIfKnown(number, send, &actions)
            else { continue }
            sanctions.withdraw(number, of: send.content.user)
            finish(number, &actions) { ref, _ in .error(ref: ref, error) }
        }
        failSends(of: session, error, &actions)
    }

    /// Fails sends that waited too long; the client may try again with the same key.
    mutating func expireSends(now: Moment, _ actions: inout [RoomAction]) {
        while let waiters = sends.takeExpired(now: now) {
            actions.append(.count(.sendTimedOut))
            let why = lastRefusal.map { "redis refuses: \($0)" } ?? "no answer from redis in time"
            let error = WireError(.unavailable, "send: \(why); try again with the same key")
            answer(waiters, &actions) { ref, _ in .error(ref: ref, error) }
        }
    }
}
