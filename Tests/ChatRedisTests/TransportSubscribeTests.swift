import ChatCore
import NIOCore
import TestSupport
import Testing

@testable import ChatRedis

@Suite struct TransportSubscribeTests {
    @Test func aThousandRoomsOfOneTickAreSubscribedHeardAndLeft() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let link = try await LinkTesting.link(try LinkTesting.settings(redis.url))
        let rooms = try (0..<2_500).map { try RoomName("room-\($0)") }
        try await link.with { link in for room in rooms { link.subscribe(room) } }
        for room in rooms { #expect(try await link.next("\(room)") { _ in true } == .subscribed(room)) }
        let requests = try (0..<100).map { try LinkTesting.publish("room-\($0 * 25)", UInt64($0)) }
        try await link.with { link in
            for (serial, request) in requests.enumerated() {
                link.submit(request, tag: RequestTag(owner: 0, generation: 0, serial: UInt64(serial + 1)))
            }
        }
        for number in 0..<100 {
            let event = try await link.next("message \(number)") { if case .heard = $0 { true } else { false } }
            #expect(event == .heard(rooms[number * 25], TransportCodec.event(UInt64(number))))
        }
        try await link.with { link in for room in rooms { link.unsubscribe(room) } }
        for room in rooms {
            let event = try await link.next("\(room)") { if case .unsubscribed = $0 { true } else { false } }
            #expect(event == .unsubscribed(room))
        }
        #expect(try redis.cli("PUBSUB", "CHANNELS") == "")
        try await link.stop()
    }

    /// Events of two rooms in turn, followed by an append: the events of each room leave in one PUBLISH after the
    /// append, and get no answer.
    @Test func whatATickPublishesInARoomLeavesTogether() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let link = try await LinkTesting.link(try LinkTesting.settings(redis.url))
        let rooms = try ["a", "b"].map { try RoomName($0) }
        try await link.with { link in for room in rooms { link.subscribe(room) } }
        for room in rooms { try await link.next("\(room)") { $0 == .subscribed(room) } }
        let requests = try (0..<100).map { try LinkTesting.publish($0 % 2 == 0 ? "a" : "b", UInt64($0)) }
        let append = try LinkTesting.append("a", epoch: 7)
        let before = link.all.count
        try await link.with { link in
            let nobody = RequestTag(owner: 0, generation: 0, serial: RequestTag.ignoredSerial)
            for request in requests { link.submit(request, tag: nobody) }
            link.submit(append, tag: RequestTag(owner: 0, generation: 0, serial: 1))
        }
        for number in 0..<100 {
            _ = try await link.next("event \(number)") { if case .heard = $0 { true } else { false } }
        }
        let heard = link.all[before...]
        for (index, room) in rooms.enumerated() {
            let numbers = heard.compactMap { event -> UInt64? in
                guard case .heard(.room(room), .presence(let notice)) = event else { return nil }
                return notice.position.seq
            }
            #expect(numbers == (0..<50).map { UInt64(2 * $0 + index) })
        }
        #expect(try await link.ask(.ping, serial: 2) == .success(.done))
        #expect(link.all[before...].compactMap(\.serial).filter { $0 != RequestTag.ignoredSerial } == [1, 2])
        #expect(try redis.cli("INFO", "commandstats").contains("cmdstat_publish:calls=2,"))
        try await link.stop()
    }

    @Test func aPublishHasABound() throws {
        var batches = PublishBatches()
        let room = try RoomName("a")
        let content = MessageContent(user: try UserID("ana"), at: 0, text: String(repeating: "x", count: 10_000))
        for seq in 1...20 {
            let message = Message(position: Position(epoch: 1, seq: UInt64(seq)), content: content)
            batches.add(
                .message(message, base: 0), on: .room(room),
                tag: RequestTag(owner: 0, generation: 0, serial: RequestTag.ignoredSerial))
        }
        #expect(batches.batches.map(\.events.count) == [6, 6, 6, 2])
        #expect(batches.bytes == 20 * content.cost)
        batches.removeAll()
        #expect(batches.isEmpty && batches.bytes == 0)
    }

    @Test func tenThousandJoinsAndLeavesAtOnceLeaveNothingBehind() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let link = try await LinkTesting.link(try LinkTesting.settings(redis.url))
        let room = try RoomName("revolving door")
        try await link.with { link in
            for _ in 0..<5_000 {
                link.subscribe(room)
                link.unsubscribe(room)
            }
            link.subscribe(room)
        }
        for step in 0...10_000 {
            let event = try await link.next("answer \(step)") { _ in true }
            #expect(event == (step % 2 == 0 ? .subscribed(room) : .unsubscribed(room)))
        }
        #expect(try await link.ask(try LinkTesting.publish("revolving door", 5), serial: 1) == .success(.done))
        #expect(link.all.last == .heard(room, TransportCodec.event(5)) || link.all.last?.serial == 1)
        try await link.with { $0.unsubscribe(room) }
        try await link.next("the end") { $0 == .unsubscribed(room) }
        #expect(try redis.cli("PUBSUB", "CHANNELS") == "")
        try await link.stop()
    }

    @Test func aPayloadThatIsNoEventIsCountedAndNothingElseHappens() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let observer = CountingObserver()
        let prefix = LinkTesting.prefix()
        let link = try await LinkTesting.link(try LinkTesting.settings(redis.url), observer: observer, prefix: prefix)
        let room = try RoomName("lobby")
        try await link.with { $0.subscribe(room) }
        try await link.next("subscribed") { $0 == .subscribed(room) }
        for _ in 0..<5 { try redis.cli("PUBLISH", "\(prefix)channel:lobby", "{nonsense") }
        try redis.cli("PUBLISH", "\(prefix)channel:lobby", "9")
        try await link.next("the good one") { $0 == .heard(room, TransportCodec.event(9)) }
        #expect(observer.counts.rejected == 5 && observer.counts.accepted == 1)
        #expect(!link.all.contains { $0.isSubscriptionsDown })
        try await link.stop()
    }

    @Test func afterTheConnectionCameBackNothingIsSubscribedUntilAskedFor() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let link = try await LinkTesting.link(try LinkTesting.settings(redis.url))
        let room = try RoomName("lobby")
        try await link.with { $0.subscribe(room) }
        try await link.next("subscribed") { $0 == .subscribed(room) }
        try redis.cli("CLIENT", "KILL", "TYPE", "pubsub")
        try await link.next("down") { $0.isSubscriptionsDown }
        try await link.next("up") { $0.isSubscriptionsUp }
        #expect(try redis.cli("PUBSUB", "CHANNELS") == "")
        try await link.with { $0.subscribe(room) }
        try await link.next("subscribed") { $0 == .subscribed(room) }
        #expect(!link.all.contains { $0.isCommandsDown }, "the command connection did not notice")
        try await link.stop()
    }

    @Test func anACLThatForbidsTheChannelIsAClearReason() async throws {
        let redis = try await PrivateRedis.start(
            .init(configuration: ["user ana on >secret ~* resetchannels +@all"]))
        defer { redis.stop() }
        let url = "redis://ana:secret@127.0.0.1:\(redis.port)"
        let link = try await LinkTesting.link(try LinkTesting.settings(url))
        let room = try RoomName("lobby")
        try await link.with { $0.subscribe(room) }
        guard
            case .subscriptionsDown(let reason, _) = try await link.next("a reason", where: { $0.isSubscriptionsDown })
        else { return }
        #expect(reason.contains("refuses to subscribe: NOPERM"))
        try await link.stop()
    }
}
