/// One local session in a room, as the room sees it.
struct RoomMember: Sendable {
    enum State: Sendable, Equatable {
        /// Its join waits for the room to be entered, or for a read of the log. (Indirect: a member is hardly ever in
        /// this state, and a room has many members.)
        indirect case waiting(PendingJoin)
        /// It is shown each message.
        case live
    }

    var user: UserID
    var device: DeviceName
    var state: State
    /// When the session began: a young one may repeat a send of an earlier session (race 3).
    var since: Moment
    /// Sends of this session that wait for their answer. Their number is within the room's bound, which is far below
    /// 2³¹.
    var waitingSends: Int32 = 0
    /// It joined with a position, so it may repeat sends without saying so.
    var resumed: Bool
}

/// A `join` that is not answered yet.
struct PendingJoin: Sendable, Equatable {
    var ref: Ref?
    var after: Position?
    var history: Int
    var deadline: Moment
    /// A read of the log has begun, or ended, since the join came. After it, a position ahead of ours does not mean
    /// that we lag.
    var asked = false
    var viewed = false
    /// The serial of the read of messages older than our memory that serves this join.
    var askedOlder: UInt64?
}
