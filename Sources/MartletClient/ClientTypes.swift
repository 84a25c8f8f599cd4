public import ChatCore

/// The result of a send: its place in the room's log.
public struct Sent: Hashable, Sendable {
    public var position: Position
    /// When the node accepted the message, in milliseconds since 1970.
    public var at: UInt64
    /// Whether an earlier attempt had stored the message already.
    public var repeated: Bool

    public init(position: Position, at: UInt64, repeated: Bool) {
        self.position = position
        self.at = at
        self.repeated = repeated
    }
}

/// The error with which a node refused a request. This client may not know the `code`.
public struct ServerFault: Error, Hashable, Sendable {
    public var code: Int
    public var name: String
    /// An explanation for developers.
    public var message: String
    /// Whether the same request may succeed later.
    public var retry: Bool

    public init(code: Int, name: String, message: String, retry: Bool) {
        self.code = code
        self.name = name
        self.message = message
        self.retry = retry
    }

    /// The code, if this client knows it.
    public var known: WireError.Code? { WireError.Code(rawValue: code) }
}

/// Why a request to the client failed.
public enum ClientError: Error, Hashable, Sendable {
    /// The arguments are invalid; the text says which and why. Nothing was sent.
    case badArgument(String)
    /// The node refused the request.
    case refused(ServerFault)
    /// There was no answer in time. A send may or may not have been stored; sending it again with the same key is safe.
    case timedOut
    /// The session is not in that room, or left it before the request was sent.
    case notJoined
    /// The number of waiting sends has reached ``ClientOptions/maxUnsent``. Nothing was sent.
    case queueFull
    /// The client was closed.
    case closed
    /// The node refuses this client for good, by its HTTP answer or close code. Reconnecting would not help.
    case rejected(String)
}

/// Why a connection ended.
public enum DisconnectReason: Hashable, Sendable {
    /// No node could be reached; the text is the system's.
    case unreachable(String)
    /// The node answered the handshake with this HTTP status.
    case status(Int)
    /// The node sent a close frame with this code and reason.
    case closeFrame(code: UInt16, reason: String)
    /// The connection ended without a close frame.
    case lost
    /// The node sent nothing after a request or within a heartbeat interval, and did not answer a ping either; or the
    /// handshake took too long.
    case silent
    /// The node sent a frame that is not `martlet.v1`; the text says what is wrong and where.
    case unreadable(String)
    /// The node is leaving, and the time that it gave this session is over.
    case draining
    /// `close()` was called.
    case closed
}

/// The events of a client. Those of one room come in the order of its log: each message once, and ``gap`` where
/// messages are lost for good.
public enum ClientEvent: Hashable, Sendable {
    case connected(Welcome)
    /// `retryIn`: the time until the next attempt; nil if there will be none.
    case disconnected(DisconnectReason, retryIn: Duration?)
    /// The session has joined the room, or joined it again. Its messages follow as ``message``, the oldest first.
    case joined(JoinedRoom)
    case left(RoomName)
    case message(RoomName, Message)
    /// An earlier message has changed: the amendment, in its place among the messages. ``Message/changed(by:)`` applies
    /// it.
    case changed(RoomName, Message)
    /// Participants of the room have read up to these positions. A node that the client comes to later may not have
    /// heard yet of all that the one before has told, so the furthest position of each user counts, until a ``reset``.
    case receipts(RoomName, [UserID: Position])
    /// Who belongs to the room has changed, or in which role.
    case participants(RoomName, ParticipantChanges)
    /// The newest message of a room that is watched.
    case head(InboxHead)
    /// Something for the user, on whatever device and in whatever room.
    case notice(UserNotice)
    /// The messages after `after` and before `before` are not in the log any more.
    case gap(RoomName, Gap)
    /// Everything shown of the room is void; the room continues at the position.
    case reset(RoomName, Reset)
    case presence(RoomName, joined: [UserID], left: [UserID], count: Int)
    case signal(RoomName, user: UserID, name: String, data: String?)
    /// The node is leaving. This client reconnects by itself after the time.
    case draining(reconnectAfter: Duration)
    /// The node sent an error that does not belong to a request.
    case fault(ServerFault)
}

extension ClientEvent {
    /// An entry of a room's log that is shown: a message, or a change of an earlier one.
    static func shown(_ message: Message, in room: RoomName) -> ClientEvent {
        message.content.amendment == nil ? .message(room, message) : .changed(room, message)
    }
}

/// The state of a room when the session joined it.
public struct JoinedRoom: Hashable, Sendable {
    public var room: RoomName
    /// The position of the newest message. Newer ones come as messages.
    public var position: Position
    /// Nil when the room is large: the node then sends only `count`.
    public var members: [RosterMember]?
    public var count: Int
    public var resumption: Resumption
    /// What the participants have read; nil if the room has none.
    public var receipts: JoinedReceipts?

    public init(
        room: RoomName, position: Position, members: [RosterMember]?, count: Int, resumption: Resumption,
        receipts: JoinedReceipts? = nil
    ) {
        self.receipts = receipts
        self.room = room
        self.position = position
        self.members = members
        self.count = count
        self.resumption = resumption
    }
}

/// The options of a client. All times are measured by the client's clock.
public struct ClientOptions: Sendable {
    /// How many sends of one room may be unanswered at a time. With 1, the user's messages keep their order even when
    /// the node refuses one of them for a while.
    public var sendWindow = 32
    /// How many sends may wait in all rooms together. A further one fails as ``ClientError/queueFull``.
    public var maxUnsent = 1_000
    /// How long a send may wait for its answer, including all attempts.
    public var sendTimeout: Duration = .seconds(60)
    /// The same for other requests.
    public var requestTimeout: Duration = .seconds(30)
    /// How long connecting may take, up to the node's `welcome`.
    public var connectTimeout: Duration = .seconds(10)
    /// The n-th pause before a new attempt is random, below `backoffBase` × 2ⁿ and `backoffCap`.
    public var backoffBase: Duration = .milliseconds(250)
    public var backoffCap: Duration = .seconds(15)
    /// How many events may wait in ``MartletClient/events``. When the buffer is full, the client stops reading from its
    /// socket until half of the events have been read. A node closes a client that stays behind, and the client then
    /// resumes.
    public var eventBuffer = 4_096
    /// Whether the client keeps to the request rate in the node's welcome, instead of being refused.
    public var keepsToRateLimit = true
    /// For tools that test nodes: messages are shown as the node sent them, including repeats, wrong order and holes,
    /// instead of each once and in order.
    public var showsAll = false
    /// The PEM file of the authority that signed the nodes' certificates, for a private one; nil means the authorities
    /// that the system trusts. For `wss:` addresses.
    public var authorityFile: String?
    /// The largest frame from the node in bytes. A larger one closes the connection.
    public var maxFrameBytes = 16 * 1_024 * 1_024

    public init() {}
}
