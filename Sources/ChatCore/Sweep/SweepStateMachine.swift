/// Finds nodes that died and takes them out of their rooms, so that their members leave every roster within the lease.
///
/// Every node runs one. Which of them removes a dead node does not matter, as `leave` compares the enter epoch and is
/// atomic: the leave of its members is announced once. A round reads the rooms first and the heartbeats after them, so
/// a node that is just entering is never taken for dead (race 5).
public struct SweepStateMachine: Sendable {
    public enum Action: Sendable, Equatable {
        /// Send the request, then call `completed` with this serial.
        case submit(BrokerRequest, serial: UInt64)
        /// A dead node was found and its rooms are being swept; with its last report.
        case found(NodeID, NodeReport?)
        /// Nothing is left of the dead node; it was taken out of so many rooms.
        case swept(NodeID, NodeReport?, rooms: Int)
        /// Whether this node has to keep the old list (``Holdings``), because a node that lives reads no other one.
        case keepOldList(Bool)
    }

    enum Purpose: Sendable, Equatable {
        /// Only to learn which versions live.
        case versions
        case nodes
        case rooms(NodeID)
        case holders(RoomName, NodeID)
        case leave(RoomName, NodeID, value: UInt64)
        case forget(NodeID)
    }

    let node: NodeID
    private let watchesVersions: Bool
    private var requests: [UInt64: Purpose] = [:]
    private var nextSerial: UInt64 = 1
    /// The rounds that pass before the first sweep. With a round every sixth of the lease that is as long as a
    /// heartbeat lasts, so a node that dies just then is still out of every roster within the lease.
    static let roundsOfPatience = 4
    private var roundsToWait = SweepStateMachine.roundsOfPatience
    /// The dead nodes that are being swept.
    private var sweeping: [NodeID: Dead] = [:]
    /// The last reports of living nodes.
    private var reports: [NodeID: NodeReport] = [:]
    /// Whether a node of schema 1 lives; nil: not known yet.
    private var isOlderNodeAlive: Bool?
    /// Nodes that rooms listed before this round read the heartbeats.
    private var suspects: [Suspicion] = []

    private struct Dead {
        /// The number of unanswered requests, and whether one of them failed.
        var open = 0
        var failed = false
        /// The number of rooms that it was taken out of.
        var left = 0
        /// Where the next part of its list begins, once this one is done; nil: this is the last.
        var nextPart: UInt64?
    }

    struct Suspicion: Hashable, Sendable {
        var room: RoomName
        var node: NodeID
        var value: UInt64
    }

    /// - Parameter watchesVersions: The broker has an old list (``Holdings``), so it matters which versions live.
    public init(node: NodeID, watchesVersions: Bool = false) {
        self.node = node
        self.watchesVersions = watchesVersions
    }

    /// A room lists this node, since the enter epoch `value`.
    public mutating func saw(_ other: NodeID, value: UInt64, in room: RoomName) {
        guard other != node, suspects.count < 10_000 else { return }
        suspects.append(Suspicion(room: room, node: other, value: value))
    }

    /// The node begins: asks which versions live, before the first round is due.
    public mutating func began(_ actions: inout [Action]) {
        if watchesVersions { submit(.nodes, .versions, &actions) }
    }

    /// Begins a round, unless one is still running or the connection is young. A round is due every sixth of the lease.
    public mutating func roundBegan(_ actions: inout [Action]) {
        guard roundsToWait == 0 else {
            roundsToWait -= 1
            suspects = []
            if watchesVersions, requests.isEmpty { submit(.nodes, .versions, &actions) }
            return
        }
        guard requests.isEmpty else { return }
        submit(.nodes, .nodes, &actions)
    }

    /// The connection was lost: everything starts over, but not at once. If Redis was away, nobody's heartbeat arrived,
    /// and living nodes need time to report. Swept too early, their members would leave and come back, and nobody would
    /// wait for messages that only they can put back.
    public mutating func reset() {
        roundsToWait = Self.roundsOfPatience
        requests = [:]
        sweeping = [:]
    }

    public mutating func completed(
        serial: UInt64, _ result: Result<BrokerReply, BrokerError>, _ actions: inout [Action]
    ) {
        guard let purpose = requests.removeValue(forKey: serial) else { return }
        switch purpose {
        case .versions: if case .success(.nodes(let records)) = result { versionsRead(records, &actions) }
        case .nodes: nodesRead(result, &actions)
        case .rooms(let dead): roomsRead(of: dead, result, &actions)
        case .holders(let room, let dead): holdersRead(room, of: dead, result, &actions)
        case .leave(let room, let dead, let value):
            switch result {
            case .success(.leaving(let cursor)):
                let next = BrokerRequest.leave(room: room, node: dead, value: value, cursor: cursor)
                return submit(next, .leave(room, dead, value: value), &actions)
            case .success(.left(true)): sweeping[dead]?.left += 1
            case .success: break
            case .failure: sweeping[dead]?.failed = true
            }
            finished(dead, &actions)
        case .forget(let dead):
            if case .success(.forgetting(let cursor)) = result {
                return submit(.forget(dead, cursor: cursor), .forget(dead), &actions)
            }
            let left = sweeping.removeValue(forKey: dead)?.left ?? 0
            if case .success = result { actions.append(.swept(dead, reports.removeValue(forKey: dead), rooms: left)) }
        }
    }

    private mutating func nodesRead(_ result: Result<BrokerReply, BrokerError>, _ actions: inout [Action]) {
        guard case .success(.nodes(let records)) = result else { return }
        let living = Set(records.filter { $0.report != nil }.map(\.node))
        for record in records where record.report == nil && record.node != node { sweep(record.node, &actions) }
        let wasOlderNodeAlive = isOlderNodeAlive ?? false
        versionsRead(records, &actions)
        if wasOlderNodeAlive || isOlderNodeAlive ?? false { sweepVanished(records, &actions) }
        let dying = sweeping
        reports = reports.filter { dying[$0.key] != nil }
        for record in records { if let report = record.report { reports[record.node] = report } }
        let seen = Set(suspects)
        suspects = []
        for suspect in seen.sorted(by: { ($0.node, $0.room.text) < ($1.node, $1.room.text) })
        where !living.contains(suspect.node) && sweeping[suspect.node] == nil && suspect.node != node {
            let leave = BrokerRequest.leave(room: suspect.room, node: suspect.node, value: suspect.value)
            submit(leave, .leave(suspect.room, suspect.node, value: suspect.value), &actions)
        }
    }

    private mutating func sweep(_ dead: NodeID, _ actions: inout [Action]) {
        guard sweeping[dead] == nil else { return }
        actions.append(.found(dead, reports[dead]))
        sweeping[dead] = Dead()
        ask(.rooms(of: dead), .rooms(dead), for: dead, &actions)
    }

    /// A node of schema 1 may have forgotten a dead node of a later schema without finding all its rooms, if the node
    /// died before it had written them into the old list. So whoever vanishes beside such a node is swept once more.
    private mutating func sweepVanished(_ records: [NodeRecord], _ actions: inout [Action]) {
        let registered = Set(records.map(\.node))
        let vanished = reports.values.filter { $0.schema > 1 && $0.node != node && !registered.contains($0.node) }
        for report in vanished.sorted(by: { $0.node < $1.node }) { sweep(report.node, &actions) }
    }

    private mutating func versionsRead(_ records: [NodeRecord], _ actions: inout [Action]) {
        let isAlive = records.contains { $0.report.map { $0.schema < 2 } ?? false }
        guard watchesVersions, isAlive != isOlderNodeAlive else { return }
        isOlderNodeAlive = isAlive
        actions.append(.keepOldList(isAlive))
    }

    private mutating func roomsRead(
        of dead: NodeID, _ result: Result<BrokerReply, BrokerError>, _ actions: inout [Action]
    ) {
        var rooms: [RoomName] = []
        switch result {
        case .success(.rooms(let last)): rooms = last
        case .success(.someRooms(let some, let cursor)):
            rooms = some
            sweeping[dead]?.nextPart = cursor
        case .success, .failure: sweeping[dead]?.failed = true
        }
        for room in rooms { ask(.holders(room: room), .holders(room, dead), for: dead, &actions) }
        finished(dead, &actions)
    }

    private mutating func holdersRead(
        _ room: RoomName, of dead: NodeID, _ result: Result<BrokerReply, BrokerError>, _ actions: inout [Action]
    ) {
        if case .success(.holders(let nodes)) = result {
            if let value = nodes[dead] {
                let leave = BrokerRequest.leave(room: room, node: dead, value: value)
                ask(leave, .leave(room, dead, value: value), for: dead, &actions)
            }
        } else {
            sweeping[dead]?.failed = true
        }
        finished(dead, &actions)
    }

    private mutating func finished(_ dead: NodeID, _ actions: inout [Action]) {
        guard var state = sweeping[dead] else { return }
        state.open -= 1
        sweeping[dead] = state
        guard state.open == 0 else { return }
        if let cursor = state.nextPart {
            sweeping[dead]?.nextPart = nil
            ask(.rooms(of: dead, cursor: cursor), .rooms(dead), for: dead, &actions)
        } else if state.failed {
            sweeping[dead] = nil  // the next round tries again
        } else {
            submit(.forget(dead), .forget(dead), &actions)
        }
    }

    private mutating func ask(_ request: BrokerRequest, _ purpose: Purpose, for dead: NodeID, _ actions: inout [Action])
    {
        sweeping[dead]?.open += 1
        submit(request, purpose, &actions)
    }

    private mutating func submit(_ request: BrokerRequest, _ purpose: Purpose, _ actions: inout [Action]) {
        requests[nextSerial] = purpose
        actions.append(.submit(request, serial: nextSerial))
        nextSerial += 1
    }
}
