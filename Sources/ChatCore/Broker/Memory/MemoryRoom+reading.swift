/// What the participants of a room have read.
extension MemoryRoom {
    /// For tests: up to where participants have read.
    package var readMarks: [UserID: ReadMark] {
        get { conversation.reads }
        set { conversation.reads = newValue }
    }

    private var tally: LogTally { LogTally(last: log?.last.seq ?? 0, amendments: amendmentCount) }

    private var participants: [UserID: Participant]? { moderation.conversation?.participants }

    private var kept: UInt64 { UInt64(log?.entries.count ?? 0) }

    /// The user's mark, unless it is of a history that ended.
    private func mark(of user: UserID, history: UInt64, last: UInt64) -> ReadMark? {
        guard let mark = conversation.reads[user], mark.position.seq <= last, mark.position.epoch >= history else {
            return nil
        }
        return mark
    }

    /// The number of amendments up to that seq.
    private func amendments(upTo seq: UInt64) -> UInt64 {
        let all = tally
        guard all.amendments > 0, seq < all.last else { return all.amendments }
        let later = log?.entries.count { $0.position.seq > seq && isAmendment($0) } ?? 0
        return min(seq, all.amendments - min(all.amendments, UInt64(later)))
    }

    /// The answer of `martlet_read`, and the event.
    mutating func read(_ wanted: [UserRead], told: Int) -> (Result<BrokerReply, BrokerError>, [ChannelEvent]) {
        guard (1...ReadingRequest.mostReads).contains(wanted.count) else {
            return (.failure(.notStored("ERR martlet: read takes 1 to 200 users and positions")), [])
        }
        let chain = log.map { readChain($0) } ?? EpochChain(links: [], history: 0)
        let (epoch, tally) = (log?.last.epoch ?? 0, tally)
        var changed: [UserID: ReadMark] = [:]
        let outcomes = wanted.map { want in
            guard participants?[want.user] != nil else {
                return ReadOutcome(.stranger, mark: nil, unread: 0)
            }
            var mark = mark(of: want.user, history: chain.history, last: tally.last)
            var result = ReadOutcome.Result.known
            if let place = place(of: want.position, in: chain, epoch: epoch, last: tally.last) {
                if place.seq > mark?.position.seq ?? 0 {
                    let next = ReadMark(place, amendments: amendments(upTo: place.seq))
                    (mark, result) = (next, .read)
                    conversation.reads[want.user] = next
                    changed[want.user] = next
                }
            } else {
                result = .lost
            }
            return ReadOutcome(result, mark: mark, unread: tally.unread(after: mark, kept: kept))
        }
        let isTold = !changed.isEmpty && participants?.count ?? 0 <= told
        return (.success(.reading(.read(outcomes))), isTold ? [.reads(changed)] : [])
    }

    /// The position's place in the room's history, with the epoch that the message has in the log; nil if it has none.
    private func place(of position: Position, in chain: EpochChain, epoch: UInt64, last: UInt64) -> Position? {
        var seq = position.seq
        if position.epoch == epoch, seq > last { seq = last }
        if position.epoch > epoch || seq > last || seq > 0 && position.epoch < chain.history { return nil }
        let place = Position(epoch: position.epoch, seq: seq)
        if seq > 0 {
            guard chain.verdict(of: place, epoch: epoch, last: last, firstAfter: seq + 1) != .rewound else {
                return nil
            }
        }
        guard let link = chain.links.last(where: { $0.base < seq }) else { return place }
        return Position(epoch: link.epoch, seq: seq)
    }

    /// The rules as nodes read them: with what participants have read.
    var rules: RoomModeration {
        guard let conversation = moderation.conversation else { return moderation }
        return RoomModeration(
            version: moderation.version, policy: moderation.policy, bans: moderation.bans, mutes: moderation.mutes,
            conversation: conversation.with(reads: self.conversation.reads, amendments: amendmentCount))
    }

    /// The answer of `martlet_receipts`.
    func receipts(told: Int) -> ReceiptsView? {
        guard let participants, !participants.isEmpty else { return nil }
        var marks: [UserID: ReadMark] = [:]
        if participants.count <= told {
            for user in participants.keys {
                marks[user] = mark(of: user, history: chain?.history ?? 0, last: tally.last)
            }
        }
        return ReceiptsView(count: participants.count, tally: tally, kept: kept, marks: marks)
    }

    /// The answer of `martlet_head`.
    func head(of user: UserID, now: UInt64) -> RoomHead? {
        guard let conversation = moderation.conversation else { return nil }
        let newest = log?.entries.last?.position
        let tally = LogTally(last: newest?.seq ?? 0, amendments: amendmentCount)
        let mark = mark(of: user, history: chain?.history ?? 0, last: tally.last)
        let message = log?.entries.suffix(1 + Self.mostAmendments).last { !isAmendment($0) }
        var head = RoomHead(of: user, in: conversation, newest: newest, tally, kept: kept, readUpTo: mark, message)
        if moderation.ban(of: user, now: now) != nil { head?.last = nil }
        return head
    }

    /// The same where commands that only read tell it.
    func briefHead(of user: UserID, now: UInt64) -> BriefHead {
        guard let head = head(of: user, now: now) else { return .stranger }
        guard let newest = log?.entries.last, newest.content.isMessage, moderation.bans[user] == nil,
            head.mark != nil
        else { return .unknown }
        return .head(head, bytes: newest.content.cost)
    }

    /// How many entries behind the newest one are looked at for a message.
    private static let mostAmendments = 64

    /// A participant who says something has read the room up to there. The message is the log's last entry.
    mutating func senderHasRead(_ message: Message) {
        guard participants?[message.content.user] != nil else { return }
        conversation.reads[message.content.user] = ReadMark(
            message.position, amendments: min(amendmentCount, message.position.seq))
    }

    // MARK: holding

    /// Whether the log is held for participants.
    var isHeld: Bool { !(participants ?? [:]).isEmpty }

    /// The number of the log's newest entries that a participant has still to read; nil if the room has none.
    private var entriesToRead: Int? {
        guard let participants, !participants.isEmpty, let last = log?.last.seq else { return nil }
        return participants.keys.map { user in
            conversation.reads[user].map { Int(clamping: last - min(last, $0.position.seq)) } ?? .max
        }.max()
    }

    /// Drops the oldest messages until the log is within its bounds.
    mutating func trim(_ settings: MemoryBrokerSettings) {
        var least = 1
        if let needed = entriesToRead {
            least = min(needed, settings.mostEntries(isHeld: true))
            log?.trim(to: max(settings.historyLength, least))
            log?.trim(toBytes: max(settings.historyBytes, settings.heldBytes))
        }
        log?.trim(toBytes: settings.historyBytes, atLeast: least)
    }

    // MARK: amendments

    private func isAmendment(_ message: Message) -> Bool { message.content.isAmendment }

    private var amendmentCount: UInt64 { ops }
}

extension MemoryBroker {
    mutating func reading(_ request: ReadingRequest, now: UInt64) -> Answer {
        switch request {
        case .read(let room, let wanted, _):
            on(room, now) { room, settings in room.read(wanted, told: settings.receipts) }
        case .receipts(let room):
            on(room, now) { room, settings in
                (.success(.reading(.receipts(room.receipts(told: settings.receipts)))), [])
            }
        case .head(let room, let user):
            on(room, now) { room, _ in (.success(.reading(.head(room.head(of: user, now: now)))), []) }
        case .brief(let room, let user, _):
            on(room, now) { room, _ in (.success(.reading(.brief(room.briefHead(of: user, now: now)))), []) }
        case .people(let room, let cursor):
            on(room, now) { room, settings in
                var part = room.snapshot(cursor: cursor, limit: settings.partLength)
                part.position = Position(epoch: 0, seq: 0)
                return (.success(.reading(.people(part))), [])
            }
        // Only the hub knows who listens.
        case .listeners: Answer(result: .success(.reading(.listeners(0))), events: [])
        }
    }
}
