/// The messages of a loop's rooms in memory, in bytes. Confined to the loop.
public struct RoomsMemory: Sendable {
    /// The limit; beyond it the rooms release some memory.
    let limit: Int
    public internal(set) var used = 0
    /// Bytes that were released because of the limit, since the node started.
    public private(set) var released: UInt64 = 0
    /// The same, including the memory that was freed together with its room.
    public private(set) var freed: UInt64 = 0
    /// Whether memory is being released at present, a little at a time.
    var isReleasing = false

    init(limit: Int) {
        self.limit = max(0, limit)
    }

    var isOver: Bool { used > limit }
    /// The goal is below the limit, so that memory is not released for each message.
    var isAboveGoal: Bool { used > limit / 8 * 7 }

    public mutating func add(_ other: RoomsMemory) {
        used += other.used
        released &+= other.released
        freed &+= other.freed
    }

    mutating func released(_ bytes: Int) {
        released &+= UInt64(max(0, bytes))
        freed &+= UInt64(max(0, bytes))
    }

    /// A room is given up, together with its messages in memory.
    mutating func forgot(_ bytes: Int) {
        used -= bytes
        freed &+= UInt64(max(0, bytes))
    }
}
