/// What is heard and answered is checked against ``PositionBounds`` before any rule applies, so that no rule has to
/// check its numbers: no sum overflows, and no epoch is taken over that lies years ahead.
extension RoomStateMachine {
    private var newestEpoch: UInt64 { PositionBounds.newestEpoch(clock: wallClock) }

    private func isSound(_ position: Position) -> Bool { position.isWithinBounds && position.epoch <= newestEpoch }

    /// The epoch that the node says it has seen: capped, as Redis' functions would cap it.
    func claim(_ epoch: UInt64) -> UInt64 { min(epoch, PositionBounds.newestClaim(clock: wallClock)) }

    /// This node entered at `epoch`, which is above all others: what was taken for higher was never begun, or belongs
    /// to a log that is gone. `seen`: the highest epoch that was known when the node asked.
    mutating func forget(above epoch: UInt64, seen: UInt64) {
        order.forgetSeen(above: epoch, asked: seen, isCapped: claim(seen) < seen)
        sends.entered(epoch)
    }

    // MARK: what is heard

    /// The event without the parts that are out of bounds; nil if nothing is left.
    func sound(_ event: ChannelEvent, _ actions: inout [RoomAction]) -> ChannelEvent? {
        let isSound: Bool
        switch event {
        case .message(let message, let base):
            isSound = self.isSound(message.position) && PositionBounds.holds(base ?? 0)
        case .epoch(let epoch, let base, let nodes, let by, let rules):
            guard let sound = soundNodes(nodes) else {
                isSound = self.isSound(Position(epoch: epoch, seq: base)) && PositionBounds.holds(rules)
                break
            }
            actions.append(.count(.ignored(.node)))
            return self.sound(.epoch(epoch, base: base, nodes: sound, by: by, rules: rules), &actions)
        case .gone(_, let value, _, let last):
            isSound = self.isSound(last) && PositionBounds.holds(value)
        case .presence(let notice):
            // A notice is about at least one entry of one stream. Anything else would be waited for in vain.
            isSound =
                self.isSound(notice.position) && self.isSound(notice.after)
                && notice.after.epoch == notice.position.epoch && notice.after.seq < notice.position.seq
        case .signal, .reads, .notice:
            isSound = true
        }
        if isSound { return event }
        actions.append(.count(.ignored(.bounds)))
        return nil
    }

    /// The nodes whose values can be epochs; nil if all can.
    private func soundNodes(_ nodes: [NodeID: UInt64]) -> [NodeID: UInt64]? {
        let newest = newestEpoch
        return nodes.allSatisfy { $0.value <= newest } ? nil : nodes.filter { $0.value <= newest }
    }

    // MARK: what is answered

    /// The answer, or `.malformed` if its numbers are out of bounds.
    func sound(
        _ result: Result<BrokerReply, BrokerError>, _ actions: inout [RoomAction]
    ) -> Result<BrokerReply, BrokerError> {
        guard case .success(let reply) = result else { return result }
        let isSound: Bool
        switch reply {
        case .appended(let position, _), .said(let position, _), .bring(let position):
            isSound = self.isSound(position)
        case .view(let view):
            return sound(view, result, &actions)
        case .once(let once):
            isSound =
                self.isSound(Position(epoch: once.epoch, seq: once.base))
                && once.outcomes.allSatisfy { self.isSound($0) }
        case .presence(let presence):
            isSound =
                self.isSound(presence.position)
                && (presence.notice.map { self.isSound($0.position) && self.isSound($0.after) } ?? true)
        case .roster(let roster):
            isSound = self.isSound(roster.position)
        case .done, .left, .leaving, .history, .heartbeat, .nodes, .rooms, .someRooms, .forgetting, .holders, .memory,
            .commanded, .commands, .moderated, .amended, .audit, .rules, .ticket, .conversation, .participants, .user,
            .reading, .relayed:
            isSound = true
        }
        return isSound ? result : unsound(&actions)
    }

    private func isSound(_ outcome: OnceOutcome) -> Bool {
        switch outcome {
        case .stored(let position), .repeated(let position, _): isSound(position)
        case .outcomeUnknown: true
        }
    }

    private func unsound(_ actions: inout [RoomAction]) -> Result<BrokerReply, BrokerError> {
        actions.append(.count(.ignored(.bounds)))
        return .failure(.malformed("a number that is beyond 2^53, or years ahead of the clock"))
    }

    /// A view's position must be within bounds. Other parts that are not are left out.
    private func sound(
        _ view: RoomView, _ result: Result<BrokerReply, BrokerError>, _ actions: inout [RoomAction]
    ) -> Result<BrokerReply, BrokerError> {
        guard isSound(Position(epoch: view.epoch, seq: view.last)), view.base <= view.last else {
            return unsound(&actions)
        }
        var sound: RoomView?
        func leaveOut(_ kind: IgnoredData, _ change: (inout RoomView) -> Void) {
            actions.append(.count(.ignored(kind)))
            var changed = sound ?? view
            change(&changed)
            sound = changed
        }
        if let nodes = soundNodes(view.nodes) { leaveOut(.node) { $0.nodes = nodes } }
        // The epoch at which a branch began is never above the log's.
        if view.branch > view.epoch { leaveOut(.meta) { $0.branch = 0 } }
        if !view.chain.isSound(epoch: view.epoch, last: view.last) {
            leaveOut(.link) { $0.chain = view.chain.sound(epoch: view.epoch, base: view.base, last: view.last) }
        }
        if !view.entries.allSatisfy({ isSound($0.position) }) {
            leaveOut(.entry) { $0.entries.removeAll { !isSound($0.position) } }
        }
        return sound.map { .success(.view($0)) } ?? result
    }
}

extension EpochChain {
    /// Whether this can be the chain of a log at `epoch`-`last`: each link is above the one before it, and the last one
    /// is the log's.
    func isSound(epoch: UInt64, last: UInt64) -> Bool {
        guard let newest = links.last, newest.epoch == epoch, newest.base <= last, history <= epoch else {
            return false
        }
        for (link, next) in zip(links, links.dropFirst()) {
            guard link.epoch < next.epoch, link.base <= next.base else { return false }
        }
        return true
    }

    /// The newest links that are in order. Older ones are lost, so history begins behind the first break.
    func sound(epoch: UInt64, base: UInt64, last: UInt64) -> EpochChain {
        var kept: [EpochLink] = []
        for link in links.reversed() {
            guard let next = kept.last else {
                guard link.epoch == epoch, link.base <= last else { break }
                kept.append(link)
                continue
            }
            guard link.epoch < next.epoch, link.base <= next.base else { break }
            kept.append(link)
        }
        if kept.isEmpty { kept = [EpochLink(epoch: epoch, base: base)] }
        kept.reverse()
        let isWhole = kept.count == links.count && history <= epoch
        return EpochChain(links: kept, history: isWhole ? history : max(kept[0].epoch, history <= epoch ? history : 0))
    }
}
