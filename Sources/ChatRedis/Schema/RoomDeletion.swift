public import ChatCore
public import RedisSchema

/// The commands that delete a room that is being closed, in their order. Whoever was interrupted begins again. Pure.
public struct RoomDeletion: Sendable {
    /// What Redis says about it.
    public enum Outcome: String, Sendable {
        /// Nothing of the room is left.
        case closed
        /// A node is still in the room.
        case nodes
        /// The sink lacks something of the log.
        case behind
        /// The room is not being closed.
        case open
    }

    private let keys: RedisKeys
    private let room: RoomName
    private let sink: String?

    /// `sink`: the one that must have the whole log first; nil if none has to.
    public init(of room: RoomName, after sink: String?, _ keys: RedisKeys) {
        self.room = room
        self.sink = sink
        self.keys = keys
    }

    /// First: who the participants are, as only the room says that.
    public var participants: [String] { ["HKEYS", keys.key(.participants, of: room.text)] }

    /// Then: takes the room out of their indexes. `reply`: the one to ``participants``.
    public func forgotten(by reply: RedisValue) -> [[String]] {
        (reply.array ?? []).compactMap { $0.string.flatMap { try? UserID(stored: $0) } }
            .compactMap { Entity.user($0).keyTag }.map { ["HDEL", keys.rooms(ofUser: $0), room.text] }
    }

    /// Last: deletes the room, or says why that cannot be done now (``Outcome``).
    public var deletion: [String] { ["FCALL", "martlet_close", "1", keys.key(.log, of: room.text), sink ?? ""] }
}
