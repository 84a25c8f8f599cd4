extension RoomStateMachine {
    // MARK: the connections

    /// The command connection is up, to the broker with this identity.
    public mutating func commandsUp(_ identity: BrokerIdentity, now: Moment, _ actions: inout [RoomAction]) {
        commandsUp = true
        self.identity = identity
        switch phase {
        case .entering(let entering):
            if !settings.rules.contains(.enterAfterLoss), order.last != nil { return becomeInside(now: now, &actions) }
            if entering.wasLive, isNeededByNobody, identity == enteredIdentity { return giveUp(&actions) }
            requestEnter(now: now, &actions)
        case .inside: enterAgain(now: now, &actions)
        case .leaving: requestLeave(&actions)
        case .out, .subscribing, .unsubscribing: break
        }
    }

    /// The command connection is gone. What was on it completes as `.outcomeUnknown`, before or after this.
    public mutating func commandsDown(now: Moment, _ actions: inout [RoomAction]) {
        commandsUp = false
        // What it refused is not why nothing is answered now.
        lastRefusal = nil
        reads.viewEnded()
        endTurn(&actions)
        switch phase {
        case .inside: phase = .entering(Entering(wasLive: true))
        case .entering(let entering):
            phase = .entering(Entering(wasLive: entering.wasLive && entering.serial == nil && entering.merged == nil))
        case .out, .subscribing, .leaving, .unsubscribing: break
        }
    }

    /// Nobody is in the room, and nothing that was said in it waits for an answer. After a lost connection such a room is given up instead
    /// of entered again; but not at another Redis, to which the node may have to bring what it lost.
    private var isNeededByNobody: Bool {
        members.isEmpty && !sends.awaitsBroker && !presence.isUpdating
    }

    private mutating func giveUp(_ actions: inout [RoomAction]) {
        sends.removeAll()
        lingerUntil = nil
        phase = .leaving
        requestLeave(&actions)
    }

    // MARK: turns

    private mutating func takeTurn(_ actions: inout [RoomAction]) -> Bool {
        if turn == .none {
            turn = .awaited
            actions.append(.awaitTurn(urgent: !members.isEmpty))
        }
        return turn == .held
    }

    private mutating func endTurn(_ actions: inout [RoomAction]) {
        guard turn != .none else { return }
        turn = .none
        actions.append(.endTurn)
    }

    /// The room may ask for what it wanted a turn for. Nothing but `.endTurn` if it does not want it any more.
    public mutating func turnCame(now: Moment, _ actions: inout [RoomAction]) {
        guard turn == .awaited else { return actions.append(.endTurn) }
        turn = .held
        let asked = requests.nextSerial
        switch phase {
        case .entering: requestEnter(now: now, &actions)
        case .leaving: requestLeave(&actions)
        case .out, .subscribing, .inside, .unsubscribing: break
        }
        if requests.nextSerial == asked { endTurn(&actions) }
    }

    /// The subscribe connection is up. It has no subscriptions.
    public mutating func subscriptionsUp(now: Moment, _ actions: inout [RoomAction]) {
        subscriptionsUp = true
        if phase == .subscribing { actions.append(.subscribe) }
    }

    /// The subscribe connection is gone, all subscriptions with it, and whatever was said since.
    public mutating func subscriptionsDown(now: Moment, _ actions: inout [RoomAction]) {
        subscriptionsUp = false
        nodes.channelLost()
        switch phase {
        case .inside where isNeededByNobody && !reads.viewInFlight: giveUp(&actions)
        case .entering, .inside:
            endTurn(&actions)
            phase = .subscribing
        case .unsubscribing: becomeOut(now: now, &actions)
        case .out, .subscribing, .leaving: break
        }
    }

    // MARK: coming in

    /// The first session came: OUT → SUBBING.
    mutating func begin(now: Moment, _ actions: inout [RoomAction]) {
        phase = .subscribing
        if subscriptionsUp { actions.append(.subscribe) }
    }

    /// The SUBSCRIBE was acknowledged: from now on nothing said in the room passes us by.
    public mutating func subscribed(now: Moment, _ actions: inout [RoomAction]) {
        guard phase == .subscribing else { return }
        phase = .entering(Entering())
        requestEnter(now: now, &actions)
    }

    /// Whatever may have been missed, or done in our name: begin a new epoch and read the room.
    mutating func enterAgain(now: Moment, _ actions: inout [RoomAction]) {
        switch phase {
        case .inside: break
        case .entering(let entering): guard entering.merged != nil else { return }
        case .out, .subscribing, .leaving, .unsubscribing: return
        }
        phase = .entering(Entering())
        requestEnter(now: now, &actions)
    }

    /// The node's lease had run out: others may have swept it.
    public mutating func nodeForgotten(now: Moment, _ actions: inout [RoomAction]) {
        enterAgain(now: now, &actions)
    }

    mutating func requestEnter(now: Moment, _ actions: inout [RoomAction]) {
        guard case .entering(var entering) = phase, commandsUp, entering.serial == nil, entering.merged == nil,
            takeTurn(&actions)
        else { return }
        let changed = enteredIdentity != nil && identity != enteredIdentity
        // The log's last entry has to be among them: it proves that they belong behind it.
        let tail = entering.bringsFrom.map { order.recent.messages(after: $0.seq > 0 ? $0.seq - 1 : 0) } ?? []
        let request = EnterRequest(
            room: room, node: node, after: order.last, tail: changed ? tail : [],
            tailHistory: changed ? order.chain.history : 0,
            seen: claim(changed ? order.seenEpoch &+ branchSalt : order.seenEpoch),
            clock: min(wallClock, PositionBounds.largest),
            identityChanged: changed,
            offersTail: changed && entering.bringsFrom == nil && !order.recent.isEmpty, page: settings.page)
        actions.append(.submit(.hold(room: room, node: node), serial: RequestTag.ignoredSerial))
        entering.serial = submit(.enter(request), .enter, &actions)
        entering.seen = order.seenEpoch
        entering.retryAt = nil
        entering.deadline = now + settings.enterDeadline
        phase = .entering(entering)
        presence.noteEntering(now: now)
        nodes.enters()
        readRoster(&actions)
    }

    /// 0..<65,536, by node and Redis: two nodes that saw the same epoch and each began a new one, on two branches of the history, must
    /// not call it the same (race 8; simulator, seed 3006: after two failovers in a row `seen + 1000` was both branches' name).
    private var branchSalt: UInt64 {
        var hash = StableHash(node.text)
        hash.add(identity?.runID ?? "")
        return (hash.value ^ hash.value >> 32) & 0xFFFF
    }

    mutating func enterCompleted(
        serial: UInt64, _ result: Result<BrokerReply, BrokerError>, now: Moment, _ actions: inout [RoomAction]
    ) {
        switch result {
        case .success, .failure(.malformed), .failure(.outcomeUnknown): mayBeRegistered = true
        case .failure(.refused), .failure(.missing), .failure(.notStored), .failure(.notConnected), .failure(.again):
            break
        }
        guard case .entering(var entering) = phase, entering.serial == serial else { return }
        entering.serial = nil
        if case .success(.bring(let from)) = result, entering.bringsFrom == nil {
            entering.bringsFrom = from
            phase = .entering(entering)
            return requestEnter(now: now, &actions)
        }
        endTurn(&actions)
        switch result {
        case .success(.view(let view)) where view.nodes[node] == view.epoch:
            enteredIdentity = identity
            entering.merged = view.epoch
            phase = .entering(entering)
            actions.append(.count(.entered))
            actions.append(.sawNodes(view.nodes))
            forget(above: view.epoch, seen: entering.seen)
            nodes.entered(at: view.epoch)
            noteNodes(of: view, now: now)
            mergeEnter(view, &actions)
            becomeInsideIfHeard(now: now, &actions)
        case .failure(.malformed(let text)):
            enterRefused("the answer to enter makes no sense: \(text)", entering, now: now, &actions)
        case .success, .failure(.refused), .failure(.missing), .failure(.again):
            enterRefused("the answer to enter makes no sense", entering, now: now, &actions)
        case .failure(.notStored(let text)):
            enterRefused(text, entering, now: now, &actions)
        case .failure(.notConnected), .failure(.outcomeUnknown):
            // The connection usually goes with it; if not, nobody else would ask again.
            entering.deadline = nil
            entering.retryAt = now + settings.enterDeadline
            phase = .entering(entering)
        }
    }

    /// Redis is there and says no (LOADING, READONLY, WRONGTYPE …): those who wait are told why; we try again, less and less often.
    private mutating func enterRefused(
        _ text: String, _ entering: Entering, now: Moment, _ actions: inout [RoomAction]
    ) {
        var entering = entering
        lastRefusal = text
        entering.deadline = nil
        entering.failures += 1
        entering.retryAt = now + .milliseconds(250 * Int64(1 << min(entering.failures, 5)))
        phase = .entering(entering)
        for session in members.takeWaiting() {
            failJoin(session, WireError(.unavailable, "redis refuses this room: \(text)"), &actions)
        }
        considerLinger(now: now)
    }

    /// The answer, or our own epoch on the channel, did not come: one of the connections only looks alive.
    mutating func enterTimedOut(now: Moment, _ actions: inout [RoomAction]) {
        endTurn(&actions)
        phase = .entering(Entering(retryAt: now + settings.enterDeadline))
        actions.append(.count(.alarm))
        actions.append(.resetLinks)
    }

    mutating func becomeInsideIfHeard(now: Moment, _ actions: inout [RoomAction]) {
        guard case .entering(let entering) = phase, let merged = entering.merged,
            nodes.heardOwn(merged) || !settings.rules.contains(.hearOwnEpoch)
        else { return }
        becomeInside(now: now, &actions)
    }

    private mutating func becomeInside(now: Moment, _ actions: inout [RoomAction]) {
        phase = .inside
        lastRefusal = nil
        reads.entered()
        scheduleQuietView(now: now)
        retryHeld(&actions)
        sends.settleUncertain(goesOnce: settings.rules.contains(.onceAfterLoss))
        answerJoins(now: now, &actions)
        flushPresence(now: now, &actions)
        noteHole(now: now)
        pump(now: now, &actions)
        // A full linger after each `enter`: bytes of a dead connection that still hold one must not come after the `leave`.
        lingerUntil = nil
        considerLinger(now: now)
        // Somebody began an epoch after ours, and we heard of it before we could tell what it meant.
        if order.seenEpoch > order.epoch { wantView(.unknownEpoch, now: now, &actions) }
    }

    // MARK: going out

    /// Arms or disarms the linger, whenever sessions came or went.
    mutating func considerLinger(now: Moment) {
        guard members.isEmpty else {
            lingerUntil = nil
            return
        }
        switch phase {
        case .inside, .entering: if lingerUntil == nil { lingerUntil = now + settings.linger }
        case .out, .subscribing, .leaving, .unsubscribing: break
        }
    }

    /// The node leaves: no lingering in rooms where nobody is.
    public mutating func nodeLeaves(now: Moment, _ actions: inout [RoomAction]) {
        guard members.isEmpty, lingerUntil != nil else { return }
        lingerEnded(now: now, &actions)
    }

    mutating func lingerEnded(now: Moment, _ actions: inout [RoomAction]) {
        lingerUntil = nil
        guard members.isEmpty else { return }
        switch phase {
        case .inside:
            guard !sends.awaitsBroker, !reads.viewInFlight, !presence.isUpdating else {
                lingerUntil = now + .milliseconds(100)
                return
            }
            sends.removeAll()
            phase = .leaving
            requestLeave(&actions)
        case .entering(let entering)
        where entering.serial == nil && entering.merged == nil && entering.retryAt != nil && commandsUp
            && !mayBeRegistered:
            // Redis refuses the room and nobody wants it any more. (If we may be registered we go on trying, to leave.)
            requestUnsubscribe(now: now, &actions)
        case .entering:
            lingerUntil = now + .milliseconds(100)
        case .out, .subscribing, .leaving, .unsubscribing:
            break
        }
    }

    mutating func requestLeave(_ actions: inout [RoomAction]) {
        guard commandsUp, takeTurn(&actions) else { return }
        leaveRetryAt = nil
        _ = submit(.leave(room: room, node: node, value: nodes.enterValue, isOwn: true), .leave, &actions)
    }

    mutating func leaveCompleted(
        _ result: Result<BrokerReply, BrokerError>, now: Moment, _ actions: inout [RoomAction]
    ) {
        guard phase == .leaving else { return }
        if case .success(.leaving(let cursor)) = result {
            let next = BrokerRequest.leave(room: room, node: node, value: nodes.enterValue, cursor: cursor, isOwn: true)
            _ = submit(next, .leave, &actions)
            return
        }
        endTurn(&actions)
        switch result {
        case .success(let reply):
            // Not there with that value: swept, or this is an older Redis that lists us with another. Then our list keeps the room,
            // and the audit of holdings looks into it (simulator, seed 3050).
            if reply == .left(true) {
                actions.append(.submit(.release(room: room, node: node), serial: RequestTag.ignoredSerial))
            }
            requestUnsubscribe(now: now, &actions)
        case .failure:
            // A node that lives and stays registered is never swept: its members would stay in the roster for ever. With the
            // connection gone, `leave` is asked again as soon as it is back.
            leaveRetryAt = now + settings.enterDeadline
        }
    }

    private mutating func requestUnsubscribe(now: Moment, _ actions: inout [RoomAction]) {
        endTurn(&actions)
        phase = .unsubscribing
        leaveRetryAt = nil
        if subscriptionsUp {
            actions.append(.unsubscribe)
        } else {
            becomeOut(now: now, &actions)
        }
    }

    /// The UNSUBSCRIBE was acknowledged.
    public mutating func unsubscribed(now: Moment, _ actions: inout [RoomAction]) {
        guard phase == .unsubscribing else { return }
        becomeOut(now: now, &actions)
    }

    private mutating func becomeOut(now: Moment, _ actions: inout [RoomAction]) {
        phase = .out
        forget()
        if members.isEmpty {
            actions.append(.finished)
        } else {
            begin(now: now, &actions)
        }
    }

    /// What we knew of the room is worth nothing once we no longer listen.
    private mutating func forget() {
        order.forget()
        nodes.forget()
        enteredIdentity = nil
        mayBeRegistered = false
        requests.forget()
        reads.forget()
        lingerUntil = nil
        presence = presence.forgotten()
    }

    // MARK: answers

    /// The broker answered (or will never answer) the request with this serial.
    public mutating func completed(
        serial: UInt64, _ result: Result<BrokerReply, BrokerError>, now: Moment, _ actions: inout [RoomAction]
    ) {
        if serial & RoomRequests.appendBit != 0 {
            appendCompleted(number: serial & ~RoomRequests.appendBit, sound(result, &actions), now: now, &actions)
            return
        }
        guard let purpose = requests.take(serial) else { return }
        let result = sound(result, &actions)
        switch purpose {
        case .enter: enterCompleted(serial: serial, result, now: now, &actions)
        case .roster: rosterCompleted(serial: serial, result, now: now, &actions)
        case .presence: presenceCompleted(result, now: now, &actions)
        case .leave: leaveCompleted(result, now: now, &actions)
        case .view(let epochKnown): viewCompleted(result, epochKnown: epochKnown, now: now, &actions)
        case .older: olderCompleted(serial: serial, result, now: now, &actions)
        case .once(let numbers): onceCompleted(serial: serial, numbers, result, now: now, &actions)
        }
    }
}
