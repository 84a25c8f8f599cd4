/// How messages come into one order: what is heard on the channel, what the log says, and what is shown.
extension RoomStateMachine {
    /// How many messages are held before their turn; if there are more, the log is read instead.
    package static let heldLimit = RoomOrder.heldLimit

    // MARK: the channel

    /// Something was published on the room's channel.
    mutating func heard(_ event: ChannelEvent, now: Moment, _ actions: inout [RoomAction]) {
        switch phase {
        case .out, .unsubscribing: return
        case .subscribing, .entering, .inside, .leaving: break
        }
        guard let event = sound(event, &actions) else { return }
        switch event {
        case .message(let message, let base): heardMessage(message, base: base, now: now, &actions)
        case .epoch(let epoch, let base, let nodes, let by, let rules):
            heardEpoch(epoch, base: base, nodes: nodes, by: by, rules: rules, now: now, &actions)
        case .gone(let node, let value, _, let last): heardGone(node, value: value, last: last, now: now, &actions)
        case .presence(let notice): heardPresence(notice, now: now, &actions)
        case .signal(let signal):
            if signal.node != node { actions.append(.deliverSignal(signal)) }
        // The room's host takes care of what users have read; notices are for users, whose channels are others.
        case .reads, .notice: break
        }
    }

    /// Whether a message at that position, of an epoch that began at `base`, was shown, so that hearing it would do
    /// nothing. Most echoes of our own messages need not be parsed because of this.
    public func knows(_ position: Position, base: UInt64) -> Bool {
        canSequence && order.knows(position, base: base)
    }

    private mutating func heardMessage(_ message: Message, base: UInt64?, now: Moment, _ actions: inout [RoomAction]) {
        if let base, let known = order.chain.base(of: message.position.epoch), known != base,
            settings.rules.contains(.heedBranches)
        {
            // The same epoch on another branch (race 9).
            wantView(.lostBranch, now: now, &actions)
            return
        }
        sequence(message, now: now, &actions)
        pump(now: now, &actions)
    }

    private mutating func heardEpoch(
        _ newEpoch: UInt64, base newBase: UInt64, nodes newNodes: [NodeID: UInt64], by: NodeID, rules: UInt64,
        now: Moment, _ actions: inout [RoomAction]
    ) {
        order.saw(epoch: newEpoch)
        if by == node { nodes.heardOwn(epoch: newEpoch) }
        guard canSequence, let last = order.last else { return becomeInsideIfHeard(now: now, &actions) }
        if newEpoch > order.epoch {
            guard newBase >= last.seq || !settings.rules.contains(.alarm), newNodes[node] == nodes.enterValue else {
                actions.append(.count(.alarm))
                return enterAgain(now: now, &actions)
            }
            noteEpoch(newEpoch, base: newBase)
            sanctions.requires(rules)
            nodes.adopt(newNodes, node: node)
            nodes.noteReturns(newNodes)
            retryHeld(&actions)
            noteHole(now: now)
            if !sanctions.isCurrent { wantView(.rules, now: now, &actions) }
        } else if newEpoch == order.epoch, newBase != order.base, settings.rules.contains(.heedBranches) {
            // The same epoch on another branch: one of our connections is to another Redis.
            actions.append(.count(.alarm))
            return enterAgain(now: now, &actions)
        } else if newEpoch < order.epoch, order.chain.base(of: newEpoch) == nil, newEpoch > nodes.enterValue {
            // Late news, or news of a lost branch: the log tells which (race 8).
            wantView(.lowerEpoch, now: now, &actions)
        }
        becomeInsideIfHeard(now: now, &actions)
        pump(now: now, &actions)
    }

    private mutating func heardGone(
        _ gone: NodeID, value: UInt64, last logLast: Position, now: Moment, _ actions: inout [RoomAction]
    ) {
        order.saw(epoch: logLast.epoch)
        guard canSequence, let last = order.last else { return }
        if gone == node {
            // This node was swept although it lives: other nodes skip their PUBLISH from now on (race 5).
            if value == nodes.enterValue, settings.rules.contains(.heedGone) { enterAgain(now: now, &actions) }
            return
        }
        if nodes.gone(gone, value: value) { pump(now: now, &actions) }
        if logLast.seq > last.seq {
            order.reaches(logLast.seq)
            noteHole(now: now)
        } else if logLast.epoch < order.epoch, logLast.epoch > nodes.enterValue,
            order.chain.base(of: logLast.epoch) == nil
        {
            wantView(.lowerEpoch, now: now, &actions)
        }
    }

    /// An audit read the position of the log's newest message. If that message never reaches us by the channel, it is
    /// read.
    mutating func logReaches(_ newest: Position, now: Moment, _ actions: inout [RoomAction]) {
        guard canSequence, let last = order.last, newest.seq > last.seq, newest.isWithinBounds else { return }
        order.reaches(newest.seq)
        noteHole(now: now)
    }

    /// The epoch has begun at `base`, according to Redis.
    mutating func noteEpoch(_ epoch: UInt64, base: UInt64) {
        order.begin(epoch: epoch, base: base, mostLinks: settings.historyLength + 64)
    }

    // MARK: one order

    private var heedsBranches: Bool { settings.rules.contains(.heedBranches) }

    /// Puts a message into its place: of our own append, or from the channel.
    mutating func sequence(_ message: Message, now: Moment, _ actions: inout [RoomAction]) {
        order.reaches(message.position.seq)
        guard canSequence, let place = order.place(of: message, heedsBranches: heedsBranches) else {
            return hold(message, now: now, &actions)
        }
        switch place {
        case .shown: break
        case .ofAnotherBranch: wantView(.lostBranch, now: now, &actions)
        case .ofUnknownEpoch:
            hold(message, now: now, &actions)
            wantView(.unknownEpoch, now: now, &actions)
        case .next:
            show(message, &actions)
            drainHeld(&actions)
            noteHole(now: now)
        case .later:
            hold(message, now: now, &actions)
            noteHole(now: now)
        }
    }

    private mutating func hold(_ message: Message, now: Moment, _ actions: inout [RoomAction]) {
        if !order.hold(message) { wantView(.hole, now: now, &actions) }
    }

    /// Shows a message, which is the next one and in the log, to all sessions.
    private mutating func show(_ message: Message, _ actions: inout [RoomAction]) {
        order.show(message)
        actions.append(.deliver(message))
        if sanctions.looksBack { sanctions.shown(message.content, now: wallClock) }
        if sends.hasUnshown { answerShown(message.position, &actions) }
    }

    /// Shows the held messages whose turn it is, up to the one before `limit`.
    private mutating func drainHeld(below limit: UInt64 = .max, _ actions: inout [RoomAction]) {
        while let next = order.takeNext(below: limit, heedsBranches: heedsBranches) { show(next, &actions) }
    }

    /// After the chain changed: it may be the turn of held messages now, or they belong to no branch.
    mutating func retryHeld(_ actions: inout [RoomAction]) {
        order.dropPassed()
        drainHeld(&actions)
    }

    /// Watches the first missing seq: another node's PUBLISH may still be on its way for a few round trips (race 17).
    mutating func noteHole(now: Moment) {
        guard order.missesAnother(), settings.rules.contains(.repairHoles) else { return }
        let patience = settings.rules.contains(.waitForHoles) ? max(.milliseconds(20), roundTrip * 4) : .zero
        order.awaitMissing(until: now + patience)
    }

    // MARK: reading the room

    /// Reads the room from the log as soon as the rate of reads allows; one view is at the broker at a time.
    mutating func wantView(_ reason: ViewReason, now: Moment, _ actions: inout [RoomAction]) {
        guard isInside else { return }
        guard reads.mayView(reason, now: now) else { return }
        reads.viewBegan(held: order.heldSeqs, known: order.knownLast)
        order.forgetHole()
        members.viewBegan()
        actions.append(.count(.view(reason)))
        _ = submit(
            .view(room: room, after: order.last, page: settings.page, knows: sanctions.version),
            .view(epochKnown: order.epoch), &actions)
    }

    mutating func viewCompleted(
        _ result: Result<BrokerReply, BrokerError>, epochKnown: UInt64, now: Moment, _ actions: inout [RoomAction]
    ) {
        reads.viewEnded()
        scheduleQuietView(now: now)
        guard isInside, let before = order.last else { return }
        guard case .success(.view(let view)) = result else {
            return viewFailed(result, now: now, &actions)
        }
        guard view.verdict != .rewound, view.epoch >= epochKnown, view.nodes[node] == nodes.enterValue else {
            actions.append(.count(.alarm))
            return enterAgain(now: now, &actions)
        }
        guard !sends.isRefused(view.epoch) else {
            // Redis refused that epoch, and now it is the log's: the log was set ahead and back again. Only a new epoch
            // is free of doubt.
            actions.append(.count(.alarm))
            return enterAgain(now: now, &actions)
        }
        noteNodes(of: view, now: now)
        let conversation = sanctions.moderation?.conversation
        let hasNewRules = sanctions.read(view.moderation, isNewest: view.epoch >= order.epoch)
        if view.moderation != nil { tellConversation(of: view, before: conversation, &actions) }
        merge(view, &actions)
        if hasNewRules { applyRules(now: now, &actions) }
        order.forgetUnknown(held: reads.heldAtView, known: reads.knownAtView, logReaches: view.last)
        actions.append(.sawNodes(view.nodes))
        let hasMoved = order.last != before
        if hasMoved { actions.append(.count(.holeRepaired)) }
        let isNextPageDue = view.hasMore && hasMoved
        reads.viewMerged(
            isUseful: hasMoved || hasNewRules || order.epoch != epochKnown, hasMore: isNextPageDue, now: now)
        // If there are more pages, a position ahead of ours may still mean that we lag.
        if !view.hasMore { members.viewEnded() }
        if isNextPageDue { wantView(.page, now: now, &actions) }
        if !sanctions.isCurrent { wantView(.rules, now: now, &actions) }
        answerJoins(now: now, &actions)
        noteHole(now: now)
        pump(now: now, &actions)
    }

    private mutating func viewFailed(
        _ result: Result<BrokerReply, BrokerError>, now: Moment, _ actions: inout [RoomAction]
    ) {
        switch result {
        case .failure(.missing):
            enterAgain(now: now, &actions)
        case .success, .failure:
            reads.viewFailed(now: now)
        }
    }

    /// A quiet room is compared with Redis now and then: nothing else shows that a crash swallowed a PUBLISH (race 6).
    mutating func scheduleQuietView(now: Moment) {
        reads.scheduleQuietView(in: settings.viewInterval, jitter: spread, now: now)
    }

    /// Takes note of the nodes of a view, and of those that may still put back what Redis lost.
    mutating func noteNodes(of view: RoomView, now: Moment) {
        nodes.saw(view, node: node, waitUntil: now + settings.returnGrace)
    }

    /// Takes over what the log says, and shows the messages that were missed.
    private mutating func merge(_ view: RoomView, _ actions: inout [RoomAction]) {
        if order.adopt(view, branch: nodes.branch) { nodes.adopt(view.nodes, node: node) }
        mergeEntries(view, &actions)
    }

    /// The answer to `enter`, in the order that the room protocol gives: adopt, purge what is held, reset or gap,
    /// merge, drain.
    mutating func mergeEnter(_ view: RoomView, _ actions: inout [RoomAction]) {
        order.enter(view, purgesHeld: settings.rules.contains(.purgeHeld))
        nodes.adopt(view.nodes, node: node)
        if order.last != nil, view.verdict != .rewound {
            mergeEntries(view, &actions)
        } else if let position = order.restart(with: view) {
            actions.append(.count(.reset))
            actions.append(.deliverReset(Reset(position: position, reason: .rewound)))
        }
        order.logReaches(view.last)
        drainHeld(&actions)
        sends.doubtUnshown()
    }

    private mutating func mergeEntries(_ view: RoomView, _ actions: inout [RoomAction]) {
        let announcesGaps = settings.rules.contains(.announceGaps)
        for entry in view.entries {
            drainHeld(below: entry.position.seq, &actions)
            guard let last = order.last, entry.position.seq > last.seq else { continue }
            if announcesGaps { announceGap(before: entry.position, &actions) }
            guard announcesGaps || last.seq == entry.position.seq - 1 else { break }
            show(entry, &actions)
        }
        // (Entries that did not fit into the page are read next.)
        while announcesGaps, !view.hasMore, let last = order.last, last.seq < view.last {
            drainHeld(below: view.last + 1, &actions)
            guard let end = order.gapEnd(in: view) else { break }
            announceGap(before: end, &actions)
        }
        order.reaches(view.last)
        retryHeld(&actions)
    }

    /// Tells all sessions that the log does not hold the messages before `next` (race 15), and goes on behind them.
    private mutating func announceGap(before next: Position, _ actions: inout [RoomAction]) {
        guard let last = order.last, next.seq > last.seq + 1 else { return }
        actions.append(.count(.gap))
        actions.append(.deliverGap(Gap(after: last, before: next)))
        order.skip(to: next)
        for seq in sends.unshown(after: last.seq, through: next.seq - 1) {
            // Stored, but trimmed before it was shown.
            answerShown(Position(epoch: order.chain.epoch(of: seq) ?? 0, seq: seq), &actions)
        }
    }
}
