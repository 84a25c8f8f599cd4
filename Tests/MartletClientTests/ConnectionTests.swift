import ChatCore
import Testing

@testable import MartletClient

@Suite struct ConnectionTests {
    @Test func aSilentHandshakeIsGivenUpAndTheNextAddressTried() throws {
        var harness = Harness(addresses: 2)
        harness.machine.start(now: harness.now)
        guard case .connect(let first, nil) = harness.take().first else {
            Issue.record("nothing was connected")
            return
        }
        harness.wait(.seconds(9))
        #expect(harness.take().isEmpty)
        harness.wait(.seconds(1))
        #expect(harness.machine.actions.first == .disconnect)
        #expect(harness.told() == ["disconnected silent"])
        let retry = try #require(harness.machine.nextDeadline)
        harness.now = retry
        harness.machine.timerFired(now: retry)
        #expect(harness.take() == [.connect(address: 1 - first, room: nil)])
    }

    @Test func waitsGrowUpToTheCapAndAreRandomBelowIt() throws {
        var options = ClientOptions()
        options.backoffBase = .milliseconds(100)
        options.backoffCap = .seconds(1)
        var longest = Duration.zero
        var shortest = Duration.seconds(100)
        for seed in 0..<50 as Range<UInt64> {
            var harness = Harness(options: options, seed: seed)
            harness.machine.start(now: harness.now)
            for attempt in 0..<8 {
                harness.machine.connectionClosed(.lost, now: harness.now)
                let retry = try #require(harness.machine.nextDeadline)
                let wait = retry - harness.now
                #expect(wait < min(.seconds(1), .milliseconds(100 << attempt)))
                longest = max(longest, wait)
                shortest = min(shortest, wait)
                harness.now = retry
                harness.machine.timerFired(now: retry)
            }
        }
        #expect(longest > .milliseconds(700))
        #expect(shortest < .milliseconds(20))
    }

    @Test func aWelcomeMakesTheNextWaitShortAgain() throws {
        var harness = Harness()
        harness.machine.start(now: harness.now)
        for _ in 0..<10 {
            harness.machine.connectionClosed(.lost, now: harness.now)
            harness.now = try #require(harness.machine.nextDeadline)
            harness.machine.timerFired(now: harness.now)
        }
        try harness.welcome()
        harness.machine.connectionClosed(.lost, now: harness.now)
        #expect(try #require(harness.machine.nextDeadline) - harness.now < .milliseconds(250))
    }

    @Test func aClientThatIsItselfBehindDoesNotBlameTheNode() throws {
        var harness = Harness()
        harness.machine.start(now: harness.now)
        _ = harness.take()
        harness.wait(.seconds(13))
        #expect(harness.take().isEmpty, "the timer came three seconds late")
        let next = try #require(harness.machine.nextDeadline)
        #expect(next - harness.now == .seconds(3))
        harness.wait(.seconds(3))
        #expect(harness.told() == ["disconnected silent"])
    }

    @Test func closeCodesSayWhetherToComeBack() throws {
        for reason in CloseReason.allCases {
            var harness = try Harness.inLobby()
            harness.machine.connectionClosed(
                .closeFrame(code: reason.rawValue, reason: reason.name), now: harness.now)
            #expect(harness.machine.isClosed == !reason.reconnect, "\(reason)")
        }
    }

    @Test(arguments: [(401, true), (403, true), (404, true), (429, false), (502, false), (503, false)])
    func aHandshakeThatCanNeverSucceedEndsTheClient(status: Int, final: Bool) throws {
        var harness = Harness()
        harness.machine.start(now: harness.now)
        let id = harness.machine.join(try RoomName("lobby"), now: harness.now)
        _ = harness.take()
        harness.machine.connectionClosed(.status(status), now: harness.now)
        #expect(harness.machine.isClosed == final)
        let failed = harness.take().contains(.complete(id, .failure(.rejected("the node answered HTTP \(status)"))))
        #expect(failed == final)
    }

    @Test func aDrainingNodeIsLeftWhenItSaysAndNotBefore() throws {
        var harness = try Harness.inLobby(addresses: 2)
        try harness.message("5-11")
        try harness.hear(#"{"type":"draining","reconnectAfter":3000}"#)
        _ = harness.take()
        _ = try harness.send("later")
        #expect(harness.written().isEmpty)
        harness.wait(.milliseconds(2_999))
        #expect(harness.take().isEmpty)
        harness.wait(.milliseconds(1))
        let actions = harness.take()
        #expect(actions.first == .disconnect)
        guard case .connect = actions.last else {
            Issue.record("it did not go to the next node at once: \(actions)")
            return
        }
        try harness.welcome()
        #expect(harness.written() == [#"{"type":"join","ref":4,"room":"lobby","after":"5-11"}"#])
    }

    @Test func anUnreadableFrameDropsTheConnectionAndTheRoomsAreResumed() throws {
        var harness = try Harness.inLobby()
        harness.machine.receivedUnreadable("byte 3: nonsense", now: harness.now)
        #expect(harness.machine.actions.first == .disconnect)
        harness.now = try #require(harness.machine.nextDeadline)
        harness.machine.timerFired(now: harness.now)
        _ = harness.take()
        try harness.welcome()
        #expect(harness.written() == [#"{"type":"join","ref":3,"room":"lobby","after":"5-10"}"#])
    }

    @Test func closingFailsEverythingThatWaits() throws {
        var harness = try Harness.inLobby()
        let send = try harness.send("x")
        let page = harness.machine.history(
            try RoomName("lobby"), HistoryQuery(anchor: .newest, limit: 5), now: harness.now)
        _ = harness.take()
        harness.machine.close()
        let actions = harness.take()
        #expect(actions.first == .disconnect)
        #expect(actions.contains(.complete(send, .failure(.closed))))
        #expect(actions.contains(.complete(page, .failure(.closed))))
        #expect(harness.machine.nextDeadline == nil)
        let late = try harness.send("y")
        #expect(harness.take() == [.complete(late, .failure(.closed))])
    }

    @Test func theURLNamesTheFirstRoomAndItsAnswerNeedsNoRef() throws {
        var harness = Harness(namesRoom: true)
        let room = try RoomName("lobby")
        let id = harness.machine.join(room, now: harness.now)
        harness.machine.start(now: harness.now)
        #expect(harness.take() == [.connect(address: 0, room: room)])
        try harness.welcome()
        #expect(harness.written().isEmpty)
        try harness.hear(#"{"type":"joined","room":"lobby","position":"5-10","messages":[],"count":1}"#)
        let completed = harness.take().contains {
            if case .complete(id, .success(.joined)) = $0 { true } else { false }
        }
        #expect(completed)
    }

    @Test func aRoomNamedByTheURLIsResumedByItsOwnJoin() throws {
        var harness = Harness(namesRoom: true)
        let room = try RoomName("lobby")
        _ = harness.machine.join(room, after: Position(epoch: 5, seq: 7), now: harness.now)
        harness.machine.start(now: harness.now)
        _ = harness.take()
        try harness.welcome()
        #expect(harness.written() == [#"{"type":"join","ref":2,"room":"lobby","after":"5-7"}"#])
        try harness.hear(#"{"type":"joined","room":"lobby","position":"5-9","messages":[],"count":1}"#)
        try harness.message("5-10")
        #expect(harness.told().isEmpty, "what comes before the own join's answer would leave a hole")
        try harness.hear(
            """
            {"type":"joined","ref":2,"room":"lobby","position":"5-10","resumed":true,"count":1,"messages":[\
            {"position":"5-8","user":"b","at":"2026-11-21T03:04:05.678Z","text":"8"},\
            {"position":"5-9","user":"b","at":"2026-11-21T03:04:05.678Z","text":"9"},\
            {"position":"5-10","user":"b","at":"2026-11-21T03:04:05.678Z","text":"10"}]}
            """)
        try harness.message("5-11")
        #expect(
            harness.told() == ["joined 5-10", "message 5-8", "message 5-9", "message 5-10", "message 5-11"])
    }
}
