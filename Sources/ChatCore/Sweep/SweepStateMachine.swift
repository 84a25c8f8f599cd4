/// Finds nodes that died and takes them out of their rooms, so that their members leave every roster within the lease.
///
/// Every node runs one; which of them removes a dead node does not matter, since `leave` compares the enter epoch and is
/// atomic: the members' leave is said once. A round reads the rooms first and the heartbeats after them, so a node that is
/// only just coming in is never taken for dead (race 5).
public struct SweepStateMachine: Sendable {
    public enum Action: Sendable, Equatable {
        /// Ask, then call `completed` with this serial.
        case submit(BrokerRequest, serial: UInt64)
        /// A dead node was found; its rooms are being swept. With the last report that was seen of it.
        case found(NodeID, NodeReport?)
        /// Nothing is left of the dead node; we took it out of so many rooms.
        case swept(NodeID, NodeReport?, rooms: Int)
    }

    enum Purpose: Sendable, Equatable {
        case nodes
        case rooms(NodeID)
        case holders(RoomName, NodeID)
        case leave(RoomName, NodeID, value: UInt64)
        case forget(NodeID)
    }

    let node: NodeID
    private var requests: [UInt64: Purpose] = [:]
    private var nextSerial: UInt64 = 1
    /// With a round every sixth of the lease: as long as a heartbeat lasts, so that a node which dies just then is still out of every
    /// roster within the lease.
    static let roundsOfPatience = 4
    private var roundsToWait = SweepStateMachine.roundsOfPatience
    /// Requests that still have to be answered for each dead node, and whether one of them failed.
    private var sweeping: [NodeID: Dead] = [:]
    /// What living nodes said last.
    private var reports: [NodeID: NodeReport] = [:]
    /// Nodes that rooms listed before this round read the heartbeats.
    private var suspects: [Suspicion] = []

    private struct Dead {
        var open = 0
        var failed = false
        /// Rooms that it was taken out of.
        var left = 0
        /// Where the next part of the dead node's list begins, once this one is done; nil: this is the last.
        var nextPart: UInt64?
    }

    struct Suspicion: Hashable, Sendable {
        var room: RoomName
        var node: NodeID
        var value: UInt64
    }

    public init(node: NodeID) {
        self.node = node
    }

    /// A room lists this node, since the enter epoch `value`.
    public mutating func saw(_ other: NodeID, value: UInt64, in room: RoomName) {
        guard other != node, suspects.count < 10_000 else { return }
        suspects.append(Suspicion(room: room, node: other, value: value))
    }

    /// Begins a round, unless one is still running or the connection is young. A round is due every sixth of the lease.
    public mutating func roundBegan(_ actions: inout [Action]) {
        guard roundsToWait == 0 else {
            roundsToWait -= 1
            suspects = []
            return
        }
        guard requests.isEmpty else { return }
        submit(.nodes, .nodes, &actions)
    }

    /// The connection was lost: whatever was asked starts over, but not at once. If it was Redis that was away, nobody's heartbeat came
    /// through, and who lives needs time to say so: swept, its members would leave and come back, and what it alone
    /// could put back would not be waited for.
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
            let left = sweeping.removeValue(forKey: dead)?.left ?? 0
            if case .success = result { actions.append(.swept(dead, reports.removeValue(forKey: dead), rooms: left)) }
        }
    }

    private mutating func nodesRead(_ result: Result<BrokerReply, BrokerError>, _ actions: inout [Action]) {
        guard case .success(.nodes(let records)) = result else { return }
        let living = Set(records.filter { $0.report != nil }.map(\.node))
        for record in records where record.report == nil && record.node != node && sweeping[record.node] == nil {
            actions.append(.found(record.node, reports[record.node]))
            sweeping[record.node] = Dead()
            ask(.rooms(of: record.node), .rooms(record.node), for: record.node, &actions)
        }
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
