import Testing

@testable import ChatCore

@Suite struct RoomPresenceTests {
    private func change(_ user: String, _ node: NodeID, _ joined: Bool, device: String = "phone") throws
        -> PresenceNotice.Change
    {
        PresenceNotice.Change(user: try UserID(user), device: try DeviceName(device), node: node, joined: joined)
    }

    private func notice(_ from: UInt64, _ changes: [PresenceNotice.Change], count: Int) -> PresenceNotice {
        PresenceNotice(
            after: Position(epoch: 1, seq: from), position: Position(epoch: 1, seq: from + UInt64(changes.count)),
            changes: changes, count: count)
    }

    private func told(_ actions: [RoomAction]) -> [String] {
        actions.compactMap {
            guard case .deliverPresence(let joined, let left, let count) = $0 else { return nil }
            return (joined.map { "+\($0)" } + left.map { "-\($0)" } + ["=\(count)"]).joined(separator: " ")
        }
    }

    @Test func everythingIsToldAfterEntering() throws {
        var room = try RoomHarness()
        room.linksUp()
        try room.join(1)
        try room.join(2, "bo")
        room.subscribed()
        room.finishEnter(room.view(100, last: 0))
        guard case .presence(let request)? = room.asked(.presence).first else {
            return #expect(Bool(false), "not told")
        }
        #expect(request.value == 100)
        #expect(request.changes.map(\.user.text) == ["ana", "bo"])
    }

    /// A device leaves, its leave is told while the roster is read in parts, the first of which still lists it, and it
    /// comes back (simulator, seed 3027172).
    @Test func aReturnIsToldAlthoughAnOlderPartOfTheRosterListsTheDevice() throws {
        let (ana, phone, node) = (try UserID("ana"), try DeviceName("phone"), try NodeID("n1-1"))
        let now = Moment(nanoseconds: 1_000_000_000)
        var presence = RoomPresence()
        presence.came(ana, phone, now: now)
        presence.noteEntering(now: now)
        #expect(presence.takeUpdate(now: now)?.map(\.joined) == [true])
        presence.readBegan(1)
        presence.updateSucceeded()
        presence.went(ana, phone, now: now)
        #expect(presence.takeUpdate(now: now)?.map(\.joined) == [false])
        let device = RosterSnapshot.Device(node: node, device: phone)
        presence.readPart(RosterSnapshot(position: Position(epoch: 1, seq: 7), members: [ana: [device]]), next: 2)
        presence.updateSucceeded()
        presence.came(ana, phone, now: now)
        _ = presence.replace(
            with: RosterSnapshot(position: Position(epoch: 1, seq: 8), members: [:]), node: node, flush: now)
        #expect(presence.takeUpdate(now: now)?.map(\.joined) == [true])
    }

    @Test func changesAreCollectedIntoOneBatch() throws {
        var room = try RoomHarness()
        try room.goInside()
        try room.join(2, "bo")
        try room.join(3, "cy")
        room.leave(3)
        #expect(room.asked(.presence).isEmpty)
        room.pass(.milliseconds(100))
        guard case .presence(let request)? = room.asked(.presence).first else {
            return #expect(Bool(false), "not told")
        }
        #expect(request.changes.map(\.user.text) == ["bo"])
        #expect(room.asked(.presence).count == 1)
    }

    @Test func secondDeviceOfTheSameNameChangesNothing() throws {
        var room = try RoomHarness()
        try room.goInside()
        try room.join(2)
        room.pass(.seconds(1))
        #expect(room.asked(.presence).isEmpty)
        room.leave(1)
        room.pass(.seconds(1))
        #expect(room.asked(.presence).isEmpty)
    }

    @Test func updateThatFailedIsToldAgain() throws {
        var room = try RoomHarness()
        try room.goInside()
        try room.join(2, "bo")
        room.pass(.milliseconds(100))
        room.answer(.presence, .failure(.notStored("OOM")))
        room.pass(.seconds(1))
        guard case .presence(let request)? = room.asked(.presence).first else {
            return #expect(Bool(false), "not told")
        }
        #expect(request.changes.map(\.user.text) == ["bo"] && request.changes.allSatisfy(\.joined))
    }

    @Test func sweptNodeEntersAgainThenTellsEverything() throws {
        var room = try RoomHarness()
        try room.goInside()
        try room.join(2, "bo")
        room.pass(.milliseconds(100))
        #expect(room.answer(.presence, .failure(.missing)).enters == 1)
        room.finishEnter(room.view(101, last: 0))
        guard case .presence(let request)? = room.asked(.presence).first else {
            return #expect(Bool(false), "not told")
        }
        #expect(request.value == 101 && request.changes.map(\.user.text) == ["ana", "bo"])
    }

    @Test func aDeviceThatRedisStillListsForUsIsSaidToHaveLeft() throws {
        var room = try RoomHarness()
        room.linksUp()
        try room.join(1)
        room.subscribed()
        room.answer(.enter, .success(.view(room.view(100, last: 0))))
        room.hearEpoch(100, base: 0, nodes: [room.me: 100], by: room.me)
        room.answer(.presence, .success(.presence(PresenceReply(position: room.position(1, 0), notice: nil))))
        let phone = try DeviceName("phone")
        let members: [UserID: Set<RosterSnapshot.Device>] = [
            try UserID("ana"): [.init(node: room.me, device: phone)],
            try UserID("ghost"): [.init(node: room.me, device: phone), .init(node: room.other, device: phone)],
        ]
        room.answer(.roster, .success(.roster(RosterSnapshot(position: room.position(1, 0), members: members))))
        guard case .presence(let request)? = room.asked(.presence).first else {
            return #expect(Bool(false), "not told")
        }
        #expect(request.changes == [PresenceChange(user: try UserID("ghost"), device: phone, joined: false)])
    }

    @Test func aRosterInPartsIsOneWithWhatWasHeardMeanwhile() throws {
        var room = try RoomHarness()
        room.linksUp()
        try room.join(1)
        room.subscribed()
        room.answer(.enter, .success(.view(room.view(100, last: 0))))
        room.hearEpoch(100, base: 0, nodes: [room.me: 100], by: room.me)
        let phone = RosterSnapshot.Device(node: room.other, device: try DeviceName("phone"))
        let first = RosterSnapshot(
            position: room.position(1, 2), members: [try UserID("bo"): [phone]], count: 3, cursor: 7)
        #expect(room.answer(.roster, .success(.roster(first))).joined.isEmpty, "the join waits for all parts")
        #expect(room.asked(.roster) == [.roster(room: room.room, cursor: 7)])
        room.hear(.presence(notice(2, [try change("bo", room.other, false)], count: 2)))
        let last = RosterSnapshot(position: room.position(1, 3), members: [try UserID("cy"): [phone]], count: 2)
        let joined = room.answer(.roster, .success(.roster(last))).joined.first
        #expect(joined?.members?.map(\.user.text) == ["ana", "cy"])
    }

    @Test func aThousandDevicesAreToldInBoundedUpdates() throws {
        var room = try RoomHarness()
        room.linksUp()
        for number in 1...600 { try room.join(UInt64(number), "user\(number)") }
        room.subscribed()
        room.finishEnter(room.view(100, last: 0))
        var told = 0
        while case .presence(let request)? = room.asked(.presence).first {
            #expect(request.changes.count <= RoomPresence.updateLimit)
            told += request.changes.count
            room.answer(.presence, .success(.presence(PresenceReply(position: room.position(1, 0), notice: nil))))
        }
        #expect(told == 600)
    }

    @Test func noticesChangeTheRosterAndClientsAreTold() throws {
        var room = try RoomHarness()
        try room.goInside()
        #expect(told(room.hear(.presence(notice(0, [try change("bo", room.other, true)], count: 1)))) == ["+bo =2"])
        let second = notice(1, [try change("bo", room.other, true, device: "desk")], count: 1)
        #expect(told(room.hear(.presence(second))).isEmpty, "the second device of somebody who is here")
        #expect(told(room.hear(.presence(notice(2, [try change("bo", room.other, false)], count: 1)))).isEmpty)
        let last = notice(3, [try change("bo", room.other, false, device: "desk")], count: 0)
        #expect(told(room.hear(.presence(last))) == ["-bo =1"])
    }

    @Test func whatAnotherRedisSaysOfTheRosterIsNotHeeded() throws {
        var room = try RoomHarness()
        try room.goInside()
        var late = notice(0, [try change("bo", room.other, true)], count: 1)
        // A master that was frozen, whose stream continued from the same position.
        late.run = "run0"
        #expect(room.hear(.presence(late)).isEmpty)
        late.run = "run1"
        #expect(told(room.hear(.presence(late))) == ["+bo =2"])
    }

    @Test func noticeHeardTwiceChangesNothing() throws {
        var room = try RoomHarness()
        try room.goInside()
        let first = notice(0, [try change("bo", room.other, true)], count: 1)
        room.hear(.presence(first))
        #expect(room.hear(.presence(first)).isEmpty)
    }

    @Test func missedNoticeReadsTheRosterAndTellsTheDifference() throws {
        var room = try RoomHarness()
        try room.goInside()
        room.hear(.presence(notice(0, [try change("bo", room.other, true)], count: 1)))
        room.hear(.presence(notice(2, [try change("dee", room.other, true)], count: 2)))
        #expect(room.asked(.roster).count == 1)
        let device = RosterSnapshot.Device(node: room.other, device: try DeviceName("phone"))
        let members = [try UserID("cy"): Set([device]), try UserID("dee"): Set([device])]
        let snapshot = RosterSnapshot(position: room.position(1, 3), members: members)
        #expect(told(room.answer(.roster, .success(.roster(snapshot)))) == ["+cy +dee -bo =3"])
    }

    @Test func noticeThatOvertakesTheRosterReadIsNotLost() throws {
        var room = try RoomHarness()
        room.linksUp()
        try room.join(1)
        room.subscribed()
        room.answer(.enter, .success(.view(room.view(100, last: 0))))
        room.hearEpoch(100, base: 0, nodes: [room.me: 100], by: room.me)
        room.hear(.presence(notice(0, [try change("bo", room.other, true)], count: 1)))
        room.answer(.roster, .success(.roster(RosterSnapshot(position: room.position(1, 0), members: [:]))))
        #expect(room.machine.presence.members.keys.map(\.text) == ["bo"])
    }

    @Test func rosterReadThatFailedIsRepeated() throws {
        var room = try RoomHarness()
        room.linksUp()
        try room.join(1)
        room.subscribed()
        room.answer(.enter, .success(.view(room.view(100, last: 0))))
        room.hearEpoch(100, base: 0, nodes: [room.me: 100], by: room.me)
        let failed = room.answer(.roster, .failure(.notStored("BUSY")))
        #expect(failed.joined.count == 1, "who joins does not wait for a roster that cannot be read")
        room.pass(.seconds(1))
        #expect(room.asked(.roster).count == 1)
    }

    @Test func largeRoomIsCounted() throws {
        var settings = RoomSettings()
        settings.limits.rosterInline = 1
        var room = try RoomHarness(settings: settings)
        try room.goInside()
        let both = [try change("bo", room.other, true), try change("cy", room.other, true)]
        #expect(told(room.hear(.presence(notice(0, both, count: 2)))) == ["=3"])
        #expect(try room.join(5, "dee").joined.first?.members == nil)
    }

    @Test func signalGoesToEverybodyHereAndToOtherNodesOnlyIfThereAreAny() throws {
        var room = try RoomHarness()
        try room.goInside()
        let alone = room.on(.signal(name: "typing", data: nil, ref: nil, from: SessionID(raw: 1)))
        #expect(alone.requests.isEmpty)
        #expect(alone.count == 1)
        room.hearEpoch(120, base: 0, nodes: [room.me: 100, room.other: 120], by: room.other)
        let shared = room.on(.signal(name: "typing", data: nil, ref: nil, from: SessionID(raw: 1)))
        #expect(shared.requests.count == 1)
    }

    @Test func ownSignalHeardOnTheChannelIsNotShownTwice() throws {
        var room = try RoomHarness()
        try room.goInside()
        let signal = Signal(node: room.me, session: SessionID(raw: 1), user: try UserID("ana"), name: "typing")
        #expect(room.hear(.signal(signal)).isEmpty)
    }
}
