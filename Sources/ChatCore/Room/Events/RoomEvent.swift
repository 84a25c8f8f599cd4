/// Everything that can happen to a room on one node. The runner of a ``RoomStateMachine`` (a home loop, or the
/// simulator) passes each event to ``RoomStateMachine/handle(_:now:_:)`` and carries out the actions that follow.
///
/// An event is a value, so that it can be compared, logged (``traceText``) and stored. The cases are not indirect: an
/// event is passed by reference on the stack, and a heap allocation for each `send` would cost more than its 136 bytes
/// there.
public enum RoomEvent: Sendable, Equatable {
    // MARK: from a session

    /// A session wants to be in the room, or is in it and wants to catch up once more.
    case join(JoinRequest)
    /// A session leaves the room, or its connection is gone. Ignored if the session is not in the room.
    case leave(SessionID)
    /// A member says something. `at`: the node's clock when it was said, in ms since 1970.
    case send(SendRequest, ref: Ref?, from: SessionID, at: UInt64)
    /// A member signals (typing): to all sessions here, and to other nodes by the channel. Never stored.
    case signal(name: String, data: String?, ref: Ref?, from: SessionID)
    /// A member asks for a page of the roster. `cursor`: what the last page gave; nil for the first page.
    case roster(cursor: String?, ref: Ref?, from: SessionID)

    /// Somebody begins to wait for messages without being in the room, or nobody does any more. While somebody does,
    /// the room stays in use: see ``RoomStateMachine/missed(after:now:)``.
    case watched(Bool)

    // MARK: from the broker

    /// The command connection is up, to the broker with this identity.
    case commandsUp(BrokerIdentity)
    /// The command connection is lost. What was on it completes as `.outcomeUnknown`, before or after this event.
    case commandsDown
    /// The subscribe connection is up. It has no subscriptions.
    case subscriptionsUp
    /// The subscribe connection is lost, all subscriptions with it, and whatever was published since.
    case subscriptionsDown
    /// The SUBSCRIBE was acknowledged: from now on everything published in the room reaches us.
    case subscribed
    /// The UNSUBSCRIBE was acknowledged.
    case unsubscribed
    /// Something was published on the room's channel.
    case heard(ChannelEvent)
    /// The broker answered (or will never answer) the request with this serial.
    case completed(serial: UInt64, Result<BrokerReply, BrokerError>)

    // MARK: from the node

    /// The moment that ``RoomStateMachine/nextWake`` gave has come.
    case timerFired
    /// The room may enter or leave now, as it asked with ``RoomAction/awaitTurn(urgent:)``.
    case turnCame
    /// An audit read the position of the log's newest message. If that message never reaches us by the channel, it is
    /// read.
    case logReaches(Position)
    /// The node's lease had run out: other nodes may have removed it from the room.
    case nodeForgotten
    /// The node shuts down: a room without sessions does not linger.
    case nodeLeaves
    /// The node needs memory: forget the oldest messages until about that many bytes of them are left. Never the newest
    /// one.
    case releaseMemory(toBytes: Int)
}

extension RoomEvent {
    /// The answer if the session that asks is not in the room; nil for an event that does not need a member.
    ///
    /// This is the only place that answers `notJoined` to an event. ``RoomStateMachine/handle(_:now:_:)`` uses it, as
    /// only the room knows who is in it; a runner that has no such room, so that nobody is in it, carries out the same
    /// action. (A request that its own session knows to be wrong is refused before it becomes an event, by
    /// ``SessionStateMachine``.)
    public var refusalOfNonMember: RoomAction? {
        switch self {
        case .send(_, let ref, let session, _): Self.refuse(session, ref, "send")
        case .signal(_, _, let ref, let session): Self.refuse(session, ref, "signal")
        case .roster(_, let ref, let session): Self.refuse(session, ref, "roster")
        case .join, .leave, .commandsUp, .commandsDown, .subscriptionsUp, .subscriptionsDown, .subscribed,
            .unsubscribed, .heard, .completed, .timerFired, .turnCame, .logReaches, .nodeForgotten, .nodeLeaves,
            .releaseMemory, .watched:
            nil
        }
    }

    private static func refuse(_ session: SessionID, _ ref: Ref?, _ request: String) -> RoomAction {
        .answer(session, .error(ref: ref, WireError(.notJoined, "\(request): not in this room")))
    }
}

/// A `join` as it reaches the room: ``RoomEvent/join(_:)``.
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
