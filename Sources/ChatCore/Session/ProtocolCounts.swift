/// How many sessions of a room speak each protocol. A room in which all speak the same one allocates nothing for it.
public struct ProtocolCounts: Sendable {
    private struct Count: Sendable {
        var protocolID: ProtocolID
        var sessions: Int32
    }

    private var main: Count?
    private var rest: [Count] = []

    public init() {}

    /// Nobody is there.
    public var isEmpty: Bool { main == nil }
    /// One of the protocols that are spoken; nil: there are none.
    public var first: ProtocolID? { main?.protocolID }
    /// All the others.
    public var others: [ProtocolID] { rest.isEmpty ? [] : rest.map(\.protocolID) }

    /// One more session speaks it.
    public mutating func add(_ protocolID: ProtocolID) {
        guard let main else {
            main = Count(protocolID: protocolID, sessions: 1)
            return
        }
        if main.protocolID == protocolID {
            self.main?.sessions += 1
        } else if let index = rest.firstIndex(where: { $0.protocolID == protocolID }) {
            rest[index].sessions += 1
        } else {
            rest.append(Count(protocolID: protocolID, sessions: 1))
        }
    }

    /// One session fewer speaks it.
    public mutating func remove(_ protocolID: ProtocolID) {
        if let main, main.protocolID == protocolID {
            self.main?.sessions -= 1
            if main.sessions <= 1 { self.main = rest.popLast() }
        } else if let index = rest.firstIndex(where: { $0.protocolID == protocolID }) {
            rest[index].sessions -= 1
            if rest[index].sessions <= 0 { rest.remove(at: index) }
        }
        if rest.isEmpty { rest = [] }
    }
}
