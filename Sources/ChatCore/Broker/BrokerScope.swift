/// Which rooms a link speaks of. One Redis serves all of them; of a Redis Cluster each master serves the rooms in its slots, and comes
/// and goes by itself.
public struct BrokerScope: Hashable, Sendable, CustomStringConvertible {
    public let slots: SlotSet
    /// Every room.
    public let isWhole: Bool
    /// What nodes say of themselves (heartbeats, the rooms they hold) is kept there too.
    public let holdsNodes: Bool

    /// All there is.
    public static let everything = BrokerScope(.all, holdsNodes: true)

    public init(_ slots: SlotSet, holdsNodes: Bool) {
        self.slots = slots
        self.holdsNodes = holdsNodes
        isWhole = slots == .all
    }

    /// A slot by itself: it is not a connection that came or went, but what it reaches.
    public var isOneSlot: Bool { slots.count == 1 }

    public func contains(_ room: RoomName) -> Bool { isWhole || slots.contains(HashSlot(of: room)) }

    public var description: String { isWhole ? "all rooms" : "slots \(slots.summary)" }
}

/// Which rooms a connection reaches at the moment, and who answers for them.
public struct BrokerReach: Sendable {
    private struct Part {
        var scope: BrokerScope
        var identity: BrokerIdentity
    }

    private var parts: [Part] = []

    public init() {}

    /// Nothing is reached.
    public var isEmpty: Bool { parts.isEmpty }

    /// Every room is reached.
    public var isWhole: Bool {
        var slots = SlotSet()
        for part in parts {
            if part.scope.isWhole { return true }
            slots.formUnion(part.scope.slots)
        }
        return slots == .all
    }

    /// Who answers for the room; nil if nobody does.
    public func identity(of room: RoomName) -> BrokerIdentity? {
        parts.first { $0.scope.contains(room) }?.identity
    }

    /// Whether that one answers for any room.
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
