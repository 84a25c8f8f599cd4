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

    /// The log may still contain what the node's memory dropped: only the log knows what is lost.
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

    /// Race 16: a read that was requested before the join proves nothing.
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

    /// Messages older than the node's memory come page by page from the log, however many they are.
    @Test func aLongWayBackIsReadInPages() throws {
        var settings = RoomSettings()
        settings.memoryBytes = 300
        var room = try RoomHarness(settings: settings)
        try room.goInside()
        for seq in 1...UInt64(20) { room.hearMessage(try room.message(100, seq, "m\(seq)"), base: 0) }
        _ = try room.join(2, "bo", after: room.position(100, 2))
        _ = try room.join(3, "cy", after: room.position(100, 9))
        _ = try room.join(4, "dee", after: room.position(100, 1))
        #expect(room.asked(.view) == [.view(room: room.room, after: room.position(100, 2), page: settings.page)])
        var page = room.view(100, last: 20, base: 0, entries: try (3...12).map { try room.message(100, $0, "m\($0)") })
        page.hasMore = true
        let first = room.answer(.view, .success(.view(page))).joined
        #expect(first.map(\.hasMore) == [true] && first.map(\.messages.count) == [10])
        #expect(first.allSatisfy { $0.resumption == .complete && $0.position == room.position(100, 20) })
        #expect(room.asked(.view) == [.view(room: room.room, after: room.position(100, 9), page: settings.page)])
    }

    /// A node that was disconnected for long catches up page by page, and reports a gap only where the log has one.
    @Test func aNodeCatchesUpInPages() throws {
        var room = try busyRoom()
        room.commandsDown()
        room.commandsUp()
        var page = room.view(101, last: 30, base: 30, links: [(100, 0), (101, 30)])
        page.entries = try (21...24).map { try room.message(100, $0, "m\($0)") }
        page.hasMore = true
        var actions = room.finishEnter(page)
        #expect(actions.shown == ["m21", "m22", "m23", "m24"] && actions.gaps.isEmpty)
        #expect(room.send(1, "waits").appended.isEmpty, "nothing is said before everything up to the epoch is shown")
        room.pass(.milliseconds(20))
        page.entries = [try room.message(100, 25, "m25"), try room.message(100, 27, "m27")]
        actions = room.answer(.view, .success(.view(page)))
        #expect(actions.shown == ["m25", "m27"] && actions.gaps.count == 1 && actions.views == 1)
        page.entries = try (28...30).map { try room.message(100, $0, "m\($0)") }
        page.hasMore = false
        actions = room.answer(.view, .success(.view(page)))
        #expect(actions.shown == ["m28", "m29", "m30"] && actions.gaps.isEmpty && actions.appended == ["waits"])
    }

    /// A session that catches up is in the room: a page that cannot be read does not make it leave and join again
    /// (simulator, seed 14190 with vandalism).
    @Test func aPageThatCannotBeReadLeavesTheSessionInTheRoom() throws {
        var room = try busyRoom(historyLength: 5)
        _ = try room.join(2, "bo")
        room.pass(.seconds(1))
        room.settlePresence()
        let before = room.history.count
        let page = Ref.page(serial: 1)
        _ = try room.join(2, "bo", after: room.position(100, 10), ref: page)
        while Array(room.history[before...]).errors.isEmpty {
            room.pass(.seconds(1))
            if !room.asked(.view).isEmpty { room.answer(.view, .failure(.notStored("MISCONF no disk"))) }
        }
        let actions = Array(room.history[before...])
        let refused = actions.contains {
            if case .refusePage(let session, .error(page, let error)) = $0 {
                session == SessionID(raw: 2) && error.code == .unavailable
            } else {
                false
            }
        }
        #expect(refused)
        #expect(room.machine.sessionCount == 2 && room.machine.presence.localSessions == 2)
        room.settlePresence()
        _ = try room.join(2, "bo", after: room.position(100, 18), ref: .page(serial: 2))
        #expect(room.history.joined.last?.messages.count == 2)
        room.pass(.seconds(1))
        #expect(!room.history[before...].contains { $0.isOfPresence })
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

extension RoomAction {
    /// Whether the request reports a join or leave.
    fileprivate var isOfPresence: Bool {
        switch self {
        case .deliverPresence, .deliverPresenceApart, .submit(.presence, _): true
        default: false
        }
    }
}

extension RoomHarness {
    /// Answers open reads of the log, which contains `oldest`...20, all of epoch 100.
    mutating func answerDeepReads(oldest: UInt64) {
        while case .view(_, let after, _, _)? = asked(.view).first {
            let from = max(after?.seq ?? 0, oldest - 1)
            let entries = from < 20 ? (from + 1...20).compactMap { try? message(100, $0, "m\($0)") } : []
            let missing = (after?.seq ?? 0) + 1 < oldest
            let verdict = missing ? Verdict.gap(first: (after?.seq ?? 0) + 1, last: oldest - 1) : .ok
            answer(.view, .success(.view(view(100, last: 20, base: 0, verdict: verdict, entries: entries))))
        }
    }
}
