import ChatCore

/// The services of the node that both hosts of a loop need. A node implements it with an event loop, the simulator with
/// virtual time.
///
/// Not thread-safe: everything is called on the hosts' loop.
public protocol HostContext: AnyObject {
    /// A monotonic clock.
    var now: Moment { get }
    /// Milliseconds since 1970, for the time of a message.
    var wallClock: UInt64 { get }
    /// Runs the body on the home loop of a room, with that loop's rooms: at once if it is this loop.
    func atHome(_ loop: Int, _ body: @escaping @Sendable (RoomHost) -> Void)
    /// Runs the body on the home loop of a user, with that loop's users: at once if it is this loop.
    func atHome(of user: UserID, _ body: @escaping @Sendable (UserHost) -> Void)
    /// These rooms as lines of a participant's inbox, as far as the node knows them; nil where the broker has to be
    /// asked. `then` is called once, at once or later, on this loop, with a place for each room.
    func heads(of rooms: [RoomName], for user: UserID, _ then: @escaping ([RoomHead?]) -> Void)
    /// Asks the broker; `then` is called once, later, on this loop.
    func ask(_ request: BrokerRequest, _ then: @escaping (Result<BrokerReply, BrokerError>) -> Void)
    /// Calls the body later on this loop.
    func schedule(after delay: Duration, _ body: @escaping () -> Void)
}

extension HostContext {
    /// For a node with one loop.
    public func atHome(of user: UserID, _ body: @escaping @Sendable (UserHost) -> Void) {
        atHome(0) { body($0.users) }
    }

    /// For a node without rooms.
    public func heads(of rooms: [RoomName], for user: UserID, _ then: @escaping ([RoomHead?]) -> Void) {
        then(Array(repeating: nil, count: rooms.count))
    }
}

/// The services that a ``RoomHost`` needs.
public protocol RoomHostContext: HostContext {
    /// Calls ``RoomHost/timersDue()`` at that moment, or earlier. Only the earliest moment counts.
    func wake(at moment: Moment)
    /// Hands the deliveries of one tick to the sessions of that loop, in order. `made`: when the first was made.
    func hand(_ batch: [Delivery], to loop: Int, made: Moment)
    /// A send was stored. Answers the session by ``RoomHost/post(_:to:)``, at once or when replicas have confirmed it.
    func answerStored(_ session: SessionID, _ event: ServerEvent, in room: RoomName)
    /// The room's log lists these nodes.
    func sawNodes(_ nodes: [NodeID: UInt64], in room: RoomName)
    func counted(_ counter: RoomCounter, in room: RoomName)
    /// The broker is asked to store what so many users have read.
    func counted(reads: Int)
    /// A message had a word of the node's list.
    func screened(_ outcome: WordScreen.Outcome)
    /// Asks the operator's hook about a message. The answer is passed to ``RoomHost/hookAnswered(_:_:)``, later.
    func askHook(_ number: UInt64, about content: MessageContent, in room: RoomName)
    /// The answer to that question no longer matters.
    func abandonHook(_ number: UInt64)
    /// A message goes on with that decision of the hook.
    func decided(_ decision: HookDecision)
    /// A limit refused a request.
    func refused(by limit: HubLimit)
    /// A client's join with a position was answered, for the count of such answers.
    func recovered(_ resumption: Resumption)
    /// Whether the events and actions of rooms are logged (`MARTLET_LOG_LEVEL=trace`).
    var isTracing: Bool { get }
    func trace(_ text: String, in room: RoomName)
}

/// The services that a ``SessionHost`` needs.
public protocol SessionHostContext: HostContext {
    /// A limit refused a request.
    func refused(by limit: HubLimit)
    /// A session has made a request without this right.
    func forbade(_ right: Rights)
    /// Logs an action of a session at debug level.
    func noted(_ deed: SessionDeed, by session: SessionID)
    /// All of a batch was handed to the sessions, `time` after its first delivery was made.
    func fannedOut(after time: Duration)
}

/// An action of a session that an operator may look for.
public enum SessionDeed: Sendable {
    case opened(UserID, DeviceName)
    case joined(RoomName, at: Position)
    case left(RoomName)
    case removed(RoomName, Removal.Reason)
}

extension SessionHostContext {
    public func noted(_ deed: SessionDeed, by session: SessionID) {}
    public func forbade(_ right: Rights) {}
}

extension RoomHostContext {
    public func counted(reads: Int) {}
    public func screened(_ outcome: WordScreen.Outcome) {}
    public func askHook(_ number: UInt64, about content: MessageContent, in room: RoomName) {}
    public func abandonHook(_ number: UInt64) {}
    public func decided(_ decision: HookDecision) {}
    public var isTracing: Bool { false }
    public func trace(_ text: String, in room: RoomName) {}
}
