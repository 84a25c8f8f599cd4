/// How the room is entered: SUBSCRIBE, then `enter`, then our own epoch on the channel.
extension RoomStateMachine {
    /// The first session came: `out` → `subscribing`.
    mutating func begin(now: Moment, _ actions: inout [RoomAction]) {
        phase = .subscribing
        if subscriptionsUp { actions.append(.subscribe) }
    }

    /// The SUBSCRIBE was acknowledged: from now on everything published in the room reaches us.
    mutating func subscribed(now: Moment, _ actions: inout [RoomAction]) {
        guard phase == .subscribing else { return }
        phase = .entering(Entering())
        requestEnter(now: now, &actions)
    }

    /// Something may have been missed, or done in this node's name: begins a new epoch and reads the room.
    mutating func enterAgain(now: Moment, _ actions: inout [RoomAction]) {
        switch phase {
        case .inside: break
        case .entering(let entering): guard entering.merged != nil else { return }
        case .out, .subscribing, .leaving, .unsubscribing: return
        }
        phase = .entering(Entering())
        requestEnter(now: now, &actions)
    }

    /// The node's lease had run out: other nodes may have removed it from the room.
    mutating func nodeForgotten(now: Moment, _ actions: inout [RoomAction]) {
        enterAgain(now: now, &actions)
    }

    /// Asks the broker to enter the room, if the connection is up and the room has its turn.
    mutating func requestEnter(now: Moment, _ actions: inout [RoomAction]) {
        guard case .entering(var entering) = phase, commandsUp, entering.serial == nil, entering.merged == nil,
            takeTurn(&actions)
        else { return }
        let changed = enteredIdentity != nil && identity != enteredIdentity
        // The tail begins with the log's last entry, which proves that the rest belongs behind it.
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

    /// A number in 0..<65,536, by node and Redis, that is added to the epoch that a node claims to have seen at another
    /// Redis: two nodes that saw the same epoch, and each began a new one on a branch of its own, must not give it the
    /// same number (race 8; simulator, seed 3006: after two failovers in a row, `seen + 1000` named both branches).
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
        case .failure(.refused), .failure(.missing), .failure(.notStored), .failure(.notConnected), .failure(.again),
            .failure(.forbidden):
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
            let before = sanctions.moderation?.conversation
            sanctions.entered(view.moderation)
            if sanctions.hasPendingIndexes { actions.append(.settleIndexes) }
            tellConversation(of: view, before: before, &actions)
            noteNodes(of: view, now: now)
            mergeEnter(view, &actions)
            becomeInsideIfHeard(now: now, &actions)
        case .failure(.malformed(let text)):
            enterRefused("the answer to enter makes no sense: \(text)", entering, now: now, &actions)
        case .success, .failure(.refused), .failure(.missing), .failure(.again), .failure(.forbidden):
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

    /// Redis answers and refuses (LOADING, READONLY, WRONGTYPE …). Waiting sessions are told why, and the room tries
    /// again, at growing intervals.
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

    /// The answer, or our own epoch on the channel, did not come in time: one of the connections only looks alive.
    mutating func enterTimedOut(now: Moment, _ actions: inout [RoomAction]) {
        endTurn(&actions)
        phase = .entering(Entering(retryAt: now + settings.enterDeadline))
        actions.append(.count(.alarm))
        actions.append(.resetLinks)
    }

    /// The room is live as soon as its `enter` is merged and its own epoch was heard (race 11).
    mutating func becomeInsideIfHeard(now: Moment, _ actions: inout [RoomAction]) {
        guard case .entering(let entering) = phase, let merged = entering.merged,
            nodes.heardOwn(merged) || !settings.rules.contains(.hearOwnEpoch)
        else { return }
        becomeInside(now: now, &actions)
    }

    mutating func becomeInside(now: Moment, _ actions: inout [RoomAction]) {
        phase = .inside
        lastRefusal = nil
        reads.entered()
        scheduleQuietView(now: now)
        retryHeld(&actions)
        sends.settleUncertain(goesOnce: settings.rules.contains(.onceAfterLoss))
        applyRules(now: now, &actions)
        answerJoins(now: now, &actions)
        flushPresence(now: now, &actions)
        noteHole(now: now)
        pump(now: now, &actions)
        // A full linger after each `enter`: bytes of a dead connection that still hold one must not come after the
        // `leave`.
        lingerUntil = nil
        considerLinger(now: now)
        // An epoch above ours was heard before the room was live, when it could not be judged.
        if order.seenEpoch > order.epoch { wantView(.unknownEpoch, now: now, &actions) }
    }
}
