/// The room's entrance: what is heard and answered is held against ``PositionBounds`` before any rule sees it, so that no rule has to ask
/// whether a number can be one. Behind it no sum overflows, and no epoch was taken up that lies years ahead.
extension RoomStateMachine {
    private var newestEpoch: UInt64 { PositionBounds.newestEpoch(clock: wallClock) }

    private func isSound(_ position: Position) -> Bool { position.isWithinBounds && position.epoch <= newestEpoch }

    /// What we say that we have seen. More than Redis' functions believe would be cut there.
    func claim(_ epoch: UInt64) -> UInt64 { min(epoch, PositionBounds.newestClaim(clock: wallClock)) }

    /// This node entered at `epoch`, which is above all others: what was taken for higher was never begun, or belongs to a log that is gone.
    /// `seen`: the highest epoch that was known when the node asked.
    mutating func forget(above epoch: UInt64, seen: UInt64) {
        order.forgetSeen(above: epoch, asked: seen, isCapped: claim(seen) < seen)
        sends.entered(epoch)
    }

    // MARK: what is heard

    /// The event with nothing in it that is beyond bounds; nil: that would be nothing.
    func sound(_ event: ChannelEvent, _ actions: inout [RoomAction]) -> ChannelEvent? {
        let isSound: Bool
        switch event {
        case .message(let message, let base):
            isSound = self.isSound(message.position) && PositionBounds.holds(base ?? 0)
        case .epoch(let epoch, let base, let nodes, let by):
            guard let sound = soundNodes(nodes) else {
                isSound = self.isSound(Position(epoch: epoch, seq: base))
                break
            }
            actions.append(.count(.ignored(.node)))
            return self.sound(.epoch(epoch, base: base, nodes: sound, by: by), &actions)
        case .gone(_, let value, _, let last):
            isSound = self.isSound(last) && PositionBounds.holds(value)
        case .presence(let notice):
            // The entries of one stream, at least one: what says otherwise would be waited for in vain.
            isSound =
                self.isSound(notice.position) && self.isSound(notice.after)
                && notice.after.epoch == notice.position.epoch && notice.after.seq < notice.position.seq
        case .signal:
            isSound = true
        }
        if isSound { return event }
        actions.append(.count(.ignored(.bounds)))
        return nil
    }

    /// The nodes whose values can be epochs; nil: all of them.
    private func soundNodes(_ nodes: [NodeID: UInt64]) -> [NodeID: UInt64]? {
        let newest = newestEpoch
        return nodes.allSatisfy { $0.value <= newest } ? nil : nodes.filter { $0.value <= newest }
    }

    // MARK: what is answered

    /// The answer, or that it makes no sense.
    func sound(
        _ result: Result<BrokerReply, BrokerError>, _ actions: inout [RoomAction]
    ) -> Result<BrokerReply, BrokerError> {
        guard case .success(let reply) = result else { return result }
        let isSound: Bool
        switch reply {
        case .appended(let position), .announced(let position), .said(let position, _), .bring(let position):
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
        case .done, .left, .leaving, .history, .heartbeat, .nodes, .rooms, .someRooms, .forgetting, .holders, .memory:
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

    /// Where the room stands must be sound; of what else a view tells the sound rest counts.
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
        // An epoch that began is never above the log's.
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
    /// Whether it can be the chain of a log at `epoch`-`last`: each link above the one before it, the last one the log's own.
    func isSound(epoch: UInt64, last: UInt64) -> Bool {
        guard let newest = links.last, newest.epoch == epoch, newest.base <= last, history <= epoch else {
            return false
        }
        for (link, next) in zip(links, links.dropFirst()) {
            guard link.epoch < next.epoch, link.base <= next.base else { return false }
        }
        return true
    }

    /// The newest links that are in order; what was before the first break is lost, so history begins behind it.
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
