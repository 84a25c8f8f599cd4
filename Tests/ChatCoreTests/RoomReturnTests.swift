import Testing

@testable import ChatCore

/// After Redis came back with other data, the room waits for nodes that still have the lost messages, and no longer
/// than for those.
@Suite struct RoomReturnTests {
    /// Inside the room together with another node; then their Redis is replaced, and this node is the first one to be
    /// back.
    private func back(nodesLost: Bool, last: UInt64 = 0) throws -> RoomHarness {
        var settings = RoomSettings()
        settings.returnGrace = .seconds(2)
        var room = try RoomHarness(settings: settings)
        try room.goInside(others: [room.other: 90])
        room.commandsDown()
        room.identity = BrokerIdentity(runID: "run2", replicationID: "repl2")
        room.commandsUp()
        let links: [(UInt64, UInt64)] = [(4_000, 0), (5_000, last)]
        var view = room.view(
            5_000, last: last, others: nodesLost ? [:] : [room.other: 90], links: last == 0 ? nil : links)
        view.branch = 5_000
        room.answer(.enter, .success(.view(view)))
        room.hearEpoch(5_000, base: last, nodes: view.nodes, by: room.me)
        room.settlePresence()
        return room
    }

    @Test(arguments: [false, true])
    func nothingIsAppendedUntilTheOthersAreBack(nodesLost: Bool) throws {
        var room = try back(nodesLost: nodesLost)
        #expect(room.send(1, "a").appended.count == 0)
        let actions = room.hearEpoch(6_000, base: 0, nodes: [room.me: 5_000, room.other: 6_000], by: room.other)
        #expect(actions.appended.count == 1)
    }

    @Test func whoDoesNotComeBackIsNotWaitedForLong() throws {
        var room = try back(nodesLost: false)
        #expect(room.send(1, "a").appended.count == 0)
        #expect(room.pass(.milliseconds(1_900)).appended.count == 0)
        #expect(room.pass(.milliseconds(200)).appended.count == 1)
        #expect(room.send(1, "b").appended.count == 1)
    }

    @Test func whoIsSweptIsNotWaitedFor() throws {
        var room = try back(nodesLost: false)
        room.send(1, "a")
        let actions = room.hear(.gone(room.other, value: 90, nodes: [room.me: 5_000], last: room.position(5_000, 0)))
        #expect(actions.appended.count == 1)
    }

    /// A client that has seen more than the log contains is reset only when no node is left that could put the messages
    /// back.
    @Test func aResetOfWhoComesBackWaitsForTheOthers() throws {
        var room = try back(nodesLost: false)
        try room.join(2, after: room.position(100, 7))
        room.answer(.view, .success(.view(room.view(5_000, last: 0, others: [room.other: 90]))))
        #expect(room.pass(.milliseconds(1_500)).joined.isEmpty)
        let joined = room.pass(.milliseconds(600)).joined
        #expect(joined.map(\.resumption) == [.reset(Reset(position: room.position(0, 0), reason: .rewound))])
    }

    /// The messages were put back, and the node was held up until the wait for them had ended: it reads them before it
    /// says that they are lost (simulator, seed 457776858824 of moderation).
    @Test func nobodyIsResetBeforeWhatWasPutBackIsRead() throws {
        var room = try back(nodesLost: false)
        try room.join(2, after: room.position(100, 3))
        room.answer(.view, .success(.view(room.view(5_000, last: 0, others: [room.other: 90]))))
        room.hearEpoch(6_000, base: 3, nodes: [room.me: 5_000, room.other: 6_000], by: room.other)
        let late = room.pass(.seconds(5))
        #expect(late.joined.isEmpty && late.views == 1)
        var view = room.view(
            6_000, last: 3, value: 5_000, others: [room.other: 6_000], links: [(100, 0), (6_000, 3)], history: 100,
            entries: try (1...3).map { try room.message(100, $0, "m\($0)") })
        view.branch = 5_000
        let joined = room.answer(.view, .success(.view(view))).joined
        #expect(joined.map(\.resumption) == [.complete])
    }

    /// Nothing that the log still contains makes a position of a lost branch part of this history: the log is not read
    /// for it, let alone repeatedly (simulator, seed 171832 with vandalism).
    @Test func whoHoldsALostPositionBelowOurMemoryIsNotReadFor() throws {
        var room = try back(nodesLost: false, last: 10)
        #expect(room.machine.position?.seq == 10)
        #expect(try room.join(2, after: room.position(4_500, 7)).views == 0)
        let actions = room.pass(.milliseconds(1_900))
        #expect(actions.views == 0 && actions.joined.isEmpty)
        let joined = room.pass(.milliseconds(200)).joined
        #expect(joined.map(\.resumption) == [.reset(Reset(position: room.position(4_000, 10), reason: .rewound))])
    }

    /// Messages that are put back belong to older epochs than the one entered with. If a newer epoch begins while they
    /// are read, the node's own record of epochs differs from that of the log (simulator, seed 194162 with vandalism).
    @Test func whatWasPutBackIsKnownAlsoIfAnotherEpochBeganMeanwhile() throws {
        var room = try back(nodesLost: false)
        room.hearEpoch(6_000, base: 3, nodes: [room.me: 5_000, room.other: 6_000], by: room.other)
        room.pass(.milliseconds(100))
        room.hearEpoch(7_000, base: 3, nodes: [room.me: 5_000, room.other: 7_000], by: room.other)
        var view = room.view(
            6_000, last: 3, value: 5_000, others: [room.other: 6_000], links: [(100, 0), (6_000, 3)], history: 100,
            entries: try (1...3).map { try room.message(100, $0, "m\($0)") })
        view.branch = 5_000
        #expect(room.answer(.view, .success(.view(view))).shown == ["m1", "m2", "m3"])
        #expect(try room.join(2, after: room.position(100, 3)).joined.first?.resumption == .complete)
    }

    /// `XADD … *` by hand, or an append to a log that was set back, leaves a seq 0, and a node that enters must cope
    /// with it.
    @Test func aLogThatBeginsWithSeqZeroIsReadLikeAnyOther() throws {
        var settings = RoomSettings()
        settings.historyLength = 3
        var room = try RoomHarness(settings: settings)
        let entries = try (0..<3).map { try room.message(100, $0, "m\($0)") }
        try room.goInside(last: 2, entries: entries)
        #expect(room.machine.isLive)
        #expect(room.hearMessage(try room.message(100, 3, "d"), base: 2).shown == ["d"])
    }
}
