/// Reading without being in the room: somebody who waits for messages keeps the room in use, but is not present.
extension RoomStateMachine {
    mutating func watch(_ isWatched: Bool, now: Moment, _ actions: inout [RoomAction]) {
        self.isWatched = isWatched
        guard isWatched else { return considerLinger(now: now) }
        lingerUntil = nil
        if phase == .out { begin(now: now, &actions) }
    }

    /// What of this room came after a position, which a reader has who is not in the room.
    public enum Missed: Sendable, Equatable {
        /// The room is not live, its rules are being read, or a node may still put back what Redis lost: nobody knows
        /// for now.
        case unknown
        /// Nothing; the newest message is at this position.
        case nothing(newest: Position)
        /// These messages, behind a gap if there is one. They are all that is known.
        case messages([Message], gap: Gap?)
        case reset(Reset)
        /// The node's memory cannot tell: the log has to be read.
        case inLog
    }

    /// What came after the position, as far as this node knows. Nil: from the newest message on.
    public func missed(after: Position?, now: Moment) -> Missed {
        guard isInside, let last = order.last else { return .unknown }
        // Newer rules are being read, which may ban the reader.
        guard sanctions.isCurrent || !settings.rules.contains(.readRules) else { return .unknown }
        guard let after else { return .nothing(newest: last) }
        guard after != last else { return .nothing(newest: last) }
        guard !order.isAhead(after) else { return .inLog }
        let messages = order.recent.folded(
            order.recent.messages(after: max(after.seq, order.recent.completeAfter)))
        let isBeforeMemory =
            after.seq < order.recent.completeAfter && order.judge(after, firstAfter: after.seq + 1) != .rewound
        guard !isBeforeMemory else { return .inLog }
        switch order.judge(after, firstAfter: messages.first?.position.seq) {
        case .ok: return messages.isEmpty ? .nothing(newest: last) : .messages(messages, gap: nil)
        case .gap(_, let lastMissing):
            let next = messages.first?.position ?? Position(epoch: order.epoch, seq: lastMissing + 1)
            return .messages(messages, gap: Gap(after: after, before: next))
        case .rewound:
            // As for a join: a node that has the message may put it back, and what is not read yet may be that.
            guard !nodes.awaitsReturns(now: now) else { return .unknown }
            return order.isBehind ? .inLog : .reset(Reset(position: last, reason: .rewound))
        }
    }

    /// What a read of the log, with ``BrokerRequest/view(room:after:page:knows:)``, says came after the position.
    public func missed(after: Position, in view: RoomView, now: Moment) -> Missed {
        let newest = Position(epoch: view.epoch, seq: view.last)
        switch view.verdict {
        case .ok:
            guard let first = view.entries.first else { return .nothing(newest: newest) }
            let isNext = first.position.seq == after.seq + 1
            return .messages(view.entries, gap: isNext ? nil : Gap(after: after, before: first.position))
        case .gap(_, let lastMissing):
            let next = view.entries.first?.position ?? Position(epoch: view.epoch, seq: lastMissing + 1)
            return .messages(view.entries, gap: Gap(after: after, before: next))
        case .rewound:
            return nodes.awaitsReturns(now: now) ? .unknown : .reset(Reset(position: newest, reason: .rewound))
        }
    }

    /// The message at that position, if it is in memory.
    public func recentMessage(at position: Position) -> Message? {
        order.recent.message(seq: position.seq).flatMap { $0.position == position ? $0 : nil }
    }

    /// The newest message in memory that is no amendment, as it reads now.
    public var newestMessage: Message? {
        var index = order.recent.count
        while index > 0 {
            index -= 1
            guard !order.recent[index].content.isAmendment else { continue }
            return order.recent.folded((index..<order.recent.count).map { order.recent[$0] }).first
        }
        return nil
    }

    /// How many amendments behind the newest message are looked at for a line of an inbox, as in head.lua.
    private static let mostAmendments: UInt64 = 64

    /// The room as a line of a participant's inbox. `mark`: up to where the participant has read; `tally`: of what was
    /// shown. Nil if this node does not know all of it for certain, or if the user may not see it.
    public func head(of user: UserID, readUpTo mark: ReadMark, _ tally: LogTally) -> RoomHead? {
        guard isInside, !order.isBehind, sanctions.isCurrent, refusalOfReading(by: user) == nil,
            let conversation = sanctions.moderation?.conversation, conversation.participants[user] != nil,
            let last = order.last, last.seq == tally.last, mark.position.seq <= last.seq,
            let message = newestMessage, last.seq - message.position.seq <= Self.mostAmendments
        else { return nil }
        return RoomHead(
            of: user, in: conversation, newest: last, tally, kept: tally.last, readUpTo: mark, message)
    }

    /// Whether the position certainly belongs to no message of this room's history.
    public func isOfLostBranch(_ position: Position) -> Bool {
        position.seq > 0 && !order.isAhead(position)
            && order.judge(position, firstAfter: position.seq + 1) == .rewound
    }

    /// The room was read: its runner is told of the participants, if it has any, or had.
    func tellConversation(of view: RoomView, before: Conversation?, _ actions: inout [RoomAction]) {
        let conversation = view.moderation?.conversation
        guard conversation != nil || before != nil else { return }
        let (history, last) = (view.chain.history, view.last)
        // Marks of a history that ended, or beyond the log's end, count for nothing.
        let reads = conversation?.reads.filter { $0.value.position.epoch >= history && $0.value.position.seq <= last }
        let sound = conversation.map { $0.with(reads: reads ?? [:], amendments: $0.amendments) }
        actions.append(.conversed(sound, last: last, isRewound: view.verdict == .rewound))
    }

    /// Why the user may not read the room, as far as its rules are known.
    public func refusalOfReading(by user: UserID) -> WireError? {
        sanctions.refusal(ofJoinBy: user, in: room, now: wallClock)
    }
}
