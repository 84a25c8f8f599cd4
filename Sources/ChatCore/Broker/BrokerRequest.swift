/// What a node asks of the broker. Each request gets exactly one ``BrokerReply`` or ``BrokerError``. Requests of one
/// link are carried out in the order in which they were submitted, except for what ``RequestTag/wantsAnswer`` allows.
/// `redis/README.md` says what each does in Redis.
public enum BrokerRequest: Sendable, Equatable {
    /// The fenced append: `XADD log NOMKSTREAM [MAXLEN ~ n] <epoch>-* …`. → `.appended`, or `.refused` if the
    /// room's epoch is newer, `.missing` if there is no log. `others` is a fact of the room: it is nil if the node is
    /// alone in it. Whether message and PUBLISH are one step, the link alone decides; if they are not, the answer says
    /// so, and the caller publishes. `isHeld`: the log is held for participants who have not read it, so it may be
    /// longer, and only ``trim(room:)`` knows how long.
    case append(
        room: RoomName, epoch: UInt64, content: MessageContent, others: OtherNodes? = nil, isHeld: Bool = false)
    /// Publishes a message that has its position, or a signal, on the entity's channel. → `.done`
    case publish(on: Entity, event: ChannelEvent)
    /// Registers the node in the room and begins a new epoch. → `.view`
    indirect case enter(EnterRequest)
    /// Reads the room as it is, with a page of its log. `knows`: the version of the room's rules that the node has; the
    /// answer brings them only if they have another one. → `.view`
    case view(room: RoomName, after: Position?, page: PageBounds, knows: UInt64 = 0)
    /// Takes `node` and its members out of the room if it entered with `value`. → `.left`; or `.leaving` if the
    /// roster is large: then the same again with the cursor of the answer.
    case leave(room: RoomName, node: NodeID, value: UInt64, cursor: UInt64 = 0, isOwn: Bool = false)
    /// Sends again: appends what was not appended before. → `.once`, or `.refused` if the log's epoch is not `epoch`,
    /// `.missing`, `.again`.
    indirect case once(OnceRequest)
    /// A message from somebody who is not in the room (HTTP). `obeysRules`: false for a user who may moderate the room,
    /// or a server. → `.said`, or `.again`, or `.forbidden` if a sanction or a rule forbids it.
    case say(room: RoomName, content: MessageContent, obeysRules: Bool = true)
    /// Changes the rules of a room, or a user's sanctions in it, and begins a new epoch, so that nothing that they
    /// forbid is stored once this is answered. `by`: who orders it. → `.moderated`
    indirect case moderate(room: RoomName, Moderation, by: String)
    /// Changes an earlier message of a room, or erases several. → `.amended`, or `.again`, or `.refused` while nodes
    /// may put back what Redis lost, or `.forbidden` if a rule or the message does not allow it.
    indirect case amend(AmendOrder)
    /// The newest entries of a room's audit, newest first, or those before a position of it; at most `count`.
    /// → `.audit`
    case audit(room: RoomName, before: Position?, count: Int)
    /// The rules of a room, and its sanctions: all of them, or those of one user. → `.rules`
    case rules(room: RoomName, of: UserID?)
    /// Devices of a node's users come and go. → `.presence`, or `.missing` if the node is not in the room.
    indirect case presence(PresenceRequest)
    /// A part of the roster; the first one with a cursor of 0. → `.roster`, with the cursor of the next part. A small
    /// roster is one part.
    case roster(room: RoomName, cursor: UInt64 = 0)
    /// A page of the log, oldest first. → `.history`
    case history(room: RoomName, query: HistoryQuery)
    /// Drops the oldest messages until the log is within its bounds; those that a participant has not read stay longer.
    /// → `.done`
    case trim(room: RoomName)
    /// Reports that the node lives, for `lease`. → `.heartbeat(known:)`: false if Redis had forgotten the node, which
    /// then enters every room again.
    indirect case heartbeat(NodeReport, lease: Duration)
    /// All nodes that were registered and are not forgotten. → `.nodes`
    case nodes
    /// Writes down, before `enter`, that the node will hold the room; `inOldList`: where nodes of schema 1 read
    /// (``Holdings``). → `.done`
    case hold(room: RoomName, node: NodeID, inOldList: Bool = false)
    /// Removes the room from the list, after `leave`. → `.done`
    case release(room: RoomName, node: NodeID, inOldList: Bool = false)
    /// The rooms that a node wrote down. → `.rooms`; or `.someRooms` if there are more: then the same again with the
    /// cursor of the answer (``Holdings/Cursor``). A node that reads its own list thereby keeps it from expiring.
    case rooms(of: NodeID, cursor: UInt64 = 0)
    /// Which nodes are in the room, with their enter epochs. → `.holders`
    case holders(room: RoomName)
    /// Forgets a dead node, after its rooms were swept. → `.done`; or `.forgetting` if its list has more parts: then
    /// the same again with the cursor of the answer.
    case forget(NodeID, cursor: UInt64 = 0)
    /// Asks whether anything can be stored where the entity's keys are: an append and a function call that the broker
    /// would refuse like any other, and that store nothing. → `.done`
    case tryStoring(Entity)
    /// Adds a command for all nodes. `by`: who orders it. → `.commanded`
    indirect case command(NodeCommand, by: String)
    /// The commands after that one, oldest first, at most `count`; nil means from the first one on. → `.commands`
    case commands(after: Position?, count: Int)
    /// Keeps what a ticket allows, for `life`. → `.done`
    indirect case storeTicket(TicketName, allows: String, life: Duration)
    /// What users have read. → `.reading`
    indirect case reading(ReadingRequest)
    /// Takes a ticket away, and answers what it allows: to the first who asks, whatever node that is. → `.ticket`
    case takeTicket(TicketName)
    /// Changes or reads who belongs to a room. → `.conversation`, or `.participants`; or `.forbidden` if it is refused.
    indirect case conversation(ConversationRequest)
    /// Changes or reads what belongs to a user. → `.user`
    indirect case user(UserRequest)
    /// What relays need of a node: whether there is one, and the rooms in which something was said. → `.relayed`, or
    /// `.done`
    case relay(RelayRequest)
    /// How much memory the broker uses. → `.memory`
    case memory
    /// → `.done`
    case ping

    /// Publishes on the room's channel.
    public static func publish(room: RoomName, event: ChannelEvent) -> BrokerRequest {
        .publish(on: .room(room), event: event)
    }
}

extension BrokerRequest {
    /// Whose keys and channel the request is about.
    public var entity: Entity {
        switch self {
        case .append(let room, _, _, _, _), .view(let room, _, _, _), .leave(let room, _, _, _, _),
            .say(let room, _, _), .moderate(let room, _, _), .rules(let room, _), .roster(let room, _),
            .history(let room, _), .holders(let room), .trim(let room), .audit(let room, _, _):
            .room(room)
        case .enter(let request): .room(request.room)
        case .once(let request): .room(request.room)
        case .presence(let request): .room(request.room)
        case .conversation(let request): .room(request.room)
        case .user(let request): .user(request.user)
        case .amend(let order): .room(order.request.room)
        case .publish(let entity, _), .tryStoring(let entity): entity
        case .reading(let request): request.entity
        case .relay(let request): request.entity
        case .hold(let room, let node, let inOldList), .release(let room, let node, let inOldList):
            inOldList ? .nodes : .node(node, Holdings.slot(of: room))
        case .rooms(let node, let cursor), .forget(let node, let cursor):
            Holdings.Cursor(cursor).entity(of: node)
        case .storeTicket(let name, _, _), .takeTicket(let name): .ticket(name)
        case .heartbeat, .nodes, .memory, .ping, .command, .commands: .nodes
        }
    }
}

extension BrokerRequest {
    /// The books of which relays have to know after the request: it may store something there, or close the room. Nil
    /// for what only a room in use asks (``append``, ``once`` and ``presence``), as that room tells them by itself.
    public var written: (room: RoomName, books: [RoomBook])? {
        switch self {
        case .say(let room, _, _): (room, [.log])
        // A relay deletes a room that is closed.
        case .moderate(let room, _, _): (room, [.log, .audit])
        // Who reports a message is in the audit.
        case .amend(let order): (order.request.room, [.log, .audit])
        case .conversation(let request): (request.room, [.audit])
        default: nil
        }
    }
}

/// Says of an append that other nodes are in the room and have to hear of the message, and what publishing it takes.
public struct OtherNodes: Hashable, Sendable {
    /// The seq of the newest message that the node has shown. A message whose seq is not above it is not published, as
    /// the log was set back (race 7).
    public var known: UInt64
    /// The seq at which the epoch of the append began; nil if the node does not know it.
    public var base: UInt64?

    public init(known: UInt64, base: UInt64?) {
        self.known = known
        self.base = base
    }
}

/// See "The room protocol" in `redis/README.md`.
public struct EnterRequest: Sendable, Equatable {
    public var room: RoomName
    public var node: NodeID
    /// The position of the newest message that the node has shown; nil if it has shown none.
    public var after: Position?
    /// The node's newest messages, oldest first, with which a log that lost its tail is restored. Empty unless
    /// `identityChanged`.
    public var tail: [Message]
    /// The epoch at which the history of `tail` began, for a log of which nothing is left; 0 if there is no tail.
    public var tailHistory: UInt64
    /// The highest epoch that the node has ever seen in this room.
    public var seen: UInt64
    /// The node's clock, ms since 1970.
    public var clock: UInt64
    /// Whether the Redis that answers is another one than the node knew (another run or replication ID).
    public var identityChanged: Bool
    /// Whether the node has a tail that it sends only if it is needed: if the log lost messages that this node may
    /// have, nothing is changed and the answer is `.bring`.
    public var offersTail: Bool
    /// How much of the log is wanted: after `after`, or of the newest messages if that is nil or rewound.
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
    /// Its `key` is not nil.
    public var content: MessageContent
    /// The position that the client knew at the first try; nil if it did not say.
    public var since: Position?
    /// Whether the client says that this is a repetition. Then "not found" in a log that was trimmed after `since` (or
    /// ever, if `since` is nil) leads to ``OnceOutcome/outcomeUnknown``; a first try is appended.
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
    /// The epoch that the node knows. If Redis has another one, it refuses the request, as it would refuse an append.
    public var epoch: UInt64
    /// The node has searched the messages above `knownFrom` up to `known` for the keys, so Redis searches only the
    /// others. With `known` 0 the node has searched none.
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
    /// Whether the device came; otherwise it went.
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
    /// The epoch with which the node entered. A node that was swept meanwhile gets `.missing`.
    public var value: UInt64
    public var changes: [PresenceChange]

    public init(room: RoomName, node: NodeID, value: UInt64, changes: [PresenceChange]) {
        self.room = room
        self.node = node
        self.value = value
        self.changes = changes
    }
}

/// The bounds of one answer: messages, and their bytes (``MessageContent/storedBytes``). If there is a message and
/// `count` is not 0, the answer holds at least one, however long it is.
public struct PageBounds: Hashable, Sendable {
    public var count: Int
    public var bytes: Int

    public init(count: Int, bytes: Int = .max) {
        self.count = count
        self.bytes = bytes
    }
}

/// A part of the log. Positions need not exist; `before` and `after` exclude the position itself, `around` includes it.
public struct HistoryQuery: Hashable, Sendable {
    public enum Anchor: Hashable, Sendable {
        case newest
        case before(Position)
        case after(Position)
        case around(Position)
        /// As `around` the first message that was said at that time (ms since 1970) or later. The broker host finds it
        /// by a ``TimeSearch``; brokers themselves are never asked for a time.
        case time(UInt64)

        /// The position that is asked for; of a time that of a history that begins then.
        public var position: Position? {
            switch self {
            case .newest: nil
            case .before(let position), .after(let position), .around(let position): position
            case .time(let time): Position(epoch: time, seq: 0)
            }
        }
    }

    public var anchor: Anchor
    public var limit: Int
    /// Bytes of messages (``MessageContent/storedBytes``) in the page, which holds at least one message, however long.
    public var bytes: Int
    /// Whether messages are wanted as later amendments leave them, or else as they are in the log.
    public var isFolded = false

    public init(anchor: Anchor, limit: Int, bytes: Int = .max) {
        self.anchor = anchor
        self.limit = limit
        self.bytes = bytes
    }

    /// The bounds of the answer: what is asked for, within the bounds of any answer.
    public var page: PageBounds { PageBounds(count: max(0, min(limit, 10_000)), bytes: bytes) }
}

/// What a node reports with each heartbeat: the value of its key, as JSON, for other nodes, people and `martlet top`.
public struct NodeReport: Hashable, Sendable {
    /// The schema of this version: which keys it writes and where it looks for those of others. 1: the versions before
    /// the field. 2: in a Cluster a node's list of rooms has parts with slots of their own (``Holdings``).
    public static let currentSchema = 2

    public var node: NodeID
    /// `host:port` that clients or the proxy reach.
    public var address: String
    public var version: String
    public var sessions: Int
    /// The sessions by the name of their protocol; those that nobody speaks are missing.
    public var protocols: [String: Int] = [:]
    public var rooms: Int
    /// Messages and deliveries since the process began.
    public var messages: UInt64
    public var deliveries: UInt64
    /// The node's clock, ms since 1970, which shows its skew.
    public var clock: UInt64
    /// When the process began, ms since 1970.
    public var started: UInt64
    public var draining: Bool
    /// See ``currentSchema``.
    public var schema: Int

    public init(
        node: NodeID, address: String, version: String, sessions: Int = 0, rooms: Int = 0, messages: UInt64 = 0,
        deliveries: UInt64 = 0, clock: UInt64 = 0, started: UInt64 = 0, draining: Bool = false,
        schema: Int = NodeReport.currentSchema
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
        self.schema = schema
    }
}
