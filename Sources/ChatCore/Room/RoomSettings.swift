/// What a node's operator can tune about rooms.
public struct RoomSettings: Sendable, Hashable {
    /// Messages that a room's log keeps (approximately, as Redis trims whole nodes of the stream), and that a node
    /// remembers.
    public var historyLength = 1_000
    /// Bytes of memory that a room's log may take in Redis (approximately: it is checked after each eighth of it).
    public var historyBytes = 4 * 1_048_576
    /// Whether all logs may be held for sinks of relays, as those of conversations are for participants.
    public var holdsForSinks = false
    /// Bytes of messages that one read of a log brings. This bounds what a read costs: 0.5 ms of Redis for long
    /// messages, 3 ms for a thousand short ones.
    public var pageBytes = 131_072
    /// Bytes of messages that a node remembers of one room.
    public var memoryBytes = 4 * 1_048_576
    /// How long a node stays in a room after its last session there left.
    public var linger: Duration = .seconds(10)
    /// How long presence changes are collected before they go to Redis in one batch.
    public var presenceInterval: Duration = .milliseconds(100)
    /// How often a room in which nothing happens is compared with Redis.
    public var viewInterval: Duration = .seconds(30)
    /// How long an `enter` may take, until its own epoch was heard, before both connections are dropped.
    public var enterDeadline: Duration = .seconds(5)
    /// How long appends wait for nodes of the room that have not entered it again, after Redis came back without some
    /// messages.
    public var returnGrace: Duration = .seconds(5)
    /// Appends of one room that may be at the broker at a time.
    public var appendWindow = 256
    /// A keyed send that does not say whether it is a repetition counts as one in a session younger than this.
    public var youngSession: Duration = .seconds(10)
    public var limits = Limits()
    /// For tests: a node keeps all rules.
    package var rules = RoomRules.all

    /// How much of a log one read brings.
    public var page: PageBounds { PageBounds(count: historyLength, bytes: pageBytes) }

    public init() {}
}
