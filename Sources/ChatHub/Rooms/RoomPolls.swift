import ChatCore
import HeapModule

/// A reader who is not in the room and waits for messages: a long poll.
public struct PollRequest: Sendable {
    public var room: RoomName
    /// The newest message that the reader has; nil: everything up to now.
    public var after: Position?
    /// The most messages in the answer.
    public var limit: Int
    /// The user whose sanctions count; nil for a reader whom nobody can ban.
    public var user: UserID?
    /// When it is answered with nothing.
    public var until: Moment

    public init(room: RoomName, after: Position?, limit: Int, user: UserID?, until: Moment) {
        self.room = room
        self.after = after
        self.limit = limit
        self.user = user
        self.until = until
    }
}

/// The polls of one room, on its home loop.
final class RoomPolls {
    enum State {
        /// What came after its position is not known yet.
        case unsettled
        /// The log is being read.
        case reading
        /// Nothing came after this position.
        case waiting(after: Position)
    }

    struct Poll {
        let request: PollRequest
        var state: State
        let then: (Result<Arrivals, WireError>) -> Void
    }

    var all: [UInt64: Poll] = [:]
    /// Those whose position was not compared with the room yet.
    var unsettled: [UInt64] = []
    /// The messages that were shown since polls were answered last.
    private(set) var arrived: [Message] = []
    /// They follow this gap.
    var gap: Gap?
    /// Those for which the log is being read, by the position after which it is read.
    var reading: [Position: [UInt64]] = [:]

    /// A message is shown to the room's sessions.
    func shown(_ message: Message) { arrived.append(message) }

    var hasNews: Bool { !arrived.isEmpty || gap != nil }

    func takeNews() -> (messages: [Message], gap: Gap?) {
        defer {
            arrived = []
            gap = nil
        }
        return (arrived, gap)
    }
}

/// All polls of a loop, and when each is to be answered at the latest.
struct WaitingPolls {
    private struct Deadline: Comparable {
        var moment: Moment
        var poll: UInt64

        static func < (left: Deadline, right: Deadline) -> Bool { left.moment < right.moment }
    }

    private var rooms: [UInt64: RoomName] = [:]
    private var deadlines = Heap<Deadline>()
    private var last: UInt64 = 0

    var count: Int { rooms.count }
    var nextDeadline: Moment? { deadlines.min?.moment }
    var names: Set<RoomName> { Set(rooms.values) }

    mutating func add(_ room: RoomName, until: Moment) -> UInt64 {
        last += 1
        rooms[last] = room
        deadlines.insert(Deadline(moment: until, poll: last))
        // Most polls are answered before their time; their deadlines are dropped when they are the greater part.
        if deadlines.count > 2 * rooms.count + 64 {
            deadlines = Heap(deadlines.unordered.filter { rooms[$0.poll] != nil })
        }
        return last
    }

    func room(of poll: UInt64) -> RoomName? { rooms[poll] }

    mutating func remove(_ poll: UInt64) { rooms[poll] = nil }

    /// The next poll whose time is over.
    mutating func popDue(_ now: Moment) -> UInt64? {
        while let first = deadlines.min, first.moment <= now {
            deadlines.removeMin()
            if rooms[first.poll] != nil { return first.poll }
        }
        return nil
    }
}
