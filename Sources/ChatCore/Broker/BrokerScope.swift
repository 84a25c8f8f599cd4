/// What a link speaks of when it says that a connection came or went. One Redis serves everything; each master of a
/// Redis Cluster serves the entities in its slots, and comes and goes by itself.
public struct BrokerScope: Hashable, Sendable, CustomStringConvertible {
    public let slots: SlotSet
    /// All slots.
    public let isWhole: Bool
    /// Whether ``Entity/nodes`` is among them.
    public let holdsNodes: Bool

    public static let everything = BrokerScope(.all, holdsNodes: true)

    public init(_ slots: SlotSet, holdsNodes: Bool) {
        self.slots = slots
        self.holdsNodes = holdsNodes
        isWhole = slots == .all
    }

    /// Whether it is a single slot, which moved: no connection came or went.
    public var isOneSlot: Bool { slots.count == 1 }

    public func contains(_ room: RoomName) -> Bool { isWhole || slots.contains(HashSlot(of: room)) }

    public func contains(_ entity: Entity) -> Bool {
        switch entity {
        case .room(let room): contains(room)
        case .nodes: isWhole || holdsNodes
        case .user, .node, .ticket, .events: isWhole || slots.contains(entity.slot(nodes: HashSlot(clamping: 0)))
        }
    }

    public var description: String { isWhole ? "all slots" : "slots \(slots.summary)" }
}

/// What a connection reaches at the moment, and which server answers for it.
public struct BrokerReach: Sendable {
    private struct Part {
        var scope: BrokerScope
        var identity: BrokerIdentity
    }

    private var parts: [Part] = []

    public init() {}

    /// Nothing is reached.
    public var isEmpty: Bool { parts.isEmpty }

    /// Every slot is reached.
    public var isWhole: Bool {
        var slots = SlotSet()
        for part in parts {
            if part.scope.isWhole { return true }
            slots.formUnion(part.scope.slots)
        }
        return slots == .all
    }

    /// The server that answers for the room; nil if none does.
    public func identity(of room: RoomName) -> BrokerIdentity? {
        parts.first { $0.scope.contains(room) }?.identity
    }

    /// The server that answers for the entity; nil if none does.
    public func identity(of entity: Entity) -> BrokerIdentity? {
        parts.first { $0.scope.contains(entity) }?.identity
    }

    /// Whether that server answers for anything.
    public func isReached(_ identity: BrokerIdentity) -> Bool { parts.contains { $0.identity == identity } }

    public mutating func came(_ scope: BrokerScope, _ identity: BrokerIdentity) {
        went(scope)
        guard let index = parts.firstIndex(where: { $0.identity == identity }) else {
            return parts.append(Part(scope: scope, identity: identity))
        }
        var slots = parts[index].scope.slots
        slots.formUnion(scope.slots)
        parts[index].scope = BrokerScope(slots, holdsNodes: parts[index].scope.holdsNodes || scope.holdsNodes)
    }

    public mutating func went(_ scope: BrokerScope) {
        for index in parts.indices {
            let rest = parts[index].scope.slots.subtracting(scope.slots)
            parts[index].scope = BrokerScope(rest, holdsNodes: parts[index].scope.holdsNodes && !scope.holdsNodes)
        }
        parts.removeAll { $0.scope.slots.isEmpty }
    }
}
