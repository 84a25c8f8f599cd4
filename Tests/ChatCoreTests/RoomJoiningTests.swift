import Testing

@testable import ChatCore

@Suite struct RoomJoiningTests {
    private func busyRoom(historyLength: Int = 1_000) throws -> RoomHarness {
        var settings = RoomSettings()
        settings.historyLength = historyLength
        var room = try RoomHarness(settings: settings)
        try room.goInside()
        for seq in 1...UInt64(20) { room.hearMessage(try room.message(100, seq, "m\(seq)"), base: 0) }
        return room
    }

    @Test func freshSessionGetsTheNewestMessages() throws {
        var room = try busyRoom()
        let joined = try room.join(2, "bo", history: 3).joined
        #expect(joined.first?.messages.compactMap(\.content.text) == ["m18", "m19", "m20"])
        #expect(joined.first?.resumption == .fresh)
        #expect(joined.first?.position == room.position(100, 20))
    }

    @Test func resumingSessionGetsWhatItMissed() throws {
        var room = try busyRoom()
        let joined = try room.join(2, "bo", after: room.position(100, 18)).joined.first
        #expect(joined?.messages.compactMap(\.content.text) == ["m19", "m20"])
        #expect(joined?.resumption == .complete)
    }

    @Test func resumingFromAPositionThatWasTrimmedGetsAGap() throws {
        var room = try busyRoom(historyLength: 5)
        _ = try room.join(2, "bo", after: room.position(100, 10))
        room.answerDeepReads(oldest: 16)
        let joined = room.history.joined.last
        #expect(joined?.resumption == .gap(Gap(after: room.position(100, 10), before: room.position(100, 16))))
        #expect(joined?.messages.compactMap(\.content.text) == ["m16", "m17", "m18", "m19", "m20"])
    }

    /// What our memory dropped, the log may still hold: only the log knows what is gone.
    @Test func resumingFromBeforeOurMemoryIsReadFromTheLog() throws {
        var room = try busyRoom(historyLength: 5)
        _ = try room.join(2, "bo", after: room.position(100, 10))
        room.answerDeepReads(oldest: 3)
        let joined = room.history.joined.last
        #expect(joined?.resumption == .complete)
        #expect(joined?.messages.compactMap(\.content.text) == (11...20).map { "m\($0)" })
    }

    @Test func manyWhoComeBackShareOneRead() throws {
        var room = try busyRoom(historyLength: 5)
        for session in 2..<UInt64(50) { _ = try room.join(session, "bo", after: room.position(100, session % 10 + 1)) }
        var reads = room.asked(.view).count
        #expect(reads == 1)
        while !room.asked(.view).isEmpty || room.machine.nextWake.map({ $0 < room.now + .seconds(2) }) == true {
            reads += room.pass(.milliseconds(100)).views
            room.answerDeepReads(oldest: 1)
        }
        #expect(reads <= 2, "the first read serves the first join, the second everybody else")
        #expect(room.history.joined.count == 49)
        #expect(room.history.joined.dropFirst().allSatisfy { $0.resumption == .complete })
    }

    @Test func resumingFromALostBranchIsAReset() throws {
        var room = try busyRoom()
        let joined = try room.join(2, "bo", after: room.position(99, 20)).joined.first
        #expect(joined?.resumption == .reset(Reset(position: room.position(100, 20), reason: .rewound)))
    }

    /// Race 16.
    @Test func positionAheadOfALaggingNodeIsReadFirst() throws {
        var room = try busyRoom()
        let actions = try room.join(2, "bo", after: room.position(100, 21))
        #expect(actions.joined.isEmpty)
        #expect(actions.views == 1)
        let entries = [try room.message(100, 21, "m21"), try room.message(100, 22, "m22")]
        let joined = room.answer(.view, .success(.view(room.view(100, last: 22, base: 0, entries: entries))))
        #expect(joined.shown == ["m21", "m22"], "the others see them too")
        #expect(joined.joined.first?.resumption == .complete)
        #expect(joined.joined.first?.messages.compactMap(\.content.text) == ["m22"])
    }

    /// Race 16: a read that was asked for before the join proves nothing.
    @Test func positionAheadOfAReadThatIsOnItsWayIsReadAgain() throws {
        var room = try busyRoom()
        _ = try room.join(2, "bo", after: room.position(100, 21))
        _ = try room.join(3, "cy", after: room.position(100, 22))
        let first = [try room.message(100, 21, "m21")]
        let answer = room.answer(.view, .success(.view(room.view(100, last: 21, base: 0, entries: first))))
        #expect(answer.joined.count == 1)
        let second = [try room.message(100, 22, "m22")]
        room.pass(.seconds(1))
        let last = room.answer(.view, .success(.view(room.view(100, last: 22, base: 0, entries: second))))
        #expect(last.joined.first?.resumption == .complete)
    }

    /// Race 16.
    @Test func positionThatTheLogDoesNotReachIsAReset() throws {
        var room = try busyRoom()
        _ = try room.join(2, "bo", after: room.position(100, 30))
        let joined = room.answer(.view, .success(.view(room.view(100, last: 20, base: 0)))).joined.first
        #expect(joined?.resumption == .reset(Reset(position: room.position(100, 20), reason: .rewound)))
    }

    @Test func joinHoldsTheRosterWithTheOneWhoJoins() throws {
        var room = try busyRoom()
        let joined = try room.join(2, "bo").joined.first
        #expect(joined?.members?.map(\.user.text).contains("bo") == true)
    }

    @Test func rejoiningSessionIsAnsweredAndCountedOnce() throws {
        var room = try busyRoom()
        #expect(try room.join(1, after: room.position(100, 19)).joined.first?.messages.count == 1)
        #expect(room.machine.sessionCount == 1)
        room.leave(1)
        #expect(room.machine.presence.localSessions == 0)
    }
}

extension RoomHarness {
    /// Answers open reads of the log from a room whose log holds `oldest`...20, all of epoch 100.
    mutating func answerDeepReads(oldest: UInt64) {
        while case .view(_, let after, _)? = asked(.view).first {
            let from = max(after?.seq ?? 0, oldest - 1)
            let entries = from < 20 ? (from + 1...20).compactMap { try? message(100, $0, "m\($0)") } : []
            let missing = (after?.seq ?? 0) + 1 < oldest
            let verdict = missing ? Verdict.gap(first: (after?.seq ?? 0) + 1, last: oldest - 1) : .ok
            answer(.view, .success(.view(view(100, last: 20, base: 0, verdict: verdict, entries: entries))))
        }
    }
}
