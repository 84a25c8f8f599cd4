/// What a node's operator can tune about rooms.
public struct RoomSettings: Sendable, Hashable {
    /// Messages that a room's log keeps (about: Redis trims whole nodes of the stream), and a node's memory of it.
    public var historyLength = 1_000
    /// Bytes of memory that a room's log may take in Redis (about: it is looked at after every eighth of it).
    public var historyBytes = 4 * 1_048_576
    /// Bytes of messages that one read of a log brings: what a read costs Redis and the node is bounded by it: 0.5 ms of Redis for
    /// long messages, 3 ms for a thousand short ones.
    public var pageBytes = 131_072
    /// Bytes of messages that a node remembers of one room.
    public var memoryBytes = 4 * 1_048_576
    /// How long a node stays in a room after its last session there left.
    public var linger: Duration = .seconds(10)
    /// How long presence changes are collected before they go to Redis in one batch.
    public var presenceInterval: Duration = .milliseconds(100)
    /// How often a room is compared with Redis although nothing seems wrong.
    public var viewInterval: Duration = .seconds(30)
    /// How long an `enter` may take, its own epoch heard, before both connections are dropped.
    public var enterDeadline: Duration = .seconds(5)
    /// How long appends wait, after Redis came back different, for nodes of the room that have not entered it again.
    public var returnGrace: Duration = .seconds(5)
    /// Appends of one room that may be unanswered at once.
    public var appendWindow = 256
    /// A keyed send that does not say whether it is a repetition counts as one in a session younger than this.
    public var youngSession: Duration = .seconds(10)
    public var limits = Limits()
    /// For tests of the tests: a node keeps all rules.
    package var rules = RoomRules.all

    /// How much of a log one read brings.
    public var page: PageBounds { PageBounds(count: historyLength, bytes: pageBytes) }

    public init() {}
}
