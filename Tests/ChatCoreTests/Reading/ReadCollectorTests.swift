import Testing

@testable import ChatCore

@Suite struct ReadCollectorTests {
    private let lobby: RoomName
    private let hall: RoomName
    private let ana: UserID
    private let bob: UserID
    private let start = Moment(nanoseconds: 1_000_000_000)

    init() throws {
        lobby = try RoomName("lobby")
        hall = try RoomName("hall")
        ana = try UserID("ana")
        bob = try UserID("bob")
    }

    private func at(_ milliseconds: Int) -> Moment { start + .milliseconds(milliseconds) }

    private func place(_ seq: UInt64) -> Position { Position(epoch: 5, seq: seq) }

    private func outcome(_ seq: UInt64, _ result: ReadOutcome.Result = .read, unread: UInt64 = 0) -> ReadOutcome {
        ReadOutcome(result, mark: ReadMark(place(seq)), unread: unread)
    }

    @Test func allUsersOfARoomShareOneCallHalfASecondAfterTheFirst() {
        var collector = ReadCollector()
        var actions: [ReadCollector.Action] = []
        for seq in UInt64(1)...20 {
            _ = collector.read(lobby, seq.isMultiple(of: 2) ? ana : bob, place(seq), now: at(Int(seq) * 20))
        }
        #expect(collector.deadline == at(520))
        collector.timePassed(now: at(519), &actions)
        #expect(actions.isEmpty)
        collector.timePassed(now: at(520), &actions)
        #expect(actions == [.ask(lobby, [UserRead(ana, place(20)), UserRead(bob, place(19))])])
        #expect(collector.deadline == nil)
        actions = []
        collector.answered(.success([outcome(20, unread: 3), outcome(19, .known)]), in: lobby, now: at(530), &actions)
        #expect(
            actions == [
                .noticed(lobby, ana, ReadMark(place(20)), unread: 3), .stored(lobby, [ana: ReadMark(place(20))]),
            ])
        #expect(collector.isEmpty && collector.count == 0)
    }

    @Test func roomsAreDueEachAtItsTime() {
        var collector = ReadCollector()
        var actions: [ReadCollector.Action] = []
        _ = collector.read(lobby, ana, place(1), now: at(0))
        _ = collector.read(hall, ana, place(1), now: at(300))
        collector.timePassed(now: at(500), &actions)
        #expect(actions == [.ask(lobby, [UserRead(ana, place(1))])])
        #expect(collector.deadline == at(800))
    }

    @Test func anEarlierPositionChangesNothing() {
        var collector = ReadCollector()
        var actions: [ReadCollector.Action] = []
        _ = collector.read(lobby, ana, place(9), now: at(0))
        _ = collector.read(lobby, ana, place(4), now: at(1))
        collector.flush(lobby, now: at(2), &actions)
        #expect(actions == [.ask(lobby, [UserRead(ana, place(9))])])
    }

    @Test func whatAUserSaysWaitsLongerAndIsNoNews() {
        var collector = ReadCollector()
        var actions: [ReadCollector.Action] = []
        _ = collector.read(lobby, ana, place(1), isOwn: true, now: at(0))
        #expect(collector.deadline == at(1_000))
        // What somebody reads takes it along.
        _ = collector.read(lobby, bob, place(1), now: at(100))
        #expect(collector.deadline == at(600))
        collector.timePassed(now: at(600), &actions)
        #expect(actions == [.ask(lobby, [UserRead(ana, place(1)), UserRead(bob, place(1))])])
        actions = []
        collector.answered(.success([outcome(1), outcome(1)]), in: lobby, now: at(610), &actions)
        let marks = [ana: ReadMark(place(1)), bob: ReadMark(place(1))]
        #expect(actions == [.noticed(lobby, bob, ReadMark(place(1)), unread: 0), .stored(lobby, marks)])
    }

    /// Sparse messages in many rooms do not cause a call each.
    @Test func whatUsersSayInManyRoomsWaitsLonger() throws {
        var collector = ReadCollector()
        var actions: [ReadCollector.Action] = []
        for number in 0..<1_000 {
            _ = collector.read(try RoomName("room\(number)"), ana, place(1), isOwn: true, now: at(0))
        }
        collector.timePassed(now: at(9_999), &actions)
        #expect(actions.count == ReadCollector.manyRooms)
        #expect(collector.deadline == at(10_000))
        actions = []
        collector.timePassed(now: at(10_000), &actions)
        #expect(actions.count == 1_000 - ReadCollector.manyRooms)
    }

    @Test func aLostConnectionLosesNothing() {
        var collector = ReadCollector()
        var actions: [ReadCollector.Action] = []
        _ = collector.read(lobby, ana, place(1), now: at(0))
        collector.flush(lobby, now: at(1), &actions)
        _ = collector.read(lobby, ana, place(2), now: at(2))
        _ = collector.read(lobby, bob, place(1), now: at(3))
        collector.answered(.failure(.outcomeUnknown), in: lobby, now: at(10), &actions)
        actions = []
        collector.connected(now: at(20), &actions)
        #expect(actions == [.ask(lobby, [UserRead(ana, place(2)), UserRead(bob, place(1))])])
        actions = []
        collector.answered(.success([outcome(2), outcome(1)]), in: lobby, now: at(30), &actions)
        #expect(actions.count == 3 && collector.isEmpty && collector.count == 0)
    }

    @Test func aRefusedCallIsMadeAgainAndTheOneWhoWaitsIsTold() {
        var collector = ReadCollector()
        var actions: [ReadCollector.Action] = []
        let waiter = ReadCollector.Waiter.session(SessionID(raw: 7), .own(serial: 1))
        _ = collector.read(lobby, ana, place(1), waiter: waiter, now: at(0))
        var now = 500
        for round in 1...3 {
            actions = []
            collector.timePassed(now: at(now), &actions)
            #expect(actions == [.ask(lobby, [UserRead(ana, place(1))])], "round \(round)")
            actions = []
            collector.answered(.failure(.notStored("OOM")), in: lobby, now: at(now), &actions)
            #expect(actions.count == (round == 3 ? 1 : 0))
            now += 1_000
        }
        guard case .tell(waiter, lobby, .failure(let error))? = actions.first else { return #expect(Bool(false)) }
        #expect(error.code == .notStored)
        actions = []
        collector.timePassed(now: at(now), &actions)
        collector.answered(.success([outcome(1)]), in: lobby, now: at(now), &actions)
        #expect(collector.isEmpty)
    }

    @Test func oneCallOfARoomIsUnderWayAtATime() {
        var collector = ReadCollector()
        var actions: [ReadCollector.Action] = []
        _ = collector.read(lobby, ana, place(1), now: at(0))
        collector.flush(lobby, now: at(0), &actions)
        _ = collector.read(lobby, bob, place(1), now: at(1))
        actions = []
        collector.timePassed(now: at(501), &actions)
        #expect(actions.isEmpty)
        collector.answered(.success([outcome(1)]), in: lobby, now: at(600), &actions)
        actions = []
        collector.timePassed(now: at(1_501), &actions)
        #expect(actions == [.ask(lobby, [UserRead(bob, place(1))])])
    }

    @Test func aCallHasABoundAndTheRestFollows() throws {
        var collector = ReadCollector()
        var actions: [ReadCollector.Action] = []
        for number in 0..<250 {
            _ = collector.read(lobby, try UserID("u\(number)"), place(1), now: at(0))
        }
        collector.flushAll(now: at(1), &actions)
        guard case .ask(lobby, let first)? = actions.first else { return #expect(Bool(false)) }
        #expect(first.count == ReadingRequest.mostReads)
        actions = []
        collector.answered(.success(first.map { _ in outcome(1) }), in: lobby, now: at(2), &actions)
        #expect(collector.count == 50)
        actions = []
        collector.timePassed(now: at(501), &actions)
        guard case .ask(lobby, let rest)? = actions.first else { return #expect(Bool(false)) }
        #expect(rest.count == 50)
    }

    @Test func whoIsNoParticipantOrOnAnotherBranchIsToldAlone() {
        var collector = ReadCollector()
        var actions: [ReadCollector.Action] = []
        let waiter = ReadCollector.Waiter.caller(3)
        _ = collector.read(lobby, ana, place(1), waiter: waiter, now: at(0))
        _ = collector.read(lobby, bob, place(1), now: at(0))
        collector.flush(lobby, now: at(0), &actions)
        actions = []
        let stranger = ReadOutcome(.stranger, mark: nil, unread: 0)
        collector.answered(.success([stranger, outcome(1)]), in: lobby, now: at(1), &actions)
        #expect(
            actions == [
                .tell(waiter, lobby, .success(stranger)), .noticed(lobby, bob, ReadMark(place(1)), unread: 0),
                .stored(lobby, [bob: ReadMark(place(1))]),
            ])
    }
}
