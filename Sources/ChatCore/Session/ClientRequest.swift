/// The value by which a client recognises the reply to its request: any string or number of up to ``maxBytes`` bytes,
/// returned as it was sent.
public enum Ref: Hashable, Sendable {
    public static let maxBytes = 64
    case string(String)
    /// The number's JSON text, so that 1, 1.0 and 1e0 come back as they were sent.
    case number(String)
    /// A value of the session itself, which replaces the client's while the request is under way. No client sees one.
    case own(serial: UInt64)
    /// The same for a page of missed messages, which no client asked for.
    case page(serial: UInt64)
}

/// One request of a client, parsed and checked for form by a codec (ChatWire), before any limit is applied.
public struct ClientRequest: Hashable, Sendable {
    /// The maximum number of bytes of a signal's name.
    public static let maxSignalNameBytes = 64

    public enum Body: Hashable, Sendable {
        case join(room: RoomName, after: Position?, history: Int?)
        case leave(room: RoomName)
        case send(SendRequest)
        case signal(room: RoomName, name: String, data: String?)
        case history(room: RoomName, query: HistoryQuery)
        /// `cursor` comes from the previous page; nil for the first page.
        case roster(room: RoomName, cursor: String?)
        case ping
        /// Changes the rules of a room, or the sanctions of a user.
        indirect case moderate(room: RoomName, Moderation)
        /// Changes or reads who belongs to a room, or whom the user blocks.
        indirect case conversation(ConversationOrder)
        /// Changes an earlier message, or erases several.
        indirect case amend(AmendRequest)
        /// The user's conversations: what is read, what is new, who is online.
        indirect case inbox(InboxRequest)
        /// A new token for the session, in place of the one that is about to expire.
        case token(String)
    }

    public var ref: Ref?
    public var body: Body

    public init(ref: Ref?, body: Body) {
        self.ref = ref
        self.body = body
    }
}

/// A message that a client wants to store in the log. At least one of `text` and `data` is present.
public struct SendRequest: Hashable, Sendable {
    public static let maxKeyBytes = 64
    public var room: RoomName
    public var text: String?
    /// JSON text.
    public var data: String?
    /// 1…``maxKeyBytes`` bytes, not beginning with `~`.
    public var key: String?
    /// True for a repetition of a send whose answer the client did not get; false if it is certainly the first try. Nil
    /// if the client did not say; then a keyed send of a session that is resumed or younger than ten seconds counts as
    /// a repetition (race 3).
    public var again: Bool?
    /// What the sender may do in the room: no part of what the client sent, but filled in by the node. The room looks
    /// at ``Rights/moderate`` alone. (Here it takes no memory.)
    public var rights: Rights = []
    /// The position that the client knew at the first try.
    public var since: Position? {
        get { known.epoch == .max ? nil : known }
        set { known = newValue ?? Self.unknown }
    }
    /// Kept without an optional's byte, so that ``extra`` takes no more memory than that did.
    private var known = Self.unknown
    private static let unknown = Position(epoch: .max, seq: 0)
    /// The thread to which the message is a reply, and the users whom it mentions; nil in most messages.
    public var extra: MessageExtra?

    public init(
        room: RoomName, text: String? = nil, data: String? = nil, key: String? = nil, again: Bool? = nil,
        since: Position? = nil, extra: MessageExtra? = nil
    ) {
        self.extra = extra
        self.room = room
        self.text = text
        self.data = data
        self.key = key
        self.again = again
        known = since ?? Self.unknown
    }
}
