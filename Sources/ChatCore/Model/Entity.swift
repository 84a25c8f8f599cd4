/// An owner of keys and of a channel in the broker: a room, a user, a node, a ticket, a partition of the events, or all
/// nodes together.
///
/// All keys of an entity share one hash slot, so that one command can touch several of them in a Redis Cluster, and its
/// channel is in the same slot. The broker, its links and their subscriptions need to know no more of a request than
/// whose keys and channel it is about.
public enum Entity: Hashable, Sendable, CustomStringConvertible {
    case room(RoomName)
    case user(UserID)
    /// One share of what a node owns. A node's list of rooms is spread over the slots of a Cluster (``Holdings``), and
    /// its probes need a channel in the slots of each master, so a node owns keys in any slot. One Redis ignores the
    /// slot: there a node has one set of keys and one channel.
    case node(NodeID, HashSlot)
    /// A ticket, which has one key and no channel.
    case ticket(TicketName)
    /// A partition of the events, which has keys and no channel.
    case events(EventPartition)
    /// The set of all nodes, with each node's heartbeat. Its keys carry its name as their hash tag.
    case nodes

    /// What the names of the entity's keys carry in braces; nil for ``nodes``, whose tag depends on the prefix of keys.
    ///
    /// A user's name may hold braces, which Redis would read as the end of the tag; they are percent-encoded, and so is
    /// the percent sign, so that different users have different tags.
    public var keyTag: String? {
        switch self {
        case .room(let room): room.text
        case .user(let user): Self.tag(of: user)
        case .node(_, let slot): slot.tag
        case .ticket(let ticket): ticket.text
        case .events(let partition): partition.keyTag
        case .nodes: nil
        }
    }

    /// The slot of the entity's keys and channel. `nodes`: the slot of ``nodes``, which depends on the prefix of keys.
    public func slot(nodes: HashSlot) -> HashSlot {
        switch self {
        case .room(let room): HashSlot(of: room)
        case .user(let user): HashSlot(ofTag: Self.tag(of: user))
        case .node(_, let slot): slot
        case .ticket(let ticket): HashSlot(ofTag: ticket.text)
        case .events(let partition): HashSlot(ofTag: partition.keyTag)
        case .nodes: nodes
        }
    }

    /// Costs a room no more than its name does.
    public func hash(into hasher: inout Hasher) {
        switch self {
        case .room(let room): hasher.combine(room)
        case .user(let user): hasher.combine(user)
        case .node(let node, let slot):
            hasher.combine(node)
            hasher.combine(slot)
        case .ticket(let ticket): hasher.combine(ticket)
        case .events(let partition): hasher.combine(partition)
        case .nodes: hasher.combine(0)
        }
    }

    /// The room; nil if the entity is another one.
    public var room: RoomName? {
        if case .room(let room) = self { room } else { nil }
    }

    public var description: String {
        switch self {
        case .room(let room): room.text
        case .user(let user): "user \(user)"
        case .node(let node, let slot): "node \(node), slot \(slot.number)"
        case .ticket: "a ticket"
        case .events(let partition): "events, partition \(partition)"
        case .nodes: "all nodes"
        }
    }

    private static func tag(of user: UserID) -> String {
        guard user.text.utf8.contains(where: isReserved) else { return user.text }
        var tag = ""
        for scalar in user.text.unicodeScalars {
            switch scalar {
            case "{": tag += "%7B"
            case "}": tag += "%7D"
            case "%": tag += "%25"
            default: tag.unicodeScalars.append(scalar)
            }
        }
        return tag
    }

    private static func isReserved(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: "{") || byte == UInt8(ascii: "}") || byte == UInt8(ascii: "%")
    }
}
