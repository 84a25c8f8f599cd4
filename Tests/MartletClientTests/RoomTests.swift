import ChatCore
import Testing

@testable import MartletClient

@Suite struct RoomTests {
    private func reconnect(_ harness: inout Harness) throws {
        harness.machine.connectionClosed(.lost, now: harness.now)
        harness.now = try #require(harness.machine.nextDeadline)
        harness.machine.timerFired(now: harness.now)
        _ = harness.take()
        try harness.welcome()
    }

    @Test func eachMessageIsShownOnceAndInOrder() throws {
        var harness = try Harness.inLobby()
        for position in ["5-11", "5-12", "5-12", "5-11", "9-13"] { try harness.message(position) }
        #expect(harness.told() == ["message 5-11", "message 5-12", "message 9-13"])
    }

    @Test func aHoleThatTheNodeDidNotAnnounceIsSaidAllTheSame() throws {
        var harness = try Harness.inLobby()
        try harness.message("5-11")
        try harness.message("5-14")
        #expect(harness.told() == ["message 5-11", "gap 5-11 5-14", "message 5-14"])
    }

    @Test func aGapIsSaidOnce() throws {
        var harness = try Harness.inLobby()
        try harness.hear(#"{"type":"gap","room":"lobby","after":"5-10","before":"5-20"}"#)
        try harness.message("5-20")
        #expect(harness.told() == ["gap 5-10 5-20", "message 5-20"])
    }

    @Test func aResetVoidsWhatWasShownAndGoesOnBelowIt() throws {
        var harness = try Harness.inLobby()
        try harness.hear(#"{"type":"reset","room":"lobby","position":"9-3","reason":"rewound"}"#)
        try harness.message("9-3")
        try harness.message("9-4")
        #expect(harness.told() == ["reset 9-3", "message 9-4"])
    }

    @Test func comingBackResumesAfterTheLastOneShown() throws {
        var harness = try Harness.inLobby()
        try harness.message("5-11")
        try reconnect(&harness)
        let ref = try #require(try harness.joinRef())
        #expect(harness.written() == [#"{"type":"join","ref":\#(ref),"room":"lobby","after":"5-11"}"#])
        try harness.message("6-13")
        try harness.hear(
            """
            {"type":"joined","ref":\(ref),"room":"lobby","position":"6-13","resumed":true,"count":1,"messages":[\
            {"position":"6-12","user":"b","at":"2026-11-21T03:04:05.678Z","text":"12"}]}
            """)
        try harness.message("6-13")
        #expect(harness.told() == ["joined 6-13", "message 6-12", "message 6-13"])
    }

    @Test func comingBackTooLateIsAGapAndOnlyWhatIsLeftIsShown() throws {
        var harness = try Harness.inLobby()
        try reconnect(&harness)
        let ref = try #require(try harness.joinRef())
        _ = harness.take()
        try harness.hear(
            """
            {"type":"joined","ref":\(ref),"room":"lobby","position":"6-21","resumed":false,"count":1,\
            "gap":{"after":"5-10","before":"6-20"},"messages":[\
            {"position":"6-20","user":"b","at":"2026-11-21T03:04:05.678Z","text":"20"},\
            {"position":"6-21","user":"b","at":"2026-11-21T03:04:05.678Z","text":"21"}]}
            """)
        #expect(harness.told() == ["joined 6-21", "gap 5-10 6-20", "message 6-20", "message 6-21"])
    }

    @Test func comingBackToAnotherHistoryStartsAgain() throws {
        var harness = try Harness.inLobby()
        try reconnect(&harness)
        let ref = try #require(try harness.joinRef())
        _ = harness.take()
        try harness.hear(
            """
            {"type":"joined","ref":\(ref),"room":"lobby","position":"9-2","resumed":false,"count":1,\
            "reset":{"position":"9-2","reason":"rewound"},"messages":[\
            {"position":"9-2","user":"b","at":"2026-11-21T03:04:05.678Z","text":"2"}]}
            """)
        try harness.message("9-3")
        #expect(harness.told() == ["joined 9-2", "reset 9-2", "message 9-2", "message 9-3"])
    }

    @Test func aJoinThatMayNeverSucceedFails() throws {
        var harness = Harness()
        harness.machine.start(now: harness.now)
        let id = harness.machine.join(try RoomName("lobby"), now: harness.now)
        try harness.welcome()
        let ref = try #require(try harness.joinRef())
        _ = harness.take()
        try harness.hear(
            #"{"type":"error","ref":\#(ref),"code":200,"name":"tooManyRooms","message":"m","retry":false}"#)
        let fault = ServerFault(code: 200, name: "tooManyRooms", message: "m", retry: false)
        #expect(harness.take() == [.complete(id, .failure(.refused(fault)))])
        let send = try harness.send("x")
        #expect(harness.take() == [.complete(send, .failure(.notJoined))])
    }

    @Test func aJoinThatIsRefusedForNowIsAskedAgain() throws {
        var harness = Harness()
        harness.machine.start(now: harness.now)
        _ = harness.machine.join(try RoomName("lobby"), now: harness.now)
        try harness.welcome()
        let ref = try #require(try harness.joinRef())
        _ = harness.take()
        try harness.hear(#"{"type":"error","ref":\#(ref),"code":400,"name":"unavailable","message":"","retry":true}"#)
        #expect(harness.take().isEmpty)
        harness.now = try #require(harness.machine.nextDeadline)
        harness.machine.timerFired(now: harness.now)
        #expect(harness.written().count == 1)
    }

    @Test func aJoinWithoutAnswerTimesOut() throws {
        var harness = Harness()
        harness.machine.start(now: harness.now)
        let id = harness.machine.join(try RoomName("lobby"), now: harness.now)
        try harness.welcome()
        _ = harness.take()
        harness.wait(.seconds(30))
        #expect(harness.take().contains(.complete(id, .failure(.timedOut))))
    }

    @Test func leavingWaitsForTheSendsBeforeIt() throws {
        var harness = try Harness.inLobby()
        let send = try harness.send("x")
        let leave = harness.machine.leave(try RoomName("lobby"), now: harness.now)
        #expect(harness.written().count == 1)
        try harness.hear(
            #"{"type":"sent","ref":\#(send),"room":"lobby","position":"5-11","at":"2026-11-21T03:04:05.678Z"}"#)
        #expect(harness.written().last?.hasPrefix(#"{"type":"leave""#) == true)
        try harness.message("5-11")
        #expect(harness.told() == ["message 5-11"])
        try harness.hear(#"{"type":"left","ref":4,"room":"lobby"}"#)
        #expect(harness.take().contains(.complete(leave, .success(.left))))
        try harness.message("5-12")
        #expect(harness.take().isEmpty)
    }

    @Test func aLostConnectionHasLeft() throws {
        var harness = try Harness.inLobby()
        let leave = harness.machine.leave(try RoomName("lobby"), now: harness.now)
        _ = harness.take()
        harness.machine.connectionClosed(.lost, now: harness.now)
        #expect(harness.take().contains(.complete(leave, .success(.left))))
        harness.now = try #require(harness.machine.nextDeadline)
        harness.machine.timerFired(now: harness.now)
        try harness.welcome()
        #expect(harness.written().isEmpty)
    }

    @Test func joiningWhileLeavingComesBackAfterwards() throws {
        var harness = try Harness.inLobby()
        _ = harness.machine.leave(try RoomName("lobby"), now: harness.now)
        let join = harness.machine.join(try RoomName("lobby"), now: harness.now)
        #expect(harness.written().count == 1)
        try harness.hear(#"{"type":"left","room":"lobby"}"#)
        #expect(harness.written().last?.hasPrefix(#"{"type":"join""#) == true)
        let ref = try #require(try harness.joinRef())
        try harness.hear(#"{"type":"joined","ref":\#(ref),"room":"lobby","position":"5-12","messages":[],"count":1}"#)
        let completed = harness.take().contains { if case .complete(join, .success) = $0 { true } else { false } }
        #expect(completed)
    }

    @Test func aJoinByURLThatGivesWayToOurOwnIsNoFault() throws {
        var harness = Harness(namesRoom: true)
        _ = harness.machine.join(try RoomName("lobby"), history: 20, now: harness.now)
        harness.machine.start(now: harness.now)
        try harness.welcome()
        let ref = try #require(try harness.joinRef())
        _ = harness.take()
        let fault = #"{"type":"error","code":202,"name":"tooManyWaiting","message":"join: another came","retry":true}"#
        try harness.hear(fault)
        #expect(harness.told().isEmpty)
        try harness.hear(#"{"type":"joined","ref":\#(ref),"room":"lobby","position":"5-10","messages":[],"count":1}"#)
        #expect(harness.told() == ["joined 5-10"])
        try harness.hear(fault)
        #expect(harness.told() == ["fault 202"])
    }

    @Test func aJoinByURLThatNobodyAnswersIsAskedAgainByAFrame() throws {
        var harness = Harness(namesRoom: true)
        let id = harness.machine.join(try RoomName("lobby"), now: harness.now)
        harness.machine.start(now: harness.now)
        try harness.welcome()
        _ = harness.take()
        harness.wait(.seconds(29))
        harness.machine.heard(now: harness.now)
        harness.wait(.seconds(1))
        #expect(harness.machine.actions.first == .complete(id, .failure(.timedOut)))
        #expect(harness.written().first?.hasPrefix(#"{"type":"join""#) == true)
    }
}
