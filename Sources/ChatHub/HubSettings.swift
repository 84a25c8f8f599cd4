import ChatCore

/// The settings that the hosts of all loops of a node share.
public struct HubSettings: Sendable {
    public var node: NodeID
    public var rooms: RoomSettings
    /// Encodes events for the registered protocols.
    public let encoder: any FrameEncoder
    /// Bytes of messages that all rooms of the node may keep in memory.
    public var roomsMemory = 512 * 1_048_576
    /// How long a session may stay after its token has expired, in milliseconds.
    public var tokenGrace: UInt64 = 25_000
    /// The time in which users may edit and delete their own messages, in milliseconds; 0: no bound.
    public var editWindow: UInt64 = 86_400_000
    /// The words that messages must not have; nil if there is no list.
    public var words: WordScreen?
    /// How an operator's hook is asked about messages; nil if there is none.
    public var hook: HookSettings?
    /// Of how many participants at most a room is told what they have read.
    public var receipts = 100
    /// Whether rooms are noted for relays.
    public let relay = RelaySwitch()
    /// Whether Redis has memory for new rooms.
    public let redisSpace = RedisSpace()

    public init(node: NodeID, rooms: RoomSettings, encoder: any FrameEncoder) {
        self.node = node
        self.rooms = rooms
        self.encoder = encoder
    }
}

/// The counts of a loop's hosts since the node started; gauges are current values.
public struct HubLoad: Sendable {
    public var sessions = 0
    /// The sessions by the name of their protocol. Only the node's total has it.
    public var protocols: [String: Int] = [:]
    public var rooms = 0
    /// Sends that wait for Redis.
    public var waitingSends = 0
    /// Requests that wait for messages, without a session.
    public var polls = 0
    /// Users to whose channels the node is subscribed.
    public var userChannels = 0
    /// Messages shown to rooms of this loop since the node started.
    public var messages: UInt64 = 0
    /// Frames handed to sessions of this loop, since the node started.
    public var deliveries: UInt64 = 0
    /// The messages of rooms in memory.
    public var memory = RoomsMemory(limit: 0)

    public init(sessions: Int = 0) {
        self.sessions = sessions
    }
}

/// A limit that a host enforces, for counting refusals.
public enum HubLimit: Sendable, CaseIterable {
    case requestsPerSecondPerUser, joinsPerSecond, costPerSecond, userBytesPerSecond, redisMemory, waitingPages
    case waitingSendsPerRoom, participants, conversationsPerUser

    /// The limit that a request about conversations has reached; nil for another error.
    public init?(ofConversations code: WireError.Code) {
        switch code {
        case .tooManyParticipants: self = .participants
        case .tooManyEntries: self = .conversationsPerUser
        default: return nil
        }
    }
}
