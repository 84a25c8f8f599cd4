/// An event that a node sends to one session. A codec (ChatWire) turns it into a frame.
public enum ServerEvent: Hashable, Sendable {
    indirect case welcome(Welcome)
    indirect case joined(Joined)
    case left(ref: Ref?, room: RoomName)
    case sent(ref: Ref?, room: RoomName, position: Position, at: UInt64, repeated: Bool)
    /// `showKey`: the session's own user is the sender, so the frame holds the client's key.
    case message(room: RoomName, Message, showKey: Bool)
    case presence(room: RoomName, joined: [UserID], left: [UserID], count: Int)
    case signal(room: RoomName, user: UserID, name: String, data: String?)
    case gap(room: RoomName, Gap)
    case reset(room: RoomName, Reset)
    /// In milliseconds, different for each session.
    case draining(reconnectAfter: UInt64)
    indirect case history(ref: Ref?, room: RoomName, HistoryPage)
    indirect case roster(ref: Ref?, room: RoomName, RosterPage)
    case pong(ref: Ref?)
    /// The session's new token is accepted; it expires in that many seconds, or not at all.
    case renewed(ref: Ref?, expiresIn: UInt64?)
    /// The session's token has expired. Without a new one the session is closed after that many milliseconds.
    case expiring(closesIn: UInt64)
    /// The session was made to leave the room.
    indirect case removed(room: RoomName, Removal)
    /// The session's moderation is in force.
    case moderated(ref: Ref?, room: RoomName, ModerationReply)
    /// What became of what the session asked about a conversation.
    indirect case conversation(ref: Ref?, ConversationAnswer)
    /// The session's amendment is stored.
    indirect case amended(ref: Ref?, room: RoomName, AmendReply)
    /// The room's rules have changed; these are the new ones.
    case rules(room: RoomName, version: UInt64, RoomPolicy)
    /// What was imposed on a user of the room, or lifted.
    indirect case sanction(room: RoomName, SanctionChange)
    /// Who belongs to the room has changed, or in which role.
    indirect case participants(room: RoomName, ParticipantChanges)
    /// The user's conversations.
    case inbox(InboxEvent)
    case error(ref: Ref?, WireError)
}

extension ServerEvent {
    /// The room in which the session is no more after this event.
    public var roomLeft: RoomName? {
        switch self {
        case .left(_, let room), .removed(let room, _): room
        case .welcome, .joined, .sent, .message, .presence, .signal, .gap, .reset, .draining, .history, .roster, .pong,
            .renewed, .expiring, .moderated, .conversation, .amended, .inbox, .rules, .sanction, .participants, .error:
            nil
        }
    }
}

public struct Welcome: Hashable, Sendable {
    /// Unique over all nodes and all time.
    public var session: String
    public var user: UserID
    public var device: DeviceName
    /// The node's configured name.
    public var node: String
    /// Seconds between the node's pings. A client that hears nothing for three times that long may reconnect.
    public var heartbeat: Int
    public var limits: Limits
    /// The seconds until the session's token expires; nil if it does not.
    public var expiresIn: UInt64?

    public init(
        session: String, user: UserID, device: DeviceName, node: String, heartbeat: Int, limits: Limits,
        expiresIn: UInt64? = nil
    ) {
        self.session = session
        self.user = user
        self.device = device
        self.node = node
        self.heartbeat = heartbeat
        self.limits = limits
        self.expiresIn = expiresIn
    }
}

/// The messages after `after` and before `before` are not in the log any more.
public struct Gap: Hashable, Sendable {
    public var after: Position
    public var before: Position

    public init(after: Position, before: Position) {
        self.after = after
        self.before = before
    }
}

/// What the client knows of the room is void; the room continues at `position`.
public struct Reset: Hashable, Sendable {
    public enum Reason: String, Hashable, Sendable {
        /// The log was lost or set back (failover, flush), and the client's position is not part of its present
        /// history.
        case rewound
    }

    public var position: Position
    public var reason: Reason

    public init(position: Position, reason: Reason) {
        self.position = position
        self.reason = reason
    }
}

/// The result of a `join` with `after`.
public enum Resumption: Hashable, Sendable {
    /// `after` was not given.
    case fresh
    /// Nothing is missing.
    case complete
    case gap(Gap)
    case reset(Reset)
}

public struct Joined: Hashable, Sendable {
    public var ref: Ref?
    public var room: RoomName
    /// The position of the newest message; later ones will come as `message`.
    public var position: Position
    /// Oldest first.
    public var messages: [Message]
    /// Nil if the room is large; then only `count` is sent.
    public var members: [RosterMember]?
    public var count: Int
    public var resumption: Resumption
    /// The room's rules; nil if it has none.
    public var rules: RoomPolicy?
    /// The mute of the session's user that is in force.
    public var mute: Sanction?
    /// The session's rights in the room; nil in development mode.
    public var rights: Rights?
    /// What the participants have read; nil if the room has none.
    public var receipts: JoinedReceipts?
    /// More was missed than these messages: the session has to ask for the rest before anything else of the room is
    /// sent to it. It is not shown to clients.
    public var hasMore: Bool

    public init(
        ref: Ref?, room: RoomName, position: Position, messages: [Message], members: [RosterMember]?, count: Int,
        resumption: Resumption, rules: RoomPolicy? = nil, mute: Sanction? = nil, rights: Rights? = nil,
        hasMore: Bool = false
    ) {
        self.ref = ref
        self.room = room
        self.position = position
        self.messages = messages
        self.members = members
        self.count = count
        self.resumption = resumption
        self.rules = rules
        self.mute = mute
        self.rights = rights
        self.hasMore = hasMore
    }
}

public struct RosterMember: Hashable, Sendable {
    public var user: UserID
    public var devices: [DeviceName]

    public init(user: UserID, devices: [DeviceName]) {
        self.user = user
        self.devices = devices
    }
}

/// Members in the order of their names. `cursor` fetches the next page; nil if this is the last one.
public struct RosterPage: Hashable, Sendable {
    public var members: [RosterMember]
    public var count: Int
    public var cursor: String?

    public init(members: [RosterMember], count: Int, cursor: String?) {
        self.members = members
        self.count = count
        self.cursor = cursor
    }
}
