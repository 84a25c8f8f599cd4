import ChatCore

/// What a room on its home loop knows of its participants' reading, and who watches it. Most rooms have none.
final class RoomReading {
    /// Nil if the room has no participants.
    var receipts: RoomReceipts?
    var watch = HeadWatch()
    /// Marks that were heard before the answer of Redis that says that these users are participants.
    private var early: [UserID: ReadMark] = [:]
    /// As many as a room may have participants, whatever its channel says.
    private static let mostEarly = 1_000

    var isEmpty: Bool { receipts == nil && watch.isEmpty && early.isEmpty }

    /// Others have read, or Redis has stored what was read here. Returns the marks that are new.
    func heard(_ marks: [UserID: ReadMark]) -> [UserID: ReadMark] {
        for (user, mark) in marks where !(receipts?.isParticipant(user) ?? false) && early.count < Self.mostEarly {
            if mark.position.seq > early[user]?.position.seq ?? 0 { early[user] = mark }
        }
        return receipts?.heard(marks) ?? [:]
    }

    /// The room has no participants.
    func hasNoParticipants() { (receipts, early) = (nil, [:]) }

    /// The room was read: what was heard before belongs to participants, or to nobody. Returns the marks that are new.
    func settleEarly(isVoid: (Position) -> Bool) -> [UserID: ReadMark] {
        defer { early = [:] }
        return receipts?.heard(early.filter { !isVoid($0.value.position) }) ?? [:]
    }
}

/// What is to be done about reading, of all rooms of a loop.
struct LoopReading {
    var collector = ReadCollector()
    /// The rooms whose watchers were told, and when the pause after that ends. In that order.
    var pauses: [(room: RoomName, ends: Moment)] = []
    private var firstPause = 0
    /// Requests that wait for what became of a position.
    private var callers: [UInt64: (Result<ReadOutcome, WireError>) -> Void] = [:]
    private var lastCaller: UInt64 = 0

    /// The next moment at which something is due.
    var deadline: Moment? {
        let pause = firstPause < pauses.count ? pauses[firstPause].ends : nil
        guard let read = collector.deadline else { return pause }
        return pause.map { min($0, read) } ?? read
    }

    mutating func paused(_ room: RoomName, until ends: Moment) { pauses.append((room, ends)) }

    /// A room whose pause has ended.
    mutating func popPause(now: Moment) -> RoomName? {
        guard firstPause < pauses.count, pauses[firstPause].ends <= now else { return nil }
        let room = pauses[firstPause].room
        firstPause += 1
        if firstPause == pauses.count || firstPause > 1_024 {
            pauses.removeFirst(firstPause)
            firstPause = 0
        }
        return room
    }

    mutating func add(_ then: @escaping (Result<ReadOutcome, WireError>) -> Void) -> UInt64 {
        lastCaller += 1
        callers[lastCaller] = then
        return lastCaller
    }

    mutating func take(_ caller: UInt64) -> ((Result<ReadOutcome, WireError>) -> Void)? {
        callers.removeValue(forKey: caller)
    }
}
