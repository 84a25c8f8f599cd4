import ChatCore

/// What the hosts of all loops of a node have in common.
public struct HubSettings: Sendable {
    public var node: NodeID
    public var rooms: RoomSettings
    /// Encodes what is sent to sessions, for the protocols that are registered.
    public let encoder: any FrameEncoder
    /// Bytes of messages that all rooms of the node may keep in memory.
    public var roomsMemory = 512 * 1_048_576
    /// Whether Redis has memory for new rooms.
    public let redisSpace = RedisSpace()

    public init(node: NodeID, rooms: RoomSettings, encoder: any FrameEncoder) {
        self.node = node
        self.rooms = rooms
        self.encoder = encoder
    }
}

/// What a loop's hosts count, since the node started; gauges are of this moment.
public struct HubLoad: Sendable {
    public var sessions = 0
    public var rooms = 0
    /// Sends that wait for Redis.
    public var waitingSends = 0
    /// Messages that rooms of this loop were shown, since the node started.
    public var messages: UInt64 = 0
    /// Frames handed to sessions of this loop, since the node started.
    public var deliveries: UInt64 = 0
    /// Messages that rooms have in memory.
    public var memory = RoomsMemory(limit: 0)

    public init(sessions: Int = 0) {
        self.sessions = sessions
    }
}

/// A limit that a host enforces, for the refusal's count.
public enum HubLimit: Sendable, CaseIterable {
    case requestsPerSecondPerUser, joinsPerSecond, costPerSecond, userBytesPerSecond, redisMemory, waitingPages
    case waitingSendsPerRoom
}
