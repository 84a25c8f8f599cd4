public import ChatCore

/// What came of a send: its place in the room's log.
public struct Sent: Hashable, Sendable {
    public var position: Position
    /// When the node accepted it, ms since 1970.
    public var at: UInt64
    /// An earlier try had stored it already.
    public var repeated: Bool

    public init(position: Position, at: UInt64, repeated: Bool) {
        self.position = position
        self.at = at
        self.repeated = repeated
    }
}

/// What a node said when it refused a request. `code` may be one that this client does not know.
public struct ServerFault: Error, Hashable, Sendable {
    public var code: Int
    public var name: String
    /// For a developer.
    public var message: String
    /// The same request may succeed later.
    public var retry: Bool

    public init(code: Int, name: String, message: String, retry: Bool) {
        self.code = code
        self.name = name
        self.message = message
        self.retry = retry
    }

    /// The code, if it is one that this client knows.
    public var known: WireError.Code? { WireError.Code(rawValue: code) }
}

/// Why something that was asked of the client failed.
public enum ClientError: Error, Hashable, Sendable {
    /// The arguments make no sense; the text says which and why. Nothing was sent.
    case badArgument(String)
    /// The node refused it.
    case refused(ServerFault)
    /// No answer in time. Of a send it is not known whether it was stored; sending it again with the same key is safe.
    case timedOut
    /// The session is not in that room, or left it before the request was sent.
    case notJoined
    /// As many sends wait as may (``ClientOptions/maxUnsent``). Nothing was sent.
    case queueFull
    /// The client was closed.
    case closed
    /// The node does not want this client (its HTTP answer or close code says so), and coming back would not help.
    case rejected(String)
}

/// Why a connection ended.
public enum DisconnectReason: Hashable, Sendable {
    /// No node could be reached; the text is the system's.
    case unreachable(String)
    /// The node answered the handshake with this HTTP status.
    case status(Int)
    /// A close frame with this code and reason.
    case closeFrame(code: UInt16, reason: String)
    /// The connection ended without a close frame.
    case lost
    /// The node said nothing after a request or for a heartbeat, and did not answer a ping either; or the handshake took too long.
    case silent
    /// The node said something that is not `martlet.v1`; the text says what and where.
    case unreadable(String)
    /// The node is leaving, and the time it gave this session is over.
    case draining
    /// `close()` was called.
    case closed
}

/// What a client is told. Of one room in the order of its log: each message once, ``gap`` where some are gone for good.
public enum ClientEvent: Hashable, Sendable {
    case connected(Welcome)
    /// `retryIn`: when the next try begins; nil if there will be none.
    case disconnected(DisconnectReason, retryIn: Duration?)
    /// The session is in the room (again). Its messages follow as ``message``, oldest first.
    case joined(JoinedRoom)
    case left(RoomName)
    case message(RoomName, Message)
    /// Messages after `after` and before `before` are not in the log any more.
    case gap(RoomName, Gap)
    /// All that was shown of the room is void; it goes on at the position.
    case reset(RoomName, Reset)
    case presence(RoomName, joined: [UserID], left: [UserID], count: Int)
    case signal(RoomName, user: UserID, name: String, data: String?)
    /// The node is leaving; this client reconnects by itself after the time.
    case draining(reconnectAfter: Duration)
    /// The node said something about no request of ours.
    case fault(ServerFault)
}

/// A room as it was when the session came into it.
public struct JoinedRoom: Hashable, Sendable {
    public var room: RoomName
    /// Of the newest message; what is newer comes as messages.
    public var position: Position
    /// Nil when the room is large: then `count` alone is told.
    public var members: [RosterMember]?
    public var count: Int
    public var resumption: Resumption

    public init(room: RoomName, position: Position, members: [RosterMember]?, count: Int, resumption: Resumption) {
        self.room = room
        self.position = position
        self.members = members
        self.count = count
        self.resumption = resumption
    }
}

/// How a client behaves. All times are wall time on the client's clock.
public struct ClientOptions: Sendable {
    /// Sends of one room that may be unanswered at a time. With 1 the order of one's own messages holds even when the node
    /// refuses one of them for a while.
    public var sendWindow = 32
    /// Sends that may wait in all rooms together; one more fails as ``ClientError/queueFull``.
    public var maxUnsent = 1_000
    /// How long a send may wait for its answer, over all tries.
    public var sendTimeout: Duration = .seconds(60)
    /// The same for the other requests.
    public var requestTimeout: Duration = .seconds(30)
    /// How long connecting may take, up to the node's `welcome`.
    public var connectTimeout: Duration = .seconds(10)
    /// The n-th wait before a new try is random, below `backoffBase` × 2ⁿ and `backoffCap`.
    public var backoffBase: Duration = .milliseconds(250)
    public var backoffCap: Duration = .seconds(15)
    /// Events that may wait to be read from ``MartletClient/events``. Beyond it the client stops reading from its socket, and goes
    /// on when half of them were read; a node closes a client that stays behind, and the client then resumes.
    public var eventBuffer = 4_096
    /// Keep to the request rate that the node's welcome names, instead of running into it.
    public var keepsToRateLimit = true
    /// For tools that test nodes: messages come as the node sent them, repeated, swapped and with holes, instead of each once
    /// and in order.
    public var showsAll = false
    /// Bytes of one frame from the node; more closes the connection.
    public var maxFrameBytes = 16 * 1_024 * 1_024

    public init() {}
}
