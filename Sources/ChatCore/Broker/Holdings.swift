/// Where the list of the rooms that a node holds is kept in a Redis Cluster.
///
/// Before a node enters a room it writes the room down in its list, so that whoever sweeps the node knows where to
/// look. In a Cluster the list has ``parts`` parts of equal width in slots. A room is written down in the part to which
/// its own slot belongs, and the part is kept in the middle of these slots. Masters serve ranges of slots, so in most
/// cases the same master has the room and this part of the list: the load of entering rooms is spread like the rooms
/// themselves, even if there is only one node, and a master that fails keeps nobody from entering the rooms of others.
///
/// Nodes of schema 1 (``NodeReport/schema``) keep the whole list in the slot of all nodes: the *old list*. While one of
/// them lives, nodes of later schemas keep the old list too, as a node of schema 1 that sweeps them reads nothing else.
///
/// One Redis has one list, which both schemas name alike; cursors there have part 0.
public enum Holdings {
    /// The number of parts. With three masters the most and the least loaded one differ by 5 %, with twenty by a third.
    public static let parts = 64
    /// The part number of the old list, which comes last.
    public static let oldList = parts

    private static let width = HashSlot.count / parts

    /// Where a node's list has the room.
    public static func slot(of room: RoomName) -> HashSlot {
        slot(ofPart: HashSlot(of: room).number / width)
    }

    /// The slot of a part; of the last one for numbers beyond.
    public static func slot(ofPart part: Int) -> HashSlot {
        HashSlot(clamping: min(max(part, 0), parts - 1) * width + width / 2)
    }

    /// How far somebody has read, or deleted, a list: the part, and where in it Redis goes on.
    public struct Cursor: Hashable, Sendable {
        public var part: Int
        /// Of SSCAN; below 2^56. 0: the beginning of the part.
        public var scan: UInt64

        public init(part: Int, scan: UInt64 = 0) {
            self.part = min(max(part, 0), oldList)
            self.scan = scan & Self.scanMask
        }

        /// The cursor of a ``BrokerRequest``.
        public init(_ raw: UInt64) {
            self.init(part: Int(raw >> Self.scanBits), scan: raw)
        }

        /// As a ``BrokerRequest`` and a ``BrokerReply`` carry it.
        public var raw: UInt64 { UInt64(part) << Self.scanBits | scan }

        private static let scanBits: UInt64 = 56
        private static let scanMask: UInt64 = 1 << scanBits - 1

        /// The beginning of the part after this one; nil: this is the last.
        public var nextPart: Cursor? { part < oldList ? Cursor(part: part + 1) : nil }

        /// Whose keys the part is.
        func entity(of node: NodeID) -> Entity {
            part < parts ? .node(node, Holdings.slot(ofPart: part)) : .nodes
        }
    }
}
