/// One local session in a room, as the room sees it.
struct RoomMember: Sendable {
    enum State: Sendable, Equatable {
        /// Its join waits: for the room to be entered, or for a read of the log. (Indirect: a member is hardly ever in this state, and
        /// a room holds a lot of members.)
        indirect case waiting(PendingJoin)
        /// It is shown every message.
        case live
    }

    var user: UserID
    var device: DeviceName
    var state: State
    /// When the session began: young ones may be repeating a send of an earlier one (race 3).
    var since: Moment
    /// Sends of this session that wait for their answer: never more than the room's, of which there are far fewer than 2³¹.
    var waitingSends: Int32 = 0
    /// It came back with a position, so it may repeat sends without saying so.
    var resumed: Bool
}

/// A `join` that is not answered yet.
struct PendingJoin: Sendable, Equatable {
    var ref: Ref?
    var after: Position?
    var history: Int
    var deadline: Moment
    /// The log is being, and was, read since the join came: then a position ahead of us is no longer our lag.
    var asked = false
    var viewed = false
    /// The read of messages older than our memory that serves this join.
    var askedOlder: UInt64?
}

/// A `join` as it reaches the room.
public struct JoinRequest: Sendable, Equatable {
    public var session: SessionID
    public var user: UserID
    public var device: DeviceName
    /// When the session began.
    public var since: Moment
    public var ref: Ref?
    public var after: Position?
    /// How many recent messages are wanted when `after` is nil or void.
    public var history: Int

    public init(
        session: SessionID, user: UserID, device: DeviceName, since: Moment, ref: Ref? = nil, after: Position? = nil,
        history: Int = 0
    ) {
        self.session = session
        self.user = user
        self.device = device
        self.since = since
        self.ref = ref
        self.after = after
        self.history = history
    }
}

/// A send that has no final answer yet.
struct PendingSend: Sendable {
    enum State: Sendable, Equatable {
        /// Certainly not stored.
        case queued
        /// Sent as an append in this epoch, or in the `once` request with this serial.
        case appending(epoch: UInt64)
        case inOnce(serial: UInt64)
        /// In the log, but not shown yet: answered when it is, so that whoever was answered is covered by our memory and by the
        /// verdict on what was shown, should Redis lose it. `at`: when it was said, if it had been stored before.
        case stored(Position, repeated: Bool, at: UInt64)
        /// Sent, and the connection went before the answer came: settled after the next `enter`.
        case uncertain
    }

    struct Waiter: Sendable, Equatable {
        var session: SessionID
        var ref: Ref?
    }

    var content: MessageContent
    var state: State = .queued
    /// Goes through `martlet_once`: its first try may have been stored.
    var again: Bool
    /// The client itself says that it is a repetition.
    var said: Bool
    var since: Position?
    var deadline: Moment
    /// Who is answered; empty when all of them have gone or were told `unavailable`.
    var waiters: [Waiter]
}
