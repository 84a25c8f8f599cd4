/// The messages of a loop's rooms in memory, in bytes. Confined to the loop.
public struct RoomsMemory: Sendable {
    /// What they may take; beyond it the rooms give some back.
    let limit: Int
    public internal(set) var used = 0
    /// Since the node started: taken back because of the limit.
    public private(set) var released: UInt64 = 0
    /// The same together with what went with its room.
    public private(set) var freed: UInt64 = 0
    /// Memory is being taken back, a little at a time.
    var isReleasing = false

    init(limit: Int) {
        self.limit = max(0, limit)
    }

    var isOver: Bool { used > limit }
    /// Below the limit, so that memory is not taken back for each message.
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

    /// A room is given up, with what it had in memory.
    mutating func forgot(_ bytes: Int) {
        used -= bytes
        freed &+= UInt64(max(0, bytes))
    }
}
