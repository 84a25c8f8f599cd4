import ChatCore
import RedisSchema
import Testing

@testable import ChatRedis

/// Data that somebody writes into a room's keys with redis-cli: the functions skip it, the valid rest counts, and once
/// a key is repaired everything works again.
@Suite(.serialized) struct ContractHostileTests {
    private static let wild = [
        "18446744073709551615", "9223372036854775807", "9007199254740992", "9007199254740991", "4503599627370496",
    ]
    private let one: NodeID
    private let two: NodeID

    init() throws {
        one = try NodeID("one-00000001")
        two = try NodeID("two-00000002")
    }

    private func room() async throws -> (ContractStore, RoomView) {
        let store = try await ContractStore(.redis)
        let view = try store.enter(one)
        _ = try store.append(view.epoch, "a")
        return (store, view)
    }

    @Test(arguments: wild) func aLastIDThatNoNodeMadeIsRefusedUntilItIsMended(number: String) async throws {
        let (store, view) = try await room()
        // XSETID accepts less than XADD: it refuses an ID with the highest sequence.
        for id in ["\(number)-1", "\(view.epoch)-\(number)"] where Position(id).map({ $0.epoch > view.epoch }) ?? true {
            try store.raw("XSETID", store.key(.log), id)
            let ask: [BrokerRequest] = [
                .view(room: store.room, after: nil, page: PageBounds(count: 5)),
                .enter(EnterRequest(room: store.room, node: two, page: PageBounds(count: 5))),
                .say(room: store.room, content: MessageContent(user: try UserID("ana"), at: 1, text: "x")),
                .once(OnceRequest(room: store.room, node: one, epoch: view.epoch, known: 0, sends: [try send("k")])),
            ]
            for request in ask {
                guard case .failure(.notStored(let text)) = try store.ask(request).result else {
                    throw StoreFailure("\(id): \(request)")
                }
                #expect(text.hasPrefix("ERR martlet: the last ID of \(store.key(.log))"))
            }
            try store.raw("XSETID", store.key(.log), "\(view.epoch)-1")
            #expect(try store.view().entries.count == 1)
        }
        // No node has to stay in a room because the log is broken.
        try store.raw("XSETID", store.key(.log), "\(number)-1")
        #expect(try store.leave(one, view.epoch).result == .success(.left(true)))
        try store.raw("DEL", store.key(.log))
        let again = try store.enter(two)
        #expect(again.epoch < view.epoch + 1_000_000 && again.last == 0)
    }

    @Test(arguments: StoreKind.allCases) func whatIsClaimedIsBelievedOnlyToABound(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let first = try store.enter(one)
        let claimed = try store.enter(two, seen: PositionBounds.largest)
        #expect(claimed.epoch > first.epoch + PositionBounds.claimedAhead / 2)
        #expect(claimed.epoch < first.epoch + PositionBounds.claimedAhead + 3_600_000)
        // The epoch that began there is as good as any.
        #expect(try store.append(claimed.epoch) == Position(epoch: claimed.epoch, seq: 1))
        let next = try store.enter(one, seen: PositionBounds.largest)
        #expect(next.epoch >= claimed.epoch + 1 && next.epoch < claimed.epoch + 3_600_000)
    }

    @Test func metaThatIsNoneCountsAsLost() async throws {
        let (store, view) = try await room()
        for number in Self.wild + ["never", "", "nan", "inf", "0x10", "-1", String(repeating: "9", count: 500)] {
            for field in ["branch", "history"] { try store.raw("HSET", store.key(.meta), field, number) }
            let seen = try store.view(after: Position(epoch: view.epoch, seq: 1))
            #expect(
                seen.verdict == .ok && seen.branch == 0 && seen.last == 1 && seen.chain.links.last?.epoch == seen.epoch)
            let entered = try store.enter(two, after: Position(epoch: view.epoch, seq: 1))
            #expect(entered.verdict == .ok && entered.epoch < view.epoch + 1_000_000)
        }
    }

    @Test func linksThatAreNoneCountAsLost() async throws {
        let (store, view) = try await room()
        for number in Self.wild + ["never", "", "nan", String(repeating: "9", count: 500)] {
            try store.raw("LPUSH", store.key(.epochs), "\(number)-0")
            try store.raw("LPUSH", store.key(.epochs), "0-\(number)")
            let entered = try store.enter(two, after: Position(epoch: view.epoch, seq: 1))
            #expect(entered.last == 1 && entered.epoch < view.epoch + 1_000_000)
        }
        // The chain of a log that is gone does not begin a log there.
        try store.raw("DEL", store.key(.log))
        try store.raw("RPUSH", store.key(.epochs), "9007199254000000-0")
        #expect(try store.enter(two).epoch < view.epoch + 1_000_000)
    }

    @Test func nodesThatAreNoneHideNobody() async throws {
        let (store, view) = try await room()
        try store.raw("HSET", store.key(.nodes), "x{y", "5", "ghost-00000001", "never", "far-00000001", Self.wild[0])
        #expect(try store.view().nodes == [one: view.epoch])
        let answer = try store.ask(.enter(EnterRequest(room: store.room, node: two, page: PageBounds(count: 5))))
        guard case .success(.view(let entered)) = answer.result else { throw StoreFailure("\(answer)") }
        #expect(Set(entered.nodes.keys) == [one, two])
        // The node hears its own event whatever the key contains.
        #expect(answer.events == [.epoch(entered.epoch, base: 1, nodes: entered.nodes, by: two)])
        #expect(try store.reply(.holders(room: store.room)) == .holders(entered.nodes))
    }

    @Test func aRosterThatIsNoneKeepsNobodyFromComingAndGoing() async throws {
        let (store, view) = try await room()
        let deep = String(repeating: "[", count: 2_000) + String(repeating: "]", count: 2_000)
        let broken = [
            "garbage", "7", "null", "[1,2]", deep, #"{"\#(one)":{"a":1}}"#, #"{"\#(one)":[1,null,{}, "x"]}"#,
            #"{"\#(one)":7}"#,
        ]
        for (index, text) in broken.enumerated() { try store.raw("HSET", store.key(.roster), "u\(index)", text) }
        try store.raw("HSET", store.key(.roster), "ana", "garbage \(one)")
        let update = try store.presence(one, view.epoch, [try device("ana", "phone")])
        guard case .success(.presence(let reply)) = update.result else { throw StoreFailure("\(update)") }
        #expect(reply.notice?.changes.contains { $0.user.text == "ana" && $0.joined } == true)
        #expect(try store.roster().members[try UserID("ana")]?.count == 1)
        #expect(try store.leave(one, view.epoch).result == .success(.left(true)))
    }

    @Test(arguments: wild) func aPresenceStreamThatNoNodeWroteBeginsAgain(number: String) async throws {
        let (store, view) = try await room()
        _ = try store.presence(one, view.epoch, [try device("ana", "phone")])
        try store.raw("XADD", store.key(.presence), "\(number)-1", "kind", "join")
        #expect(try store.roster().members.count == 1)
        let update = try store.presence(one, view.epoch, [try device("bob", "phone")])
        guard case .success(.presence(let reply)) = update.result else { throw StoreFailure("\(update)") }
        #expect(reply.position.isWithinBounds && reply.position.seq == 1)
        #expect(try store.roster().members.count == 2 && store.roster().position == reply.position)
    }

    @Test func entriesOfAbsurdIDsAreNoPartOfTheRoom() async throws {
        let store = try await ContractStore(.redis)
        try store.raw("XADD", store.key(.log), "5-18446744073709551614", "user", "ana", "key", "k", "text", "never")
        let epoch: UInt64 = 1_700_000_000_000
        try store.raw("XADD", store.key(.log), "\(epoch)-1", "user", "ana", "text", "one")
        let view = try store.enter(one)
        #expect(view.entries.map(\.content.text) == ["one"] && view.last == 1)
        let answer = try store.once(one, view.epoch, [try send("k", again: false)])
        guard case .success(.once(let reply)) = answer.result else { throw StoreFailure("\(answer)") }
        #expect(reply.outcomes == [.stored(Position(epoch: view.epoch, seq: 2))])
        #expect(try store.history(.newest, 10).messages.map(\.content.text) == ["one", "x"])
    }
}
