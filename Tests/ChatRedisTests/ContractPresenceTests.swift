import ChatCore
import RedisSchema
import Testing

@testable import ChatRedis

/// Presence, roster and history pages.
@Suite struct ContractPresenceTests {
    let n1: NodeID
    let n2: NodeID

    init() throws {
        n1 = try NodeID("n1-00000001")
        n2 = try NodeID("n2-00000002")
    }

    private func notice(_ answer: StoreAnswer) throws -> PresenceNotice? {
        guard case .presence(let reply) = try answer.result.get() else { throw StoreFailure("no presence: \(answer)") }
        return reply.notice
    }

    private func members(_ store: ContractStore) throws -> [String: Set<String>] {
        var members: [String: Set<String>] = [:]
        for (user, devices) in try store.roster().members {
            members[user.text] = Set(devices.map { "\($0.node.text)/\($0.device.text)" })
        }
        return members
    }

    /// Lua in Redis accepts at most 8,000 values from one `unpack`.
    @Test(arguments: StoreKind.allCases)
    func aNodeWithThousandsOfMembersSaysSoAtOnce(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let epoch = try store.enter(try NodeID("crowded")).epoch
        let phone = try DeviceName("phone")
        let changes = try (0..<3_000).map { PresenceChange(user: try UserID("u\($0)"), device: phone, joined: true) }
        _ = try store.presence(try NodeID("crowded"), epoch, changes)
        #expect(try store.roster().members.count == 3_000)
    }

    @Test(arguments: StoreKind.allCases)
    func theRosterIsTheSumOfItsChanges(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let v1 = try store.enter(n1).epoch
        #expect(try store.roster() == RosterSnapshot(position: Position(epoch: 0, seq: 0), members: [:]))
        let first = try store.presence(
            n1, v1, [try device("ana", "phone"), try device("ana", "tv"), try device("bo", "tv")])
        let came = try #require(try notice(first))
        #expect(came.after.seq == 0 && came.position.seq == 3 && came.count == 2)
        #expect(came.changes.map(\.joined) == [true, true, true])
        // The node is alone, so nobody else is told.
        #expect(first.events.isEmpty)
        let v2 = try store.enter(n2).epoch
        let second = try store.presence(n2, v2, [try device("ana", "phone")])
        let joined = try #require(try notice(second))
        #expect(second.events == [.presence(joined)])
        #expect(joined.after == came.position && joined.count == 2)
        #expect(
            try members(store) == [
                "ana": ["n1-00000001/phone", "n1-00000001/tv", "n2-00000002/phone"], "bo": ["n1-00000001/tv"],
            ])
        let third = try store.presence(
            n1, v1, [try device("ana", "phone", joined: false), try device("bo", "tv", joined: false)])
        let left = try #require(try notice(third))
        #expect(left.after == joined.position && left.position.seq == 6 && left.count == 1)
        #expect(try members(store) == ["ana": ["n1-00000001/tv", "n2-00000002/phone"]])
        #expect(try store.roster().position == left.position)
    }

    @Test(arguments: StoreKind.allCases)
    func whatTheRosterSaysAlreadyIsNoChange(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let value = try store.enter(n1).epoch
        #expect(
            try store.presence(n1, value, [try device("ana", "x", joined: false)]).result
                == .success(.presence(PresenceReply(position: Position(epoch: 0, seq: 0), notice: nil))))
        let came = try #require(try notice(try store.presence(n1, value, [try device("ana", "x")])))
        let again = try store.presence(n1, value, [try device("ana", "x"), try device("bo", "y", joined: false)])
        #expect(again.result == .success(.presence(PresenceReply(position: came.position, notice: nil))))
        #expect(again.events.isEmpty)
    }

    @Test(arguments: StoreKind.allCases)
    func aDeviceThatComesAndGoesInOneBatchIsToldTwice(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let value = try store.enter(n1).epoch
        let answer = try store.presence(n1, value, [try device("ana", "x"), try device("ana", "x", joined: false)])
        let told = try #require(try notice(answer))
        #expect(told.changes.map(\.joined) == [true, false] && told.count == 0)
        #expect(try members(store).isEmpty)
    }

    /// A node leaves a large roster in parts: all of its devices, and no others, have been removed before the node is.
    @Test(arguments: StoreKind.allCases)
    func aNodeLeavesALargeRosterInParts(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let v1 = try store.enter(n1).epoch
        let v2 = try store.enter(n2).epoch
        let crowd = try (0..<1_500).map { try device("user\($0)", "x") }
        _ = try store.presence(n1, v1, crowd)
        _ = try store.presence(n2, v2, [try device("dan", "d")])
        var left: [String] = []
        var parts = 0
        var cursor: UInt64 = 0
        while true {
            let answer = try store.ask(.leave(room: store.room, node: n1, value: v1, cursor: cursor))
            for case .presence(let notice) in answer.events {
                #expect(notice.changes.count <= 600)
                left += notice.changes.map { "\($0.user.text) \($0.joined)" }
            }
            guard case .leaving(let next) = try answer.result.get() else {
                #expect(answer.result == .success(.left(true)))
                break
            }
            #expect(try store.view().nodes.keys.contains(n1), "not before all its devices have left")
            cursor = next
            parts += 1
        }
        #expect(parts >= 2 && left.count == 1_500 && Set(left).count == 1_500)
        #expect(try members(store) == ["dan": ["n2-00000002/d"]])
        #expect(try store.view().nodes == [n2: v2])
    }

    @Test(arguments: StoreKind.allCases)
    func aLargeRosterIsReadInParts(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let v1 = try store.enter(n1).epoch
        _ = try store.presence(n1, v1, try (0..<1_500).map { try device("user\($0)", "x") })
        guard case .roster(let first) = try store.reply(.roster(room: store.room)) else { throw StoreFailure("roster") }
        #expect(first.cursor != 0 && first.count == 1_500 && (400...600).contains(first.members.count))
        #expect(try store.roster().members.count == 1_500)
    }

    @Test(arguments: StoreKind.allCases)
    func whoIsInARoomIsReadInPartsByPlainCommandsToo(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let room = store.room
        guard case .reading(.people(let none)) = try store.reply(.reading(.people(room: room, cursor: 0))) else {
            throw StoreFailure("people")
        }
        #expect(none.members.isEmpty && none.count == 0 && none.cursor == 0)
        let v1 = try store.enter(n1).epoch
        _ = try store.presence(n1, v1, try (0..<1_500).map { try device("user\($0)", "x") })
        var members: [UserID: Set<RosterSnapshot.Device>] = [:]
        var cursor: UInt64 = 0
        repeat {
            guard case .reading(.people(let part)) = try store.reply(.reading(.people(room: room, cursor: cursor)))
            else { throw StoreFailure("people") }
            #expect(part.count == 1_500 && part.members.count <= 600 && part.position.seq == 0)
            members.merge(part.members) { $1 }
            cursor = part.cursor
        } while cursor != 0
        let all = try store.roster().members
        #expect(members == all)
        guard kind == .redis else { return }
        // A foreign type is an error, and a foreign field is left out.
        try store.raw("HSET", store.key(.roster), "eve", "no JSON")
        guard case .reading(.people(let part)) = try store.reply(.reading(.people(room: room, cursor: 0))) else {
            throw StoreFailure("people")
        }
        let eve = try UserID("eve")
        #expect(part.count == 1_501 && part.members[eve] == nil)
        try store.raw("DEL", store.key(.roster))
        try store.raw("SET", store.key(.roster), "text")
        guard case .failure(.notStored(let text)) = try store.ask(.reading(.people(room: room, cursor: 0))).result
        else {
            throw StoreFailure("a foreign type was read")
        }
        #expect(text.hasPrefix("WRONGTYPE"))
    }

    @Test(arguments: StoreKind.allCases)
    func aNodeThatWasSweptIsToldThatItIsMissing(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let old = try store.enter(n1).epoch
        let value = try store.enter(n1).epoch
        #expect(try store.presence(n1, old, [try device("ana", "x")]).result == .failure(.missing))
        #expect(try store.presence(n2, value, [try device("ana", "x")]).result == .failure(.missing))
        #expect(try store.roster().members.isEmpty)
    }

    @Test(arguments: StoreKind.allCases)
    func aSweepPurgesTheNodesDevicesAndIsAnnouncedOnce(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let v1 = try store.enter(n1).epoch
        let v2 = try store.enter(n2).epoch
        _ = try store.presence(n1, v1, [try device("ana", "a"), try device("bo", "b")])
        let before = try #require(try notice(try store.presence(n2, v2, [try device("bo", "b")])))
        let answer = try store.leave(n1, v1)
        #expect(answer.result == .success(.left(true)))
        guard answer.events.count == 2, case .presence(let told) = answer.events[1] else {
            throw StoreFailure("\(answer.events)")
        }
        #expect(answer.events[0] == .gone(n1, value: v1, nodes: [n2: v2], last: Position(epoch: v2, seq: 0)))
        #expect(told.after == before.position && told.position.seq == before.position.seq + 2 && told.count == 1)
        #expect(Set(told.changes.map(\.user.text)) == ["ana", "bo"])
        #expect(told.changes.allSatisfy { $0.node == n1 && !$0.joined })
        // Another sweeper comes too late and reports nothing.
        #expect(try store.leave(n1, v1) == StoreAnswer(result: .success(.left(false)), events: []))
        #expect(try members(store) == ["bo": ["n2-00000002/b"]])
    }

    @Test(arguments: StoreKind.allCases)
    func theLastNodeTakesEverybodyWithIt(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let value = try store.enter(n1).epoch
        _ = try store.append(value)
        let came = try #require(
            try notice(try store.presence(n1, value, [try device("ana", "a"), try device("bo", "b")])))
        #expect(try store.leave(n1, value).events.isEmpty)
        let roster = try store.roster()
        #expect(roster.members.isEmpty)
        #expect(roster.position == Position(epoch: came.position.epoch, seq: 4))
    }

    /// A presence change that waits for nothing costs nothing afterwards.
    @Test(arguments: StoreKind.allCases)
    func aRoomInWhichNothingWasSaidLeavesNothing(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let value = try store.enter(n1).epoch
        _ = try store.presence(n1, value, [try device("ana", "a")])
        #expect(try store.leave(n1, value).result == .success(.left(true)))
        #expect(
            try store.ask(.view(room: store.room, after: nil, page: PageBounds(count: 1))).result == .failure(.missing))
        guard kind == .redis else { return }
        // Relays may still read who was there.
        #expect(try store.raw("KEYS", store.keys.prefix + "*") == .array([.text(store.key(.presence))]))
        guard case .integer(let left) = try store.raw("PTTL", store.key(.presence)) else {
            throw StoreFailure("no life")
        }
        #expect((1...10_000).contains(left))
    }

    @Test func thePresenceStreamSaysWhetherTheUserCameOrWentAndHowManyAreThere() async throws {
        let store = try await ContractStore(.redis)
        let v1 = try store.enter(n1).epoch
        let v2 = try store.enter(n2).epoch
        _ = try store.append(v2)
        _ = try store.presence(n1, v1, [try device("ana", "a"), try device("ana", "b"), try device("bo", "a")])
        _ = try store.presence(n2, v2, [try device("ana", "c"), try device("cy", "c")])
        _ = try store.presence(n1, v1, [try device("ana", "a", joined: false), try device("bo", "a", joined: false)])
        _ = try store.leave(n2, v2)
        _ = try store.leave(n1, v1)
        guard case .array(let entries) = try store.raw("XRANGE", store.key(.presence), "-", "+") else {
            throw StoreFailure("no stream")
        }
        let seen = entries.map { entry -> String in
            guard case .array(let parts) = entry, case .array(let fields) = parts[1] else { return "?" }
            let words = fields.map { $0.text ?? "?" }
            return "\(words[1]) \(words[3])/\(words[5]) \(words[11])\(words[13] == "1" ? " edge" : "")"
        }
        #expect(
            seen == [
                "join ana/a 1 edge", "join ana/b 1", "join bo/a 2 edge", "join ana/c 2", "join cy/c 3 edge",
                "leave ana/a 3", "leave bo/a 2 edge", "expire ana/c 2", "expire cy/c 1 edge", "expire ana/b 0 edge",
            ])
    }

    @Test func thePresenceStreamSaysWhoWhatWhereAndWhen() async throws {
        let store = try await ContractStore(.redis)
        let v1 = try store.enter(n1).epoch
        _ = try store.append(v1)
        let quotes = "보라 \"q\" \\ {}"
        _ = try store.presence(n1, v1, [try device(quotes, quotes)])
        _ = try store.presence(n1, v1, [try device(quotes, quotes, joined: false), try device("bo", "b")])
        _ = try store.leave(n1, v1)
        guard case .array(let entries) = try store.raw("XRANGE", store.key(.presence), "-", "+") else {
            throw StoreFailure("no stream")
        }
        var seen: [[String]] = []
        for case .array(let entry) in entries {
            guard case .array(let fields) = entry[1] else { throw StoreFailure("no fields") }
            let words = fields.map { field -> String in
                if case .string(let bytes) = field { return String(decoding: bytes, as: UTF8.self) }
                return "?"
            }
            #expect(words.count == 14 && words[8] == "at" && words[10] == "users" && words[12] == "edge")
            seen.append(Array(words.prefix(8)))
        }
        #expect(
            seen == [
                ["kind", "join", "user", quotes, "device", quotes, "node", n1.text],
                ["kind", "leave", "user", quotes, "device", quotes, "node", n1.text],
                ["kind", "join", "user", "bo", "device", "b", "node", n1.text],
                ["kind", "expire", "user", "bo", "device", "b", "node", n1.text],
            ])
    }

    // MARK: History

    @Test(arguments: StoreKind.allCases)
    func historyPagesMeetWithoutHoleOrRepeat(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        var positions: [Position] = []
        for _ in 0..<4 {
            let epoch = try store.enter(n1).epoch
            for _ in 0..<4 { positions.append(try store.append(epoch)) }
        }
        func page(_ anchor: HistoryQuery.Anchor, _ limit: Int) throws -> ([Position], Bool, Bool) {
            let page = try store.history(anchor, limit)
            #expect(page.newest == positions.last)
            return (page.messages.map(\.position), page.hasOlder, page.hasNewer)
        }
        #expect(try page(.newest, 5) == (Array(positions.suffix(5)), true, false))
        #expect(try page(.newest, 16) == (positions, false, false))
        #expect(try page(.before(positions[11]), 5) == (Array(positions[6..<11]), true, true))
        #expect(try page(.before(positions[3]), 5) == (Array(positions[..<3]), false, true))
        #expect(try page(.before(positions[0]), 5) == ([], false, true))
        #expect(try page(.after(positions[3]), 5) == (Array(positions[4..<9]), true, true))
        #expect(try page(.after(positions[12]), 5) == (Array(positions[13...]), true, false))
        #expect(try page(.after(positions[15]), 5) == ([], true, false))
        #expect(try page(.around(positions[8]), 5) == (Array(positions[6..<11]), true, true))
        #expect(try page(.around(positions[1]), 6) == (Array(positions[..<6]), false, true))
        #expect(try page(.around(positions[15]), 6) == (Array(positions[10...]), true, false))
        #expect(try page(.before(Position(epoch: 0, seq: 0)), 2) == ([], false, true))
        #expect(try page(.after(Position(epoch: 0, seq: 0)), 2) == (Array(positions[..<2]), false, true))
        #expect(try page(.after(Position(epoch: .max, seq: .max)), 2) == ([], true, false))
        #expect(try page(.newest, 0) == ([], true, false))
        #expect(try page(.newest, -3) == ([], true, false))
        // Between two epochs: there is no such position, but a place.
        #expect(
            try page(.before(Position(epoch: positions[4].epoch, seq: 0)), 2) == (Array(positions[2..<4]), true, true))
    }

    @Test(arguments: StoreKind.allCases)
    func aRoomThatIsNotThereHasAnEmptyHistory(kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        for anchor in [
            HistoryQuery.Anchor.newest, .before(.init(epoch: 5, seq: 5)), .after(.init(epoch: 5, seq: 5)),
            .around(.init(epoch: 5, seq: 5)),
        ] {
            #expect(
                try store.history(anchor, 5) == HistoryPage(messages: [], newest: nil, hasOlder: false, hasNewer: false)
            )
        }
    }
}
