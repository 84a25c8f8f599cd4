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
        _ = rounds(SweepStateMachine.roundsOfPatience, &machine)
        #expect(rounds(1, &machine) == [.submit(.nodes, serial: 1)])
        let found = answer(&machine, 1, .nodes([NodeRecord(node: other, report: nil)]))
        #expect(found == [.found(other, nil), .submit(.rooms(of: other), serial: 2)])
        #expect(answer(&machine, 2, .rooms([room])) == [.submit(.holders(room: room), serial: 3)])
        let leave = BrokerRequest.leave(room: room, node: other, value: 7)
        #expect(answer(&machine, 3, .holders([other: 7, me: 9])) == [.submit(leave, serial: 4)])
        #expect(answer(&machine, 4, .left(true)) == [.submit(.forget(other), serial: 5)])
        #expect(answer(&machine, 5, .done) == [.swept(other, nil, rooms: 1)])
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
}
