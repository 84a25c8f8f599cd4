public import ChatCore
public import RedisSchema

extension RedisKeys {
    /// All keys that a node's list of rooms may use: in a Cluster its parts, and then the old list.
    public func lists(of node: NodeID) -> [String] {
        guard isClustered else { return [rooms(ofNode: node.text)] }
        return (0...Holdings.oldList).map { rooms(of: node, Holdings.Cursor(part: $0)) }
    }

    /// The entity's channel.
    func channel(of entity: Entity) -> String {
        switch entity {
        case .room(let room): channel(of: room.text)
        case .user: user(tag: entity.keyTag ?? "")
        case .node(let node, let slot): self.node(node.text, tag: tag(of: slot))
        case .ticket(let ticket): self.ticket(ticket.text)
        case .events(let partition): events(tag: partition.keyTag)
        case .nodes: nodes
        }
    }

    /// A key in the entity's slot that never exists: for ``BrokerRequest/tryStoring(_:)``.
    func rehearsal(of entity: Entity) -> String { channel(of: entity) + ":rehearsal" }

    /// The part of a node's list of rooms to which the cursor points.
    func rooms(of node: NodeID, _ cursor: Holdings.Cursor) -> String {
        guard isClustered, cursor.part < Holdings.parts else { return rooms(ofNode: node.text) }
        return rooms(ofNode: node.text, tag: Holdings.slot(ofPart: cursor.part).tag)
    }

    /// The node's list in which the room is written down; with `inOldList` the one that nodes of schema 1 read.
    func rooms(of node: NodeID, with room: RoomName, inOldList: Bool) -> String {
        guard isClustered, !inOldList else { return rooms(ofNode: node.text) }
        return rooms(ofNode: node.text, tag: Holdings.slot(of: room).tag)
    }

    /// Only a Cluster needs tags, and the table of all tags.
    private func tag(of slot: HashSlot) -> String { isClustered ? slot.tag : "" }
}
