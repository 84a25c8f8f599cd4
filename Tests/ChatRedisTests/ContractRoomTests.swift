import ChatCore
import RedisSchema
import Testing

@testable import ChatRedis

/// Log, fence, enter, view and leave: what the room protocol requires of Redis, on both brokers.
@Suite struct ContractRoomTests {
    let n1: NodeID
    let n2: NodeID

    init() throws {
        n1 = try NodeID("n1-00000001")
        n2 = try NodeID("n2-00000002")
    }

    @Test(arguments: StoreKind.allCases)
    func theFirstNodeBeginsALogWithoutMessages(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let answer = try store.ask(.enter(EnterRequest(room: store.room, node: n1, page: PageBounds(count: 10))))
        guard case .success(.view(let view)) = answer.result else { throw StoreFailure("\(answer)") }
        #expect(view.verdict == .ok)
        #expect(view.last == 0 && view.base == 0 && view.entries.isEmpty)
        #expect(view.nodes == [n1: view.epoch])
        #expect(view.chain == EpochChain(links: [EpochLink(epoch: view.epoch, base: 0)], history: view.epoch))
        // The node must hear its own event, although no other node is there.
        #expect(answer.events == [.epoch(view.epoch, base: 0, nodes: [n1: view.epoch], by: n1)])
    }

    @Test(arguments: StoreKind.allCases)
    func positionsAreContiguousAcrossEpochs(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        var seqs: [UInt64] = []
        for round in 0..<4 {
            let view = try store.enter(round.isMultiple(of: 2) ? n1 : n2)
            #expect(view.last == UInt64(seqs.count) && view.base == view.last)
            for _ in 0..<3 { seqs.append(try store.append(view.epoch).seq) }
        }
        #expect(seqs == Array(1...12))
        let entries = try store.view().entries
        #expect(entries.map(\.position.seq) == seqs)
        #expect(entries.map(\.position) == entries.map(\.position).sorted())
    }

    @Test(arguments: StoreKind.allCases)
    func anAppendWithAnOldEpochIsRefusedAndStoresNothing(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let old = try store.enter(n1).epoch
        let new = try store.enter(n2).epoch
        #expect(new > old)
        let content = MessageContent(user: try UserID("ana"), at: 1, text: "late")
        let answer = try store.ask(.append(room: store.room, epoch: old, content: content))
        #expect(answer == StoreAnswer(result: .failure(.refused), events: []))
        #expect(try store.view().entries.isEmpty)
        #expect(try store.append(new).seq == 1)
    }

    @Test(arguments: StoreKind.allCases)
    func anAppendForOthersIsPublishedInTheSameStep(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let old = try store.enter(n1).epoch
        let view = try store.enter(n2)
        let content = MessageContent(
            user: try UserID("보라 \"q\""), at: 7, text: "줄\n\u{0}😀", data: #"{"a":[1]}"#, key: "~k")
        func append(_ epoch: UInt64, known: UInt64) throws -> StoreAnswer {
            let others = OtherNodes(known: known, base: view.base)
            return try store.ask(.append(room: store.room, epoch: epoch, content: content, others: others))
        }
        let position = Position(epoch: view.epoch, seq: view.last + 1)
        let event = ChannelEvent.message(Message(position: position, content: content), base: view.base)
        #expect(
            try append(view.epoch, known: view.last)
                == StoreAnswer(result: .success(.appended(position, isPublished: true)), events: [event]))
        #expect(try append(old, known: 0) == StoreAnswer(result: .failure(.refused), events: []))
        // In a log that was set back, the append is published to nobody.
        let low = Position(epoch: view.epoch, seq: view.last + 2)
        #expect(
            try append(view.epoch, known: low.seq) == StoreAnswer(result: .success(.appended(low)), events: []))
        #expect(try store.view().entries.map(\.position) == [position, low])
    }

    @Test(arguments: StoreKind.allCases)
    func anAppendWithoutALogIsMissing(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let content = MessageContent(user: try UserID("ana"), at: 1, text: "x")
        #expect(try store.ask(.append(room: store.room, epoch: 5, content: content)).result == .failure(.missing))
        let others = OtherNodes(known: 0, base: nil)
        let published = BrokerRequest.append(room: store.room, epoch: 5, content: content, others: others)
        #expect(try store.ask(published) == StoreAnswer(result: .failure(.missing), events: []))
        #expect(
            try store.ask(.view(room: store.room, after: nil, page: PageBounds(count: 5))).result == .failure(.missing))
        let once = OnceRequest(room: store.room, node: n1, epoch: 5, known: 0, sends: [try send("k")])
        #expect(try store.ask(.once(once)).result == .failure(.missing))
    }

    @Test(arguments: StoreKind.allCases)
    func messagesComeBackAsTheyWereSaid(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let epoch = try store.enter(n1).epoch
        let contents = [
            MessageContent(user: try UserID("ana"), at: 1, text: ""),
            MessageContent(user: try UserID("보라 \"q\" \\ /"), at: 2, text: "줄\n\u{0}\u{1}\t\r 😀", key: "~k\"1"),
            MessageContent(
                user: try UserID("bo"), at: 253_402_300_799_999, data: #"{"a":[1,2.50,"\u0041"], "b" : null}"#),
            MessageContent(user: try UserID("bo"), at: 0, text: String(repeating: "가", count: 20_000), data: "5"),
        ]
        for content in contents { _ = try store.reply(.append(room: store.room, epoch: epoch, content: content)) }
        #expect(try store.view().entries.map(\.content) == contents)
        let last = try store.view().last
        for (index, content) in contents.enumerated() {
            let message = Message(position: Position(epoch: epoch, seq: last + UInt64(index)), content: content)
            let event = ChannelEvent.message(message, base: 3)
            #expect(
                try store.ask(.publish(room: store.room, event: event))
                    == StoreAnswer(result: .success(.done), events: [event]))
        }
    }

    @Test(arguments: StoreKind.allCases)
    func everyVerdictIsGiven(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let first = try store.enter(n1).epoch
        for _ in 0..<5 { _ = try store.append(first) }
        let second = try store.enter(n2).epoch
        for _ in 0..<5 { _ = try store.append(second) }
        let cases: [(Position, Verdict)] = [
            (Position(epoch: second, seq: 10), .ok),
            (Position(epoch: first, seq: 3), .ok),
            (Position(epoch: first, seq: 0), .ok),
            (Position(epoch: second, seq: 11), .rewound),
            (Position(epoch: second + 1, seq: 10), .rewound),
            (Position(epoch: first - 1, seq: 2), .rewound),
            (Position(epoch: first, seq: 6), .rewound),
            (Position(epoch: first + (second - first) / 2, seq: 5), second - first > 1 ? .rewound : .ok),
        ]
        for (position, verdict) in cases {
            let view = try store.view(after: position, limit: 2)
            #expect(view.verdict == verdict, "\(position) of \(first), \(second)")
            if verdict == .ok {
                #expect(view.entries.map(\.position.seq) == Array(((position.seq + 1)..<11).prefix(2)))
                #expect(view.hasMore == (position.seq + 2 < 10))
            } else {
                #expect(view.entries.map(\.position.seq) == [9, 10])
            }
        }
    }

    @Test(arguments: StoreKind.allCases)
    func whatTheLogNoLongerHoldsIsAGap(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let epoch = try store.enter(n1).epoch
        for _ in 0..<30 { _ = try store.append(epoch) }
        let view = try store.view(after: Position(epoch: epoch, seq: 4))
        #expect(view.verdict == .gap(first: 5, last: 10))
        #expect(view.entries.map(\.position.seq) == Array(11...30))
        #expect(try store.view(after: Position(epoch: epoch, seq: 10)).verdict == .ok)
    }

    @Test(arguments: StoreKind.allCases)
    func epochsAreRaisedAboveEverythingSeen(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let first = try store.enter(n1).epoch
        let far = first + 10_000_000
        #expect(try store.enter(n2, seen: far).epoch == far + 1)
        #expect(try store.enter(n1).epoch == far + 2)
        #expect(try store.enter(n1, seen: far, identityChanged: true).epoch == far + 1_000)
        // A clock that is ahead counts up to a minute only.
        let other = try await ContractStore(kind)
        let plain = try other.enter(n1).epoch
        let ahead = try other.enter(n1, clock: plain + 10_000_000).epoch
        #expect(ahead >= plain + 60_000 && ahead < plain + 120_000)
    }

    @Test(arguments: StoreKind.allCases)
    func emptyEpochsCollapseAndTheChainIsPrunedWithTheLog(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let history = try store.enter(n1).epoch
        for _ in 0..<5 { _ = try store.enter(n2) }
        let view = try store.view()
        #expect(view.chain.links.map(\.base) == [0, 0])
        #expect(view.chain.links.first?.epoch == history && view.chain.history == history)
        for _ in 0..<40 { _ = try store.append(try store.enter(n1).epoch) }
        let links = try store.enter(n2).chain.links
        // The log contains 21...40: the epoch of message 20, which began at 19, is the oldest one that may be asked
        // about.
        #expect(links.map(\.base) == Array(19...40))
        #expect(links.count <= ContractStore.historyLength + 2)
    }

    @Test(arguments: StoreKind.allCases)
    func leavingIsByComparison(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let old = try store.enter(n1).epoch
        _ = try store.enter(n2)
        let value = try store.enter(n1).epoch
        #expect(try store.leave(n1, old) == StoreAnswer(result: .success(.left(false)), events: []))
        let position = try store.append(value)
        let rest = try store.view().nodes.filter { $0.key == n2 }
        #expect(
            try store.leave(n1, value)
                == StoreAnswer(
                    result: .success(.left(true)), events: [.gone(n1, value: value, nodes: rest, last: position)]))
        #expect(try store.view().nodes == rest)
        #expect(try store.leave(n1, value).result == .success(.left(false)))
        // No node remains that could hear of it.
        #expect(try store.leave(n2, rest[n2] ?? 0) == StoreAnswer(result: .success(.left(true)), events: []))
        #expect(try store.reply(.holders(room: store.room)) == .holders([:]))
        // The history outlives its nodes.
        let back = try store.enter(n1, after: position)
        #expect(back.verdict == .ok && back.last == 1)
    }

    @Test(arguments: StoreKind.allCases)
    func aRoomThatNobodyHoldsExpiresWhole(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let value = try store.enter(n1).epoch
        _ = try store.presence(n1, value, [try device("ana", "phone")])
        let position = try store.append(value)
        _ = try store.leave(n1, value)
        let week: UInt64 = 7 * 86_400_000
        switch kind {
        case .memory:
            store.now += week - 100
            #expect(try store.view().last == 1)
            store.now += 200
            #expect(
                try store.ask(.view(room: store.room, after: nil, page: PageBounds(count: 1))).result
                    == .failure(.missing))
        case .redis:
            guard case .array(let names) = try store.raw("KEYS", store.keys.prefix + "*") else {
                throw StoreFailure("KEYS")
            }
            #expect(names.count == 4)  // nodes and roster are empty, so gone
            for case .string(let name) in names {
                guard case .integer(let ttl) = try store.raw("PTTL", String(decoding: name, as: UTF8.self)) else {
                    throw StoreFailure("PTTL")
                }
                #expect(ttl > Int64(week) - 60_000 && ttl <= Int64(week))
                try store.raw("DEL", String(decoding: name, as: UTF8.self))
            }
        }
        // A session that resumes later is told, and is never shown a wrong continuation.
        #expect(try store.enter(n1, after: position).verdict == .rewound)
    }

    @Test func enteringKeepsEveryKeyOfTheRoom() async throws {
        let store = try await ContractStore(.redis)
        let value = try store.enter(n1).epoch
        _ = try store.presence(n1, value, [try device("ana", "phone")])
        let position = try store.append(value, "x", key: "x")
        let pin = AmendRequest(room: store.room, .pin(of: position))
        _ = try store.reply(.amend(AmendOrder(pin, by: try UserID("ana"), at: 7, mayAmendAny: true)))
        _ = try store.reply(.moderate(room: store.room, .ban(try UserID("bo")), by: "ana"))
        let create = ConversationRequest(.create([]), in: store.room, by: try UserID("ana"), mayDoAll: true)
        _ = try store.reply(.conversation(create))
        _ = try store.leave(n1, value)
        let again = try store.enter(n2).epoch
        _ = try store.presence(n2, again, [try device("ana", "phone")])
        // A look-up of a key creates the index of keys.
        _ = try store.once(n2, again, [try send("k")])
        // (Relays write `cursors` and read `receipts`, which have TTLs of their own.)
        for name in RoomKey.allCases where name != .cursors && name != .receipts {
            #expect(try store.raw("PTTL", store.key(name)) == .integer(-1), "\(name)")
        }
    }
}
