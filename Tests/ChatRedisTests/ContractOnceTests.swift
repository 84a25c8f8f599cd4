import ChatCore
import RedisSchema
import Testing

@testable import ChatRedis

/// Repeated sends, and messages from outside of rooms.
@Suite struct ContractOnceTests {
    let n1: NodeID
    let n2: NodeID

    init() throws {
        n1 = try NodeID("n1-00000001")
        n2 = try NodeID("n2-00000002")
    }

    private func outcomes(_ answer: StoreAnswer) throws -> OnceReply {
        guard case .once(let reply) = try answer.result.get() else { throw StoreFailure("no once: \(answer)") }
        return reply
    }

    @Test(arguments: StoreKind.allCases)
    func aKeyInTheLogIsAnsweredWithTheFirstPosition(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let epoch = try store.enter(n1).epoch
        _ = try store.append(epoch, "a")
        let first = try store.append(epoch, "b", key: "k")
        _ = try store.append(epoch, "c", key: "other")
        let answer = try store.once(n1, epoch, [try send("k", "b again")])
        #expect(try outcomes(answer) == OnceReply(epoch: epoch, base: 0, outcomes: [.repeated(first, at: 7)]))
        #expect(answer.events.isEmpty)
        #expect(try store.view().last == 3)
    }

    @Test(arguments: StoreKind.allCases)
    func keysOfDifferentUsersNeverMeet(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let epoch = try store.enter(n1).epoch
        _ = try store.append(epoch, "a", key: "k")
        let content = MessageContent(user: try UserID("bo"), at: 9, text: "b", key: "k")
        let answer = try store.once(n1, epoch, [OnceSend(content: content, again: true)])
        #expect(try outcomes(answer).outcomes == [.stored(Position(epoch: epoch, seq: 2))])
    }

    @Test(arguments: StoreKind.allCases)
    func theSameKeyTwiceInOneBatchIsStoredOnce(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let epoch = try store.enter(n1).epoch
        let answer = try store.once(n1, epoch, [try send("k", "a"), try send("k", "b"), try send("l", "c")])
        let stored = Position(epoch: epoch, seq: 1)
        #expect(
            try outcomes(answer).outcomes
                == [.stored(stored), .repeated(stored, at: 7), .stored(Position(epoch: epoch, seq: 2))])
    }

    @Test(arguments: StoreKind.allCases)
    func aloneItNeitherRaisesNorPublishes(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let epoch = try store.enter(n1).epoch
        let answer = try store.once(n1, epoch, [try send("k")])
        #expect(answer.events.isEmpty)
        #expect(try outcomes(answer).epoch == epoch)
    }

    @Test(arguments: StoreKind.allCases)
    func besideOthersItAppendsThenRaisesOnceAndTellsThem(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let other = try store.enter(n2).epoch
        let epoch = try store.enter(n1).epoch
        _ = try store.append(epoch, "a", key: "k")
        let answer = try store.once(n1, epoch, [try send("k"), try send("l", "b"), try send("m", "c")])
        let reply = try outcomes(answer)
        #expect(reply.epoch > epoch && reply.base == 3)
        let positions = (2...3).map { Position(epoch: epoch, seq: UInt64($0)) }
        #expect(reply.outcomes == [.repeated(Position(epoch: epoch, seq: 1), at: 7)] + positions.map { .stored($0) })
        #expect(
            answer.events == [
                .message(Message(position: positions[0], content: try send("l", "b").content), base: 0),
                .message(Message(position: positions[1], content: try send("m", "c").content), base: 0),
                .epoch(reply.epoch, base: 3, nodes: [n1: epoch, n2: other], by: n1),
            ])
    }

    @Test(arguments: StoreKind.allCases)
    func ifAllWasSaidBeforeNothingIsRaised(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        _ = try store.enter(n2)
        let epoch = try store.enter(n1).epoch
        _ = try store.append(epoch, "a", key: "k")
        let answer = try store.once(n1, epoch, [try send("k")])
        #expect(answer.events.isEmpty)
        #expect(try store.view().epoch == epoch)
    }

    @Test(arguments: StoreKind.allCases)
    func itIsFencedLikeAnAppend(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let epoch = try store.enter(n1).epoch
        _ = try store.enter(n2)
        #expect(try store.once(n1, epoch, [try send("k")]) == StoreAnswer(result: .failure(.refused), events: []))
        #expect(try store.once(n1, epoch + 10_000_000, [try send("k")]).result == .failure(.refused))
        #expect(try store.view().entries.isEmpty)
    }

    @Test(arguments: StoreKind.allCases)
    func onlyEntriesAboveKnownAreLookedAt(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let epoch = try store.enter(n1).epoch
        _ = try store.append(epoch, "a", key: "k")
        let second = try store.append(epoch, "b", key: "l")
        let answer = try store.once(n1, epoch, known: 1, [try send("l"), try send("k")])
        #expect(try outcomes(answer).outcomes == [.repeated(second, at: 7), .stored(Position(epoch: epoch, seq: 3))])
    }

    @Test(arguments: StoreKind.allCases)
    func aRepetitionThatTheLogMayHaveForgottenIsUnknown(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let epoch = try store.enter(n1).epoch
        for _ in 0..<30 { _ = try store.append(epoch) }
        // The log contains 11...30.
        let sends = [
            try send("a"), try send("b", since: Position(epoch: epoch, seq: 9)),
            try send("c", since: Position(epoch: epoch, seq: 10)), try send("d", again: false),
            try send("e", since: Position(epoch: epoch, seq: 2), again: false),
        ]
        let outcomes = try outcomes(try store.once(n1, epoch, sends)).outcomes
        #expect(outcomes[0] == .outcomeUnknown)
        #expect(outcomes[1] == .outcomeUnknown)
        #expect(outcomes[2...] == [31, 32, 33].map { .stored(Position(epoch: epoch, seq: $0)) }[...])
        #expect(try store.view().last == 33)
    }

    // MARK: say

    @Test(arguments: StoreKind.allCases)
    func anOutsiderReachesEverybodyAtTheRoomsEpoch(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let epoch = try store.enter(n1).epoch
        let content = MessageContent(user: try UserID("bot"), at: 5, text: "hello", data: #"{"a":1}"#, key: "k")
        let answer = try store.ask(.say(room: store.room, content: content))
        let position = Position(epoch: epoch, seq: 1)
        #expect(answer.result == .success(.said(position, repeated: false)))
        #expect(answer.events == [.message(Message(position: position, content: content), base: nil)])
        let again = try store.ask(.say(room: store.room, content: content))
        #expect(again == StoreAnswer(result: .success(.said(position, repeated: true)), events: []))
        #expect(try store.append(epoch).seq == 2)
    }

    @Test(arguments: StoreKind.allCases)
    func aRoomThatAnOutsiderBeganGoesOnAtItsEpoch(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let content = MessageContent(user: try UserID("bot"), at: 5, text: "hello")
        guard case .said(let first, repeated: false) = try store.reply(.say(room: store.room, content: content)) else {
            throw StoreFailure("not said")
        }
        #expect(first.seq == 1)
        let seen = try store.view()
        #expect(seen.chain == EpochChain(links: [EpochLink(epoch: first.epoch, base: 0)], history: first.epoch))
        let view = try store.enter(n1, after: first)
        #expect(view.verdict == .ok && view.last == 1 && view.base == 1 && view.entries.isEmpty)
        #expect(view.chain.history == first.epoch)
        #expect(view.chain.links.map(\.base) == [0, 1])
        #expect(try store.enter(n1, after: Position(epoch: first.epoch - 1, seq: 1)).verdict == .rewound)
        #expect(try store.append(try store.view().epoch).seq == 2)
    }

    @Test(arguments: StoreKind.allCases)
    func nothingToSayIsSaidSo(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let content = MessageContent(user: try UserID("bot"), at: 5, text: "", data: "")
        let answer = try store.ask(.say(room: store.room, content: content))
        #expect(answer.result == .failure(.notStored("ERR martlet: nothing to say: text and data are empty")))
        #expect(
            try store.ask(.view(room: store.room, after: nil, page: PageBounds(count: 1))).result == .failure(.missing))
    }
}
