import ChatCore
import RedisSchema
import Testing

@testable import ChatRedis

/// Rules and sanctions, over both brokers.
@Suite struct ContractModerationTests {
    private let n1: NodeID
    private let n2: NodeID
    private let ana: UserID
    private let bo: UserID
    private let cy: UserID

    init() throws {
        n1 = try NodeID("n1-1")
        n2 = try NodeID("n2-1")
        ana = try UserID("ana")
        cy = try UserID("cy")
        bo = try UserID("bo: the second")
    }

    private func moderate(_ store: ContractStore, _ moderation: Moderation) throws -> (ModerationReply, [ChannelEvent])
    {
        let answer = try store.ask(.moderate(room: store.room, moderation, by: "mod \"x\""))
        guard case .moderated(let reply) = try answer.result.get() else { throw StoreFailure("moderate: \(answer)") }
        return (reply, answer.events)
    }

    private func say(
        _ store: ContractStore, _ user: UserID, obeysRules: Bool = true
    ) throws -> Result<BrokerReply, BrokerError> {
        let content = MessageContent(user: user, at: 7, text: "x")
        return try store.ask(.say(room: store.room, content: content, obeysRules: obeysRules)).result
    }

    private func view(_ store: ContractStore, knows: UInt64) throws -> RoomView {
        let request = BrokerRequest.view(room: store.room, after: nil, page: PageBounds(count: 5), knows: knows)
        guard case .view(let view) = try store.reply(request) else { throw StoreFailure("no view") }
        return view
    }

    @Test(arguments: StoreKind.allCases)
    func aBanBeginsAnEpochSoThatWhatWasDecidedBeforeIsRefused(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let epoch = try store.enter(n1).epoch
        _ = try store.append(epoch)
        let (reply, events) = try moderate(store, .ban(ana, reason: "spam"))
        #expect(reply.isChanged && reply.version > epoch)
        #expect(
            events == [
                .epoch(reply.version, base: 1, nodes: [n1: epoch], by: try NodeID("moderate"), rules: reply.version)
            ])
        let content = MessageContent(user: ana, at: 7, text: "late")
        #expect(try store.ask(.append(room: store.room, epoch: epoch, content: content)).result == .failure(.refused))
        #expect(try store.once(n1, epoch, [try send("k")]).result == .failure(.refused))
        #expect(try store.append(reply.version) == Position(epoch: reply.version, seq: 2))
    }

    @Test(arguments: StoreKind.allCases)
    func rulesAndSanctionsAreReadWithTheEpoch(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        #expect(try store.enter(n1).moderation == nil)
        #expect(try view(store, knows: 0).moderation == nil)
        _ = try moderate(store, .ban(bo, for: 60_000, reason: "a \"reason\" — 이유"))
        _ = try moderate(store, .mute(ana))
        _ = try moderate(store, .slowMode(5_000))
        _ = try moderate(store, .uniqueFor(6_000))
        _ = try moderate(store, .posting(.moderators))
        let (last, _) = try moderate(store, .freeze(true))
        let rules = try #require(try view(store, knows: 0).moderation)
        #expect(rules.version == last.version)
        #expect(
            rules.policy == RoomPolicy(slowMode: 5_000, posting: .moderators, isFrozen: true, uniqueFor: 6_000))
        let ban = try #require(rules.bans[bo])
        #expect(ban.reason == "a \"reason\" — 이유" && ban.by == "mod \"x\"" && ban.until == ban.at + 60_000)
        #expect(rules.bans.count == 1 && rules.mutes.count == 1 && rules.mutes[ana]?.until == nil)
        #expect(try view(store, knows: last.version).moderation == nil)
        let entered = try store.ask(.enter(EnterRequest(room: store.room, node: n2, page: PageBounds(count: 5))))
        guard case .view(let view) = try entered.result.get() else { throw StoreFailure("enter: \(entered)") }
        #expect(view.moderation == rules)
        #expect(
            entered.events == [
                .epoch(view.epoch, base: 0, nodes: view.nodes, by: n2, rules: last.version)
            ])
    }

    @Test(arguments: StoreKind.allCases)
    func whatIsAsWantedChangesNothing(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let epoch = try store.enter(n1).epoch
        for moderation in [.unban(ana), .unmute(ana), .slowMode(0), .uniqueFor(0), .posting(.open), .freeze(false)]
            as [Moderation]
        {
            let (reply, events) = try moderate(store, moderation)
            #expect(reply == ModerationReply(version: 0, isChanged: false) && events.isEmpty)
        }
        #expect(try store.view().epoch == epoch)
        let first = try moderate(store, .ban(ana)).0
        let second = try moderate(store, .ban(ana)).0
        #expect(second.isChanged && second.version > first.version)
        #expect(try moderate(store, .unban(ana)).0.isChanged)
        #expect(try view(store, knows: 0).moderation?.bans == [:])
    }

    @Test(arguments: StoreKind.allCases)
    func aKickIsAShortBanThatNeverShortensAnother(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        _ = try store.enter(n1)
        let first = try moderate(store, .kick(ana, reason: "enough"))
        #expect(first.0.isChanged && first.1.count == 1)
        let kicked = try #require(try view(store, knows: 0).moderation?.bans[ana])
        #expect(kicked.until == kicked.at + 60_000 && kicked.reason == "enough" && kicked.by == "mod \"x\"")
        #expect(try !moderate(store, .kick(ana, for: 1_000, reason: "")).0.isChanged)
        #expect(try moderate(store, .kick(ana, for: 90_000, reason: "")).0.isChanged)
        #expect(try moderate(store, .ban(ana)).0.isChanged)
        let (kept, events) = try moderate(store, .kick(ana, for: 1 << 52, reason: ""))
        #expect(!kept.isChanged && events.isEmpty)
        #expect(try view(store, knows: 0).moderation?.bans[ana]?.until == nil)
        #expect(try moderate(store, .unban(ana)).0.isChanged)
        let none = try store.ask(.moderate(room: store.room, .kick(ana, for: 0, reason: ""), by: ""))
        guard case .failure(.notStored) = none.result else { throw StoreFailure("\(none.result)") }
    }

    @Test(arguments: StoreKind.allCases)
    func theRulesAreReadAlone(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        func rules(of user: UserID? = nil) throws -> RoomModeration {
            guard case .rules(let rules) = try store.reply(.rules(room: store.room, of: user)) else {
                throw StoreFailure("no rules")
            }
            return rules
        }
        #expect(try rules() == .none && rules(of: ana) == .none)
        _ = try moderate(store, .ban(bo, reason: "spam"))
        _ = try moderate(store, .mute(bo, for: 60_000))
        _ = try moderate(store, .slowMode(5_000))
        let last = try moderate(store, .mute(ana)).0
        let all = try rules()
        #expect(all.version == last.version && all.policy.slowMode == 5_000 && all.sanctionCount == 3)
        let bos = try rules(of: bo)
        #expect(bos.bans == all.bans && bos.mutes.count == 1 && bos.mutes[bo] == all.mutes[bo])
        #expect(bos.version == all.version && bos.policy == all.policy)
        #expect(try rules(of: cy).sanctionCount == 0)
    }

    @Test(arguments: StoreKind.allCases)
    func whoIsInNoRoomIsRefusedInsideRedis(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        _ = try moderate(store, .ban(ana, reason: "two words"))
        _ = try moderate(store, .mute(bo))
        #expect(try say(store, ana) == .failure(.forbidden(try #require(.forbidden(.banned, reason: "two words")))))
        #expect(try say(store, bo, obeysRules: false) == .failure(.forbidden(try #require(.forbidden(.muted)))))
        _ = try moderate(store, .unban(ana))
        guard case .success(.said) = try say(store, ana) else { throw StoreFailure("ana is not banned any more") }
        _ = try moderate(store, .posting(.moderators))
        #expect(try say(store, ana) == .failure(.forbidden(try #require(.forbidden(.notModerator)))))
        _ = try moderate(store, .freeze(true))
        #expect(try say(store, ana) == .failure(.forbidden(try #require(.forbidden(.frozen)))))
        guard case .success(.said) = try say(store, ana, obeysRules: false) else { throw StoreFailure("a moderator") }
        _ = try moderate(store, .ban(ana, for: 60_000))
        let until = try #require(try view(store, knows: 0).moderation?.bans[ana]?.until)
        #expect(try say(store, ana) == .failure(.forbidden(try #require(.forbidden(.banned, until: until)))))
    }

    @Test(arguments: StoreKind.allCases)
    func rulesOfARoomInWhichNothingWasSaidSurviveItsNodes(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let first = try store.enter(n1)
        let (banned, _) = try moderate(store, .ban(ana))
        _ = try store.leave(n1, first.epoch)
        let view = try store.enter(n2)
        #expect(view.moderation?.bans[ana] != nil && view.moderation?.version == banned.version)
        #expect(view.epoch > banned.version)
    }

    @Test(arguments: StoreKind.allCases)
    func aRoomThatNobodyHasEnteredCanBeModerated(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let (reply, events) = try moderate(store, .mute(ana))
        #expect(reply.isChanged && reply.version > 0 && events.isEmpty)
        let next = try moderate(store, .freeze(true)).0
        #expect(next.version > reply.version)
        let view = try store.enter(n1)
        #expect(view.moderation?.mutes[ana] != nil && view.moderation?.policy.isFrozen == true)
    }

    @Test(arguments: StoreKind.allCases)
    func whatIsOutOfBoundsIsRefusedAndChangesNothing(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let epoch = try store.enter(n1).epoch
        for moderation in [
            .ban(ana, for: 0), .ban(ana, for: 1 << 60), .mute(ana, reason: String(repeating: "x", count: 201)),
            .mute(ana, reason: "a\nb"), .slowMode(RoomPolicy.longest + 1), .uniqueFor(1 << 62),
        ] as [Moderation] {
            let answer = try store.ask(.moderate(room: store.room, moderation, by: "mod"))
            guard case .failure(.notStored(let text)) = answer.result, text.hasPrefix("ERR martlet: ") else {
                throw StoreFailure("\(moderation): \(answer.result)")
            }
            #expect(answer.events.isEmpty)
        }
        let by = try store.ask(.moderate(room: store.room, .freeze(true), by: String(repeating: "b", count: 129)))
        guard case .failure(.notStored) = by.result else { throw StoreFailure("\(by.result)") }
        let view = try view(store, knows: 0)
        #expect(view.epoch == epoch && view.moderation == nil)
    }

    @Test(arguments: StoreKind.allCases)
    func aRoomHasAThousandSanctionsAndThoseThatEndedMakeRoom(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        for number in 0..<RoomModeration.mostSanctions {
            let ban = Moderation.ban(try UserID("user\(number)"), for: number == 7 ? 1 : nil)
            #expect(try moderate(store, ban).0.isChanged)
        }
        // The one that ended makes room for one more.
        #expect(try moderate(store, .ban(ana)).0.isChanged)
        let answer = try store.ask(.moderate(room: store.room, .ban(bo), by: ""))
        guard case .failure(.notStored(let text)) = answer.result else { throw StoreFailure("\(answer.result)") }
        #expect(text.hasPrefix("ERR martlet: the room has 1000 sanctions already"))
        #expect(try moderate(store, .ban(ana, reason: "again")).0.isChanged)
        _ = try store.enter(n1)
        let rules = try #require(try view(store, knows: 0).moderation)
        let ended = try UserID("user7")
        #expect(rules.sanctionCount == 1_000 && rules.bans[ended] == nil)
    }

    // MARK: Redis alone

    @Test func rulesOfNobodysMakingAreLeftOut() async throws {
        let store = try await ContractStore(.redis)
        _ = try store.enter(n1)
        let version = try moderate(store, .ban(ana)).0.version
        try store.raw("HSET", store.key(.rules), "slow", "never", "posting", "all", "frozen", "2", "unknown", "1")
        try store.raw(
            "HSET", store.key(.sanctions), "ban", "x", "ban:", "{}", "kick:bo", "{}", "mute:bo", "forever", "ban:bo",
            #"{"until":"99999999999999999999","at":"1"}"#)
        let rules = try #require(try view(store, knows: 0).moderation)
        #expect(rules.policy == RoomPolicy() && rules.mutes.isEmpty && Array(rules.bans.keys) == [ana])
        try store.raw("HSET", store.key(.rules), "version", "yesterday")
        #expect(try view(store, knows: version).moderation?.version == 0)
        #expect(try view(store, knows: 0).moderation == nil)
    }

    @Test func theAuditSaysWhoDidWhat() async throws {
        let store = try await ContractStore(.redis)
        _ = try moderate(store, .ban(ana, for: 5_000, reason: "spam"))
        let version = try moderate(store, .freeze(true)).0.version
        _ = try moderate(store, .freeze(true))
        guard case .array(let entries) = try store.raw("XRANGE", store.key(.audit), "-", "+"), entries.count == 2,
            case .array(let parts) = entries[1], parts.count == 2, case .array(let fields) = parts[1]
        else { throw StoreFailure("no audit of two entries") }
        let words = fields.compactMap {
            if case .string(let text) = $0 { String(decoding: text, as: UTF8.self) } else { nil }
        }
        #expect(
            words == [
                "operation", "freeze", "user", "", "value", "", "reason", "", "by", "mod \"x\"", "version",
                "\(version)",
            ])
    }

    @Test func callsOfEarlierVersionsAreAnsweredAsTheyKnowThem() async throws {
        let store = try await ContractStore(.redis)
        _ = try store.enter(n1)
        _ = try moderate(store, .ban(ana))
        let keys = [RoomKey.log, .nodes, .epochs, .meta].map { store.key($0) }
        guard
            case .array(let view) = try store.raw(
                "FCALL", "martlet_view", "4", keys[0], keys[1], keys[2], keys[3], "", "5:100")
        else { throw StoreFailure("no view") }
        #expect(view.count == 9)
    }
}
