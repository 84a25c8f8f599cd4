/// The sends of this node's sessions that have no final answer yet, in the order in which they came. Part of
/// ``RoomStateMachine``.
///
/// A send is `queued`, then asked of the broker (`appending`, `inOnce`), then `stored` until its message is shown, or
/// `uncertain` if the connection was lost before the answer. The machine decides which of them may be asked and answers
/// their senders; this part keeps the state of each and the bounds that hold for all of them.
struct RoomSends: Sendable {
    private var queue = FIFO<PendingSend>()
    /// The sends with a client's key, by user and key: a repetition is added to the first try.
    private var keys: [SendKey: UInt64] = [:]
    /// Sends in state `stored`, by the seq of their message.
    private var unshown = SmallDictionary<UInt64, UInt64>()
    /// Sends in state `appending`.
    private(set) var unanswered = 0
    /// The epoch of the newest append.
    private var appendingEpoch: UInt64 = 0
    /// The broker refused an append of this epoch: nothing is sent until a newer one is known. 0: none.
    private(set) var refusedEpoch: UInt64 = 0
    /// The serial of the `once` request that is not answered yet, and the epoch of the newest one.
    @Packed private var onceInFlight: UInt64?
    private var onceEpoch: UInt64 = 0
    /// No send below this number is queued.
    private var queuedFrom: UInt64 = 0
    /// The broker would not store a send: the next try comes then.
    @Packed private(set) var pausedUntil: Moment?
    /// Keys that this node made for sends without one.
    private var madeKeys: UInt64 = 0
    /// Bytes of our own messages since the log was last trimmed to its bound in bytes.
    private var bytesSinceTrim: Int

    /// `bytesSinceTrim`: other nodes may have let the log grow, so that the first trim is due early.
    init(bytesSinceTrim: Int) {
        self.bytesSinceTrim = bytesSinceTrim
    }

    // MARK: what there is

    var count: Int { queue.count }
    var isEmpty: Bool { queue.isEmpty }
    /// The numbers of all sends, oldest first.
    var numbers: [UInt64] { queue.numbers }
    /// The send with that number; nil if it is finished.
    subscript(number: UInt64) -> PendingSend? { queue[number] }
    /// A request with sends is at the broker.
    var awaitsBroker: Bool { unanswered > 0 || onceInFlight != nil }

    /// Whether the broker has refused that epoch, or a newer one.
    func isRefused(_ epoch: UInt64) -> Bool { refusedEpoch >= epoch && refusedEpoch != 0 }

    /// Whether a request in that epoch may go out beside those that are not answered yet (race 13).
    func fits(_ epoch: UInt64) -> Bool { unanswered == 0 || appendingEpoch == epoch }

    /// When the oldest send fails; nil: no send waits.
    var deadline: Moment? { queue.first { $1.isAwaited ? $1.deadline : nil } }

    /// The oldest send that somebody waits for, or that is still to be tried.
    private var oldestAwaited: UInt64? { queue.firstNumber { $0.isAwaited } }

    /// The next send to ask the broker for.
    var nextQueued: UInt64? { queue.firstNumber(from: queuedFrom) { $0.state == .queued } }

    /// The oldest queued send of the user.
    func oldestQueued(of user: UserID) -> UInt64? {
        queue.firstNumber { $0.state == .queued && $0.content.user == user }
    }

    /// The refs of all sends that the session waits for, oldest first.
    func refs(of session: SessionID) -> [Ref?] {
        queue.numbers.flatMap { number in
            queue[number]?.waiters.filter { $0.session == session }.map(\.ref) ?? []
        }
    }

    // MARK: new sends

    /// Whether a send of the user with that key is not finished.
    func holds(_ key: String, of user: UserID) -> Bool {
        keys[SendKey(user: user, key: key)].map { queue[$0] != nil } ?? false
    }

    /// Adds the waiter to the unfinished send of the user with that key. False: there is none.
    mutating func add(_ waiter: PendingSend.Waiter, toSendOf user: UserID, key: String) -> Bool {
        guard let number = keys[SendKey(user: user, key: key)], queue[number] != nil else { return false }
        queue.update(number) { $0.waiters.append(waiter) }
        return true
    }

    /// Queues a send behind all others. Returns its number.
    mutating func append(_ send: PendingSend, clientKey: String?) -> UInt64 {
        let number = queue.append(send)
        if let clientKey { keys[SendKey(user: send.content.user, key: clientKey)] = number }
        return number
    }

    /// A key for a send without one, so that this node itself can tell whether a try was stored before the connection
    /// was lost.
    ///
    /// No node enters a room with the same value as another (the last digit of the node tells values of a lost branch
    /// apart). Up to a million and a half of them in a room fit into the 15 bytes that a string keeps in place, without
    /// a heap block.
    mutating func makeKey(node: NodeID, enterValue: UInt64) -> String {
        madeKeys += 1
        let most = 2 + Self.digits36 + 1 + Self.digits36
        return withUnsafeTemporaryAllocation(of: UInt8.self, capacity: most) { bytes in
            bytes[0] = UInt8(ascii: "~")
            bytes[1] = node.text.utf8.last ?? UInt8(ascii: "0")
            var end = Self.append36(enterValue, bytes, 2)
            bytes[end] = UInt8(ascii: ".")
            end = Self.append36(madeKeys, bytes, end + 1)
            return String(decoding: bytes[..<end], as: UTF8.self)
        }
    }

    /// The most digits that a number has to the base 36.
    private static let digits36 = 13

    /// Writes the number to the base 36. Returns the index behind its last digit.
    private static func append36(_ number: UInt64, _ bytes: UnsafeMutableBufferPointer<UInt8>, _ start: Int) -> Int {
        var digits = 1
        var rest = number / 36
        while rest > 0 {
            rest /= 36
            digits += 1
        }
        rest = number
        for place in stride(from: start + digits - 1, through: start, by: -1) {
            let digit = UInt8(truncatingIfNeeded: rest % 36)
            bytes[place] = digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10
            rest /= 36
        }
        return start + digits
    }

    // MARK: asking the broker

    /// Whether queued sends may be asked in that epoch now. `mixesEpochs`: also while appends of another epoch are not
    /// answered (a rule that a test switched off).
    mutating func mayGoOut(in epoch: UInt64, mixesEpochs: Bool, now: Moment) -> Bool {
        guard onceInFlight == nil, refusedEpoch < epoch, mixesEpochs || fits(epoch) else { return false }
        if let pausedUntil {
            guard pausedUntil <= now else { return false }
            self.pausedUntil = nil
        }
        return true
    }

    /// The queued send goes out as an append in that epoch. `last`: the newest message shown.
    mutating func appends(_ number: UInt64, in epoch: UInt64, last: Position?) {
        queue.update(number) {
            $0.state = .appending(epoch: epoch)
            if $0.since == nil { $0.since = last }
        }
        unanswered += 1
        appendingEpoch = epoch
    }

    /// All sends up to this one have been asked, or are finished.
    mutating func passed(_ number: UInt64) { queuedFrom = number + 1 }

    /// The queued send goes out in the `once` request with that serial.
    mutating func goesOnce(_ number: UInt64, serial: UInt64, last: Position) {
        queue.update(number) {
            $0.state = .inOnce(serial: serial)
            if $0.since == nil && !$0.said { $0.since = last }
        }
    }

    /// The `once` request went out.
    mutating func onceBegan(serial: UInt64, in epoch: UInt64) {
        onceInFlight = serial
        onceEpoch = epoch
    }

    // MARK: answers

    /// The append of that send has an answer. Returns its content and the epoch of the append; nil: no append of it
    /// waits for an answer.
    mutating func appendAnswered(_ number: UInt64) -> (content: MessageContent, epoch: UInt64)? {
        var answered: (content: MessageContent, epoch: UInt64)?
        queue.update(number) { if case .appending(let epoch) = $0.state { answered = ($0.content, epoch) } }
        if answered != nil { unanswered -= 1 }
        return answered
    }

    mutating func onceAnswered(serial: UInt64) {
        if onceInFlight == serial { onceInFlight = nil }
    }

    /// The broker has a newer epoch than that of the append.
    mutating func refused(_ epoch: UInt64) { refusedEpoch = max(refusedEpoch, epoch) }

    /// The broker has a newer epoch than that of the newest `once`.
    mutating func onceRefused() { refused(onceEpoch) }

    /// The broker would not store a send: nothing goes out before that moment.
    mutating func pause(until moment: Moment) { pausedUntil = moment }

    /// The send is certainly not stored: it is tried again, unless nobody waits for it.
    mutating func requeue(_ number: UInt64) {
        queue.update(number) { $0.state = .queued }
        queuedFrom = min(queuedFrom, number)
        if queue[number]?.waiters.isEmpty == true { remove(number) }
    }

    /// It is not known whether the send was stored: ``settleUncertain(goesOnce:)`` decides after the next `enter`.
    mutating func doubt(_ number: UInt64) { queue.update(number) { $0.state = .uncertain } }

    /// The send is in the log. It is answered when its message has been shown.
    mutating func stored(_ number: UInt64, at position: Position, repeated: Bool, said: UInt64) {
        queue.update(number) { $0.state = .stored(position, repeated: repeated, at: said) }
        unshown[position.seq] = number
    }

    /// Whether a send waits for its message to be shown.
    var hasUnshown: Bool { !unshown.isEmpty }

    /// The seqs at which sends wait for their messages, in order.
    func unshown(after first: UInt64, through last: UInt64) -> [UInt64] {
        unshown.isEmpty ? [] : unshown.keys.filter { $0 > first && $0 <= last }.sorted()
    }

    /// The send whose message at that position was shown, and what its sender is told; nil: it is not ours, or not
    /// stored there.
    func storedSend(at position: Position) -> (number: UInt64, repeated: Bool, at: UInt64)? {
        guard let number = unshown[position.seq],
            case .stored(position, let repeated, let at)? = queue[number]?.state
        else { return nil }
        return (number, repeated, at)
    }

    /// After `enter`: a stored send whose message was not part of what was read may be lost.
    mutating func doubtUnshown() {
        for number in unshown.values { doubt(number) }
        unshown = SmallDictionary()
    }

    /// After `enter`: what was at the broker when the connection was lost is in what was just read, or is tried again.
    /// `goesOnce`: through `once`, which does not store it twice.
    mutating func settleUncertain(goesOnce: Bool) {
        for number in queue.numbers where queue[number]?.state == .uncertain {
            guard queue[number]?.waiters.isEmpty == false else {
                remove(number)
                continue
            }
            queuedFrom = min(queuedFrom, number)
            queue.update(number) {
                $0.state = .queued
                $0.again = goesOnce
                $0.said = goesOnce
            }
        }
        onceInFlight = nil
    }

    /// A message of ours is in the log. True: as many bytes of them are as the log may grow before it is trimmed.
    mutating func noteAppended(bytes: Int, trimAfter most: Int) -> Bool {
        bytesSinceTrim += bytes
        guard bytesSinceTrim > most else { return false }
        bytesSinceTrim = 0
        return true
    }

    // MARK: ends

    /// The send is finished, or given up. Returns it; nil: it was before.
    @discardableResult
    mutating func remove(_ number: UInt64) -> PendingSend? {
        guard let send = queue.remove(number) else { return nil }
        if case .stored(let position, _, _) = send.state, unshown[position.seq] == number {
            unshown[position.seq] = nil
        }
        if let key = send.content.clientKey {
            let id = SendKey(user: send.content.user, key: key)
            if keys[id] == number { keys[id] = nil }
        }
        return send
    }

    mutating func removeAll() {
        for number in queue.numbers { remove(number) }
    }

    /// The session is gone. `drops`: what it alone waits for and is not at the broker is dropped, so that its
    /// repetition at another node remains the only try (race 3).
    mutating func forget(_ session: SessionID, drops: Bool) {
        for number in queue.numbers {
            queue.update(number) { $0.waiters.remove(session) }
            guard let send = queue[number], send.waiters.isEmpty else { continue }
            switch send.state {
            case .queued, .uncertain, .stored: if drops { remove(number) }
            case .appending, .inOnce: break
            }
        }
    }

    /// The waiters of the oldest send if its deadline has passed; nil: no send has expired. A send whose answer is
    /// still to come is kept without waiters.
    mutating func takeExpired(now: Moment) -> PendingSend.Waiters? {
        guard let number = oldestAwaited, let send = queue[number], send.deadline <= now else { return nil }
        queue.update(number) { $0.waiters.removeAll() }
        switch send.state {
        case .queued, .uncertain, .stored: remove(number)
        case .appending, .inOnce: break
        }
        return send.waiters
    }

    // MARK: the room's life

    /// The room was entered at that epoch, which is above all others: an older refusal says nothing about it, and a
    /// newer one was of a log that is gone.
    mutating func entered(_ epoch: UInt64) {
        if refusedEpoch >= epoch { refusedEpoch = 0 }
    }

    mutating func endPause(now: Moment) {
        if let until = pausedUntil, until <= now { pausedUntil = nil }
    }

    /// Releases the spare capacity of empty collections (500 bytes in a quiet room).
    mutating func releaseMemory() {
        queue.releaseMemory()
        if keys.isEmpty { keys = [:] }
    }
}

// MARK: a room at rest

extension RoomSends {
    /// No send waits for anything.
    var isIdle: Bool {
        queue.isEmpty && unanswered == 0 && unshown.isEmpty && keys.isEmpty && onceInFlight == nil
    }

    /// Nothing was put off. Ask after ``forgetWhatIsOver(epoch:now:)``.
    var isAtEase: Bool { pausedUntil == nil && refusedEpoch == 0 }

    /// Forgets what has no effect any more while the room is idle.
    mutating func forgetWhatIsOver(epoch: UInt64, now: Moment) {
        endPause(now: now)
        if refusedEpoch < epoch { refusedEpoch = 0 }
        appendingEpoch = 0
        onceEpoch = 0
        queuedFrom = queue.nextNumber
    }

    func pack(into packed: inout PackedBytesWriter) {
        packed.add(queue.nextNumber)
        packed.add(madeKeys)
        packed.add(UInt64(bytesSinceTrim))
    }

    init(_ packed: inout PackedBytesReader) {
        queue = FIFO(nextNumber: packed.number())
        queuedFrom = queue.nextNumber
        madeKeys = packed.number()
        bytesSinceTrim = Int(clamping: packed.number())
    }
}

// MARK: invariants

extension RoomSends {
    /// Checked after each event in debug builds.
    func assertInvariants() {
        assert(
            unanswered
                == queue.numbers.count { number in
                    if case .appending? = queue[number]?.state { true } else { false }
                }, "`unanswered` counts the sends in state `appending`")
        assert(queue.firstNumber { $0.state == .queued }.map { $0 >= queuedFrom } ?? true, "a queued send was passed")
        assert(
            unshown.allSatisfy { entry in
                if case .stored(let position, _, _)? = queue[entry.value]?.state {
                    position.seq == entry.key
                } else {
                    false
                }
            }, "`unshown` lists only sends that are stored at that seq")
        assert(keys.values.allSatisfy { queue[$0] != nil }, "a key belongs to a send that is not finished")
        assert(bytesSinceTrim >= 0)
    }
}
