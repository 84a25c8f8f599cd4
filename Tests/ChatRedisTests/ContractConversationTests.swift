import ChatCore
import RedisSchema
import Testing

@testable import ChatRedis

/// Who belongs to a room, over both brokers.
@Suite struct ContractConversationTests {
    private let n1: NodeID
    private let ana: UserID
    private let bo: UserID
    private let cy: UserID
    private let dan: UserID

    init() throws {
        n1 = try NodeID("n1-1")
        ana = try UserID("ana")
        bo = try UserID("bo: the \"second\" — 이")
        cy = try UserID("cy")
        dan = try UserID("dan")
    }

    private func ask(
        _ store: ContractStore, _ operation: ConversationRequest.Operation, by user: UserID?, mayDoAll: Bool = false,
        in room: RoomName? = nil
    ) throws -> StoreAnswer {
        let request = ConversationRequest(operation, in: room ?? store.room, by: user, mayDoAll: mayDoAll)
        return try store.ask(.conversation(request))
    }

    private func change(
        _ store: ContractStore, _ operation: ConversationRequest.Operation, by user: UserID?, mayDoAll: Bool = false,
        in room: RoomName? = nil
    ) throws -> ConversationReply {
        let answer = try ask(store, operation, by: user, mayDoAll: mayDoAll, in: room)
        guard case .conversation(let reply) = try answer.result.get() else { throw StoreFailure("\(answer)") }
        return reply
    }

    private func refusal(
        _ store: ContractStore, _ operation: ConversationRequest.Operation, by user: UserID?, mayDoAll: Bool = false,
        in room: RoomName? = nil
    ) throws -> WireError? {
        let answer = try ask(store, operation, by: user, mayDoAll: mayDoAll, in: room)
        guard case .failure(.forbidden(let error)) = answer.result else { return nil }
        #expect(answer.events.isEmpty)
        return error
    }

    private func list(_ store: ContractStore, _ room: RoomName? = nil) throws -> ParticipantList? {
        let request = ConversationRequest(.list, in: room ?? store.room, by: nil)
        guard case .participants(let list) = try store.reply(.conversation(request)) else { throw StoreFailure("list") }
        return list
    }

    private func roles(_ store: ContractStore) throws -> [UserID: ParticipantRole] {
        (try list(store)?.participants ?? [:]).mapValues(\.role)
    }

    private func user(
        _ store: ContractStore, _ operation: UserRequest.Operation, of user: UserID
    ) throws -> UserReply {
        guard case .user(let reply) = try store.reply(.user(UserRequest(operation, of: user))) else {
            throw StoreFailure("no reply of a user")
        }
        return reply
    }

    private func isRefused(_ store: ContractStore, _ user: UserID, in room: RoomName? = nil) throws -> WireError.Code? {
        let content = MessageContent(user: user, at: 7, text: "x")
        let answer = try store.ask(.say(room: room ?? store.room, content: content))
        if case .failure(.forbidden(let error)) = answer.result { return error.code }
        _ = try answer.result.get()
        return nil
    }

    // MARK: groups

    @Test(arguments: StoreKind.allCases)
    func aGroupBeginsWithItsOwnerAndReadPositionsAtTheEnd(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let epoch = try store.enter(n1).epoch
        for _ in 0..<3 { _ = try store.append(epoch) }
        #expect(try list(store) == nil)
        #expect(try refusal(store, .create([bo]), by: ana) == ConversationRefusal.taken.error)
        let answer = try ask(store, .create([bo, cy, bo]), by: ana, mayDoAll: true)
        guard case .conversation(let reply) = try answer.result.get() else { throw StoreFailure("\(answer)") }
        #expect(reply.isChanged && reply.kind == .group && reply.version > epoch)
        #expect(reply.changes == [ana: .added, bo: .added, cy: .added])
        #expect(Set(reply.pending.map(\.user)) == [ana, bo, cy])
        #expect(reply.pending.allSatisfy { $0.version == reply.version && $0.since != nil })
        let view = try store.view()
        let nodes: [NodeID: UInt64] = [n1: epoch]
        #expect(
            answer.events == [
                .epoch(
                    view.epoch, base: 3, nodes: nodes, by: try NodeID("participants"),
                    rules: view.moderation?.version ?? 0)
            ])
        let known = try #require(try list(store))
        #expect(known.version == reply.version && known.participants[ana]?.role == .owner)
        #expect(known.participants[bo]?.role == .member && known.participants[bo]?.notify == .all)
        let end = ReadMark(Position(epoch: epoch, seq: 3))
        #expect(known.reads == [ana: end, bo: end, cy: end])
        let rules = try #require(view.moderation)
        #expect(rules.policy.members == .participants)
        #expect(rules.conversation?.participants == known.participants)
        #expect(Set(rules.conversation?.pending.keys.map { $0 } ?? []) == [ana, bo, cy])
        let late = MessageContent(user: dan, at: 7, text: "late")
        #expect(try store.ask(.append(room: store.room, epoch: epoch, content: late)).result == .failure(.refused))
    }

    @Test(arguments: StoreKind.allCases)
    func theSameAgainChangesNothing(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let first = try change(store, .create([bo]), by: ana)
        #expect(first.isChanged)
        for (operation, user) in [
            (.create([bo]), ana), (.invite([bo]), ana), (.leave, cy), (.remove(cy), ana), (.role(ana, .owner), ana),
            (.notify(.all), bo), (.create([]), ana),
        ] as [(ConversationRequest.Operation, UserID)] {
            let answer = try ask(store, operation, by: user)
            guard case .conversation(let reply) = try answer.result.get() else { throw StoreFailure("\(answer)") }
            #expect(!reply.isChanged && reply.version == first.version && reply.kind == .group, "\(operation)")
            #expect(reply.changes.isEmpty && reply.pending == first.pending && answer.events.isEmpty, "\(operation)")
        }
        #expect(try refusal(store, .create([cy]), by: ana) == ConversationRefusal.taken.error)
        #expect(try refusal(store, .create([]), by: bo) == ConversationRefusal.taken.error)
    }

    @Test(arguments: StoreKind.allCases)
    func rolesDecideWhoMayDoWhat(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let notParticipant = ConversationRefusal.notParticipant.error
        let notAllowed = ConversationRefusal.notAllowed.error
        #expect(try refusal(store, .invite([cy]), by: ana) == notParticipant)
        #expect(try refusal(store, .invite([cy]), by: nil, mayDoAll: true) == ConversationRefusal.noConversation.error)
        _ = try change(store, .create([bo, cy]), by: ana)
        #expect(try refusal(store, .invite([dan]), by: bo) == notAllowed)
        #expect(try refusal(store, .remove(cy), by: bo) == notAllowed)
        #expect(try refusal(store, .role(bo, .owner), by: bo) == notAllowed)
        #expect(try refusal(store, .remove(bo), by: dan) == notParticipant)
        #expect(try refusal(store, .notify(.none), by: dan, mayDoAll: true) == notParticipant)
        #expect(try refusal(store, .role(dan, .member), by: ana) == ConversationRefusal.absent.error)
        #expect(try refusal(store, .role(ana, .member), by: ana) == ConversationRefusal.lastOwner.error)
        #expect(try refusal(store, .block(true), by: ana) == ConversationRefusal.notDirect.error)
        #expect(try refusal(store, .direct(ana, bo), by: ana) == ConversationRefusal.notDirect.error)
        #expect(try change(store, .role(bo, .moderator), by: ana).changes == [bo: .changed])
        #expect(try refusal(store, .remove(ana), by: bo) == notAllowed)
        #expect(try change(store, .invite([dan]), by: bo).changes == [dan: .added])
        #expect(try change(store, .remove(dan), by: bo).changes == [dan: .removed])
        #expect(try change(store, .invite([dan]), by: nil, mayDoAll: true).changes == [dan: .added])
        #expect(try roles(store) == [ana: .owner, bo: .moderator, cy: .member, dan: .member])
    }

    @Test(arguments: StoreKind.allCases)
    func theLastOwnerHandsOver(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        _ = try change(store, .create([bo, cy]), by: ana)
        _ = try change(store, .invite([dan]), by: ana)
        _ = try change(store, .role(dan, .moderator), by: ana)
        #expect(try change(store, .leave, by: ana).changes == [ana: .removed, dan: .changed])
        #expect(try roles(store) == [bo: .member, cy: .member, dan: .owner])
        // Both came at the same time: the name decides.
        #expect(try change(store, .remove(dan), by: nil, mayDoAll: true).changes == [dan: .removed, bo: .changed])
        #expect(try change(store, .leave, by: bo).changes == [bo: .removed, cy: .changed])
        #expect(try change(store, .leave, by: cy).changes == [cy: .removed])
        let empty = try #require(try list(store))
        #expect(empty.kind == .group && empty.participants.isEmpty && empty.reads.isEmpty)
        #expect(Set(empty.pending.map(\.user)) == [ana, bo, cy, dan] && empty.pending.allSatisfy { $0.since == nil })
        #expect(try refusal(store, .create([]), by: ana) == ConversationRefusal.taken.error)
        #expect(try isRefused(store, ana) == .forbidden)
    }

    @Test(arguments: StoreKind.allCases)
    func theHundredAndFirstIsRefusedTwice(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let many = try (1..<99).map { try UserID("user\($0)") }
        #expect(try change(store, .create(many), by: ana).changes.count == 99)
        let full = ConversationRefusal.full.error
        #expect(full.code == .tooManyParticipants)
        #expect(try refusal(store, .invite([cy, dan]), by: ana) == full)
        #expect(try change(store, .invite([bo]), by: ana).isChanged)
        for _ in 0..<2 { #expect(try refusal(store, .invite([cy]), by: ana) == full) }
        #expect(try !change(store, .invite([bo]), by: ana).isChanged)
        #expect(try list(store)?.participants.count == 100)
        #expect(try refusal(store, .create(many + [bo, cy]), by: ana) == ConversationRefusal.taken.error)
    }

    @Test(arguments: StoreKind.allCases)
    func aLevelOfNotificationsChangesNoRules(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let epoch = try store.enter(n1).epoch
        _ = try change(store, .create([bo]), by: ana, mayDoAll: true)
        let before = try store.view()
        let answer = try ask(store, .notify(.mentions), by: bo)
        guard case .conversation(let reply) = try answer.result.get() else { throw StoreFailure("\(answer)") }
        #expect(reply.isChanged && reply.changes == [bo: .changed] && answer.events.isEmpty)
        #expect(try store.view().epoch == before.epoch && before.epoch > epoch)
        #expect(try list(store)?.participants[bo]?.notify == .mentions)
        #expect(try list(store)?.version == reply.version)
    }

    @Test(arguments: StoreKind.allCases)
    func onlyParticipantsSendUnlessTheRulesLetEverybody(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        _ = try change(store, .create([bo]), by: ana)
        #expect(try isRefused(store, bo) == nil && isRefused(store, cy) == .forbidden)
        let content = MessageContent(user: cy, at: 7, text: "as a server")
        #expect(throws: Never.self) {
            try store.ask(.say(room: store.room, content: content, obeysRules: false)).result.get()
        }
        _ = try store.reply(.moderate(room: store.room, .freeze(true), by: "mod"))
        #expect(try isRefused(store, bo) == .frozen && isRefused(store, ana) == nil)
        _ = try store.reply(.moderate(room: store.room, .freeze(false), by: "mod"))
        guard case .moderated(let reply) = try store.reply(.moderate(room: store.room, .members(.everybody), by: "mod"))
        else { throw StoreFailure("moderate") }
        #expect(reply.isChanged)
        #expect(try isRefused(store, cy) == nil)
        guard case .rules(let rules) = try store.reply(.rules(room: store.room, of: bo)) else {
            throw StoreFailure("rules")
        }
        #expect(rules.policy.members == .everybody && rules.conversation?.participants.keys.map { $0 } == [bo])
        _ = try store.reply(.moderate(room: store.room, .members(.participants), by: "mod"))
        #expect(try isRefused(store, cy) == .forbidden)
    }

    @Test(arguments: StoreKind.allCases)
    func nobodyMakesAGroupOfARoomInUse(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let epoch = try store.enter(n1).epoch
        _ = try store.presence(n1, epoch, [try device("ana", "x")])
        #expect(try change(store, .create([bo]), by: ana).isChanged)
        let other = try await ContractStore(kind)
        let began = try other.enter(n1).epoch
        _ = try other.presence(n1, began, [try device("ana", "x"), try device("cy", "x")])
        #expect(try refusal(other, .create([bo]), by: ana) == ConversationRefusal.taken.error)
        let moderated = try await ContractStore(kind)
        _ = try moderated.reply(.moderate(room: moderated.room, .freeze(true), by: "mod"))
        #expect(try refusal(moderated, .create([bo]), by: ana) == ConversationRefusal.taken.error)
    }

    // MARK: direct conversations

    @Test(arguments: StoreKind.allCases)
    func twoWhoBeginTheSameGetOneRoom(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let room = try #require(RoomName(directOf: ana, and: bo))
        #expect(room == RoomName(directOf: bo, and: ana))
        #expect(try isRefused(store, ana, in: room) == .forbidden)
        let first = try change(store, .direct(ana, bo), by: ana, in: room)
        #expect(first.isChanged && first.kind == .direct && first.changes == [ana: .added, bo: .added])
        let second = try change(store, .direct(bo, ana), by: bo, in: room)
        #expect(!second.isChanged && second.version == first.version && second.pending == first.pending)
        #expect(try isRefused(store, ana, in: room) == nil && isRefused(store, cy, in: room) == .forbidden)
        let isDirect = ConversationRefusal.isDirect.error
        #expect(try refusal(store, .invite([cy]), by: ana, in: room) == isDirect)
        #expect(try refusal(store, .remove(bo), by: ana, in: room) == isDirect)
        #expect(try refusal(store, .role(bo, .owner), by: nil, mayDoAll: true, in: room) == isDirect)
        #expect(try refusal(store, .direct(ana, cy), by: ana, in: room) == ConversationRefusal.notDirect.error)
        #expect(try refusal(store, .direct(ana, bo), by: cy, in: room) == ConversationRefusal.notParticipant.error)
        #expect(try refusal(store, .create([bo]), by: ana, in: room) == isDirect)
        #expect(try change(store, .leave, by: bo, in: room).changes == [bo: .removed])
        #expect(try isRefused(store, bo, in: room) == .forbidden)
        #expect(try change(store, .direct(ana, bo), by: ana, in: room).changes == [bo: .added])
    }

    @Test(arguments: StoreKind.allCases)
    func whomTheOtherOneBlocksIsRefused(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let room = try #require(RoomName(directOf: ana, and: bo))
        #expect(try !change(store, .block(true), by: ana, in: room).isChanged)
        _ = try change(store, .direct(ana, bo), by: ana, in: room)
        let blocked = try change(store, .block(true), by: ana, in: room)
        #expect(blocked.changes == [ana: .changed])
        #expect(try !change(store, .block(true), by: ana, in: room).isChanged)
        #expect(try isRefused(store, bo, in: room) == .blocked && isRefused(store, ana, in: room) == nil)
        #expect(try change(store, .block(false), by: ana, in: room).isChanged)
        #expect(try isRefused(store, bo, in: room) == nil)
    }

    @Test(arguments: StoreKind.allCases)
    func longNamesHaveADigest(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let long = try UserID(String(repeating: "é", count: 60))
        let room = try #require(RoomName(directOf: long, and: ana))
        #expect(room.text.utf8.count == 67 && room.isDirect && room.directPartner(of: ana) == nil)
        #expect(try change(store, .direct(ana, long), by: ana, in: room).isChanged)
        #expect(try list(store, room)?.participants.count == 2)
    }

    // MARK: indexes

    @Test(arguments: StoreKind.allCases)
    func whatIsPendingStaysUntilThatVersionIsWritten(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let first = try change(store, .create([bo]), by: ana)
        #expect(
            try change(store, .indexed([ana: first.version, bo: first.version - 1]), by: nil).pending.map(\.user) == [
                bo
            ])
        let second = try change(store, .remove(bo), by: ana)
        #expect(
            second.version > first.version && second.pending == [PendingIndex(bo, version: second.version, since: nil)])
        #expect(try change(store, .indexed([bo: first.version]), by: nil).pending == second.pending)
        #expect(try change(store, .indexed([bo: second.version]), by: nil).pending.isEmpty)
        #expect(try list(store)?.pending.isEmpty == true)
        let none = try #require(RoomName(directOf: ana, and: bo))
        #expect(
            try change(store, .indexed([bo: 1]), by: nil, in: none)
                == ConversationReply(version: 0, isChanged: false, kind: nil))
    }

    @Test(arguments: StoreKind.allCases)
    func aLateWriteDoesNotUndoALaterOne(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let room = try RoomName("team \"x\"")
        func index(_ version: UInt64, since: UInt64?) throws -> UserReply {
            try user(store, .index(room, .group, version: version, since: since, partner: bo), of: ana)
        }
        #expect(try index(5, since: 50) == .indexed(isChanged: true, blocksPartner: false))
        #expect(try index(4, since: nil) == .indexed(isChanged: false, blocksPartner: false))
        #expect(try index(5, since: 51) == .indexed(isChanged: false, blocksPartner: false))
        let known = IndexedRoom(room, kind: .group, since: 50, version: 5)
        #expect(try user(store, .rooms(cursor: 0, count: 10), of: ana) == .rooms([known], cursor: 0))
        #expect(try user(store, .standing(bo), of: ana) == .standing(rooms: 1, isBlocked: false))
        #expect(try user(store, .drop(room, version: 4), of: ana) == .done)
        #expect(try user(store, .standing(bo), of: ana) == .standing(rooms: 1, isBlocked: false))
        #expect(try index(6, since: nil) == .indexed(isChanged: true, blocksPartner: false))
        #expect(try index(6, since: 60) == .indexed(isChanged: true, blocksPartner: false))
        #expect(try user(store, .drop(room, version: 6), of: ana) == .done)
        #expect(try user(store, .rooms(cursor: 0, count: 10), of: ana) == .rooms([], cursor: 0))
    }

    @Test(arguments: StoreKind.allCases)
    func aUserBlocksAtMostAThousand(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let braces = try UserID("a{n}a%")
        #expect(try user(store, .block(bo), of: braces) == .changed(true))
        #expect(try user(store, .block(bo), of: braces) == .changed(false))
        #expect(try user(store, .standing(bo), of: braces) == .standing(rooms: 0, isBlocked: true))
        let room = try RoomName("r")
        let written = try user(store, .index(room, .direct, version: 1, since: 1, partner: bo), of: braces)
        #expect(written == .indexed(isChanged: true, blocksPartner: true))
        for number in 1..<1_000 { _ = try user(store, .block(try UserID("user\(number)")), of: braces) }
        let full = try store.ask(.user(UserRequest(.block(cy), of: braces)))
        guard case .failure(.forbidden(let error)) = full.result else { throw StoreFailure("\(full.result)") }
        #expect(error.code == .tooManyEntries)
        #expect(try user(store, .block(bo), of: braces) == .changed(false))
        guard case .blocked(let all) = try user(store, .blocked, of: braces) else { throw StoreFailure("blocked") }
        #expect(all.count == 1_000)
        #expect(try user(store, .unblock(bo), of: braces) == .changed(true))
        #expect(try user(store, .unblock(bo), of: braces) == .changed(false))
    }

    @Test(arguments: StoreKind.allCases)
    func starsAreKeptInTheirOrderAndReadInPages(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let room = try RoomName("a: \"b\"")
        func star(_ seq: UInt64, _ text: String) -> Star {
            Star(room, Position(epoch: 5, seq: seq), user: bo, at: 7, text: text, data: #"{"x":[1]}"#)
        }
        for seq in 1...5 as ClosedRange<UInt64> {
            #expect(try user(store, .star(star(seq, "text \(seq) 이")), of: ana) == .changed(true))
        }
        #expect(try user(store, .star(star(3, "again")), of: ana) == .changed(false))
        func page(_ before: UInt64?, _ count: Int, bytes: Int = 100_000) throws -> ([Star], Bool) {
            guard
                case .stars(let stars, let hasMore) = try user(
                    store, .stars(before: before, PageBounds(count: count, bytes: bytes)), of: ana)
            else { throw StoreFailure("no stars") }
            return (stars, hasMore)
        }
        let (first, hasMore) = try page(nil, 2)
        #expect(first.map(\.position.seq) == [5, 4] && hasMore)
        #expect(
            first[0].text == "text 5 이" && first[0].data == #"{"x":[1]}"# && first[0].user == bo && first[0].at == 7)
        let (second, isMore) = try page(first[1].starred, 10)
        #expect(second.map(\.position.seq) == [3, 2, 1] && !isMore)
        #expect(try page(nil, 10, bytes: 1).0.count == 1)
        let fourth = UserRequest.Operation.unstar(room, Position(epoch: 5, seq: 4))
        #expect(try user(store, fourth, of: ana) == .unstarred(isChanged: true, author: bo))
        #expect(try user(store, fourth, of: ana) == .unstarred(isChanged: false, author: nil))
        #expect(try page(nil, 10).0.map(\.position.seq) == [5, 3, 2, 1])
        for seq in 6...1_001 as ClosedRange<UInt64> { _ = try user(store, .star(star(seq, "x")), of: ana) }
        let full = try store.ask(.user(UserRequest(.star(star(2_000, "x")), of: ana)))
        guard case .failure(.forbidden(let error)) = full.result else { throw StoreFailure("\(full.result)") }
        #expect(error.code == .tooManyEntries)
    }

    @Test(arguments: StoreKind.allCases)
    func anAuthorKnowsWhoHasStarredWhat(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let rooms = [try RoomName("a"), try RoomName("a b"), try RoomName("a:1-1")]
        var all: [Starrer] = []
        for room in rooms {
            for seq in [1, 2, 12] as [UInt64] {
                for one in [ana, cy] { all.append(Starrer(room, Position(epoch: 5, seq: seq), by: one)) }
            }
        }
        for starrer in all { #expect(try user(store, .note(starrer), of: bo) == .done) }
        #expect(try user(store, .note(all[0]), of: bo) == .done, "twice is once")
        all.sort { $0.text < $1.text }
        func page(
            _ room: RoomName? = nil, _ seq: UInt64? = nil, after: Starrer? = nil, _ count: Int = 100
        ) throws -> UserReply {
            let position = seq.map { Position(epoch: 5, seq: $0) }
            return try user(store, .starrers(in: room, at: position, after: after, count: count), of: bo)
        }
        #expect(try page() == .starrers(all, hasMore: false))
        #expect(try page(nil, nil, 5) == .starrers(Array(all[..<5]), hasMore: true))
        #expect(try page(nil, nil, after: all[4], 100) == .starrers(Array(all[5...]), hasMore: false))
        for room in rooms {
            let own = all.filter { $0.room == room }
            #expect(try page(room) == .starrers(own, hasMore: false))
            #expect(try page(room, nil, after: own[1], 2) == .starrers(Array(own[2..<4]), hasMore: true))
            #expect(try page(room, 1) == .starrers(own.filter { $0.position.seq == 1 }, hasMore: false))
            #expect(try page(room, 3) == .starrers([], hasMore: false))
        }
        #expect(try user(store, .strike(Array(all[1...])), of: bo) == .done)
        #expect(try page() == .starrers([all[0]], hasMore: false))
        #expect(try user(store, .forget, of: bo) == .done)
        #expect(try page() == .starrers([], hasMore: false))
    }

    @Test(arguments: StoreKind.allCases)
    func whenAUserWasLastHereIsWrittenIfTheUserAllowsIt(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        func lastSeen(by other: UserID? = nil) throws -> UserReply { try user(store, .lastSeen(by: other), of: ana) }
        #expect(try user(store, .left(at: 5_000), of: ana) == .done && lastSeen() == .lastSeen(nil))
        #expect(try user(store, .showLastSeen(nil), of: ana) == .shown(false))
        #expect(try user(store, .showLastSeen(true), of: ana) == .shown(true) && lastSeen() == .lastSeen(nil))
        _ = try user(store, .left(at: 6_000), of: ana)
        #expect(try user(store, .showLastSeen(true), of: ana) == .shown(true) && lastSeen(by: bo) == .lastSeen(6_000))
        #expect(try user(store, .showLastSeen(nil), of: ana) == .shown(true))
        // Whom ana blocks is not told.
        _ = try user(store, .block(bo), of: ana)
        #expect(try lastSeen(by: bo) == .lastSeen(nil) && lastSeen() == .lastSeen(6_000))
        #expect(try user(store, .showLastSeen(false), of: ana) == .shown(false) && lastSeen() == .lastSeen(nil))
        _ = try user(store, .showLastSeen(true), of: ana)
        _ = try user(store, .left(at: 7_000), of: ana)
        #expect(try user(store, .forget, of: ana) == .done && lastSeen() == .lastSeen(nil))
    }

    // MARK: how long they live

    @Test func participantsLiveAsLongAsTheirRoomAndLongerThanOthers() async throws {
        let memory = try await ContractStore(.memory)
        let value = try memory.enter(n1).epoch
        _ = try change(memory, .create([bo]), by: ana, mayDoAll: true)
        memory.now += 100 * 86_400_000
        #expect(try list(memory) != nil)
        _ = try memory.leave(n1, value)
        memory.now += 89 * 86_400_000
        #expect(try isRefused(memory, bo) == nil)
        memory.now += 89 * 86_400_000
        #expect(try list(memory) != nil)
        memory.now += 2 * 86_400_000
        #expect(try list(memory) == nil)

        let redis = try await ContractStore(.redis)
        let epoch = try redis.enter(n1).epoch
        _ = try change(redis, .create([bo]), by: ana, mayDoAll: true)
        let keys: [RoomKey] = [.log, .meta, .rules, .participants, .reads, .pending]
        for key in keys { #expect(try redis.raw("PTTL", redis.key(key)) == .integer(-1), "\(key)") }
        _ = try redis.leave(n1, epoch)
        for key in keys {
            guard case .integer(let time) = try redis.raw("PTTL", redis.key(key)) else { throw StoreFailure("PTTL") }
            #expect((89 * 86_400_000...90 * 86_400_000).contains(time), "\(key)")
        }
        _ = try redis.enter(n1)
        for key in keys { #expect(try redis.raw("PTTL", redis.key(key)) == .integer(-1), "\(key)") }
    }

    // MARK: Redis alone

    @Test func aParticipantTakesLittleMemory() async throws {
        let store = try await ContractStore(.redis)
        let users = try (0..<10).map { try UserID("user-\($0)") }
        _ = try change(store, .create(Array(users.dropFirst())), by: users[0])
        _ = try change(
            store,
            .indexed(Dictionary(uniqueKeysWithValues: try list(store)?.pending.map { ($0.user, $0.version) } ?? [])),
            by: nil)
        var bytes: Int64 = 0
        for key in [RoomKey.participants, .reads, .pending] {
            if case .integer(let used) = try store.raw("MEMORY", "USAGE", store.key(key)) { bytes += used }
        }
        #expect(bytes > 0 && bytes <= 1_600, "\(bytes) bytes for 10 participants")
    }

    @Test func whatNobodyOfOursWroteIsLeftOut() async throws {
        let store = try await ContractStore(.redis)
        _ = try change(store, .create([bo]), by: ana)
        try store.raw("HSET", store.key(.participants), "cy", "{", "dan", "{\"role\":\"king\"}")
        try store.raw("HSET", store.key(.reads), "cy", "yesterday", "dan", "9007199254740993-1.0")
        try store.raw("HSET", store.key(.pending), "cy", "soon")
        let known = try #require(try list(store))
        #expect(known.participants[cy] == Participant() && known.participants[dan] == Participant())
        #expect(Set(known.reads.keys) == [ana, bo])
        #expect(try isRefused(store, cy) == nil)
        #expect(try change(store, .role(cy, .moderator), by: ana).changes == [cy: .changed])
        try store.raw("DEL", store.key(.participants))
        try store.raw("SADD", store.key(.participants), "x")
        let foreign = try ask(store, .invite([cy]), by: ana)
        guard case .failure(.notStored(let text)) = foreign.result else { throw StoreFailure("\(foreign.result)") }
        #expect(text.hasPrefix("WRONGTYPE"))
        #expect(throws: Never.self) { try store.enter(n1) }
    }
}
