import ChatCore
import RedisSchema
import Testing

@testable import ChatRedis

/// The races of the room protocol that the broker resolves. The name of each test begins with its race.
@Suite struct ContractRaceTests {
    let n1: NodeID
    let n2: NodeID
    let n3: NodeID

    init() throws {
        n1 = try NodeID("n1-00000001")
        n2 = try NodeID("n2-00000002")
        n3 = try NodeID("n3-00000003")
    }

    private func content(_ text: String, key: String? = nil) throws -> MessageContent {
        MessageContent(user: try UserID("ana"), at: 7, text: text, key: key)
    }

    @Test(arguments: StoreKind.allCases)
    func race1BytesOfADeadConnectionAreRefusedAfterReentering(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let old = try store.enter(n1).epoch
        let back = try store.enter(n1)
        #expect(
            try store.ask(.append(room: store.room, epoch: old, content: try content("x", key: "k"))).result
                == .failure(.refused))
        #expect(try store.append(back.epoch, key: "k").seq == 1)
        #expect(try store.view().last == 1)
    }

    @Test(arguments: StoreKind.allCases)
    func race2AResendElsewhereRefusesTheFirstTryInFlight(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        _ = try store.enter(n1)
        let epoch = try store.enter(n2).epoch
        // n1 knows `epoch` too and has an append in flight; n2 carries out the repeated send first.
        _ = try store.once(n2, epoch, [try send("k")])
        #expect(
            try store.ask(.append(room: store.room, epoch: epoch, content: try content("x", key: "k"))).result
                == .failure(.refused))
        // In the other order the repeated send finds it.
        let other = try await ContractStore(kind)
        _ = try other.enter(n1)
        let both = try other.enter(n2).epoch
        let first = try other.append(both, key: "k")
        guard case .success(.once(let reply)) = try other.once(n2, both, [try send("k")]).result else {
            throw StoreFailure("once")
        }
        #expect(reply.outcomes == [.repeated(first, at: 7)])
    }

    @Test(arguments: StoreKind.allCases)
    func race5ALateSweepDoesNotRemoveANodeThatCameBack(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        _ = try store.enter(n2)
        let dead = try store.enter(n1).epoch
        let alive = try store.enter(n1).epoch
        #expect(try store.leave(n1, dead) == StoreAnswer(result: .success(.left(false)), events: []))
        #expect(try store.view().nodes[n1] == alive)
    }

    /// A node that was blocked for longer than its lease has a first attempt in its socket; its client has repeated the
    /// send through another node, which is alone by now.
    @Test(arguments: StoreKind.allCases)
    func race18ASweptNodeIsKeptFromAppending(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let dead = try store.enter(n1).epoch
        let epoch = try store.enter(n2).epoch
        let events = try store.leave(n1, dead, isOwn: false).events
        let view = try store.view()
        #expect(view.epoch > epoch && view.base == view.last && view.nodes == [n2: epoch])
        let told = events.contains {
            if case .epoch(view.epoch, base: view.base, nodes: view.nodes, by: _, rules: _) = $0 { true } else { false }
        }
        #expect(told, "\(events)")
        guard case .success(.once(let reply)) = try store.once(n2, view.epoch, [try send("k")]).result else {
            throw StoreFailure("once")
        }
        #expect(reply.outcomes.count == 1)
        let late = BrokerRequest.append(room: store.room, epoch: epoch, content: try content("x", key: "k"))
        #expect(try store.ask(late).result == .failure(.refused))
        // A node that leaves by itself has nothing in flight.
        let other = try await ContractStore(kind)
        let own = try other.enter(n1).epoch
        let both = try other.enter(n2).epoch
        _ = try other.leave(n1, own)
        #expect(try other.view().epoch == both)
    }

    @Test(arguments: StoreKind.allCases)
    func race7ARewoundLogRestartsAtSeqZeroSoThatItShows(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let epoch = try store.enter(n1).epoch
        _ = try store.append(epoch)
        // A log that was set back accepts an append of an epoch that it never had.
        let position = try store.append(epoch + 5_000)
        #expect(position == Position(epoch: epoch + 5_000, seq: 0))
        let view = try store.view(after: Position(epoch: epoch, seq: 1))
        #expect(view.verdict == .rewound && view.chain.history == epoch + 5_000)
        let back = try store.enter(n1, after: Position(epoch: epoch, seq: 1))
        #expect(back.verdict == .rewound && back.epoch > epoch + 5_000)
        #expect(try store.append(back.epoch).seq == 1)
    }

    @Test(arguments: StoreKind.allCases)
    func race8EpochsOfTwoBranchesDoNotCollide(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let epoch = try store.enter(n1).epoch
        // The other branch had reached epoch + 400 before it was lost, as its node reports.
        let back = try store.enter(n2, seen: epoch + 400, identityChanged: true)
        #expect(back.epoch >= epoch + 1_400)
    }

    @Test(arguments: StoreKind.allCases)
    func race9APositionOfALostBranchIsRewoundThoughItLooksContiguous(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let first = try store.enter(n1).epoch
        for _ in 0..<3 { _ = try store.append(first) }
        // A node on the lost branch saw first-4 and (later)-5; this branch continued differently.
        let second = try store.enter(n2).epoch
        for _ in 0..<3 { _ = try store.append(second) }
        #expect(try store.view(after: Position(epoch: first, seq: 4)).verdict == .rewound)
        #expect(try store.view(after: Position(epoch: second - 1, seq: 5)).verdict == .rewound)
        #expect(try store.view(after: Position(epoch: first, seq: 3)).verdict == .ok)
    }

    // MARK: Race 12: putting back a lost tail

    /// The memory of a node whose history the store has partly lost: `kept` messages are in the log, `lost` more are
    /// not.
    private func lostTail(
        _ store: ContractStore, kept: Int, lost: Int
    ) throws -> (tail: [Message], epoch: UInt64) {
        let epoch = try store.enter(n1).epoch
        for index in 0..<kept { _ = try store.append(epoch, "kept \(index)") }
        var tail = try store.view().entries
        for index in 0..<lost {
            // The second half belongs to an epoch that the store never had.
            let position = Position(epoch: index < lost / 2 ? epoch : epoch + 500, seq: UInt64(kept + index + 1))
            tail.append(Message(position: position, content: try content("lost \(index)", key: "k\(index)")))
        }
        return (tail, epoch)
    }

    /// Lua in Redis accepts at most 8,000 values from one `unpack`: a room whose node remembered 800 messages could not
    /// be entered again.
    @Test(arguments: StoreKind.allCases)
    func aTailAsLongAsAMemoryIsPutBack(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let (tail, _) = try lostTail(store, kept: 3, lost: 997)
        let last = try #require(tail.last?.position)
        let view = try store.enter(n2, after: last, tail: tail, seen: last.epoch, identityChanged: true, limit: 1_000)
        #expect(view.verdict == .ok && view.last == 1_000 && tail.count == 1_000)
        #expect(try store.view(limit: 1_000).entries == tail)
    }

    @Test(arguments: StoreKind.allCases)
    func race12TheFirstToComeBackPutsTheTailBackWithItsPositions(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let (tail, epoch) = try lostTail(store, kept: 3, lost: 4)
        let last = try #require(tail.last?.position)
        let view = try store.enter(n2, after: last, tail: tail, seen: last.epoch, identityChanged: true)
        #expect(view.verdict == .ok && view.last == 7 && view.base == 7)
        #expect(try store.view().entries == tail)
        #expect(view.chain.links.map(\.base) == [0, 5, 7])
        #expect(view.chain.links.map(\.epoch) == [epoch, epoch + 500, view.epoch])
        // The second node finds them there, and adds nothing.
        let second = try store.enter(n3, after: last, tail: tail, seen: last.epoch, identityChanged: true)
        #expect(second.verdict == .ok && second.last == 7)
        #expect(try store.view().entries == tail)
    }

    /// A node knows an entry as it understands it, which need not be byte for byte as the log has it: by an older
    /// version, or by somebody with redis-cli.
    @Test(arguments: [
        ["text", "x", "mentions", #"[ "bo" , "cy\/" ]"#], ["text", "x", "colour", "red"], ["text", "x", "data", ""],
        ["text", "x", "thread", "0007-01"], ["op", "unreact", "of", "1-1", "text", "ok", "data", "[]", "n", "0"],
        ["op", "edit", "of", "01-1", "text", "ok", "n", "01"],
    ])
    func race12TheTailIsPutBackBehindAnEntryThatIsWrittenOtherwise(fields: [String]) async throws {
        let store = try await ContractStore(.redis)
        let (tail, epoch) = try lostTail(store, kept: 2, lost: 2)
        let words = ["XADD", store.key(.log), "\(epoch)-*", "user", "ana", "at", "07"] + fields
        try store.raw(bytes: words.map { Array($0.utf8) })
        let known = try store.view().entries
        let lost = tail.suffix(2).map { message in
            Message(position: Position(epoch: epoch, seq: message.position.seq + 1), content: message.content)
        }
        try #require(known.count == 3)
        let last = try #require(lost.last?.position)
        let view = try store.enter(n2, after: last, tail: known + lost, seen: last.epoch, identityChanged: true)
        #expect(view.verdict == .ok && view.last == 5)
        #expect(try store.view().entries == known + lost)
    }

    @Test func race12ATailIsPutBackBehindATextThatIsNoUTF8() async throws {
        let store = try await ContractStore(.redis)
        let (tail, epoch) = try lostTail(store, kept: 2, lost: 2)
        let words = ["XADD", store.key(.log), "\(epoch)-*", "user", "ana", "at", "7", "text"].map { Array($0.utf8) }
        try store.raw(bytes: words + [[0x78, 0xFF, 0x79]])
        let known = try store.view().entries
        let next = Message(position: Position(epoch: epoch, seq: 4), content: tail[2].content)
        let view = try store.enter(
            n2, after: next.position, tail: known + [next], seen: epoch, identityChanged: true)
        #expect(known.count == 3 && view.verdict == .ok && view.last == 4)
    }

    @Test(arguments: StoreKind.allCases)
    func race12NothingIsPutBackWhereItDoesNotContinueTheLog(kind: StoreKind) async throws {
        for change in 0..<5 {
            let store = try await ContractStore(kind)
            var (tail, _) = try lostTail(store, kept: 3, lost: 4)
            let last = try #require(tail.last?.position)
            var identityChanged = true
            switch change {
            case 0: identityChanged = false
            case 1: tail.remove(at: 4)  // a hole
            case 2: tail[2].content.text = "another message at the log's last position"
            case 3: tail.removeFirst(3)  // the entry before the first missing one is not known
            default: _ = try store.append(try store.enter(n3).epoch, "somebody was faster")
            }
            let before = try store.view().entries
            let view = try store.enter(n2, after: last, tail: tail, seen: last.epoch, identityChanged: identityChanged)
            #expect(view.verdict == .rewound, "change \(change)")
            #expect(try store.view().entries == before, "change \(change)")
        }
    }

    @Test(arguments: StoreKind.allCases)
    func race12WhoeverOnlyEnteredMakesRoomForWhatComesBack(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let (tail, epoch) = try lostTail(store, kept: 3, lost: 4)
        let last = try #require(tail.last?.position)
        // n3 had received one message less, comes back first, and has sent nothing yet.
        let early = Array(tail.dropLast())
        let lagging = try store.enter(
            n3, after: early.last?.position, tail: early, seen: last.epoch, identityChanged: true)
        #expect(lagging.verdict == .ok && lagging.last == 6)
        let view = try store.enter(n2, after: last, tail: tail, seen: last.epoch, identityChanged: true)
        #expect(view.verdict == .ok && view.last == 7 && view.base == 7 && view.epoch > lagging.epoch)
        #expect(view.chain.links.map(\.epoch) == [epoch, epoch + 500, view.epoch])
        #expect(try store.view().entries == tail)
        // What n3 sends now is refused until it has read that message.
        #expect(throws: BrokerError.refused) { _ = try store.append(lagging.epoch) }
        let seen = try store.view(after: early.last?.position)
        #expect(seen.verdict == .ok && seen.entries == Array(tail.suffix(1)))
    }

    /// A room that was created in the moments that Redis lost: without a log, or with an empty one.
    @Test(arguments: StoreKind.allCases, [false, true])
    func race12ALogThatIsGoneIsPutBackWhole(kind: StoreKind, entered: Bool) async throws {
        let source = try await ContractStore(kind)
        let (tail, epoch) = try lostTail(source, kept: 3, lost: 4)
        let store = try await ContractStore(kind)
        let last = try #require(tail.last?.position)
        if entered { #expect(try store.enter(n3).verdict == .ok) }
        let request = EnterRequest(
            room: store.room, node: n2, after: last, tail: tail, tailHistory: epoch - 5, seen: last.epoch,
            identityChanged: true, page: PageBounds(count: 100))
        guard case .view(let view) = try store.reply(.enter(request)) else { throw StoreFailure("enter: no view") }
        #expect(view.verdict == .ok && view.last == 7 && view.epoch >= last.epoch + 1_000)
        #expect(view.chain.links.map(\.base) == [0, 5, 7] && view.chain.history == epoch - 5)
        #expect(try store.view().entries == tail)
        // A client that had seen nothing yet gets everything; one that had seen some messages gets the rest.
        #expect(try store.view(after: Position(epoch: 0, seq: 0)).entries == tail)
        #expect(try store.view(after: tail[1].position).entries == Array(tail.dropFirst(2)))
    }

    /// The stack of Lua has space for 8,000 values, and arguments take some of it.
    @Test(arguments: StoreKind.allCases)
    func race12TwoThousandMessagesArePutBackAtOnce(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let (tail, _) = try lostTail(store, kept: 3, lost: 2_000)
        let last = try #require(tail.last?.position)
        let view = try store.enter(n2, after: last, tail: tail, seen: last.epoch, identityChanged: true)
        #expect(view.verdict == .ok && view.last == 2_003)
        let changes = try (0..<3_000).map {
            PresenceChange(user: try UserID("user\($0)"), device: try DeviceName("phone"), joined: true)
        }
        let request = PresenceRequest(
            room: store.room, node: n2, value: view.epoch, changes: changes)
        guard case .presence(let reply) = try store.reply(.presence(request)) else { throw StoreFailure("no presence") }
        #expect(reply.position.seq >= 3_000)
    }

    /// The messages that a node still remembers of a long room are put back into a log that is gone. The rest is a gap,
    /// not a reset.
    @Test(arguments: StoreKind.allCases)
    func race12ALogThatIsGoneIsPutBackAsFarAsANodeRemembers(kind: StoreKind) async throws {
        let source = try await ContractStore(kind)
        let (tail, epoch) = try lostTail(source, kept: 3, lost: 4)
        let store = try await ContractStore(kind)
        let last = try #require(tail.last?.position)
        let request = EnterRequest(
            room: store.room, node: n2, after: last, tail: Array(tail.dropFirst(4)), tailHistory: epoch,
            seen: last.epoch, identityChanged: true, page: PageBounds(count: 100))
        guard case .view(let view) = try store.reply(.enter(request)) else { throw StoreFailure("enter: no view") }
        #expect(view.verdict == .ok && view.last == 7)
        #expect(try store.view(after: tail[1].position).verdict == .gap(first: 3, last: 4))
        #expect(try store.append(view.epoch).seq == 8)
    }

    /// The first epoch on another Redis is one that the lost branch cannot have used, and all nodes are told which one
    /// it was.
    @Test func race8AnotherRedisBeginsFarAboveWhatWasLost() async throws {
        let store = try await ContractStore(.redis)
        let first = try store.enter(n1)
        #expect(first.branch == first.epoch)
        _ = try store.append(first.epoch, "kept")
        try store.raw("HSET", store.key(.meta), "run", "another")
        let ahead = first.epoch + 50_000_000
        let second = try store.enter(n2, seen: ahead)
        #expect(second.epoch >= ahead + 1_000 && second.epoch <= ahead + 1_000 + 0xFFFF)
        #expect(second.branch == second.epoch)
        #expect(try store.enter(n3).branch == second.epoch, "n1, with an older epoch, has not come back")
    }

    @Test func race14NoKeyExpiresUnderANode() async throws {
        let store = try await ContractStore(.redis)
        let value = try store.enter(n1).epoch
        _ = try store.append(value)
        _ = try store.leave(n1, value)
        #expect(try store.raw("PTTL", store.key(.log)) != .integer(-1))
        let epoch = try store.enter(n2).epoch
        _ = try store.append(epoch)
        #expect(try store.raw("PTTL", store.key(.log)) == .integer(-1))
        #expect(try store.raw("PTTL", store.key(.epochs)) == .integer(-1))
        #expect(try store.raw("PTTL", store.key(.meta)) == .integer(-1))
    }

    @Test func race15AnEntryThatWasDeletedIsAGapAndNothingElse() async throws {
        let store = try await ContractStore(.redis)
        let epoch = try store.enter(n1).epoch
        for _ in 0..<5 { _ = try store.append(epoch) }
        try store.raw("XDEL", store.key(.log), "\(epoch)-3")
        #expect(try store.view(after: Position(epoch: epoch, seq: 2)).verdict == .gap(first: 3, last: 3))
        let inside = try store.view(after: Position(epoch: epoch, seq: 1))
        #expect(inside.verdict == .ok && inside.entries.map(\.position.seq) == [2, 4, 5])
        try store.raw("XDEL", store.key(.log), "\(epoch)-5")
        #expect(try store.view(after: Position(epoch: epoch, seq: 4)).verdict == .gap(first: 5, last: 5))
        #expect(try store.append(epoch).seq == 6)
    }

    /// A Redis that was the master, was replaced, and takes over again has the same run ID as before.
    @Test func race9AnOutsiderWaitsAgainWhenARedisTakesOverOnceMore() async throws {
        let store = try await ContractStore(.redis)
        let n2 = try NodeID("n2-1")
        _ = try store.enter(n1)
        let epoch = try store.enter(n2).epoch
        _ = try store.append(epoch, "kept")
        func say() throws -> Result<BrokerReply, BrokerError> {
            try store.ask(.say(room: store.room, content: try content("hello"))).result
        }
        // It takes over for the first time, and nobody comes back in time.
        try store.raw("HSET", store.key(.meta), "run", "another")
        #expect(try say() == .failure(.refused))
        guard case .string(let waits) = try store.raw("HGET", store.key(.meta), "returns") else {
            throw StoreFailure("nobody is waited for")
        }
        let run = String(decoding: waits.prefix { $0 != UInt8(ascii: ":") }, as: UTF8.self)
        try store.raw("HSET", store.key(.meta), "returns", "\(run):1700000000000")
        #expect(throws: Never.self) { _ = try say().get() }
        // Another one was the master meanwhile.
        try store.raw("HSET", store.key(.meta), "run", "another")
        #expect(try say() == .failure(.refused))
        _ = try store.enter(n1)
        #expect(try say() == .failure(.refused))
        _ = try store.enter(n2)
        #expect(throws: Never.self) { _ = try say().get() }
        // The same if the first to act is a node.
        for stale in [run, "\(run):1700000000000"] {
            try store.raw("HSET", store.key(.meta), "run", "another", "returns", stale)
            _ = try store.enter(n1)
            #expect(try say() == .failure(.refused), "returns was \(stale)")
            _ = try store.enter(n2)
            #expect(throws: Never.self) { _ = try say().get() }
        }
    }

    @Test func race9AnOutsiderIsNeverGivenAPositionOfALostBranch() async throws {
        let store = try await ContractStore(.redis)
        let epoch = try store.enter(n1).epoch
        _ = try store.append(epoch, "kept")
        // The Redis that n1 entered had epoch-2 too; this one, another process, lost it, and n1 is not back yet.
        let lost = Position(epoch: epoch, seq: 2)
        try store.raw("HSET", store.key(.meta), "run", "another")
        #expect(try store.ask(.say(room: store.room, content: try content("hello"))).result == .failure(.refused))
        // The time to come back is over.
        guard case .string(let waits) = try store.raw("HGET", store.key(.meta), "returns") else {
            throw StoreFailure("nobody is waited for")
        }
        let run = String(decoding: waits.prefix { $0 != UInt8(ascii: ":") }, as: UTF8.self)
        try store.raw("HSET", store.key(.meta), "returns", "\(run):1700000000000")
        let answer = try store.ask(.say(room: store.room, content: try content("hello")))
        guard case .success(.said(let position, repeated: false)) = answer.result else {
            throw StoreFailure("\(answer)")
        }
        #expect(position.epoch > epoch && position.seq == 2)
        #expect(answer.events.first == .epoch(position.epoch, base: 1, nodes: [n1: epoch], by: try NodeID("say")))
        #expect(try store.view(after: lost).verdict == .rewound)
        #expect(try store.view(after: Position(epoch: epoch, seq: 1)).verdict == .ok)
        // Once is enough.
        guard case .said(let next, repeated: false) = try store.reply(.say(room: store.room, content: try content("b")))
        else { throw StoreFailure("not said") }
        #expect(next == Position(epoch: position.epoch, seq: 3))
        // After n1 has entered again, nothing is foreign any more.
        let back = try store.enter(n1, after: next)
        #expect(back.verdict == .ok)
        guard case .said(let last, repeated: false) = try store.reply(.say(room: store.room, content: try content("c")))
        else { throw StoreFailure("not said") }
        #expect(last == Position(epoch: back.epoch, seq: 4))
    }

    /// Race 9: what an outsider says waits until the nodes have put back what this Redis lost, and no longer.
    @Test func race9AnOutsiderWaitsForThoseWhoMayPutBackWhatWasLost() async throws {
        let store = try await ContractStore(.redis)
        let say = BrokerRequest.say(room: store.room, content: try content("hello"))
        let first = try store.enter(n1)
        let second = try store.enter(n2, after: Position(epoch: first.epoch, seq: 0))
        try store.raw("HSET", store.key(.meta), "run", "another")
        #expect(try store.ask(say).result == .failure(.refused))
        let back = try store.enter(n1, after: Position(epoch: second.epoch, seq: 0))
        #expect(try store.ask(say).result == .failure(.refused), "n2 may know more")
        #expect(try store.view(after: nil).last == 0, "nothing was stored")
        let all = try store.enter(n2, after: Position(epoch: back.epoch, seq: 0))
        #expect(try store.reply(say) == .said(Position(epoch: all.epoch, seq: 1), repeated: false))
        // Nobody is waited for twice.
        try store.raw("HSET", store.key(.nodes), n1.text, "1")
        #expect(try store.reply(say) == .said(Position(epoch: all.epoch, seq: 2), repeated: false))
    }

    // MARK: What people do to keys

    @Test func aLostChainBeginsHistoryAtTheLogsEpoch() async throws {
        let store = try await ContractStore(.redis)
        let first = try store.enter(n1).epoch
        _ = try store.append(first)
        let second = try store.enter(n2).epoch
        let position = try store.append(second)
        try store.raw("DEL", store.key(.epochs))
        let view = try store.view(after: position)
        #expect(view.verdict == .ok)
        #expect(view.chain == EpochChain(links: [EpochLink(epoch: second, base: 1)], history: second))
        #expect(try store.view(after: Position(epoch: first, seq: 1)).verdict == .rewound)
        #expect(try store.enter(n1, after: position).chain.links.map(\.base) == [1, 2])
    }

    @Test(
        arguments: RoomKey.allCases.filter {
            ![.keys, .audit, .participants, .reads, .pending, .cursors, .receipts].contains($0)
        })
    func aForeignTypeAtOneKeyIsNamedAndNothingChanges(name: RoomKey) async throws {
        let store = try await ContractStore(.redis)
        let value = try store.enter(n1).epoch
        _ = try store.append(value)
        _ = try store.presence(n1, value, [try device("ana", "x")])
        try store.raw("DEL", store.key(name))
        try store.raw("SET", store.key(name), "foreign")
        func dump() throws -> [Tree] {
            try RoomKey.allCases.map { try store.raw("DUMP", store.key($0)) }
        }
        let before = try dump()
        let requests: [BrokerRequest] = [
            .enter(EnterRequest(room: store.room, node: n2, page: PageBounds(count: 5))),
            .leave(room: store.room, node: n1, value: value),
            .view(room: store.room, after: nil, page: PageBounds(count: 5)),
            .once(OnceRequest(room: store.room, node: n1, epoch: value, known: 0, sends: [try send("k")])),
            .presence(
                PresenceRequest(
                    room: store.room, node: n1, value: value, changes: [try device("bo", "y")])),
        ]
        var named = 0
        for request in requests {
            let answer = try store.ask(request)
            guard case .failure(.notStored(let text)) = answer.result else { continue }
            named += 1
            #expect(text.hasPrefix("WRONGTYPE \(store.key(name)) is a string, martlet keeps a \(name.redisType) there"))
        }
        // `enter` and `leave` each examine all keys, the others only their own; those of amendments matter to `enter`.
        #expect(named >= ([.overlay, .amendments].contains(name) ? 1 : 2))
        if name == .log {
            let say = try store.ask(.say(room: store.room, content: try content("x")))
            guard case .failure(.notStored) = say.result else { throw StoreFailure("say: \(say)") }
        } else if name == .presence || name == .roster {
            guard case .failure(.notStored(let text)) = try store.ask(.roster(room: store.room)).result else {
                throw StoreFailure("roster of a foreign type")
            }
            #expect(text.hasPrefix("WRONGTYPE"))
        }
        if name == .log || name == .nodes { #expect(try dump() == before) }
    }

    @Test func anEntryOfAnOutsiderIsReadHoweverItLooks() async throws {
        let store = try await ContractStore(.redis)
        let epoch = try store.enter(n1).epoch
        let id = "\(epoch)-*"
        try store.raw("XADD", store.key(.log), id, "foo", "bar")
        try store.raw("XADD", store.key(.log), id, "user", "", "text", "a", "at", "never")
        try store.raw("XADD", store.key(.log), id, "data", "{no json", "user", "bot", "at", "99999999999999999999")
        try store.raw("XADD", store.key(.log), id, "at", "18446744073709551615", "text", "b", "user", "bot")
        let unknown = try #require(LogEntry.stranger)
        let bot = try UserID("bot")
        #expect(
            try store.view().entries.map(\.content) == [
                MessageContent(user: unknown, at: epoch, text: ""),
                MessageContent(user: unknown, at: epoch, text: "a"),
                MessageContent(user: bot, at: epoch, data: #""{no json""#),
                MessageContent(user: bot, at: 253_402_300_799_999, text: "b"),
            ])
    }
}
