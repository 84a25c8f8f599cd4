import Testing

@testable import ChatCore

/// A room whose rules change: nothing goes out that they forbid, and who is banned leaves.
@Suite struct RoomRulesTests {
    private func rules(
        _ version: UInt64, bans: [String] = [], mutes: [String] = [], _ policy: RoomPolicy = RoomPolicy()
    ) throws -> RoomModeration {
        func sanctions(_ names: [String]) throws -> [UserID: Sanction] {
            try Dictionary(uniqueKeysWithValues: names.map { (try UserID($0), Sanction(reason: "spam")) })
        }
        return RoomModeration(version: version, policy: policy, bans: try sanctions(bans), mutes: try sanctions(mutes))
    }

    private func moderated(_ room: inout RoomHarness, to epoch: UInt64) throws -> [RoomAction] {
        let nodes: [NodeID: UInt64] = [room.me: 100, room.other: 90]
        let last = room.machine.position?.seq ?? 0
        return room.hear(.epoch(epoch, base: last, nodes: nodes, by: try NodeID("moderate"), rules: epoch))
    }

    /// Answers the view that the room has asked for.
    private func read(_ room: inout RoomHarness, _ epoch: UInt64, _ moderation: RoomModeration?) -> [RoomAction] {
        let last = room.machine.position?.seq ?? 0
        var view = room.view(epoch, last: last, value: 100, others: [room.other: 90])
        view.chain = EpochChain(
            links: [EpochLink(epoch: 100, base: 0), EpochLink(epoch: epoch, base: last)], history: 100)
        view.moderation = moderation
        return room.answer(.view, .success(.view(view)))
    }

    private func inside() throws -> RoomHarness {
        var room = try RoomHarness()
        try room.goInside(others: [room.other: 90])
        return room
    }

    @Test func anEpochWithTheSameRulesIsNotRead() throws {
        var room = try inside()
        let nodes: [NodeID: UInt64] = [room.me: 100, room.other: 110]
        let actions = room.hearEpoch(110, base: 0, nodes: nodes, by: room.other)
        #expect(actions.views == 0)
        #expect(room.send(1, "a").appended == ["a"])
    }

    @Test func nothingGoesOutBeforeTheRulesOfTheEpochWereRead() throws {
        var room = try inside()
        #expect(try moderated(&room, to: 110).views == 1)
        #expect(room.asked(.view) == [.view(room: room.room, after: room.position(0, 0), page: RoomSettings().page)])
        #expect(room.send(1, "a").appended.isEmpty)
        let actions = read(&room, 110, try rules(110, mutes: ["bo"]))
        #expect(actions.appended == ["a"] && actions.errors.isEmpty)
        guard case .append(_, 110, _, _, _)? = room.asked(.append).last else { throw NameError("not in the new epoch") }
    }

    @Test func theRulesAreReadAgainIfTheyHaveChangedMeanwhile() throws {
        var room = try inside()
        _ = try moderated(&room, to: 110)
        _ = try moderated(&room, to: 120)
        _ = room.send(1, "a")
        // The view is of the epoch before.
        #expect(read(&room, 110, try rules(110)).appended.isEmpty)
        #expect(room.pass(.seconds(1)).views == 1)
        #expect(room.asked(.view).last.map { if case .view(_, _, _, 110) = $0 { true } else { false } } == true)
        let actions = read(&room, 120, try rules(120, mutes: ["ana"]))
        #expect(actions.appended.isEmpty && actions.errors == [.muted])
    }

    @Test func theLogOfAConversationIsHeldAndTrimmedAfterSoManyMessages() throws {
        var room = try inside()
        guard case .append(_, _, _, _, isHeld: false)? = room.send(1, "a").requests.first else {
            throw NameError("not held")
        }
        _ = room.answer(.append, .success(.appended(Position(epoch: 100, seq: 1), isPublished: true)))
        _ = try moderated(&room, to: 110)
        let conversation = Conversation(.group)
        _ = read(&room, 110, RoomModeration(version: 110, policy: RoomPolicy(), conversation: conversation))
        var trims = 0
        for number in 0..<200 {
            let requests = room.send(1, "\(number)").requests
            guard case .append(_, 110, _, _, isHeld: true)? = requests.first else { throw NameError("held") }
            let seq = (room.machine.position?.seq ?? 0) + 1
            let answer = BrokerReply.appended(Position(epoch: 110, seq: seq), isPublished: true)
            trims += room.answer(.append, .success(answer)).requests.count { $0 == .trim(room: room.room) }
        }
        #expect((2...4).contains(trims))
    }

    @Test func aSendThatTheFenceRefusedIsDecidedAgain() throws {
        var room = try inside()
        #expect(room.send(1, "a").appended == ["a"])
        #expect(room.answer(.append, .failure(.refused)).views == 1)
        let actions = read(&room, 110, try rules(110, mutes: ["ana"]))
        #expect(actions.appended.isEmpty && actions.errors == [.muted])
        #expect(room.send(1, "b").errors == [.muted])
        // And allowed again.
        _ = try moderated(&room, to: 120)
        _ = room.send(1, "c")
        room.pass(.seconds(1))
        #expect(read(&room, 120, try rules(120)).appended == ["c"])
    }

    @Test func whoIsBannedLeavesAndItsSendsAreRefused() throws {
        var room = try inside()
        try room.join(2, "bo")
        _ = try moderated(&room, to: 110)
        _ = room.send(1, "a")
        let actions = read(&room, 110, try rules(110, bans: ["ana"]))
        #expect(actions.errors == [.banned] && actions.appended.isEmpty)
        #expect(actions.contains(.remove(SessionID(raw: 1), Removal(.banned, text: "spam"))))
        #expect(!room.machine.has(SessionID(raw: 1)) && room.machine.has(SessionID(raw: 2)))
        #expect(room.send(1, "b").errors == [.notJoined])
        let back = try room.join(1)
        #expect(back.errors == [.banned] && !room.machine.has(SessionID(raw: 1)))
        guard case .refuseJoin? = back.last(where: { if case .refuseJoin = $0 { true } else { false } }) else {
            throw NameError("the join is not refused")
        }
        // Presence tells that ana has left.
        room.pass(.seconds(1))
        let left = room.asked(.presence).contains {
            guard case .presence(let request) = $0 else { return false }
            return request.changes.contains { $0.user.text == "ana" && !$0.joined }
        }
        #expect(left)
    }

    private func conversation(_ participants: [String: Participant], pending: [String] = []) throws -> Conversation {
        Conversation(
            .group, participants: try Dictionary(uniqueKeysWithValues: participants.map { (try UserID($0), $1) }),
            pending: try Dictionary(uniqueKeysWithValues: pending.map { (try UserID($0), 1) }))
    }

    private func group(
        _ version: UInt64, _ participants: [String: Participant], pending: [String] = [], isFrozen: Bool = false
    ) throws -> RoomModeration {
        RoomModeration(
            version: version, policy: RoomPolicy(isFrozen: isFrozen, members: .participants),
            conversation: try conversation(participants, pending: pending))
    }

    @Test func whoIsNoParticipantLeavesAndDoesNotComeBack() throws {
        var room = try inside()
        try room.join(2, "bo")
        _ = try moderated(&room, to: 110)
        _ = room.send(1, "a")
        let actions = read(&room, 110, try group(110, ["bo": Participant()]))
        #expect(actions.errors == [.forbidden] && actions.appended.isEmpty)
        #expect(actions.contains(.remove(SessionID(raw: 1), Removal(.removed))))
        #expect(!actions.contains(.settleIndexes))
        #expect(!room.machine.has(SessionID(raw: 1)) && room.machine.has(SessionID(raw: 2)))
        #expect(try room.join(1).errors == [.forbidden])
        #expect(room.machine.refusalOfReading(by: try UserID("ana"))?.code == .forbidden)
        #expect(room.send(2, "b").appended == ["b"])
    }

    @Test func moderatorsOfAConversationMayWriteWhereOthersMayNot() throws {
        var room = try inside()
        try room.join(2, "bo")
        _ = try moderated(&room, to: 110)
        let participants = ["ana": Participant(role: .moderator), "bo": Participant()]
        let actions = read(&room, 110, try group(110, participants, pending: ["bo"], isFrozen: true))
        #expect(actions.errors.isEmpty && actions.contains(.settleIndexes))
        #expect(room.send(1, "a").appended == ["a"] && room.send(2, "b").errors == [.frozen])
    }

    @Test func aBanThatWasReadOnEnteringRefusesTheJoin() throws {
        var room = try RoomHarness()
        room.linksUp()
        try room.join(1)
        room.subscribed()
        var view = room.view(100, last: 0)
        view.moderation = try rules(90, bans: ["ana"])
        let actions = room.finishEnter(view)
        #expect(actions.errors == [.banned] && actions.joined.isEmpty)
    }

    @Test func moderatorsMayWriteToAFrozenRoom() throws {
        var room = try inside()
        _ = try moderated(&room, to: 110)
        _ = read(&room, 110, try rules(110, RoomPolicy(isFrozen: true)))
        #expect(room.send(1, "a").errors == [.frozen])
        var request = SendRequest(room: room.room, text: "b")
        request.rights = .moderate
        let actions = room.on(.send(request, ref: nil, from: SessionID(raw: 1), at: 1))
        #expect(actions.appended == ["b"])
    }

    @Test func slowModeSeesWhatWasSentHereAndElsewhere() throws {
        var room = try inside()
        _ = try moderated(&room, to: 110)
        _ = read(&room, 110, try rules(110, RoomPolicy(slowMode: 5_000)))
        #expect(room.send(1, "a").appended == ["a"])
        #expect(room.send(1, "b").errors == [.slowMode])
        // The epoch changed: the same send is not held against itself.
        _ = room.answer(.append, .failure(.refused))
        room.pass(.seconds(1))
        let rules = try rules(120, RoomPolicy(slowMode: 5_000))
        #expect(read(&room, 120, rules).appended == ["a"])
        _ = room.answer(.append, .success(.appended(room.position(120, 1))))
        room.pass(.seconds(5))
        #expect(room.send(1, "c").appended == ["c"])
        _ = room.answer(.append, .success(.appended(room.position(120, 2))))
        room.pass(.seconds(5))
        let at = room.now.nanoseconds / 1_000_000
        let elsewhere = Message(
            position: room.position(120, 3), content: MessageContent(user: try UserID("ana"), at: at, text: "d"))
        _ = room.hearMessage(elsewhere, base: 0)
        let error = room.send(1, "e").errors
        #expect(error == [.slowMode])
    }

    @Test func slowModeThatBeginsSeesWhatMemoryHolds() throws {
        var room = try inside()
        let at = room.now.nanoseconds / 1_000_000
        for (seq, user) in [(1, "ana"), (2, "bo")] as [(UInt64, String)] {
            let content = MessageContent(user: try UserID(user), at: at, text: "same")
            room.hearMessage(Message(position: room.position(100, seq), content: content), base: 0)
        }
        _ = try moderated(&room, to: 110)
        _ = read(&room, 110, try rules(110, RoomPolicy(uniqueFor: 5_000)))
        #expect(room.send(1, "same").errors == [.duplicate])
        #expect(room.send(1, "other").appended == ["other"])
        #expect(room.send(1, "other").errors == [.duplicate])
        room.pass(.seconds(5))
        #expect(room.send(1, "same").errors.isEmpty)
    }

    private func told(_ actions: [RoomAction]) -> [String] {
        actions.compactMap { action in
            switch action {
            case .deliverRules(let policy, let version): "\(version) slow \(policy.slowMode)"
            case .deliverSanction(let change): "\(change.operation) \(change.user)"
            case .deliverParticipants(let changes):
                changes.changes.map { "\($0.user) \($0.role?.rawValue ?? "left")\($0.isNew ? " new" : "")" }
                    .joined(separator: ", ") + (changes.hasMore ? ", more" : "")
            case .remove(let session, let removal): "left \(session.raw) \(removal.reason) \(removal.text)"
            default: nil
            }
        }
    }

    @Test func membersAreToldOfEachVersionOnce() throws {
        var room = try inside()
        _ = try moderated(&room, to: 110)
        let first = try rules(110, bans: ["bo"], mutes: ["ana"], RoomPolicy(slowMode: 5_000))
        #expect(Set(told(read(&room, 110, first))) == ["110 slow 5000", "mute ana", "ban bo"])
        // An epoch without new rules: nobody is told again.
        let nodes: [NodeID: UInt64] = [room.me: 100, room.other: 115]
        #expect(told(room.hear(.epoch(115, base: 0, nodes: nodes, by: room.other, rules: 110))).isEmpty)
        _ = try moderated(&room, to: 120)
        #expect(told(room.pass(.seconds(1))).isEmpty)
        #expect(
            told(read(&room, 120, try rules(120, RoomPolicy(slowMode: 5_000)))).sorted() == ["unban bo", "unmute ana"])
        _ = try moderated(&room, to: 130)
        room.pass(.seconds(1))
        #expect(
            told(read(&room, 130, try rules(130, bans: ["ana"])))
                == ["130 slow 0", "ban ana", "left 1 banned spam"], "who is banned hears it before it leaves")
    }

    @Test func membersAreToldWhoBelongsToTheRoom() throws {
        func group(_ version: UInt64, _ roles: [String: ParticipantRole]) throws -> RoomModeration {
            let participants = try roles.map { (try UserID($0.key), Participant(role: $0.value)) }
            return RoomModeration(
                version: version,
                conversation: Conversation(.group, participants: Dictionary(uniqueKeysWithValues: participants)))
        }
        var room = try inside()
        _ = try moderated(&room, to: 110)
        #expect(
            told(read(&room, 110, try group(110, ["ana": .owner, "bo": .member])))
                == ["ana owner new, bo member new"])
        _ = try moderated(&room, to: 120)
        room.pass(.seconds(1))
        let second = try group(120, ["ana": .member, "bo": .member, "cy": .moderator])
        #expect(told(read(&room, 120, second)) == ["ana member, cy moderator new"])
        // Other rules, the same participants.
        _ = try moderated(&room, to: 130)
        room.pass(.seconds(1))
        #expect(told(read(&room, 130, try group(130, ["ana": .member, "bo": .member, "cy": .moderator]))).isEmpty)
        _ = try moderated(&room, to: 140)
        room.pass(.seconds(1))
        #expect(told(read(&room, 140, try group(140, ["ana": .member]))) == ["bo left, cy left"])
        let many = Dictionary(uniqueKeysWithValues: (1...101).map { ("u\($0)", ParticipantRole.member) })
        _ = try moderated(&room, to: 150)
        room.pass(.seconds(1))
        let news = told(read(&room, 150, try group(150, many.merging(["ana": .member]) { $1 })))
        #expect(news.count == 1 && news[0].hasPrefix("u1 member new, u10 ") && news[0].hasSuffix(", more"))
    }

    @Test func whoJoinsIsToldTheRulesAndItsOwnMute() throws {
        var room = try RoomHarness()
        room.linksUp()
        try room.join(1)
        room.subscribed()
        var view = room.view(100, last: 0)
        view.moderation = try rules(90, mutes: ["ana", "bo"], RoomPolicy(slowMode: 5_000))
        let actions = room.finishEnter(view)
        let joined = try #require(actions.joined.first)
        #expect(joined.rules == RoomPolicy(slowMode: 5_000) && joined.mute == Sanction(reason: "spam"))
        #expect(told(actions).isEmpty, "nobody else is there")
    }

    @Test func ofManySanctionsAtOnceOnlyTheNewestAreForEverybody() throws {
        var room = try inside()
        _ = try moderated(&room, to: 110)
        var mutes: [UserID: Sanction] = [try UserID("ana"): Sanction(at: 1)]
        for number in 2..<100 { mutes[try UserID("user\(number)")] = Sanction(at: UInt64(number)) }
        let actions = read(&room, 110, RoomModeration(version: 110, mutes: mutes))
        #expect(told(actions).count == 32 && told(actions).first == "mute user99")
        let own = actions.contains { action in
            if case .answer(_, .sanction(_, let change)) = action { change.user.text == "ana" } else { false }
        }
        #expect(own, "whom it concerns hears of it all the same")
    }

    @Test func aRestingRoomKeepsItsRules() throws {
        var room = try inside()
        _ = try moderated(&room, to: 110)
        let early = room.machine.rest(now: room.now)
        #expect(early?.size == nil)
        _ = read(&room, 110, try rules(110, mutes: ["ana"], RoomPolicy(slowMode: 5_000)))
        room.pass(.seconds(2))
        room.settlePresence()
        while !room.asked(.view).isEmpty { _ = read(&room, 110, nil) }
        let rested = room.machine.rest(now: room.now)
        let rest = try #require(rested)
        let common = RoomStateMachine.Common(node: room.me, settings: RoomSettings())
        room.machine = RoomStateMachine(waking: rest, room: room.room, common: common)
        #expect(room.machine.rules == 110)
        #expect(room.send(1, "a").errors == [.muted])
        let again = room.machine.rest(now: room.now)
        #expect(again?.isSame(as: rest) == true)
    }
}
