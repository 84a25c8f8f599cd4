/// Collects what users have read, so that Redis is asked once for all users of a room and not once for each message
/// that somebody reads. Pure: one for each loop of a node.
///
/// - What was read goes out at most ``wait`` after the first of a room, or at once when ``flush(_:)`` is called, as the
///   last session of the room has left. What was read only because the user said it waits for ``ownWait``, and while
///   many rooms wait for ``busyOwnWait``: others see that by the message itself, so it may share the call with what is
///   read next.
/// - Of each user the highest position counts. One call of a room is at the broker at a time.
/// - A call that has no answer, or that Redis refused, is made again: reading twice changes nothing. Meanwhile, and
///   when the room is given up, what was read stays here.
/// - It is bounded: ``mostUsers`` of all rooms, and ``mostWaiters`` of a room.
public struct ReadCollector: Sendable {
    /// Who is told what became of a position.
    public enum Waiter: Sendable, Hashable {
        case session(SessionID, Ref)
        /// A request that waits on this loop.
        case caller(UInt64)
    }

    /// What the caller is to do, in that order.
    public enum Action: Sendable, Equatable {
        /// Ask the broker; when it has answered: ``answered(_:in:now:_:)``.
        case ask(RoomName, [UserRead])
        case tell(Waiter, RoomName, Result<ReadOutcome, WireError>)
        /// The user has read the room up to there: to be told to the user's devices on other nodes. (Not for a message
        /// that the user said.)
        case noticed(RoomName, UserID, ReadMark, unread: UInt64)
        /// These marks are stored now.
        case stored(RoomName, [UserID: ReadMark])
    }

    private struct Pending: Sendable {
        var position: Position
        /// Whether the user said it, and has not read beyond it.
        var isOwn: Bool
        var waiters: [Waiter] = []
    }

    private struct Room: Sendable {
        var users: [UserID: Pending] = [:]
        /// What is at the broker.
        var asked: [(user: UserID, pending: Pending)] = []
        /// When the next call goes out; nil: there is nothing to say.
        var due: Moment?
        /// How often in a row the call failed.
        var failures = 0
        var waiters = 0
    }

    /// How long what was read waits for more of the same room.
    public static let wait: Duration = .milliseconds(500)
    /// The same of what was read only because the user said it. It bounds what the loss of a node takes from a user.
    public static let ownWait: Duration = .seconds(1)
    /// The same while ``manyRooms`` rooms wait. It bounds what sparse messages in many rooms cost, where each would
    /// otherwise have a call of its own, which is dearer than the message.
    public static let busyOwnWait: Duration = .seconds(10)
    static let manyRooms = 100
    /// The most users, counted once for each room.
    public static let mostUsers = 100_000
    /// The most requests that wait for an answer in one room.
    public static let mostWaiters = 1_000
    /// How long a refused call waits before it is made again.
    private static let retry = ownWait

    /// Rooms whose calls are due after the same time, in that order. An entry counts as long as its room still has that
    /// moment; so replacing one costs nothing.
    private struct Queue: Sendable {
        private var entries = FIFO<(due: Moment, room: RoomName)>()

        mutating func add(_ room: RoomName, due: Moment) { entries.append((due, room)) }

        /// The first entry that counts.
        mutating func first(_ counts: (RoomName, Moment) -> Bool) -> (due: Moment, room: RoomName)? {
            while let entry = entries.first {
                if counts(entry.room, entry.due) { return entry }
                _ = entries.popFirst()
            }
            return nil
        }
    }

    private var rooms: [RoomName: Room] = [:]
    private var soon = Queue()
    private var afterASecond = Queue()
    private var later = Queue()
    /// The users in ``rooms``, those at the broker included.
    public private(set) var count = 0

    public init() {}

    /// When ``timePassed(now:_:)`` is to be called; nil: not before the next event.
    public private(set) var deadline: Moment?

    /// Whether something was read that the broker has not confirmed.
    public var isEmpty: Bool { rooms.isEmpty }

    // MARK: events

    /// A user has read the room up to that position. `isOwn`: by saying the message there. Returns false if too much
    /// waits already; then nothing is noted.
    public mutating func read(
        _ room: RoomName, _ user: UserID, _ position: Position, isOwn: Bool = false, waiter: Waiter? = nil, now: Moment
    ) -> Bool {
        var entry = rooms[room] ?? Room()
        if entry.users[user] == nil {
            guard count < Self.mostUsers else { return false }
        }
        if waiter != nil {
            guard entry.waiters < Self.mostWaiters else { return false }
            entry.waiters += 1
        }
        if entry.users[user] == nil { count += 1 }
        var pending = entry.users[user] ?? Pending(position: position, isOwn: isOwn)
        // A position of another epoch may be of a lost branch: the broker knows which of the two is further.
        if position > pending.position {
            pending.position = position
            pending.isOwn = isOwn
        }
        if !isOwn { pending.isOwn = false }
        if let waiter { pending.waiters.append(waiter) }
        entry.users[user] = pending
        rooms[room] = entry
        let ownWait = rooms.count > Self.manyRooms ? Self.busyOwnWait : Self.ownWait
        schedule(room, after: isOwn ? ownWait : Self.wait, now: now)
        return true
    }

    /// Nobody of the room is left here, or the node leaves: what was read goes out at once.
    public mutating func flush(_ room: RoomName, now: Moment, _ actions: inout [Action]) {
        guard rooms[room]?.due != nil else { return }
        ask(room, now: now, &actions)
    }

    /// The same for all rooms.
    public mutating func flushAll(now: Moment, _ actions: inout [Action]) {
        for room in rooms.keys.sorted(by: { $0.text < $1.text }) { flush(room, now: now, &actions) }
    }

    /// ``deadline`` has come.
    public mutating func timePassed(now: Moment, _ actions: inout [Action]) {
        while let next = next(), next.due <= now {
            rooms[next.room]?.due = nil
            ask(next.room, now: now, &actions)
        }
        setDeadline()
    }

    /// The connection to the broker is back: what failed goes out again.
    public mutating func connected(now: Moment, _ actions: inout [Action]) {
        for room in rooms.keys.sorted(by: { $0.text < $1.text }) where rooms[room]?.failures ?? 0 > 0 {
            ask(room, now: now, &actions)
        }
        setDeadline()
    }

    /// The broker has answered the call for that room, or never will.
    public mutating func answered(
        _ result: Result<[ReadOutcome], BrokerError>, in room: RoomName, now: Moment, _ actions: inout [Action]
    ) {
        guard var entry = rooms[room], !entry.asked.isEmpty else { return }
        let asked = entry.asked
        entry.asked = []
        switch result {
        case .success(let outcomes) where outcomes.count == asked.count:
            entry.failures = 0
            count -= asked.count
            var stored: [UserID: ReadMark] = [:]
            for ((user, pending), outcome) in zip(asked, outcomes) {
                if outcome.result == .read, let mark = outcome.mark {
                    stored[user] = mark
                    if !pending.isOwn { actions.append(.noticed(room, user, mark, unread: outcome.unread)) }
                }
                entry.waiters -= pending.waiters.count
                for waiter in pending.waiters { actions.append(.tell(waiter, room, .success(outcome))) }
            }
            if !stored.isEmpty { actions.append(.stored(room, stored)) }
        case .success, .failure(.malformed), .failure(.missing), .failure(.refused), .failure(.again),
            .failure(.forbidden):
            // It would fail again.
            count -= asked.count
            let error = if case .failure(let error) = result { error } else { BrokerError.malformed("") }
            giveUp(asked, of: room, error.readError, &entry, &actions)
        case .failure(.notStored), .failure(.notConnected), .failure(.outcomeUnknown):
            entry.failures += 1
            putBack(asked, &entry)
            if entry.failures >= Self.patience { tellWaiters(of: &entry, room, result.error.readError, &actions) }
            rooms[room] = entry
            return schedule(room, after: Self.retry, now: now)
        }
        rooms[room] = entry.users.isEmpty ? nil : entry
    }

    /// After so many failures those who wait are told, though the positions are kept.
    private static let patience = 3

    // MARK: parts

    private mutating func ask(_ room: RoomName, now: Moment, _ actions: inout [Action]) {
        guard var entry = rooms[room], entry.asked.isEmpty else {
            // It goes out after the answer to the call before it.
            return schedule(room, after: Self.retry, now: now)
        }
        let users = entry.users.keys.sorted { $0.text < $1.text }.prefix(ReadingRequest.mostReads)
        for user in users {
            if let pending = entry.users.removeValue(forKey: user) { entry.asked.append((user, pending)) }
        }
        entry.due = nil
        actions.append(.ask(room, entry.asked.map { UserRead($0.user, $0.pending.position) }))
        rooms[room] = entry
        if !entry.users.isEmpty { schedule(room, after: Self.wait, now: now) }
    }

    /// What was asked is to be asked again, together with what was read since.
    private mutating func putBack(_ asked: [(user: UserID, pending: Pending)], _ entry: inout Room) {
        for (user, pending) in asked {
            guard var later = entry.users[user] else {
                entry.users[user] = pending
                continue
            }
            count -= 1
            later.waiters = pending.waiters + later.waiters
            if pending.position > later.position { later.position = pending.position }
            later.isOwn = later.isOwn && pending.isOwn
            entry.users[user] = later
        }
    }

    private mutating func giveUp(
        _ asked: [(user: UserID, pending: Pending)], of room: RoomName, _ error: WireError, _ entry: inout Room,
        _ actions: inout [Action]
    ) {
        for (_, pending) in asked {
            entry.waiters -= pending.waiters.count
            for waiter in pending.waiters { actions.append(.tell(waiter, room, .failure(error))) }
        }
    }

    private func tellWaiters(
        of entry: inout Room, _ room: RoomName, _ error: WireError, _ actions: inout [Action]
    ) {
        for (user, pending) in entry.users.sorted(by: { $0.key.text < $1.key.text }) where !pending.waiters.isEmpty {
            entry.users[user]?.waiters = []
            entry.waiters -= pending.waiters.count
            for waiter in pending.waiters { actions.append(.tell(waiter, room, .failure(error))) }
        }
    }

    /// The room's next call goes out after that time, unless one is due before.
    private mutating func schedule(_ room: RoomName, after time: Duration, now: Moment) {
        let due = now + time
        guard let entry = rooms[room], entry.due.map({ $0 > due }) ?? true else { return }
        rooms[room]?.due = due
        switch time {
        case Self.wait: soon.add(room, due: due)
        case Self.ownWait, Self.retry: afterASecond.add(room, due: due)
        default: later.add(room, due: due)
        }
        deadline = deadline.map { min($0, due) } ?? due
    }

    /// The call that is due first.
    private mutating func next() -> (due: Moment, room: RoomName)? {
        let rooms = rooms
        let counts = { (room: RoomName, due: Moment) in rooms[room]?.due == due }
        return [soon.first(counts), afterASecond.first(counts), later.first(counts)].compactMap { $0 }
            .min { $0.due < $1.due }
    }

    private mutating func setDeadline() { deadline = next()?.due }
}

extension BrokerError {
    fileprivate var readError: WireError {
        switch self {
        case .notStored(let text): WireError(.notStored, "read: redis refuses: \(text)")
        case .forbidden(let error): error
        case .malformed: WireError(.internalError, "read: redis sent an answer that could not be parsed")
        case .refused, .missing, .notConnected, .again, .outcomeUnknown:
            WireError(.unavailable, "read: redis did not answer in time")
        }
    }
}

extension Result<[ReadOutcome], BrokerError> {
    fileprivate var error: BrokerError { if case .failure(let error) = self { error } else { .outcomeUnknown } }
}
