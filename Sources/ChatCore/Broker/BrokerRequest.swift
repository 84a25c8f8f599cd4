/// What a node asks of the broker. Each request gets exactly one ``BrokerReply`` or ``BrokerError``; requests of one link are
/// carried out in the order in which they were submitted (but for what ``RequestTag/wantsAnswer`` allows). `redis/README.md` says what each
/// does in Redis.
public enum BrokerRequest: Sendable, Equatable {
    /// The fenced append: `XADD log NOMKSTREAM [MAXLEN ~ n] <epoch>-* …`. → `.appended`, or `.refused` if the room's epoch is newer,
    /// `.missing` if there is no log.
    case append(room: RoomName, epoch: UInt64, content: MessageContent)
    /// The fenced append and the PUBLISH of what it stored, in one step: one round trip and one wake of Redis instead of two. It is
    /// published unless its seq is not above `known`, the newest message that the node has shown (race 7). `base`: the seq at which the
    /// epoch began. → `.announced`; all else as `append`. A link may carry it out as an `append`, and answer `.appended`: then nothing
    /// was published.
    case announce(room: RoomName, epoch: UInt64, base: UInt64?, known: UInt64, content: MessageContent)
    /// Puts a message that has its position, or a signal, on the room's channel. → `.done`
    case publish(room: RoomName, event: ChannelEvent)
    /// Registers the node in the room and begins a new epoch. → `.view`
    indirect case enter(EnterRequest)
    /// Reads the room as it is, with a page of its log. → `.view`
    case view(room: RoomName, after: Position?, page: PageBounds)
    /// Takes `node` out of the room if it entered with `value`, its presence with it. → `.left`; or `.leaving` if the roster is large: then
    /// the same again with the cursor of the answer.
    case leave(room: RoomName, node: NodeID, value: UInt64, cursor: UInt64 = 0, isOwn: Bool = false)
    /// Re-sends: appends what was not appended before. → `.once`, or `.refused` if the log's epoch is not `epoch`, `.missing`, `.again`.
    indirect case once(OnceRequest)
    /// A message from somebody who is not in the room (HTTP). → `.said`, or `.again`.
    case say(room: RoomName, content: MessageContent)
    /// Devices of a node's users come and go. → `.presence`, or `.missing` if the node is not in the room.
    indirect case presence(PresenceRequest)
    /// A part of the roster; the first one with a cursor of 0. → `.roster`, with the cursor of the next part. A small roster is one part.
    case roster(room: RoomName, cursor: UInt64 = 0)
    /// A page of the log, oldest first. → `.history`
    case history(room: RoomName, query: HistoryQuery)
    /// Drops the oldest messages until the log is within its bound in bytes. → `.done`
    case trim(room: RoomName)
    /// Says that the node lives, for `lease`. → `.heartbeat(known:)`: false if Redis had forgotten it; then it enters every
    /// room again.
    indirect case heartbeat(NodeReport, lease: Duration)
    /// All nodes ever registered and not yet forgotten. → `.nodes`
    case nodes
    /// Writes down, before `enter`, that the node will hold the room. → `.done`
    case hold(room: RoomName, node: NodeID)
    /// Takes that back, after `leave`. → `.done`
    case release(room: RoomName, node: NodeID)
    /// The rooms that a node wrote down. → `.rooms`; or `.someRooms` if there are many: then the same again with the cursor of the answer.
    case rooms(of: NodeID, cursor: UInt64 = 0)
    /// Which nodes are in the room, with their enter epochs. → `.holders`
    case holders(room: RoomName)
    /// Forgets a dead node, after its rooms were swept. → `.done`
    case forget(NodeID)
    /// How much memory the broker uses. → `.memory`
    case memory
    /// → `.done`
    case ping
}

extension BrokerRequest {
    /// The room whose keys it is about; nil: what nodes say of themselves, a node's list of its rooms included.
    public var roomOfKeys: RoomName? {
        switch self {
        case .append(let room, _, _), .announce(let room, _, _, _, _), .publish(let room, _), .view(let room, _, _),
            .leave(let room, _, _, _, _), .say(let room, _), .roster(let room, _), .history(let room, _),
            .holders(let room),
            .trim(let room):
            room
        case .enter(let request): request.room
        case .once(let request): request.room
        case .presence(let request): request.room
        case .heartbeat, .nodes, .hold, .release, .rooms, .forget, .memory, .ping: nil
        }
    }

    /// The same with fewer things done in one step, for a link that has much to do: many requests share a round trip anyway.
    public var inPlainSteps: BrokerRequest {
        guard case .announce(let room, let epoch, _, _, let content) = self else { return self }
        return .append(room: room, epoch: epoch, content: content)
    }
}

/// See room-protocol: `enter(node, p, tail, seen, clock, identityChanged)`.
public struct EnterRequest: Sendable, Equatable {
    public var room: RoomName
    public var node: NodeID
    /// The position of the newest message that the node has shown; nil if it has shown none.
    public var after: Position?
    /// The node's newest messages, oldest first, from which a log that lost its tail is put back. Empty unless
    /// `identityChanged`.
    public var tail: [Message]
    /// The epoch at which the history of `tail` began, for a log of which nothing is left; 0 if there is no tail.
    public var tailHistory: UInt64
    /// The highest epoch that the node has ever seen in this room.
    public var seen: UInt64
    /// The node's clock, ms since 1970.
    public var clock: UInt64
    /// The Redis that answers is not the one that the node knew (another run or replication ID).
    public var identityChanged: Bool
    /// Messages of `tail` are not sent unless they are wanted: if the log lost what this node may have, nothing is changed and the answer
    /// is `.bring`.
    public var offersTail: Bool
    /// How much of the log is wanted: of what comes after `after`, or if that is nil or rewound of the newest.
    public var page: PageBounds

    public init(
        room: RoomName, node: NodeID, after: Position? = nil, tail: [Message] = [], tailHistory: UInt64 = 0,
        seen: UInt64 = 0, clock: UInt64 = 0, identityChanged: Bool = false, offersTail: Bool = false, page: PageBounds
    ) {
        self.room = room
        self.node = node
        self.after = after
        self.tail = tail
        self.tailHistory = tailHistory
        self.seen = seen
        self.clock = clock
        self.identityChanged = identityChanged
        self.offersTail = offersTail
        self.page = page
    }
}

/// One send whose first try may have been stored already.
public struct OnceSend: Sendable, Equatable {
    /// Its `key` is never nil.
    public var content: MessageContent
    /// The position that the client knew at the first try; nil if it did not say.
    public var since: Position?
    /// True if the client says that this is a repetition. Then "not found" in a log that was trimmed after `since` (or ever,
    /// if `since` is nil) is ``OnceOutcome/outcomeUnknown``; for a first try it is an append.
    public var again: Bool

    public init(content: MessageContent, since: Position? = nil, again: Bool = false) {
        self.content = content
        self.since = since
        self.again = again
    }
}

public struct OnceRequest: Sendable, Equatable {
    public var room: RoomName
    public var node: NodeID
    /// The epoch that the node knows; another one in Redis refuses the request, as it would refuse an append.
    public var epoch: UInt64
    /// The node has looked for the keys among the messages above `knownFrom` up to `known`; Redis looks at the others only. `known` 0: the
    /// node has looked at none.
    public var knownFrom: UInt64
    public var known: UInt64
    public var sends: [OnceSend]

    public init(
        room: RoomName, node: NodeID, epoch: UInt64, knownFrom: UInt64 = 0, known: UInt64, sends: [OnceSend]
    ) {
        self.room = room
        self.node = node
        self.epoch = epoch
        self.knownFrom = knownFrom
        self.known = known
        self.sends = sends
    }
}

/// One device of one user, on the requesting node.
public struct PresenceChange: Hashable, Sendable {
    public var user: UserID
    public var device: DeviceName
    /// True: the device came; false: it went.
    public var joined: Bool

    public init(user: UserID, device: DeviceName, joined: Bool) {
        self.user = user
        self.device = device
        self.joined = joined
    }
}

public struct PresenceRequest: Sendable, Equatable {
    public var room: RoomName
    public var node: NodeID
    /// The epoch with which the node entered: a node that was swept meanwhile is answered `.missing`.
    public var value: UInt64
    public var changes: [PresenceChange]

    public init(room: RoomName, node: NodeID, value: UInt64, changes: [PresenceChange]) {
        self.room = room
        self.node = node
        self.value = value
        self.changes = changes
    }
}

/// How much of a log one answer may hold: messages, and bytes of them (``MessageContent/storedBytes``). At least one message comes if there is
/// one and `count` is not 0, however long it is.
public struct PageBounds: Hashable, Sendable {
    public var count: Int
    public var bytes: Int

    public init(count: Int, bytes: Int = .max) {
        self.count = count
        self.bytes = bytes
    }
}

/// Which part of the log is wanted. Positions need not exist; `before` and `after` exclude the position itself, `around`
/// includes it.
public struct HistoryQuery: Hashable, Sendable {
    public enum Anchor: Hashable, Sendable {
        case newest
        case before(Position)
        case after(Position)
        case around(Position)
    }

    public var anchor: Anchor
    public var limit: Int
    /// Bytes of messages (``MessageContent/storedBytes``) in the page; at least one message comes, however long.
    public var bytes: Int

    public init(anchor: Anchor, limit: Int, bytes: Int = .max) {
        self.anchor = anchor
        self.limit = limit
        self.bytes = bytes
    }

    /// How much comes at most: what is asked for, within what one answer may hold.
    public var page: PageBounds { PageBounds(count: max(0, min(limit, 10_000)), bytes: bytes) }
}

/// What a node says of itself with each heartbeat: the value of its key, as JSON, for people and `martlet top`.
public struct NodeReport: Hashable, Sendable {
    public var node: NodeID
    /// `host:port` that clients or the proxy reach.
    public var address: String
    public var version: String
    public var sessions: Int
    public var rooms: Int
    /// Messages and deliveries since the process began.
    public var messages: UInt64
    public var deliveries: UInt64
    /// Ms since 1970, by the node's clock: shows skew.
    public var clock: UInt64
    /// When the process began, ms since 1970.
    public var started: UInt64
    public var draining: Bool

    public init(
        node: NodeID, address: String, version: String, sessions: Int = 0, rooms: Int = 0, messages: UInt64 = 0,
        deliveries: UInt64 = 0, clock: UInt64 = 0, started: UInt64 = 0, draining: Bool = false
    ) {
        self.node = node
        self.address = address
        self.version = version
        self.sessions = sessions
        self.rooms = rooms
        self.messages = messages
        self.deliveries = deliveries
        self.clock = clock
        self.started = started
        self.draining = draining
    }
}
