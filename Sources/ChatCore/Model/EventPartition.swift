/// A share of all rooms, whose events one relay at a time hands to the sinks.
///
/// A room's partition is the hash slot of its name (CRC16, Redis Cluster specification) modulo ``count``, so any
/// program can compute it.
public struct EventPartition: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// Fixed, as it decides where the events of a room are.
    public static let count = 16

    public static let all: [EventPartition] = (0..<count).map { EventPartition(unchecked: $0) }

    /// Below ``count``.
    public let number: Int

    /// Nil if there is no such partition.
    public init?(_ number: Int) {
        guard (0..<Self.count).contains(number) else { return nil }
        self.number = number
    }

    /// The partition of a room.
    public init(of room: RoomName) {
        number = HashSlot(of: room).number % Self.count
    }

    /// The partition whose keys hold what concerns all relays.
    public static let first = EventPartition(unchecked: 0)

    private init(unchecked number: Int) {
        self.number = number
    }

    /// The hash tag of the partition's keys, `martlet:events:{<partition>}:…`. A room's keys have its name right behind
    /// the prefix, so a room of that name has other keys.
    public var keyTag: String { String(number) }

    public var description: String { String(number) }

    public static func < (left: EventPartition, right: EventPartition) -> Bool { left.number < right.number }
}
