/// The order of the room's messages: which message was shown last, which may be shown next, and what is known of the
/// log. Part of ``RoomStateMachine``.
///
/// The log's order is by seq, and each epoch began at a seq (its base), so a message is the next one if its seq is and
/// the chain of epochs says that it belongs to this history. Messages that come before their turn are held. The machine
/// shows what this part hands out, and asks for a read of the log when something does not fit.
struct RoomOrder: Sendable {
    /// The newest message shown; nil until the first `enter` was merged.
    private(set) var last: Position?
    /// The log's epoch and the seq at which it began.
    private(set) var epoch: UInt64 = 0
    private(set) var base: UInt64 = 0
    /// The highest epoch that was heard of, whether or not it is the log's.
    private(set) var seenEpoch: UInt64 = 0
    private(set) var chain = EpochChain(links: [], history: 0)
    /// What was shown of late.
    private(set) var recent: RecentMessages
    /// Messages that came before their turn, by seq.
    private var held: [UInt64: Message] = [:]
    /// The highest seq that anybody told of.
    private(set) var knownLast: UInt64 = 0
    /// The first missing seq, and how long its message may be on its way.
    private var hole: (seq: UInt64, deadline: Moment)?

    /// Messages held before their turn; beyond it the log is read instead.
    static let heldLimit = 4_096

    init(_ settings: RoomSettings) {
        recent = Self.memory(settings)
    }

    private static func memory(_ settings: RoomSettings) -> RecentMessages {
        RecentMessages(
            capacity: settings.historyLength, costLimit: settings.memoryBytes,
            erases: settings.rules.contains(.forgetErased),
            forgets: settings.rules.contains(.forgetBeforeGaps))
    }

    // MARK: what is known

    /// Bytes of messages in memory.
    var memoryCost: Int { recent.cost }
    var heldCount: Int { held.count }
    var heldSeqs: Set<UInt64> { Set(held.keys) }
    /// When the missing message is read from the log; nil: none is missed.
    var holeDeadline: Moment? { hole?.deadline }

    /// Whether the message at that position was shown; by memory, or by the chain if memory does not reach back. The
    /// seq is not above the last one.
    func wasShown(_ position: Position) -> Bool {
        guard position.seq > recent.completeAfter else { return chain.epoch(of: position.seq) == position.epoch }
        return recent.message(seq: position.seq)?.position == position
    }

    /// Whether that content was shown at that position: our own message came by the channel before the answer to its
    /// append, as nothing orders the two connections. Another message with that position has another user or key.
    func wasShown(_ content: MessageContent, at position: Position) -> Bool {
        guard let shown = recent.message(seq: position.seq) else { return false }
        return shown.position == position && shown.content.user == content.user && shown.content.key == content.key
    }

    /// Whether the message at that position, of an epoch that began at `base`, is known to have been shown.
    func knows(_ position: Position, base: UInt64) -> Bool {
        guard let last, position <= last else { return false }
        return chain.base(of: position.epoch) == base && wasShown(position)
    }

    /// Whether the position is one that this node has not reached.
    func isAhead(_ position: Position) -> Bool {
        guard let last else { return true }
        return position > Position(epoch: epoch, seq: last.seq) || position.seq > last.seq
    }

    /// What the log, as far as it is known, says of a client's position. `firstAfter`: the first seq behind it that can
    /// be shown.
    func judge(_ after: Position, firstAfter: UInt64?) -> Verdict {
        guard let last else { return .rewound }
        // (A message from before the history began is known by another position.)
        if let same = recent.message(seq: after.seq), same.position != after, same.position.epoch >= chain.history {
            return .rewound
        }
        return chain.verdict(of: after, epoch: epoch, last: last.seq, firstAfter: firstAfter)
    }

    /// Whether memory holds every key within the bounds, in messages and bytes, that keys are remembered for.
    func isKeyWindowFull(_ settings: RoomSettings) -> Bool {
        guard last != nil else { return false }
        return recent.completeAfter == 0 || recent.count >= settings.historyLength
            || (recent.isFull && settings.memoryBytes >= settings.historyBytes)
    }

    /// The last place of the history as it is now that a position stands for.
    ///
    /// A seq of a lost branch may be far ahead of where the branches parted, and would vouch for messages that nobody
    /// has looked at (simulator, seed 400017). Where a branch parted whose epoch the chain does not have, nobody knows
    /// (seed 8207).
    func ofOurHistory(_ since: Position) -> Position {
        guard let oldest = chain.links.first else { return since }
        if chain.base(of: since.epoch) == nil, since.epoch > oldest.epoch || since.seq > oldest.base {
            return Position(epoch: since.epoch, seq: 0)
        }
        guard let next = chain.links.first(where: { $0.epoch > since.epoch }), next.base < since.seq else {
            return since
        }
        return Position(epoch: since.epoch, seq: next.base)
    }

    // MARK: epochs

    mutating func saw(epoch: UInt64) { seenEpoch = max(seenEpoch, epoch) }

    /// This node entered at `epoch`, which is above all others, after it had claimed to have seen `asked`. What it took
    /// for higher was never begun, or belongs to a log that is gone: kept, it would be waited for in vain, or looked
    /// for with one view after the other. `isCapped`: Redis did not believe all of the claim. (What was heard since we
    /// asked is news.)
    mutating func forgetSeen(above epoch: UInt64, asked: UInt64, isCapped: Bool) {
        if seenEpoch == asked, seenEpoch > epoch, isCapped { seenEpoch = epoch }
    }

    /// The epoch has begun at `base`, as far as Redis goes. `mostLinks`: from so many on, epochs from before our memory
    /// are forgotten.
    mutating func begin(epoch newEpoch: UInt64, base newBase: UInt64, mostLinks: Int) {
        epoch = newEpoch
        base = newBase
        saw(epoch: newEpoch)
        reaches(newBase)
        chain.begin(epoch: newEpoch, base: newBase)
        if chain.links.count > mostLinks, let first = recent.first {
            chain.prune(firstEntry: first.position.seq)
        }
    }

    // MARK: the next message

    /// Where a message belongs.
    enum Place {
        /// It is the next one, and of this history.
        case next
        /// It comes behind messages that are missing.
        case later
        /// It was shown before.
        case shown
        /// Its epoch is not known yet: the log tells what it means.
        case ofUnknownEpoch
        /// It contradicts what was shown, or the chain: the log tells which is true.
        case ofAnotherBranch
    }

    /// Where the message belongs; nil before the room was entered. `heedsBranches`: false if a test switched that rule
    /// off.
    func place(of message: Message, heedsBranches: Bool) -> Place? {
        guard let last else { return nil }
        let position = message.position
        if position.seq <= last.seq { return wasShown(position) ? .shown : .ofAnotherBranch }
        if heedsBranches {
            if position.epoch > epoch { return .ofUnknownEpoch }
            if chain.epoch(of: position.seq) != position.epoch { return .ofAnotherBranch }
        }
        return position.seq == last.seq + 1 && (position > last || !heedsBranches) ? .next : .later
    }

    /// Whether the log reaches further than what was shown, as somebody told.
    var isBehind: Bool { last.map { knownLast > $0.seq } ?? false }

    /// The log reaches to that seq, as somebody told.
    mutating func reaches(_ seq: UInt64) { knownLast = max(knownLast, seq) }

    /// Holds a message until its turn. False: there is no room for it.
    mutating func hold(_ message: Message) -> Bool {
        if let there = held[message.position.seq], there.position.epoch >= message.position.epoch { return true }
        guard held.count < Self.heldLimit else { return false }
        held[message.position.seq] = message
        return true
    }

    /// The message, which is the next one and in the log, is shown.
    mutating func show(_ message: Message) {
        assert(last.map { message.position.seq > $0.seq } ?? true, "messages are shown in the order of their seqs")
        last = message.position
        recent.append(message)
    }

    /// The held message that is the next one, if its seq is below `limit` and it belongs to the log as it is known. It
    /// is not held any longer.
    mutating func takeNext(below limit: UInt64 = .max, heedsBranches: Bool) -> Message? {
        guard !held.isEmpty, let last, last.seq + 1 < limit, let message = held[last.seq + 1],
            message.position.epoch <= epoch,
            chain.epoch(of: message.position.seq) == message.position.epoch || !heedsBranches
        else { return nil }
        held[message.position.seq] = nil
        return message
    }

    /// Drops held messages whose turn has passed.
    mutating func dropPassed() {
        guard !held.isEmpty, let last else { return }
        held = held.filter { $0.key > last.seq }
    }

    /// The log does not hold what lies between the last message and `next` (race 15): the order goes on behind it.
    mutating func skip(to next: Position) {
        let missing = next.seq - 1
        recent.noteGap(through: missing)
        last = Position(epoch: chain.epoch(of: missing) ?? last?.epoch ?? 0, seq: missing)
    }

    // MARK: holes

    /// Whether a message is missing whose deadline is not set yet.
    mutating func missesAnother() -> Bool {
        guard let last, knownLast > last.seq else {
            hole = nil
            return false
        }
        return hole?.seq != last.seq + 1
    }

    /// The first missing message is read from the log at `deadline`, unless it comes before.
    mutating func awaitMissing(until deadline: Moment) {
        if let last { hole = (last.seq + 1, deadline) }
    }

    /// Whether the deadline of the missing message has passed. It is cleared: one that stayed would make the timer fire
    /// at once again.
    mutating func takeDueHole(now: Moment) -> Bool {
        guard let hole, hole.deadline <= now else { return false }
        self.hole = nil
        return true
    }

    /// The log is being read anyway.
    mutating func forgetHole() { hole = nil }

    // MARK: what the log says

    /// Takes over the chain of the answer to `enter`, and drops what was held of older epochs. `purgesHeld`: false if a
    /// test switched that rule off (race 10).
    mutating func enter(_ view: RoomView, purgesHeld: Bool) {
        epoch = view.epoch
        base = view.base
        saw(epoch: view.epoch)
        chain = view.verdict == .rewound ? view.chain : withMemory(view.chain)
        if purgesHeld {
            held = held.filter { $0.value.position.epoch >= view.epoch && $0.key > view.base }
        }
    }

    /// Begins afresh with the entries of the view: nothing was shown before, or the log does not continue it. In the
    /// latter case returns the position from which the room goes on.
    mutating func restart(with view: RoomView) -> Position? {
        let first = view.entries.first?.position.seq
        // (A log that was set back, or written to by hand, can hold a seq 0.)
        recent.reset(completeAfter: view.hasMore ? max(first ?? view.last &+ 1, 1) - 1 : 0)
        for entry in view.entries { recent.append(entry) }
        let isVoid = last != nil
        var newest = view.entries.last?.position ?? position(of: view.last)
        // An entry of an earlier history, of which the chain knows nothing: by its own position every read would call
        // us rewound, and we would enter again and again (simulator, seed 19186).
        if newest.seq > 0, newest.epoch < view.chain.history { newest = position(of: newest.seq) }
        if newest.seq < view.last {
            newest = position(of: view.last)
            recent.noteGap(through: view.last)
        }
        last = newest
        return isVoid ? newest : nil
    }

    /// Takes over the chain of a view, which may be older than what the channel told since. `branch`: the newest one
    /// that is known. True: the view is as new as what is known, so its nodes count as well.
    mutating func adopt(_ view: RoomView, branch: UInt64) -> Bool {
        if view.epoch >= epoch {
            // Ours may lack an epoch whose news we missed while entering; the log's never does (simulator, seed
            // 2209249).
            chain = withMemory(view.chain)
            epoch = view.epoch
            base = view.base
            saw(epoch: view.epoch)
            return true
        }
        if view.branch >= branch, let known = view.chain.continued(by: chain, after: view.epoch, last: view.last) {
            // The same if a newer epoch was heard of while the log was read (simulator, seed 194162 of the vandal).
            chain = withMemory(known)
        }
        return false
    }

    /// What was heard before a view was asked for had been appended before. If the log, which reaches to `last`, does
    /// not know it, no log ever will. `seqs`: what was held then; `known`: the highest seq that was told of then. (What
    /// was heard since may be ahead of the view.)
    mutating func forgetUnknown(held seqs: Set<UInt64>, known: UInt64, logReaches last: UInt64) {
        for seq in seqs where seq > last { held[seq] = nil }
        if knownLast <= known { knownLast = max(last, base, held.keys.max() ?? 0) }
    }

    /// The log reaches to that seq; what was told of beyond it counts only if it is held.
    mutating func logReaches(_ seq: UInt64) { knownLast = max(seq, held.keys.max() ?? 0) }

    /// The end of the gap in front of us, in a log that ends at the view's last seq and holds nothing from here on;
    /// nil: we are there. The gap ends at the first held message that belongs to the log.
    func gapEnd(in view: RoomView) -> Position? {
        guard let last, last.seq < view.last else { return nil }
        let next = held.keys.filter { $0 > last.seq && $0 <= view.last && isOfChain($0) }.min() ?? view.last + 1
        let epoch = next > view.last ? view.epoch : (view.chain.epoch(of: next) ?? view.epoch)
        return Position(epoch: epoch, seq: next)
    }

    private func isOfChain(_ seq: UInt64) -> Bool {
        guard let message = held[seq] else { return false }
        return message.position.epoch <= epoch && chain.epoch(of: seq) == message.position.epoch
    }

    /// The log's chain, reaching back as far as our memory: only its epoch tells whether a position there is of a lost
    /// branch (simulator, seed 118996 of the vandal).
    private func withMemory(_ known: EpochChain) -> EpochChain {
        known.reachingBack(by: chain, toEntry: recent.completeAfter &+ 1, shown: last?.seq ?? 0)
    }

    /// The position of a message that we never had. Before the first message it is 0-0 whatever the epoch, so that it
    /// is below every message that comes, also one that is put back (simulator, seed 19).
    private func position(of seq: UInt64) -> Position {
        seq == 0 ? Position(epoch: 0, seq: 0) : Position(epoch: chain.epoch(of: seq) ?? epoch, seq: seq)
    }

    // MARK: memory

    /// Forgets the oldest messages until about `bytes` bytes are left; never the newest one.
    mutating func shrink(toBytes bytes: Int) { recent.shrink(toCost: bytes) }

    /// Releases the spare capacity of empty collections.
    mutating func releaseMemory() {
        if held.isEmpty { held = [:] }
    }

    /// We no longer listen: what is known of the room is worth nothing. The highest epoch seen remains, as the next
    /// `enter` must begin above it.
    mutating func forget() {
        last = nil
        epoch = 0
        base = 0
        chain = EpochChain(links: [], history: 0)
        recent.reset(completeAfter: 0)
        held = [:]
        knownLast = 0
        hole = nil
    }
}

// MARK: a room at rest

extension RoomOrder {
    /// Nothing is missing.
    var isIdle: Bool { held.isEmpty && hole == nil }

    /// Whether it can rest: messages and epochs are within these bounds.
    func isSmall(messages: Int, bytes: Int, links: Int) -> Bool {
        chain.links.count <= links && recent.count <= messages && recent.cost <= bytes
    }

    /// But for `last` and `epoch`, which a resting room has in its head.
    func pack(into packed: inout PackedBytesWriter) {
        packed.add(near: seenEpoch)
        packed.add(base)
        packed.add(knownLast)
        packed.add(near: chain.history)
        packed.add(UInt64(chain.links.count))
        for link in chain.links { packed.add(Position(epoch: link.epoch, seq: link.base)) }
        recent.pack(into: &packed)
    }

    init(_ packed: inout PackedBytesReader, last: Position, epoch: UInt64, _ settings: RoomSettings) {
        self.last = last
        self.epoch = epoch
        seenEpoch = packed.near()
        base = packed.number()
        knownLast = packed.number()
        chain.history = packed.near()
        for _ in 0..<packed.number() {
            let link = packed.position()
            chain.links.append(EpochLink(epoch: link.epoch, base: link.seq))
        }
        recent = RecentMessages(&packed, into: Self.memory(settings))
    }
}

// MARK: invariants

extension RoomOrder {
    /// Checked after each event in debug builds.
    func assertInvariants() {
        assert(held.count <= Self.heldLimit, "held messages are bounded")
        assert(held.allSatisfy { $0.key == $0.value.position.seq }, "held messages are filed under their seq")
        assert(seenEpoch >= epoch, "the log's epoch was seen")
        assert(
            recent.last.map { message in last.map { message.position.seq <= $0.seq } ?? false } ?? true,
            "memory ends at the last message shown")
        assert(last != nil || (recent.isEmpty && chain.links.isEmpty), "nothing is known before the room was entered")
        assert(hole == nil || last != nil, "a hole is behind the last message shown")
    }
}
