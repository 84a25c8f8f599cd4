/// One room as ``MemoryBroker`` keeps it: the six keys of `redis/README.md` as values.
package struct MemoryRoom: Sendable {
    /// The answer to a request for a room that does not exist, or for its position in presence.
    static let nowhere = Position(epoch: 0, seq: 0)

    var log: MemoryLog?
    /// Nil if it was never written (an outsider began the log), or was lost.
    var chain: EpochChain?
    var nodes: [NodeID: UInt64] = [:]
    /// The run ID of the broker that a node last entered, or that an outsider who began the log used.
    var run: String?
    /// The first epoch that began on that broker.
    var branch: UInt64 = 0
    /// The broker on which outsiders wait until nodes have put back what it lost; nil for a time: they do not any more.
    var returns: (run: String, until: UInt64?)?
    /// The last ID of the presence stream. Its entries are not kept, as nobody reads them here.
    var presence: Position?
    var roster: [UserID: [NodeID: [DeviceName]]] = [:]
    /// In ms since 1970. The log has its own expiry, because a message from an outsider to an empty room renews only
    /// the log.
    var logExpires: UInt64?
    var restExpires: UInt64?
    /// Its rules and sanctions, which a message from an outsider renews as well.
    var moderation = RoomModeration.none
    var rulesExpire: UInt64?
    /// What belongs to the participants, except for who they are.
    var conversation = MemoryConversation()
    /// Who changed them, and who reported messages; oldest first.
    var audit: [AuditEntry] = []
    /// What was made of messages, by their seqs; the seqs of the amendments in the log; and how many there ever were.
    var overlay: [UInt64: Overlay] = [:]
    var amendments: Set<UInt64> = []
    package internal(set) var ops: UInt64 = 0

    /// Drops what has expired. True if nothing is left.
    mutating func expire(now: UInt64) -> Bool {
        if let end = logExpires, end <= now {
            log = nil
            run = nil
            branch = 0
            returns = nil
            logExpires = nil
            forgetAmendments()
        }
        if let end = restExpires, end <= now {
            chain = nil
            nodes = [:]
            presence = nil
            roster = [:]
            restExpires = nil
        }
        if let end = rulesExpire, end <= now {
            moderation = .none
            conversation = MemoryConversation()
            audit = []
            rulesExpire = nil
        }
        return log == nil && chain == nil && nodes.isEmpty && presence == nil && roster.isEmpty
            && moderation.version == 0
    }

    // MARK: Epochs

    /// The chain as readers see it: if it does not end with the log's epoch, history begins with that epoch.
    func readChain(_ log: MemoryLog) -> EpochChain {
        if var chain, let newest = chain.links.last, newest.epoch == log.last.epoch, newest.base <= log.last.seq {
            // The value is not an epoch that began, so the oldest known one is used.
            if chain.history > log.last.epoch { chain.history = min(chain.links[0].epoch, log.last.epoch) }
            return chain
        }
        let epoch = log.last.epoch
        let first = log.entries.first { $0.position.epoch == epoch }?.position.seq
        let base = first.map { $0 > 0 ? $0 - 1 : 0 } ?? log.last.seq
        return EpochChain(links: [EpochLink(epoch: epoch, base: base)], history: epoch)
    }

    /// Begins `epoch` at the log's last seq.
    private mutating func raise(_ log: inout MemoryLog, _ chain: inout EpochChain, to epoch: UInt64) {
        log.begin(epoch: epoch)
        chain.begin(epoch: epoch, base: log.last.seq)
        chain.prune(firstEntry: log.first ?? log.last.seq + 1)
    }

    func news(of log: MemoryLog, by node: NodeID) -> ChannelEvent {
        .epoch(log.last.epoch, base: log.last.seq, nodes: nodes, by: node, rules: moderation.version)
    }

    /// Begins a new epoch, so that appends which a removed node may still have under way are refused.
    mutating func fence(now: UInt64) -> [ChannelEvent] {
        guard var log, let outsider = try? NodeID("leave") else { return [] }
        self.log = nil
        var chain = readChain(log)
        raise(&log, &chain, to: max(now, log.last.epoch + 1))
        self.chain = chain
        self.log = log
        return [news(of: log, by: outsider)]
    }

    /// Begins an epoch because the room was moderated. Returns it; nil if there is no log.
    mutating func beginEpoch(runID: String, now: UInt64) -> UInt64? {
        guard var log else { return nil }
        self.log = nil
        var chain = readChain(log)
        let jump = jump(runID)
        raise(&log, &chain, to: max(now, log.last.epoch + (jump ?? 1)))
        if jump != nil {
            meet(runID, now: now)
            branch = log.last.epoch
        }
        self.chain = chain
        self.log = log
        return log.last.epoch
    }

    /// The room has met this broker. If it met another one last, nobody knows any more which nodes outsiders need not
    /// wait for; only a wait that is under way goes on.
    private mutating func meet(_ runID: String, now: UInt64) {
        if let run, run != runID, returns.map({ $0.run != runID || $0.until.map { $0 <= now } ?? true }) ?? false {
            returns = nil
        }
        run = runID
    }

    /// By how much the first epoch on another Redis exceeds all earlier ones. A branch that was lost may have used the
    /// next epochs already, and positions with them, so the distance is 1,000 and a number from the run ID. Nil if this
    /// is the Redis that the room used last, or if it used none.
    private func jump(_ runID: String) -> UInt64? {
        guard let run, run != runID else { return nil }
        return 1_000 + (UInt64(runID.prefix(4), radix: 16) ?? 0)
    }

    private func view(
        _ judged: Judged, _ log: MemoryLog, _ chain: EpochChain, knows: UInt64
    ) -> RoomView {
        RoomView(
            verdict: judged.verdict, epoch: log.last.epoch, last: log.last.seq,
            base: chain.links.last?.base ?? log.last.seq,
            chain: chain, nodes: nodes, branch: branch > log.last.epoch ? 0 : branch, entries: judged.entries,
            hasMore: judged.hasMore, moderation: moderation.version == knows ? nil : rules)
    }

    private struct Judged {
        var verdict: Verdict
        var entries: [Message]
        var hasMore: Bool
    }

    private func judge(
        _ log: MemoryLog, _ chain: EpochChain, _ after: Position?, _ page: PageBounds
    ) -> Judged {
        let next = after.map { log.entries(after: $0.seq > 0 ? $0 : Self.nowhere) }
        let verdict = chain.verdict(
            of: after, epoch: log.last.epoch, last: log.last.seq, firstAfter: next?.first?.position.seq)
        if let next, verdict != .rewound {
            let count = next.fitting(PageBounds(count: max(1, page.count), bytes: page.bytes))
            return Judged(verdict: verdict, entries: Array(next.prefix(count)), hasMore: count < next.count)
        }
        let count = log.entries.reversed().fitting(page)
        return Judged(
            verdict: verdict, entries: Array(log.entries.suffix(count)), hasMore: count < log.entries.count)
    }

    // MARK: Requests

    func view(after: Position?, page: PageBounds, knows: UInt64) -> RoomView? {
        guard let log else { return nil }
        let chain = readChain(log)
        return view(judge(log, chain, after, page), log, chain, knows: knows)
    }

    /// Returns nil if nothing was changed, because the node may have what the log lost.
    mutating func enter(_ request: EnterRequest, runID: String, now: UInt64) -> RoomView? {
        if request.identityChanged, request.offersTail {
            guard let log, judge(log, readChain(log), request.after, request.page).verdict != .rewound else {
                return nil
            }
        }
        let seen = min(request.seen, PositionBounds.newestClaim(clock: now))
        var epoch = max(now, seen + (request.identityChanged ? 1_000 : 1), min(request.clock, now + 60_000))
        let jump = jump(runID)
        let exists = log != nil
        if !exists { forgetAmendments() }
        logExpires = nil
        restExpires = nil
        rulesExpire = nil
        meet(runID, now: now)
        if let log {
            let foreign = jump.map { max(seen, log.last.epoch) + $0 } ?? 0
            epoch = max(epoch, log.last.epoch + 1, foreign)
        } else {
            let ended = chain?.links.last?.epoch ?? 0
            if ended <= PositionBounds.newestEpoch(clock: now) { epoch = max(epoch, ended + 1) }
        }
        var log = log ?? MemoryLog(last: Position(epoch: epoch, seq: 0))
        var chain =
            exists ? readChain(log) : EpochChain(links: [EpochLink(epoch: epoch, base: 0)], history: epoch)
        var judged = judge(log, chain, request.after, request.page)
        var restored = false
        if request.identityChanged, judged.verdict == .rewound {
            restored = restore(&log, &chain, request.tail, history: request.tailHistory)
            if restored { judged = judge(log, chain, request.after, request.page) }
        }
        if exists || restored { raise(&log, &chain, to: max(epoch, log.last.epoch + 1)) }
        if jump != nil || !exists { branch = log.last.epoch }
        nodes[request.node] = log.last.epoch
        self.log = log
        self.chain = chain
        return view(judged, log, chain, knows: 0)
    }

    /// Restores what the log lost, if `tail` continues its last entry (or the log is as good as new) without a hole and
    /// no other message was stored meanwhile. Epochs that began since then hold no message and are removed.
    private mutating func restore(
        _ log: inout MemoryLog, _ chain: inout EpochChain, _ tail: [Message], history: UInt64
    ) -> Bool {
        var place = 0
        let newest = log.lastLive
        if let newest {
            guard newest.position.seq == log.last.seq,
                let found = tail.lastIndex(where: { Self.isSame($0, as: newest) })
            else { return false }
            place = found + 1
        } else if log.last.seq != 0 {
            return false
        }
        let missing = tail[place...]
        guard let first = missing.first, Self.follows(missing, newest?.position) else { return false }
        if let newest {
            // (A chain that was lost contains only the log's last epoch.)
            guard let known = chain.links.lastIndex(where: { $0.epoch == newest.position.epoch }) else { return false }
            chain.links.removeSubrange((known + 1)...)
        } else {
            let epoch = first.position.epoch
            chain = EpochChain(
                links: [EpochLink(epoch: epoch, base: first.position.seq - 1)],
                history: history > 0 ? min(epoch, history) : epoch)
        }
        var epoch = chain.links.last?.epoch ?? 0
        for message in missing {
            if message.position.epoch > epoch {
                epoch = message.position.epoch
                chain.begin(epoch: epoch, base: message.position.seq - 1)
            }
            log.restore(message)
            fold(message, &log)
        }
        return true
    }

    /// Whether the entry of a tail is that of the log. The tail may have its tombstone: then the log lost that it was
    /// erased.
    private static func isSame(_ entry: Message, as stored: Message) -> Bool {
        guard entry.content.deleted != nil else { return entry == stored }
        return entry.position == stored.position && entry.content.user == stored.content.user
            && entry.content.at == stored.content.at
    }

    /// Whether the messages follow `last`, and one another, without a hole. If `last` is nil, any message may come
    /// first.
    private static func follows(_ messages: ArraySlice<Message>, _ last: Position?) -> Bool {
        var last = last
        for message in messages {
            guard message.position.seq > 0 else { return false }
            if let last {
                guard message.position.epoch >= last.epoch, message.position.seq == last.seq + 1 else { return false }
            }
            last = message.position
        }
        return true
    }

    /// The fenced append.
    mutating func append(
        _ content: MessageContent, epoch: UInt64, limit: Int
    ) -> Result<Position, BrokerError> {
        guard log != nil else { return .failure(.missing) }
        guard let position = log?.append(content, epoch: epoch, limit: limit) else { return .failure(.refused) }
        if !content.isPlain { foldReply(Message(position: position, content: content)) }
        return .success(position)
    }

    /// Counts a message that was stored in its thread.
    private mutating func foldReply(_ message: Message) {
        guard message.content.extra?.thread != nil, var log = self.log else { return }
        self.log = nil
        fold(message, &log)
        self.log = log
    }

    /// Sends again. Returns events only if another node is in the room.
    mutating func once(
        _ request: OnceRequest, limit: Int, now: UInt64
    ) -> (Result<OnceReply, BrokerError>, [ChannelEvent]) {
        guard var log else { return (.failure(.missing), []) }
        guard log.last.epoch == request.epoch else { return (.failure(.refused), []) }
        // The log must have one owner, or the first append would copy it.
        self.log = nil
        var chain = readChain(log)
        var found: [UserKey: (Position, UInt64)] = [:]
        // A log with entries of an earlier history is not ordered by seq, so what a node knows of its seqs is ignored.
        let isMixed = log.firstLive.map { $0.position.epoch < chain.history } ?? false
        for message in log.entries {
            let seq = message.position.seq
            guard isMixed || request.known == 0 || seq > request.known || seq <= request.knownFrom else { continue }
            if let key = UserKey(message.content) { found[key] = (message.position, message.content.at) }
        }
        let others = nodes.count > (nodes[request.node] == nil ? 0 : 1)
        let first = log.first ?? log.last.seq + 1
        var outcomes: [OnceOutcome] = []
        var events: [ChannelEvent] = []
        var stored = false
        for send in request.sends {
            let key = UserKey(send.content)
            if let key, let (position, at) = found[key] {
                outcomes.append(.repeated(position, at: at))
                continue
            }
            if send.again, first > (send.since?.seq ?? 0) + 1 {
                outcomes.append(.outcomeUnknown)
                continue
            }
            stored = true
            guard let position = log.append(send.content, epoch: log.last.epoch, limit: limit) else { continue }
            let message = Message(position: position, content: send.content)
            if send.content.extra?.thread != nil { fold(message, &log) }
            if others { events.append(.message(message, base: chain.links.last?.base)) }
            if let key { found[key] = (position, send.content.at) }
            outcomes.append(.stored(position))
        }
        // This happens after the appends: a first try that the new epoch refuses can come back in it only after what
        // was appended here.
        if others, stored {
            raise(&log, &chain, to: max(now, log.last.epoch + 1))
            events.append(news(of: log, by: request.node))
        }
        let reply = OnceReply(epoch: log.last.epoch, base: chain.links.last?.base ?? log.last.seq, outcomes: outcomes)
        // As in Redis, a chain that was only read is not written.
        if others, stored { self.chain = chain }
        self.log = log
        return (.success(reply), events)
    }

    /// How long outsiders wait for nodes, in milliseconds.
    private static let returnTime: UInt64 = 5_000

    /// Whether nodes of the room may still put back what this broker lost when it took the place of another one.
    mutating func awaitsReturns(runID: String, now: UInt64) -> Bool {
        let isForeign = run.map { $0 != runID } ?? false
        if !isForeign, let returns, returns.run == runID, returns.until == nil { return false }
        let started = returns.flatMap { $0.run == runID ? $0.until : nil }
        let isMissing = nodes.values.contains { isForeign || $0 < branch }
        if isMissing {
            let until = started ?? now + Self.returnTime
            returns = (runID, until)
            if now < until, until <= now + Self.returnTime { return true }
        }
        if isMissing || started != nil { returns = (runID, nil) }
        return false
    }

    /// Begins an epoch if this is not the broker that the room last met.
    mutating func beginForeignEpoch(_ log: inout MemoryLog, runID: String, now: UInt64) -> [ChannelEvent] {
        guard let jump = jump(runID), let outsider = try? NodeID("say") else { return [] }
        var chain = readChain(log)
        raise(&log, &chain, to: max(now, log.last.epoch + jump))
        self.chain = chain
        run = runID
        branch = log.last.epoch
        return [news(of: log, by: outsider)]
    }

    /// Nil while nodes may put back what the broker lost. The events are in the order in which they are published.
    mutating func say(
        _ content: MessageContent, limit: Int, runID: String, now: UInt64, expires: UInt64
    ) -> (Position, repeated: Bool, [ChannelEvent])? {
        guard var log else {
            let message = Message(position: Position(epoch: now, seq: 1), content: content)
            var begun = MemoryLog(last: Position(epoch: now, seq: 0))
            begun.restore(message)
            self.log = begun
            forgetAmendments()
            run = runID
            logExpires = self.expires(expires, now: now)
            rulesExpire = logExpires
            senderHasRead(message)
            return (message.position, false, [.message(message, base: nil)])
        }
        if let key = UserKey(content), let earlier = log.entries.last(where: { UserKey($0.content) == key }) {
            return (earlier.position, true, [])
        }
        if awaitsReturns(runID: runID, now: now) { return nil }
        self.log = nil
        let events = beginForeignEpoch(&log, runID: runID, now: now)
        let appended = log.append(content, epoch: log.last.epoch, limit: limit)
        if let appended, content.extra?.thread != nil { fold(Message(position: appended, content: content), &log) }
        self.log = log
        // It is never nil, because an append in the log's own epoch is not refused.
        guard let position = appended else { return (log.last, false, events) }
        if logExpires != nil {
            let expires = self.expires(expires, now: now)
            logExpires = expires
            rulesExpire = expires
        }
        let message = Message(position: position, content: content)
        senderHasRead(message)
        return (position, false, events + [.message(message, base: nil)])
    }
}

/// An idempotency key together with its user, so that keys of different users never collide.
package struct UserKey: Hashable {
    package var user: UserID
    package var key: String

    package init?(_ content: MessageContent) {
        guard let key = content.key else { return nil }
        user = content.user
        self.key = key
    }
}
