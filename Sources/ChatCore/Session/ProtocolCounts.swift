/// The number of sessions of a room for each protocol. A room in which all speak the same one allocates no memory for
/// it.
public struct ProtocolCounts: Sendable {
    private struct Count: Sendable {
        var protocolID: ProtocolID
        var sessions: Int32
    }

    private var main: Count?
    private var rest: [Count] = []

    public init() {}

    /// Whether there are no sessions.
    public var isEmpty: Bool { main == nil }
    /// One of the protocols that are spoken; nil if there are none.
    public var first: ProtocolID? { main?.protocolID }
    /// All other protocols that are spoken.
    public var others: [ProtocolID] { rest.isEmpty ? [] : rest.map(\.protocolID) }

    /// Counts one more session that speaks the protocol.
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

    /// Counts one session fewer that speaks the protocol.
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
