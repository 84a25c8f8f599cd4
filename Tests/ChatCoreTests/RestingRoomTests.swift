import Testing

@testable import ChatCore

extension RoomHarness {
    /// The packed room; nil if it cannot rest.
    fileprivate func rest() -> RestingRoom? {
        var machine = machine
        return machine.rest(now: now)
    }
}

/// A resting room wakes with the state that it had. The simulator tests what it does afterwards: in two of five
/// schedules every room rests and wakes between any two events.
struct RestingRoomTests {
    /// A value and everything in it as text, to compare values without `==`. Dictionaries and sets are ordered.
    private static func unfolded(_ value: Any) -> String {
        let mirror = Mirror(reflecting: value)
        guard !mirror.children.isEmpty else { return "\(value)" }
        var parts = mirror.children.map { "\($0.label ?? "")=\(unfolded($0.value))" }
        if mirror.displayStyle == .set || mirror.displayStyle == .dictionary { parts.sort() }
        return "\(mirror.subjectType)(\(parts.joined(separator: ", ")))"
    }

    private func expectSame(_ room: RoomHarness, sourceLocation: SourceLocation = #_sourceLocation) throws {
        var before = room.machine
        let resting = before.rest(now: room.now)
        let rest = try #require(resting, sourceLocation: sourceLocation)
        var woken = RoomStateMachine(waking: rest, room: before.room, common: before.common)
        woken.wallClock = before.wallClock
        woken.roundTrip = before.roundTrip
        let (left, right) = (Self.unfolded(woken), Self.unfolded(before))
        #expect(left == right, sourceLocation: sourceLocation)
        #expect(rest.position == before.position && rest.isShared == before.hasOthers, sourceLocation: sourceLocation)
    }

    /// Lets the time pass that a room waits after any event.
    private func calm(_ room: inout RoomHarness) {
        room.pass(.seconds(2))
        room.settlePresence()
    }

    @Test func aQuietRoomWakesAsWhatItWas() throws {
        var room = try RoomHarness()
        try room.goInside()
        calm(&room)
        try expectSame(room)
        room.send(1, "good night")
        #expect(room.rest() == nil, "a send waits")
        room.answer(.append, .success(.appended(room.position(100, 1))))
        try expectSame(room)
        room.send(1, "again", key: "k1")
        room.answer(.append, .success(.appended(room.position(100, 2))))
        try expectSame(room)
    }

    @Test func aSharedRoomWakesAsWhatItWas() throws {
        var settings = RoomSettings()
        settings.historyLength = 4
        var room = try RoomHarness(settings: settings)
        let long = String(repeating: "a longer name ", count: 5)
        let entries = try [room.message(90, 3, key: "k"), room.message(100, 5, by: long), room.message(100, 6, "日本")]
        try room.goInside(
            epoch: 110, last: 6, others: [room.other: 100], entries: entries, links: [(90, 0), (100, 3), (110, 6)],
            history: 90)
        try room.join(2, "ana", device: "laptop")
        try room.join(3, long, device: long.prefix(40).description, after: room.position(100, 5))
        calm(&room)
        let ana = try UserID("ana")
        let changes = try [(room.other, "tv"), (room.me, "phone"), (room.other, "desk")].map { node, device in
            PresenceNotice.Change(user: ana, device: try DeviceName(device), node: node, joined: true)
        }
        room.hear(
            .presence(
                PresenceNotice(
                    after: room.position(1, 0), position: room.position(1, 3), changes: changes, count: 1)))
        try expectSame(room)
        for seq in UInt64(7)...12 { room.hearMessage(try room.message(110, seq, by: "ana"), base: 6) }
        calm(&room)
        #expect(room.machine.rememberedMessages == 4)
        let rest = try #require(room.rest())
        var woken = RoomStateMachine(waking: rest, room: room.room, common: room.machine.common)
        let again = woken.rest(now: room.now)
        #expect(again?.isSame(as: rest) == true)
    }

    @Test func aWokenRoomKnowsWhatWasSaidAndWhoIsThere() throws {
        var room = try RoomHarness()
        try room.goInside()
        room.send(1, "once", key: "k1")
        room.answer(.append, .success(.appended(room.position(100, 1))))
        let ana = PresenceNotice.Change(
            user: try UserID("ana"), device: try DeviceName("phone"), node: room.me, joined: true)
        room.hear(
            .presence(
                PresenceNotice(after: room.position(1, 0), position: room.position(1, 1), changes: [ana], count: 1)))
        calm(&room)
        let rest = try #require(room.rest())
        room.machine = RoomStateMachine(waking: rest, room: room.room, common: room.machine.common)
        let repeated = room.send(1, "once", key: "k1").repeated
        #expect(repeated == [room.position(100, 1)])
        let appended = room.send(1, "twice").appended
        #expect(appended == ["twice"])
        room.answer(.append, .success(.appended(room.position(100, 2))))
        let actions = try room.join(2, "bo", after: room.position(100, 1))
        let joined = try #require(actions.joined.first)
        #expect(joined.messages.map(\.content.text) == ["twice"] && joined.members?.map(\.user.text) == ["ana", "bo"])
    }

    /// The woken room meets another Redis than the one that it had entered, so its messages may have to be put back.
    @Test func aWokenRoomBringsItsMessagesToAnotherRedis() throws {
        var room = try RoomHarness()
        try room.goInside()
        room.send(1, "kept")
        room.answer(.append, .success(.appended(room.position(100, 1))))
        calm(&room)
        let rest = try #require(room.rest())
        room.machine = RoomStateMachine(waking: rest, room: room.room, common: room.machine.common)
        room.commandsDown()
        room.identity = BrokerIdentity(runID: "run2", replicationID: "repl2")
        room.commandsUp()
        guard case .enter(let request)? = room.asked(.enter).first else {
            Issue.record("the room was not entered again")
            return
        }
        #expect(request.identityChanged && request.offersTail && request.tail.isEmpty)
        room.answer(.enter, .success(.bring(from: room.position(0, 0))))
        guard case .enter(let brings)? = room.asked(.enter).first else {
            Issue.record("what Redis lost was not brought")
            return
        }
        #expect(!brings.offersTail && brings.tail.map(\.content.text) == ["kept"])
    }

    @Test func nobodyRestsWhoWaits() throws {
        var room = try RoomHarness()
        #expect(room.rest() == nil, "nobody is there")
        room.linksUp()
        try room.join(1)
        #expect(room.rest() == nil, "not subscribed")
        room.subscribed()
        #expect(room.rest() == nil, "not entered")
        room.answer(.enter, .success(.view(room.view(100, last: 0))))
        room.hearEpoch(100, base: 0, nodes: [room.me: 100], by: room.me)
        #expect(room.rest() == nil, "the roster is not read")
        calm(&room)
        #expect(room.rest() != nil)
        room.hearMessage(try room.message(100, 2), base: 0)
        #expect(room.rest() == nil, "a message is missing")
        room.hearMessage(try room.message(100, 1), base: 0)
        #expect(room.rest() != nil)
        room.leave(1)
        #expect(room.rest() == nil, "the room lingers")
        try room.join(1)
        calm(&room)
        #expect(room.rest() != nil)
        room.commandsDown()
        #expect(room.rest() == nil, "no connection")
    }

    @Test func largeRoomsDoNotRest() throws {
        var room = try RoomHarness()
        try room.goInside()
        for seq in UInt64(1)...64 { room.hearMessage(try room.message(100, seq), base: 0) }
        calm(&room)
        #expect(room.rest() != nil)
        room.hearMessage(try room.message(100, 65), base: 0)
        #expect(room.rest() == nil)
    }

    @Test func aRoomOfOneMessageIsSmall() throws {
        var room = try RoomHarness()
        try room.goInside(epoch: 1_795_230_114_073)
        room.send(1, String(repeating: "x", count: 100))
        room.answer(.append, .success(.appended(room.position(1_795_230_114_073, 1))))
        calm(&room)
        let rest = try #require(room.rest())
        #expect(rest.size <= 230)
    }

    @Test func whatWasWrittenIsReadAndPastTheEndAllIsZero() {
        let numbers: [UInt64] = [0, 1, 127, 128, 1 << 35, .max - 1, .max]
        var writer = PackedBytesWriter(known: "me")
        for number in numbers { writer.add(number) }
        for name in ["me", "ana", "", "ana", "me"] { writer.add(name: name) }
        for text in ["", nil, "日本"] { writer.add(text: text) }
        writer.add(true)
        var reader = PackedBytesReader(writer.bytes, known: "me")
        #expect(numbers.map { _ in reader.number() } == numbers)
        let texts = ((0..<5).map { _ in reader.name() }, (0..<3).map { _ in reader.text() }, reader.flag())
        #expect(texts.0 == ["me", "ana", "", "ana", "me"] && texts.1 == ["", nil, "日本"] && texts.2)
        let beyond = (reader.number(), reader.name(), reader.text(), reader.flag())
        #expect(beyond == (0, "", nil, false))
        for end in writer.bytes.indices {
            var cut = PackedBytesReader(Array(writer.bytes[..<end]), known: "me")
            for _ in 0..<40 { _ = (cut.name(), cut.text(), cut.position()) }
        }
    }
}
