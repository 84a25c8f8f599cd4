/// Finds rooms in which the broker lists this node although it does not hold them, and takes it out of them.
///
/// Nobody sweeps a node that lives, so such an entry would stay for ever: its members in the roster, and a useless
/// PUBLISH for each message. There are two causes: a Redis that came back with an older state (failover, lost tail), in
/// which this node had not left yet, and the bytes of a dead connection that carried out an old `enter` after the
/// `leave`.
///
/// It reads the node's own list (`rooms(of:)`, written before each `enter`), then each listed room that the node does
/// not hold, then leaves with the value read. An `enter` in between has another value and is not touched.
public struct HoldingsAudit: Sendable {
    public enum Action: Sendable, Equatable {
        /// Send the request, then call `completed` with this serial.
        case submit(BrokerRequest, serial: UInt64)
        /// The node was listed in a room that it does not hold, and has been taken out.
        case left(RoomName)
    }

    /// Where a room is listed. Nobody keeps the old list up to date after the last node of schema 1 has gone, so what
    /// is left of it is removed here.
    struct List: Sendable, Equatable {
        let isOld: Bool

        init(cursor: UInt64) { isOld = Holdings.Cursor(cursor).part == Holdings.oldList }
    }

    enum Purpose: Sendable, Equatable {
        case rooms(List)
        case holders(RoomName, List)
        case leave(RoomName, value: UInt64, List)
        case release
    }

    let node: NodeID
    private var requests: [UInt64: Purpose] = [:]
    private var nextSerial: UInt64 = 1
    /// Where the next part of the node's list begins; nil: there is none, or no round is running.
    private var nextPart: UInt64?

    public init(node: NodeID) {
        self.node = node
    }

    /// Begins a round, unless one is still running. Once in a few leases is enough.
    public mutating func roundBegan(_ actions: inout [Action]) {
        guard requests.isEmpty else { return }
        submit(.rooms(of: node), .rooms(List(cursor: 0)), &actions)
    }

    /// The connection was lost; the next round starts over.
    public mutating func reset() {
        requests = [:]
        nextPart = nil
    }

    /// `isHeld`: whether the node uses that room, in any phase, at this moment.
    public mutating func completed(
        serial: UInt64, _ result: Result<BrokerReply, BrokerError>, isHeld: (RoomName) -> Bool,
        _ actions: inout [Action]
    ) {
        guard let purpose = requests.removeValue(forKey: serial) else { return }
        // A list is read part by part, so that Redis never gets thousands of requests at once.
        defer {
            if requests.isEmpty, let cursor = nextPart {
                nextPart = nil
                submit(.rooms(of: node, cursor: cursor), .rooms(List(cursor: cursor)), &actions)
            }
        }
        switch (purpose, result) {
        case (.rooms(let list), .success(.rooms(let rooms))):
            for room in rooms where !isHeld(room) { submit(.holders(room: room), .holders(room, list), &actions) }
        case (.rooms(let list), .success(.someRooms(let rooms, let cursor))):
            nextPart = cursor
            for room in rooms where !isHeld(room) { submit(.holders(room: room), .holders(room, list), &actions) }
        case (.holders(let room, let list), .success(.holders(let nodes))):
            guard !isHeld(room) else { return }
            if let value = nodes[node] {
                submit(.leave(room: room, node: node, value: value), .leave(room, value: value, list), &actions)
            } else {
                release(room, list, &actions)
            }
        case (.leave(let room, let value, let list), .success(.leaving(let cursor))):
            guard !isHeld(room) else { return }
            let next = BrokerRequest.leave(room: room, node: node, value: value, cursor: cursor)
            submit(next, .leave(room, value: value, list), &actions)
        case (.leave(let room, _, let list), .success(.left(let was))):
            if was { actions.append(.left(room)) }
            if !isHeld(room) { release(room, list, &actions) }
        case (.rooms, _), (.holders, _), (.leave, _), (.release, _):
            break
        }
    }

    private mutating func release(_ room: RoomName, _ list: List, _ actions: inout [Action]) {
        submit(.release(room: room, node: node, inOldList: list.isOld), .release, &actions)
    }

    private mutating func submit(_ request: BrokerRequest, _ purpose: Purpose, _ actions: inout [Action]) {
        requests[nextSerial] = purpose
        actions.append(.submit(request, serial: nextSerial))
        nextSerial += 1
    }
}
