extension RoomStateMachine {
    /// Messages held before their turn; beyond it the log is read instead.
    package static let heldLimit = 4_096

    // MARK: the channel

    /// Something was said on the room's channel.
    public mutating func heard(_ event: ChannelEvent, now: Moment, _ actions: inout [RoomAction]) {
        switch phase {
        case .out, .unsubscribing: return
        case .subscribing, .entering, .inside, .leaving: break
        }
        guard let event = sound(event, &actions) else { return }
        switch event {
        case .message(let message, let base): heardMessage(message, base: base, now: now, &actions)
        case .epoch(let epoch, let base, let nodes, let by):
            heardEpoch(epoch, base: base, nodes: nodes, by: by, now: now, &actions)
        case .gone(let node, let value, _, let last): heardGone(node, value: value, last: last, now: now, &actions)
        case .presence(let notice): heardPresence(notice, now: now, &actions)
        case .signal(let signal):
            if signal.node != node { actions.append(.deliverSignal(signal)) }
        }
    }

    /// Whether ``heard(_:now:_:)`` would do nothing with a message at that position, of an epoch that began at `base`: it has been shown.
    /// So that most echoes of our own messages need not be read.
    public func knows(_ position: Position, base: UInt64) -> Bool {
        guard canSequence, let last, position <= last else { return false }
        return chain.base(of: position.epoch) == base && wasShown(position)
    }

    private mutating func heardMessage(_ message: Message, base: UInt64?, now: Moment, _ actions: inout [RoomAction]) {
        if let base, let known = chain.base(of: message.position.epoch), known != base,
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
        _ newEpoch: UInt64, base newBase: UInt64, nodes newNodes: [NodeID: UInt64], by: NodeID, now: Moment,
        _ actions: inout [RoomAction]
    ) {
        seenEpoch = max(seenEpoch, newEpoch)
        if by == node { nodes.heardOwn(epoch: newEpoch) }
        guard canSequence, let last else { return becomeInsideIfHeard(now: now, &actions) }
        if newEpoch > epoch {
            guard newBase >= last.seq || !settings.rules.contains(.alarm), newNodes[node] == nodes.enterValue else {
                actions.append(.count(.alarm))
                return enterAgain(now: now, &actions)
            }
            adopt(epoch: newEpoch, base: newBase)
            nodes.adopt(newNodes, node: node)
            nodes.noteReturns(newNodes)
            retryHeld(now: now, &actions)
            noteHole(now: now)
        } else if newEpoch == epoch, newBase != base, settings.rules.contains(.heedBranches) {
            // The same epoch on another branch: one of our connections is to another Redis.
            actions.append(.count(.alarm))
            return enterAgain(now: now, &actions)
        } else if newEpoch < epoch, chain.base(of: newEpoch) == nil, newEpoch > nodes.enterValue {
            // Late news, or news from a branch that was lost: the log knows (race 8).
            wantView(.lowerEpoch, now: now, &actions)
        }
        becomeInsideIfHeard(now: now, &actions)
        pump(now: now, &actions)
    }

    private mutating func heardGone(
        _ gone: NodeID, value: UInt64, last logLast: Position, now: Moment, _ actions: inout [RoomAction]
    ) {
        seenEpoch = max(seenEpoch, logLast.epoch)
        guard canSequence, let last else { return }
        if gone == node {
            // We were swept although we live: others skip their PUBLISH from now on (race 5).
            if value == nodes.enterValue, settings.rules.contains(.heedGone) { enterAgain(now: now, &actions) }
            return
        }
        if nodes.gone(gone, value: value) { pump(now: now, &actions) }
        if logLast.seq > last.seq {
            knownLast = max(knownLast, logLast.seq)
            noteHole(now: now)
        } else if logLast.epoch < epoch && logLast.epoch > nodes.enterValue && chain.base(of: logLast.epoch) == nil {
            wantView(.lowerEpoch, now: now, &actions)
        }
    }

    /// Somebody looked: the log's newest message is `newest`. If it never reaches us by the channel, it is read.
    public mutating func logReaches(_ newest: Position, now: Moment, _ actions: inout [RoomAction]) {
        guard canSequence, let last, newest.seq > last.seq, newest.isWithinBounds else { return }
        knownLast = max(knownLast, newest.seq)
        noteHole(now: now)
    }

    /// The epoch has begun at `base`, as far as Redis goes.
    mutating func adopt(epoch newEpoch: UInt64, base newBase: UInt64) {
        epoch = newEpoch
        base = newBase
        seenEpoch = max(seenEpoch, newEpoch)
        knownLast = max(knownLast, newBase)
        chain.begin(epoch: newEpoch, base: newBase)
        if chain.links.count > settings.historyLength + 64, let first = recent.first {
            chain.prune(firstEntry: first.position.seq)
        }
    }

    // MARK: one order

    /// Puts a message, from our own append or from the channel, into its place.
    mutating func sequence(_ message: Message, now: Moment, _ actions: inout [RoomAction]) {
        let position = message.position
        knownLast = max(knownLast, position.seq)
        guard canSequence, let last else { return hold(message, now: now, &actions) }
        if position.seq <= last.seq {
            // Heard twice, unless it is another message with that seq.
            if !wasShown(position) {
                wantView(.lostBranch, now: now, &actions)
            }
            return
        }
        let heedsBranches = settings.rules.contains(.heedBranches)
        if position.epoch > epoch, heedsBranches {
            hold(message, now: now, &actions)
            return wantView(.unknownEpoch, now: now, &actions)
        }
        guard chain.epoch(of: position.seq) == position.epoch || !heedsBranches else {
            return wantView(.lostBranch, now: now, &actions)
        }
        if position.seq == last.seq + 1, position > last || !heedsBranches {
            show(message, &actions)
            drainHeld(&actions)
            noteHole(now: now)
        } else {
            hold(message, now: now, &actions)
            noteHole(now: now)
        }
    }

    /// Whether what was shown at that seq, which is not above the last one, was this position; by memory, or by the chain if memory does
    /// not reach back.
    func wasShown(_ position: Position) -> Bool {
        guard position.seq > recent.completeAfter else { return chain.epoch(of: position.seq) == position.epoch }
        return recent.message(seq: position.seq)?.position == position
    }

    private mutating func hold(_ message: Message, now: Moment, _ actions: inout [RoomAction]) {
        if let there = held[message.position.seq], there.position.epoch >= message.position.epoch { return }
        guard held.count < Self.heldLimit else { return wantView(.hole, now: now, &actions) }
        held[message.position.seq] = message
    }

    /// Shows a message to everybody. It is the next one, and it is in the log.
    private mutating func show(_ message: Message, _ actions: inout [RoomAction]) {
        last = message.position
        recent.append(message)
        actions.append(.deliver(message))
        if sends.hasUnshown { answerShown(message.position, &actions) }
    }

    /// The held message with that seq, if it belongs to the log as we know it.
    private mutating func takeHeld(seq: UInt64) -> Message? {
        guard let message = held[seq], message.position.epoch <= epoch,
            chain.epoch(of: seq) == message.position.epoch || !settings.rules.contains(.heedBranches)
        else { return nil }
        held[seq] = nil
        return message
    }

    private mutating func drainHeld(_ actions: inout [RoomAction]) {
        guard !held.isEmpty else { return }
        while let last, let next = takeHeld(seq: last.seq + 1) { show(next, &actions) }
    }

    /// After the chain changed: held messages may be in turn now, or of no branch.
    mutating func retryHeld(now: Moment, _ actions: inout [RoomAction]) {
        guard !held.isEmpty, let last else { return }
        held = held.filter { $0.key > last.seq }
        drainHeld(&actions)
    }

    /// Watches the first missing seq: another node's PUBLISH may still be on its way for a few round trips (race 17).
    mutating func noteHole(now: Moment) {
        guard let last, knownLast > last.seq else {
            hole = nil
            return
        }
        guard hole?.seq != last.seq + 1 else { return }
        guard settings.rules.contains(.repairHoles) else { return }
        let patience = settings.rules.contains(.waitForHoles) ? max(.milliseconds(20), roundTrip * 4) : .zero
        hole = (last.seq + 1, now + patience)
    }

    // MARK: reading the room

    /// Reads the room from the log as soon as the rate of reads allows; one read at a time.
    mutating func wantView(_ reason: ViewReason, now: Moment, _ actions: inout [RoomAction]) {
        guard isInside else { return }
        guard reads.mayView(reason, now: now) else { return }
        reads.viewBegan(held: Set(held.keys), known: knownLast)
        hole = nil
        for session in waitingJoins { markAsked(session) }
        actions.append(.count(.view(reason)))
        _ = submit(
            .view(room: room, after: last, page: settings.page), .view(epochKnown: epoch),
            &actions)
    }

    mutating func viewCompleted(
        _ result: Result<BrokerReply, BrokerError>, epochKnown: UInt64, now: Moment, _ actions: inout [RoomAction]
    ) {
        reads.viewEnded()
        scheduleQuietView(now: now)
        guard isInside, let before = last else { return }
        guard case .success(.view(let view)) = result else {
            return viewFailed(result, now: now, &actions)
        }
        guard view.verdict != .rewound, view.epoch >= epochKnown, view.nodes[node] == nodes.enterValue else {
            actions.append(.count(.alarm))
            return enterAgain(now: now, &actions)
        }
        guard !sends.isRefused(view.epoch) else {
            // Redis refused that epoch, and now it is the log's: somebody set the log ahead and back again. Only a new one is free of doubt.
            actions.append(.count(.alarm))
            return enterAgain(now: now, &actions)
        }
        noteNodes(of: view, now: now)
        merge(view, &actions)
        // What we heard before we asked was appended before we asked; if the log does not know it, no log ever will.
        // (An epoch or a message heard since then may be ahead of this answer.)
        for seq in reads.heldAtView where seq > view.last { held[seq] = nil }
        if knownLast <= reads.knownAtView { knownLast = max(view.last, base, held.keys.max() ?? 0) }
        actions.append(.sawNodes(view.nodes))
        if last != before { actions.append(.count(.holeRepaired)) }
        let useful = last != before || epoch != epochKnown
        let isNextPageDue = view.hasMore && last != before
        reads.viewMerged(isUseful: useful, hasMore: isNextPageDue, now: now)
        // After a page a position ahead of us may still be our lag.
        if !view.hasMore { for session in waitingJoins { markViewed(session) } }
        if isNextPageDue { wantView(.page, now: now, &actions) }
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

    /// A quiet room is compared with Redis now and then: a PUBLISH that a crash swallowed has no other witness (race 6).
    mutating func scheduleQuietView(now: Moment) {
        reads.scheduleQuietView(in: settings.viewInterval, jitter: spread, now: now)
    }

    mutating func noteNodes(of view: RoomView, now: Moment) {
        nodes.saw(view, node: node, waitUntil: now + settings.returnGrace)
    }

    /// Takes over what the log says, and shows what we missed.
    private mutating func merge(_ view: RoomView, _ actions: inout [RoomAction]) {
        if view.epoch >= epoch {
            // Ours may lack an epoch whose news we missed while entering; the log's never does (simulator, seed 2209249).
            chain = withMemory(view.chain)
            epoch = view.epoch
            base = view.base
            nodes.adopt(view.nodes, node: node)
            seenEpoch = max(seenEpoch, view.epoch)
        } else if view.branch >= nodes.branch,
            let known = view.chain.continued(by: chain, after: view.epoch, last: view.last)
        {
            // The same if a newer epoch was heard of while the log was read (simulator, seed 194162 of the vandal).
            chain = withMemory(known)
        }
        mergeEntries(view, &actions)
    }

    /// The log's chain, reaching back as far as our memory: of a position there, only the epoch tells whether it is of a lost branch
    /// (simulator, seed 118996 of the vandal).
    private func withMemory(_ known: EpochChain) -> EpochChain {
        known.reachingBack(by: chain, toEntry: recent.completeAfter &+ 1, shown: last?.seq ?? 0)
    }

    /// The answer to `enter`, in the order that room-protocol gives: adopt, purge the buffer, reset or gap, merge, drain.
    mutating func mergeEnter(_ view: RoomView, _ actions: inout [RoomAction]) {
        epoch = view.epoch
        base = view.base
        seenEpoch = max(seenEpoch, view.epoch)
        chain = view.verdict == .rewound ? view.chain : withMemory(view.chain)
        nodes.adopt(view.nodes, node: node)
        if settings.rules.contains(.purgeHeld) {
            held = held.filter { $0.value.position.epoch >= view.epoch && $0.key > view.base }
        }
        if last != nil, view.verdict != .rewound {
            mergeEntries(view, &actions)
        } else {
            let first = view.entries.first?.position.seq
            // (A log that was set back, or written to by hand, can hold a seq 0.)
            let complete = view.hasMore ? max(first ?? view.last &+ 1, 1) - 1 : 0
            recent.reset(completeAfter: complete)
            for entry in view.entries { recent.append(entry) }
            let voided = last != nil
            last = view.entries.last?.position ?? place(of: view.last)
            // An entry of an earlier history, of which the chain knows nothing: by its own position every read would call us rewound, and we
            // would enter again and again (simulator, seed 19186).
            if let shown = last, shown.seq > 0, shown.epoch < view.chain.history { last = place(of: shown.seq) }
            if let shown = last, shown.seq < view.last {
                last = place(of: view.last)
                recent.noteGap(through: view.last)
            }
            if voided, let position = last {
                actions.append(.count(.reset))
                actions.append(.deliverReset(Reset(position: position, reason: .rewound)))
            }
        }
        knownLast = max(view.last, held.keys.max() ?? 0)
        drainHeld(&actions)
        sends.doubtUnshown()
    }

    /// The position of a message that we never had. Before the first message it is 0-0 whatever the epoch, so that it is below every
    /// message that comes, also one that is put back (simulator, seed 19).
    private func place(of seq: UInt64) -> Position {
        seq == 0 ? Position(epoch: 0, seq: 0) : Position(epoch: chain.epoch(of: seq) ?? epoch, seq: seq)
    }

    private mutating func mergeEntries(_ view: RoomView, _ actions: inout [RoomAction]) {
        for entry in view.entries {
            fillFromHeld(below: entry.position.seq, &actions)
            guard let last, entry.position.seq > last.seq else { continue }
            if entry.position.seq > last.seq + 1 { announceGap(before: entry.position, &actions) }
            guard settings.rules.contains(.announceGaps) || self.last?.seq == entry.position.seq - 1 else { break }
            show(entry, &actions)
        }
        // What the page had no room for is read next.
        while let last, last.seq < view.last, !view.hasMore, settings.rules.contains(.announceGaps) {
            fillFromHeld(below: view.last + 1, &actions)
            guard let reached = self.last, reached.seq < view.last else { break }
            let next = held.keys.filter { $0 > reached.seq && $0 <= view.last && isOfChain($0) }.min() ?? view.last + 1
            let epoch = next > view.last ? view.epoch : (view.chain.epoch(of: next) ?? view.epoch)
            announceGap(before: Position(epoch: epoch, seq: next), &actions)
        }
        knownLast = max(knownLast, view.last)
        if let last { held = held.filter { $0.key > last.seq } }
        drainHeld(&actions)
    }

    private func isOfChain(_ seq: UInt64) -> Bool {
        guard let message = held[seq] else { return false }
        return message.position.epoch <= epoch && chain.epoch(of: seq) == message.position.epoch
    }

    private mutating func fillFromHeld(below limit: UInt64, _ actions: inout [RoomAction]) {
        while let last, last.seq + 1 < limit, let next = takeHeld(seq: last.seq + 1) { show(next, &actions) }
    }

    /// The log does not hold what lies between (race 15): everybody is told exactly that, and the room goes on.
    private mutating func announceGap(before next: Position, _ actions: inout [RoomAction]) {
        guard let last, next.seq > last.seq + 1, settings.rules.contains(.announceGaps) else { return }
        actions.append(.count(.gap))
        actions.append(.deliverGap(Gap(after: last, before: next)))
        let missing = next.seq - 1
        recent.noteGap(through: missing)
        for seq in sends.unshown(after: last.seq, through: missing) {
            // Stored, and trimmed before it was shown.
            answerShown(Position(epoch: chain.epoch(of: seq) ?? 0, seq: seq), &actions)
        }
        self.last = Position(epoch: chain.epoch(of: missing) ?? last.epoch, seq: missing)
    }
}
