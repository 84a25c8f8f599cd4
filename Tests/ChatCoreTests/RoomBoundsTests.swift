import Testing

@testable import ChatCore

/// Numbers that no node would send must not enter a room.
@Suite struct RoomBoundsTests {
    private static let clock: UInt64 = 1_795_230_114_073
    private static let wild: [UInt64] =
        (0..<64).flatMap { power -> [UInt64] in
            let number: UInt64 = 1 << UInt64(power)
            return [number &- 1, number, number &+ 1]
        } + [
            .max, .max - 1, PositionBounds.largest, PositionBounds.largest + 1,
            clock + PositionBounds.ahead + 3_600_000,
        ]

    /// A room at epoch 2026, live at `clock`-1.
    private func liveRoom() throws -> RoomHarness {
        var room = try RoomHarness()
        room.now = Moment(nanoseconds: Self.clock * 1_000_000)
        try room.goInside(epoch: Self.clock, last: 1, entries: [try room.message(Self.clock, 1)])
        return room
    }

    @Test func boundsFollowTheClock() {
        #expect(PositionBounds.newestEpoch(clock: Self.clock) == Self.clock + PositionBounds.ahead)
        #expect(PositionBounds.newestEpoch(clock: 0) == PositionBounds.largest)
        #expect(PositionBounds.newestEpoch(clock: .max) == PositionBounds.largest)
        #expect(PositionBounds.newestClaim(clock: Self.clock) < PositionBounds.newestEpoch(clock: Self.clock))
        #expect(Position("\(PositionBounds.largest)-\(PositionBounds.largest)")?.isWithinBounds == true)
        for text in [
            "\(PositionBounds.largest + 1)-1", "1-\(UInt64.max)", "1-00000000000000000001", "1-99999999999999999999",
        ] {
            #expect(Position(text) == nil)
        }
    }

    /// This forged epoch made nodes trap: a number was added to it when Redis came back as another server.
    @Test func anAbsurdEpochIsIgnoredAndTheRoomOutlivesThreeRestarts() throws {
        var room = try liveRoom()
        for number in Self.wild where number > Self.clock + PositionBounds.ahead {
            let actions = room.hearEpoch(number, base: 0, nodes: [:], by: room.other)
            #expect(actions == [.count(.ignored(.bounds))])
            #expect(
                room.hear(.gone(room.other, value: 1, nodes: [:], last: Position(epoch: number, seq: 1))).count == 1)
            #expect(room.hearMessage(try room.message(number, 2), base: nil) == [.count(.ignored(.bounds))])
        }
        for number in Self.wild where number > PositionBounds.largest {
            #expect(room.hearMessage(try room.message(Self.clock, number), base: 0) == [.count(.ignored(.bounds))])
            #expect(room.hearEpoch(Self.clock + 1, base: number, nodes: [:], by: room.other).count == 1)
        }
        var epoch = Self.clock
        for restart in 1...3 {
            room.commandsDown()
            room.identity = BrokerIdentity(runID: "run\(restart + 1)", replicationID: "repl\(restart + 1)")
            room.commandsUp()
            guard case .enter(let enter)? = room.asked(.enter).first else { throw RoomBoundsFailure() }
            #expect(enter.seen >= epoch && enter.seen < epoch + 100_000)
            epoch = enter.seen + 1_000
            room.finishEnter(room.view(epoch, last: 1, entries: []))
            room.settlePresence()
            #expect(room.machine.isLive)
        }
        #expect(room.send(1, "hi").appended == ["hi"])
    }

    @Test func whatIsClaimedIsNeverMoreThanIsBelieved() throws {
        var room = try liveRoom()
        room.hearEpoch(Self.clock + PositionBounds.ahead, base: 1, nodes: [:], by: room.other)
        guard case .enter(let enter)? = room.asked(.enter).first else { throw RoomBoundsFailure() }
        #expect(enter.seen == PositionBounds.newestClaim(clock: Self.clock))
    }

    @Test func oneBrokenPartOfAViewCostsNotTheRest() throws {
        var room = try liveRoom()
        room.hear(.message(try room.message(Self.clock, 3), base: 1))
        room.pass(.milliseconds(100))
        var view = room.view(Self.clock, last: 3, base: 0, others: [room.other: .max])
        view.branch = .max
        view.chain.links.insert(EpochLink(epoch: .max, base: 7), at: 0)
        view.entries = [
            try room.message(1, .max), try room.message(Self.clock, 2, "two"), try room.message(Self.clock, 3, "three"),
        ]
        let actions = room.answer(.view, .success(.view(view)))
        #expect(actions.shown == ["two", "three"] && actions.gaps.isEmpty)
        for kind in [IgnoredData.node, .meta, .link, .entry] { #expect(actions.contains(.count(.ignored(kind)))) }
        #expect(room.machine.isLive && !room.machine.hasOthers)
        #expect(room.machine.epochs.chain.links.map(\.epoch) == [Self.clock])
    }

    @Test func aViewThatStandsNowhereIsNoView() throws {
        for number in Self.wild where number > Self.clock + PositionBounds.ahead {
            var room = try liveRoom()
            room.hear(.message(try room.message(Self.clock, 3), base: 1))
            room.pass(.milliseconds(100))
            #expect(room.answer(.view, .success(.view(room.view(number, last: 3)))).contains(.count(.ignored(.bounds))))
            #expect(room.machine.isLive && room.machine.epochs.newest == Self.clock)
            // The room has recovered, so the next read is an ordinary one.
            room.pass(.seconds(1))
            let entries = [try room.message(Self.clock, 2, "two"), try room.message(Self.clock, 3, "three")]
            #expect(
                room.answer(.view, .success(.view(room.view(Self.clock, last: 3, base: 0, entries: entries)))).shown
                    .count == 2)
        }
    }

    /// Somebody sets the log ahead, an append is refused, and the log is set back: without this rule nobody would ever
    /// begin a newer epoch.
    @Test func anEpochThatWasRefusedAndIsTheLogsAgainIsReplaced() throws {
        var room = try liveRoom()
        room.send(1, "hi")
        room.answer(.append, .failure(.refused))
        room.answer(.view, .failure(.notStored("ERR martlet: the last ID")))
        room.pass(.seconds(1))
        let actions = room.answer(.view, .success(.view(room.view(Self.clock, last: 1))))
        #expect(actions.enters == 1)
        let done = room.finishEnter(room.view(Self.clock + 1, last: 1))
        #expect(done.appended == ["hi"])
    }

    /// The only message of the log is older than the beginning of its history, as after XSETID or when its epochs were
    /// lost. If its own epoch named it, every view would make it void, and the room would enter again and again
    /// (simulator, seed 9733).
    @Test func aRoomWhoseHistoryBeginsBehindItsMessagesComesToRest() throws {
        var room = try liveRoom()
        let ahead = Self.clock + 60_000
        let entries = [try room.message(Self.clock, 1)]
        room.subscriptionsDown()
        room.subscriptionsUp()
        room.subscribed()
        let links: [(UInt64, UInt64)] = [(ahead, 1), (ahead + 1, 1)]
        room.finishEnter(
            room.view(ahead + 1, last: 1, links: links, history: ahead, verdict: .rewound, entries: entries))
        #expect(room.machine.isLive && room.machine.position == Position(epoch: ahead, seq: 1))
        // The same result as the functions would return.
        let chain = room.machine.epochs.chain
        let verdict = chain.verdict(of: room.machine.position, epoch: ahead + 1, last: 1, firstAfter: nil)
        #expect(verdict == .ok)
        let joined = try room.join(2, "bo", after: Position(epoch: ahead, seq: 1)).joined
        #expect(joined.first?.resumption == .complete)
    }

    /// A forged epoch that Redis did not accept would otherwise be looked for with one view after the other.
    @Test func anEpochThatNoEnterExceededIsForgotten() throws {
        var room = try liveRoom()
        room.hearEpoch(Self.clock + PositionBounds.claimedAhead + 3_600_000, base: 1, nodes: [:], by: room.other)
        room.finishEnter(room.view(Self.clock + 5, last: 1))
        #expect(room.machine.isLive && room.machine.order.seenEpoch == Self.clock + 5)
        #expect(room.asked(.view).isEmpty)
    }

    /// The clock of Redis was set back, so a new presence stream began below the old one.
    @Test func aPresenceStreamThatBeganAgainLowerIsReadAgain() throws {
        var room = try liveRoom()
        let lower = PresenceNotice(
            after: Position(epoch: 0, seq: 0), position: Position(epoch: 0, seq: 1), changes: [], count: 1)
        #expect(room.machine.presence.position == Position(epoch: 1, seq: 0))
        room.hear(
            .presence(
                PresenceNotice(
                    after: Position(epoch: 1, seq: 0), position: Position(epoch: 1, seq: 4), changes: [], count: 1)))
        room.hear(.presence(lower))
        #expect(!room.asked(.roster).isEmpty)
    }

    /// Whatever events and answers come, nothing traps, and a valid answer afterwards makes the room live again.
    @Test(arguments: 0..<20) func nothingThatIsSaidStopsARoom(seed: UInt64) throws {
        let random = BoundsRandom(state: seed)
        func number() -> UInt64 {
            random.next() % 3 == 0
                ? Self.clock &+ random.next() % 4 : Self.wild[Int(random.next() % UInt64(Self.wild.count))]
        }
        var room = try liveRoom()
        func position() -> Position { Position(epoch: number(), seq: number()) }
        func view() throws -> RoomView {
            var view = room.view(
                number(), last: number(), base: number(), value: number(), others: [room.other: number()])
            view.branch = number()
            view.verdict = [.ok, .rewound, .gap(first: number(), last: number())][Int(random.next() % 3)]
            view.chain.history = number()
            view.chain.links += (0..<random.next() % 4).map { _ in EpochLink(epoch: number(), base: number()) }
            view.entries = try (0..<random.next() % 4).map { _ in try room.message(number(), number()) }
            return view
        }
        for step in 0..<1_500 {
            switch random.next() % 12 {
            case 0:
                room.hearMessage(try room.message(number(), number()), base: random.next() % 2 == 0 ? nil : number())
            case 1:
                room.hearEpoch(number(), base: number(), nodes: [room.me: number(), room.other: number()], by: room.me)
            case 2: room.hearEpoch(number(), base: number(), nodes: [:], by: room.other)
            case 3: room.hear(.gone(room.other, value: number(), nodes: [:], last: position()))
            case 4:
                room.hear(.presence(PresenceNotice(after: position(), position: position(), changes: [], count: .max)))
            case 5: room.on(.logReaches(Position(epoch: 1, seq: 1 << 63)))
            case 6: room.send(1, "\(step)", key: random.next() % 2 == 0 ? "k\(step)" : nil, since: position())
            case 7: try room.join(2 + random.next() % 3, "bo", after: random.next() % 2 == 0 ? nil : position())
            case 8: room.pass(.milliseconds(Int64(random.next() % 300)))
            case 9 where random.next() % 4 == 0:
                room.commandsDown()
                room.identity = BrokerIdentity(runID: "run\(step)", replicationID: "r")
                room.commandsUp()
            default:
                guard let open = room.open.first else { continue }
                room.open.removeFirst()
                let replies: [Result<BrokerReply, BrokerError>] = [
                    .success(.view(try view())), .success(.appended(position())),
                    .success(.appended(position(), isPublished: true)),
                    .success(.once(OnceReply(epoch: number(), base: number(), outcomes: [.stored(position())]))),
                    .success(
                        .once(
                            OnceReply(epoch: number(), base: number(), outcomes: [.repeated(position(), at: number())]))
                    ),
                    .success(.presence(PresenceReply(position: position(), notice: nil))),
                    .success(.roster(RosterSnapshot(position: position(), members: [:]))), .failure(.missing),
                    .failure(.refused),
                ]
                let reply = replies[Int(random.next() % UInt64(replies.count))]
                room.on(.completed(serial: open.serial, reply))
            }
            if room.open.count > 64 { room.open.removeFirst() }
        }
        // Redis comes back with valid data.
        room.commandsDown()
        room.subscriptionsDown()
        room.identity = BrokerIdentity(runID: "sound", replicationID: "r")
        room.linksUp()
        room.subscribed()
        room.pass(.milliseconds(10))
        let last = room.machine.position?.seq ?? 0
        let epoch =
            (room.asked(.enter).compactMap { if case .enter(let enter) = $0 { enter.seen } else { nil } }.last ?? 0) + 1
        room.finishEnter(room.view(epoch, last: last, history: 1, verdict: .rewound))
        #expect(room.machine.isLive, "seed \(seed): \(room.machine.phaseName)")
    }
}

private struct RoomBoundsFailure: Error {}

/// The generator of Numerical Recipes, which suffices for choices.
private final class BoundsRandom {
    var state: UInt64
    init(state: UInt64) { self.state = state &+ 1 }

    func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state >> 33
    }
}
