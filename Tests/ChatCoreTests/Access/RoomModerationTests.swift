import Testing

@testable import ChatCore

@Suite struct RoomModerationTests {
    private static let now: UInt64 = 1_700_000_000_000
    private let ana: UserID
    private let bo: UserID
    private let lobby: RoomName

    init() throws {
        ana = try UserID("ana")
        bo = try UserID("bo")
        lobby = try RoomName("lobby")
    }

    private func after(_ moderations: Moderation..., at now: UInt64 = now) throws -> RoomModeration {
        var state = RoomModeration.none
        for moderation in moderations {
            switch state.applying(moderation, by: "mod", now: now, version: state.version + 1) {
            case .changed(let next): state = next
            case .nothing: break
            case .refused(let problem): throw NameError(problem)
            }
        }
        return state
    }

    private func code(
        _ state: RoomModeration, _ rights: Rights = .send, at now: UInt64 = now, last: UInt64? = nil,
        same: UInt64? = nil
    ) -> WireError.Code? {
        state.refusal(ofSendBy: ana, in: lobby, with: rights, now: now, lastSend: last, lastSame: same)?.code
    }

    @Test func aRoomWithoutRulesForbidsNothing() {
        #expect(code(.none) == nil)
        #expect(RoomModeration.none.refusal(ofJoinBy: ana, in: lobby, now: Self.now) == nil)
    }

    @Test func aDirectConversationIsForItsTwoUsersAlone() throws {
        let room = try #require(RoomName(directOf: ana, and: bo))
        #expect(room.text == "dm:ana:bo" && room.directPartner(of: bo) == ana && room.directPartner(of: ana) == bo)
        let odd = try UserID("a:b %이")
        let other = try #require(RoomName(directOf: ana, and: odd))
        #expect(other.text == "dm:a%3Ab%20%25%EC%9D%B4:ana" && other.directPartner(of: ana) == odd)
        #expect(RoomName(directOf: ana, and: ana) == nil)
        let long = try UserID(String(repeating: "x", count: 128))
        #expect(
            RoomName(directOf: long, and: ana)?.text
                == "dm:003521bc42bee39523b6757ee44aeb5df856662b516be527b6be60d0f2bcb276")
        // Nobody may enter before it was begun.
        #expect(RoomModeration.none.refusal(ofJoinBy: ana, in: room, now: Self.now)?.code == .forbidden)
        var participants = [ana: Participant(), bo: Participant()]
        func state() -> RoomModeration {
            RoomModeration(version: 1, conversation: Conversation(.direct, participants: participants))
        }
        #expect(state().refusal(ofJoinBy: ana, in: room, now: Self.now) == nil)
        #expect(state().refusal(ofJoinBy: odd, in: room, now: Self.now)?.code == .forbidden)
        #expect(state().refusal(ofSendBy: ana, in: room, with: .send, now: Self.now) == nil)
        participants[bo]?.blocks = true
        #expect(state().refusal(ofSendBy: ana, in: room, with: .send, now: Self.now)?.code == .blocked)
        #expect(state().refusal(ofSendBy: bo, in: room, with: .send, now: Self.now) == nil)
    }

    @Test func aBanForbidsToJoinAndToSendUntilItEnds() throws {
        let state = try after(.ban(ana, for: 5_000, reason: "spam"))
        let error = try #require(state.refusal(ofJoinBy: ana, in: lobby, now: Self.now))
        #expect(error.code == .banned && error.until == Self.now + 5_000)
        #expect(error.message == "you are banned from this room for another 5 s: spam")
        #expect(code(state) == .banned && code(state, .all) == .banned)
        #expect(code(state, at: Self.now + 5_000) == nil)
        #expect(state.refusal(ofSendBy: bo, in: lobby, with: .send, now: Self.now) == nil)
        #expect(try after(.ban(ana), .unban(ana)).bans.isEmpty)
        #expect(code(try after(.ban(ana)), at: Self.now * 2) == .banned)
    }

    @Test func aMuteForbidsToSendAlone() throws {
        let state = try after(.mute(ana))
        #expect(state.refusal(ofJoinBy: ana, in: lobby, now: Self.now) == nil)
        #expect(code(state) == .muted && code(state, .all) == .muted)
        // Lifting the ban does not lift the mute.
        #expect(code(try after(.mute(ana), .ban(ana), .unban(ana))) == .muted)
        #expect(code(try after(.mute(ana), .unmute(ana))) == nil)
    }

    @Test func rulesBindEverybodyButModerators() throws {
        let frozen = try after(.freeze(true))
        #expect(code(frozen) == .frozen && code(frozen, .all) == nil)
        #expect(code(try after(.freeze(true), .freeze(false))) == nil)
        let closed = try after(.posting(.moderators))
        #expect(code(closed) == .notModerator && code(closed, .all) == nil)
    }

    @Test func slowModeAndUniqueMessagesLookAtWhatTheUserSaidBefore() throws {
        let slow = try after(.slowMode(5_000))
        #expect(code(slow) == nil && code(slow, last: Self.now - 5_000) == nil)
        #expect(code(slow, last: Self.now - 4_999) == .slowMode && code(slow, .all, last: Self.now) == nil)
        let error = slow.refusal(ofSendBy: ana, in: lobby, with: .send, now: Self.now, lastSend: Self.now - 1_000)
        #expect(error?.until == Self.now + 4_000 && error?.code.retry == true)
        // The clock of the node that stored the last one is an hour ahead.
        #expect(code(slow, at: Self.now, last: Self.now + 3_600_000) == .slowMode)
        let unique = try after(.uniqueFor(1_000))
        #expect(code(unique, last: Self.now) == nil && code(unique, same: Self.now - 999) == .duplicate)
        #expect(code(unique, same: Self.now - 1_000) == nil)
    }

    @Test func anOrderBecomesAModerationOrSaysWhatIsWrongWithIt() throws {
        let bob = try UserID("bob")
        for (order, moderation) in [
            (ModerationOrder("ban", user: "bob"), Moderation.ban(bob)),
            (ModerationOrder("mute", user: "bob", time: 5, reason: "x"), .mute(bob, for: 5, reason: "x")),
            (ModerationOrder("kick", user: "bob"), .kick(bob, for: 60_000, reason: "")),
            (ModerationOrder("unban", user: "bob", time: 5), .unban(bob)),
            (ModerationOrder("slow", time: 0), .slowMode(0)),
            (ModerationOrder("unique", time: 7), .uniqueFor(7)),
            (ModerationOrder("posting", value: "moderators"), .posting(.moderators)),
            (ModerationOrder("freeze", user: "bob"), .freeze(true)), (ModerationOrder("thaw"), .freeze(false)),
        ] {
            #expect(try order.moderation() == moderation)
            #expect(try ModerationOrder(moderation).moderation() == moderation)
        }
        for (order, code) in [
            (ModerationOrder("Ban", user: "bob"), WireError.Code.badField), (ModerationOrder("ban"), .missingField),
            (ModerationOrder("unmute", user: "\u{7}"), .badName), (ModerationOrder("slow"), .missingField),
            (ModerationOrder("slow", time: RoomPolicy.longest + 1), .badField),
            (ModerationOrder("posting"), .missingField),
            (ModerationOrder("posting", value: "all"), .badField),
            (ModerationOrder("kick", user: "bob", time: 0), .badField),
            (ModerationOrder("mute", user: "bob", reason: String(repeating: "é", count: 101)), .badField),
        ] {
            #expect(throws: WireError.self, "\(order)") { try order.moderation() }
            do { _ = try order.moderation() } catch { #expect(error.code == code, "\(order)") }
        }
    }

    @Test func whatHasEndedIsNoChangeOfSanctions() throws {
        let (ana, bob) = (try UserID("ana"), try UserID("bob"))
        func state(_ bans: [UserID: Sanction]) -> RoomModeration { RoomModeration(version: 1, bans: bans) }
        let ended = Sanction(until: 500, at: 1)
        #expect(state([:]).sanctionChanges(since: state([ana: ended]), now: 1_000).isEmpty)
        #expect(state([ana: ended]).sanctionChanges(since: nil, now: 1_000).isEmpty)
        let longer = Sanction(until: 2_000, at: 2)
        #expect(
            state([ana: longer]).sanctionChanges(since: state([ana: ended, bob: Sanction(at: 1)]), now: 1_000)
                == [SanctionChange(.ban, of: ana, longer), SanctionChange(.ban, of: bob, nil)])
    }

    @Test func whatChangesNothingIsNoNewState() throws {
        let state = try after(.freeze(true))
        for moderation in [.freeze(true), .unban(ana), .unmute(ana), .slowMode(0), .posting(.open)] as [Moderation] {
            guard case .nothing = state.applying(moderation, by: "", now: Self.now, version: 9) else {
                Issue.record("\(moderation) changes something")
                continue
            }
        }
        guard case .changed = try after(.ban(ana)).applying(.ban(ana), by: "", now: Self.now, version: 9) else {
            throw NameError("a ban is imposed anew")
        }
    }

    @Test func sanctionsAreBoundedAndThoseThatEndedMakeRoom() throws {
        var state = RoomModeration.none
        func add(_ number: Int, at now: UInt64) throws -> Bool {
            let ban = Moderation.ban(try UserID("user\(number)"), for: number == 7 ? 1_000 : nil)
            guard case .changed(let next) = state.applying(ban, by: "", now: now, version: 1) else { return false }
            state = next
            return true
        }
        for number in 0..<RoomModeration.mostSanctions { #expect(try add(number, at: Self.now)) }
        #expect(try !add(1_000, at: Self.now))
        #expect(try add(1_000, at: Self.now + 1_000))
        let ended = try UserID("user7")
        #expect(state.sanctionCount == RoomModeration.mostSanctions && state.bans[ended] == nil)
    }

    @Test func whatIsOutOfBoundsIsRefused() throws {
        for moderation in [
            .ban(ana, for: 0), .ban(ana, for: .max), .ban(ana, reason: String(repeating: "x", count: 201)),
            .mute(ana, reason: "a\nb"), .slowMode(RoomPolicy.longest + 1), .uniqueFor(.max),
        ] as [Moderation] {
            guard case .refused = RoomModeration.none.applying(moderation, by: "", now: 1, version: 1) else {
                Issue.record("\(moderation) is accepted")
                continue
            }
        }
        guard case .refused = RoomModeration.none.applying(.freeze(true), by: "a\u{7F}", now: 1, version: 1) else {
            throw NameError("a control character is accepted")
        }
        let longest = try after(.ban(ana, for: PositionBounds.largest))
        #expect(longest.bans[ana]?.until == PositionBounds.largest)
    }
}
