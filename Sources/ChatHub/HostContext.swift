import ChatCore

/// What both hosts of a loop need of the node around them. A node implements it with an event loop, the simulator with
/// virtual time.
///
/// Not thread-safe: everything is called on the hosts' loop.
public protocol HostContext: AnyObject {
    /// A clock that never goes back.
    var now: Moment { get }
    /// Milliseconds since 1970, for the time that a message was said at.
    var wallClock: UInt64 { get }
    /// Runs the body on the home loop of a room, with that loop's rooms: at once if it is this loop.
    func atHome(_ loop: Int, _ body: @escaping @Sendable (RoomHost) -> Void)
}

/// What a ``RoomHost`` needs.
public protocol RoomHostContext: HostContext {
    /// Has ``RoomHost/timersDue()`` called at that moment, or earlier. Only the earliest moment counts.
    func wake(at moment: Moment)
    /// Has the body called later on this loop.
    func schedule(after delay: Duration, _ body: @escaping () -> Void)
    /// Hands the deliveries of one tick to the sessions of that loop, in their order. `made`: when the first was made.
    func hand(_ batch: [Delivery], to loop: Int, made: Moment)
    /// A send was stored. Answers the session by ``RoomHost/post(_:to:)``, at once or when replicas have confirmed it.
    func answerStored(_ session: SessionID, _ event: ServerEvent, in room: RoomName)
    /// The room's log lists these nodes.
    func sawNodes(_ nodes: [NodeID: UInt64], in room: RoomName)
    func counted(_ counter: RoomCounter, in room: RoomName)
    /// A client's join with a position was answered.
    func recovered(_ resumption: Resumption)
    /// What rooms receive and do is written down (`MARTLET_LOG_LEVEL=trace`).
    var isTracing: Bool { get }
    func trace(_ text: String, in room: RoomName)
}

/// What a ``SessionHost`` needs.
public protocol SessionHostContext: HostContext {
    /// Asks the broker; `then` is called once, later, on this loop.
    func ask(_ request: BrokerRequest, _ then: @escaping (Result<BrokerReply, BrokerError>) -> Void)
    /// A limit refused a request.
    func refused(by limit: HubLimit)
    /// What a session did, for the log at debug level.
    func noted(_ deed: SessionDeed, by session: SessionID)
    /// So long after the first delivery of a batch was made, all of it was handed to the sessions.
    func fannedOut(after time: Duration)
}

/// What a session did that an operator may look for.
public enum SessionDeed: Sendable {
    case opened(UserID, DeviceName)
    case joined(RoomName, at: Position)
    case left(RoomName)
}

extension SessionHostContext {
    public func noted(_ deed: SessionDeed, by session: SessionID) {}
}

extension RoomHostContext {
    public var isTracing: Bool { false }
    public func trace(_ text: String, in room: RoomName) {}
}
