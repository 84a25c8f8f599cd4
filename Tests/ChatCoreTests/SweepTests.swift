import Testing

@testable import ChatCore

@Suite struct SweepTests {
    private let me = try? NodeID("me-1")
    private let other = try? NodeID("other-2")

    private func rounds(_ count: Int, _ machine: inout SweepStateMachine) -> [SweepStateMachine.Action] {
        var actions: [SweepStateMachine.Action] = []
        for _ in 0..<count { machine.roundBegan(&actions) }
        return actions
    }

    private func answer(_ machine: inout SweepStateMachine, _ serial: UInt64, _ reply: BrokerReply)
        -> [SweepStateMachine.Action]
    {
        var actions: [SweepStateMachine.Action] = []
        machine.completed(serial: serial, .success(reply), &actions)
        return actions
    }

    @Test func whoHasNoHeartbeatIsTakenOutOfEachRoomAndForgotten() throws {
        let (me, other, room) = (try #require(me), try #require(other), try RoomName("lobby"))
        var machine = SweepStateMachine(node: me)
        #expect(rounds(SweepStateMachine.roundsOfPatience, &machine).isEmpty)
        #expect(rounds(1, &machine) == [.submit(.nodes, serial: 1)])
        let found = answer(&machine, 1, .nodes([NodeRecord(node: other, report: nil)]))
        #expect(found == [.found(other, nil), .submit(.rooms(of: other), serial: 2)])
        #expect(answer(&machine, 2, .rooms([room])) == [.submit(.holders(room: room), serial: 3)])
        let leave = BrokerRequest.leave(room: room, node: other, value: 7)
        #expect(answer(&machine, 3, .holders([other: 7, me: 9])) == [.submit(leave, serial: 4)])
        #expect(answer(&machine, 4, .left(true)) == [.submit(.forget(other), serial: 5)])
        // In a Cluster its list is in several parts.
        #expect(
            answer(&machine, 5, .forgetting(cursor: 9)) == [.submit(.forget(other, cursor: 9), serial: 6)])
        #expect(answer(&machine, 6, .done) == [.swept(other, nil, rooms: 1)])
    }

    /// While Redis is unreachable, no heartbeat arrives, so right afterwards every node seems dead.
    @Test func nobodyIsSweptWhileTheConnectionIsYoung() throws {
        var machine = SweepStateMachine(node: try #require(me))
        let patience = SweepStateMachine.roundsOfPatience
        #expect(rounds(patience, &machine).isEmpty)
        #expect(rounds(1, &machine).count == 1)
        machine.reset()
        machine.saw(try #require(other), value: 7, in: try RoomName("lobby"))
        #expect(rounds(patience, &machine).isEmpty)
        #expect(answer(&machine, 1, .nodes([])).isEmpty, "an answer of the lost connection")
        #expect(rounds(1, &machine) == [.submit(.nodes, serial: 2)])
        #expect(answer(&machine, 2, .nodes([])).isEmpty, "what was seen before that is no suspicion any more")
    }

    /// In a Cluster it asks who lives meanwhile.
    @Test func nobodyIsSweptWhileOnlyVersionsAreOfInterest() throws {
        var machine = SweepStateMachine(node: try #require(me), watchesVersions: true)
        let dead = NodeRecord(node: try #require(other), report: nil)
        #expect(rounds(SweepStateMachine.roundsOfPatience, &machine) == [.submit(.nodes, serial: 1)])
        #expect(answer(&machine, 1, .nodes([dead])) == [.keepOldList(false)])
    }

    // MARK: Beside nodes of schema 1

    private func record(_ node: NodeID, schema: Int) -> NodeRecord {
        NodeRecord(node: node, report: NodeReport(node: node, address: "", version: "", schema: schema))
    }

    /// The answer to the next round.
    private func round(
        _ machine: inout SweepStateMachine, _ records: [NodeRecord]
    ) throws -> [SweepStateMachine.Action] {
        var actions: [SweepStateMachine.Action] = []
        machine.roundBegan(&actions)
        guard case .submit(.nodes, let serial)? = actions.first else {
            Issue.record("no round: \(actions)")
            return []
        }
        return answer(&machine, serial, .nodes(records))
    }

    @Test func theOldListIsKeptWhileSomebodyReadsNothingElse() throws {
        let (me, other) = (try #require(me), try #require(other))
        var machine = SweepStateMachine(node: me, watchesVersions: true)
        var actions: [SweepStateMachine.Action] = []
        machine.began(&actions)
        #expect(actions == [.submit(.nodes, serial: 1)], "at once, as nothing is known before")
        let (new, old) = (record(me, schema: 2), record(other, schema: 1))
        #expect(answer(&machine, 1, .nodes([new])) == [.keepOldList(false)])
        for _ in 0..<SweepStateMachine.roundsOfPatience {
            #expect(try round(&machine, [new, record(other, schema: 3)]).isEmpty)
        }
        #expect(try round(&machine, [new, old]) == [.keepOldList(true)])
        #expect(try round(&machine, [new, old]).isEmpty, "said once")
        #expect(
            try round(&machine, [new, NodeRecord(node: other, report: nil)]).contains(.keepOldList(false)),
            "a dead node sweeps nobody")
    }

    /// A node of schema 1 looks for a dead node's rooms in the old list only, finds none, and forgets the node.
    @Test func whoeverVanishesBesideAnOlderNodeIsSweptAgain() throws {
        let (me, other) = (try #require(me), try #require(other))
        let older = record(try NodeID("old-1"), schema: 1)
        let all = [record(me, schema: 2), record(other, schema: 2)]
        for isOlderAlive in [false, true] {
            var machine = SweepStateMachine(node: me, watchesVersions: true)
            for _ in 0...SweepStateMachine.roundsOfPatience { _ = try round(&machine, all) }
            let found = try round(&machine, isOlderAlive ? all + [older] : all)
            #expect(found == (isOlderAlive ? [.keepOldList(true)] : []))
            let rest = isOlderAlive ? [all[0], older] : [all[0]]
            let actions = try round(&machine, rest)
            guard isOlderAlive else {
                #expect(actions.isEmpty, "whoever leaves in order is forgotten by itself")
                continue
            }
            guard case .found(other, _)? = actions.first, case .submit(.rooms(other, 0), let serial)? = actions.last
            else {
                Issue.record("\(actions)")
                continue
            }
            let forget = answer(&machine, serial, .rooms([]))
            guard case .submit(.forget(other, 0), let last)? = forget.first else {
                Issue.record("\(forget)")
                continue
            }
            _ = answer(&machine, last, .done)
            #expect(try round(&machine, rest).isEmpty, "once")
        }
    }
}

@Suite struct HoldingsAuditTests {
    /// The old list is not kept up to date after the last node that reads it, so a room is taken out of it where it is
    /// found.
    @Test func aRoomIsTakenOutOfTheListInWhichItWasFound() throws {
        let (node, room) = (try NodeID("me-1"), try RoomName("lobby"))
        var audit = HoldingsAudit(node: node)
        func answer(_ serial: UInt64, _ reply: BrokerReply) -> [HoldingsAudit.Action] {
            var actions: [HoldingsAudit.Action] = []
            audit.completed(serial: serial, .success(reply), isHeld: { _ in false }, &actions)
            return actions
        }
        var actions: [HoldingsAudit.Action] = []
        audit.roundBegan(&actions)
        #expect(actions == [.submit(.rooms(of: node), serial: 1)])
        let last = Holdings.Cursor(part: Holdings.oldList).raw
        let holders = BrokerRequest.holders(room: room)
        #expect(answer(1, .someRooms([room], cursor: last)) == [.submit(holders, serial: 2)])
        #expect(answer(2, .holders([:])) == [.submit(.release(room: room, node: node), serial: 3)])
        #expect(answer(3, .done) == [.submit(.rooms(of: node, cursor: last), serial: 4)])
        #expect(answer(4, .rooms([room])) == [.submit(holders, serial: 5)])
        let release = BrokerRequest.release(room: room, node: node, inOldList: true)
        #expect(answer(5, .holders([:])) == [.submit(release, serial: 6)])
        #expect(answer(6, .done).isEmpty)
    }
}
