import ChatCore
import Glibc
import NIOCore
import TestSupport
import Testing

@testable import ChatRedis

/// Connections that fail without being closed, and subscriptions that get lost on a working connection.
@Suite(.serialized) struct TransportSilenceTests {
    @Test func aSilentNetworkCostsBothConnectionsWithinPingAndDeadline() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let proxy = try await TCPProxy.start(to: redis.port)
        defer { proxy.stop() }
        let link = try await LinkTesting.link(
            try LinkTesting.settings("redis://127.0.0.1:\(proxy.port)") {
                $0.pingInterval = .milliseconds(300)
                $0.commandTimeout = .milliseconds(700)
                $0.connectTimeout = .milliseconds(500)
            })
        let room = try RoomName("lobby")
        try await link.with { $0.subscribe(room) }
        try await link.next("subscribed") { $0 == .subscribed(room) }
        let began = ContinuousClock.now
        proxy.silence()
        var isCommandsDown = false
        var isSubscriptionsDown = false
        while !isCommandsDown || !isSubscriptionsDown {
            let event = try await link.next("down") { $0.isCommandsDown || $0.isSubscriptionsDown }
            isCommandsDown = isCommandsDown || event.isCommandsDown
            isSubscriptionsDown = isSubscriptionsDown || event.isSubscriptionsDown
        }
        // The ping, the deadline, and the delay of a busy machine.
        #expect(ContinuousClock.now - began < .seconds(10))
        proxy.heal()
        try await LinkTesting.bothUp(link)
        try await link.with { $0.subscribe(room) }
        try await link.next("subscribed again") { $0 == .subscribed(room) }
        try await link.submit(try LinkTesting.publish("lobby", 7), serial: 7)
        try await link.next("heard") { $0 == .heard(room, TransportCodec.event(7)) }
        try await link.stop()
    }

    @Test func aSubscriptionThatIsTakenAwayInSilenceShowsAtTheNextAcknowledgement() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let proxy = try await TCPProxy.start(to: redis.port)
        defer { proxy.stop() }
        let prefix = LinkTesting.prefix()
        let link = try await LinkTesting.link(
            try LinkTesting.settings("redis://127.0.0.1:\(proxy.port)") { $0.pingInterval = .seconds(300) },
            prefix: prefix)
        let (lobby, yard) = (try RoomName("lobby"), try RoomName("yard"))
        try await link.with { $0.subscribe(lobby) }
        try await link.next("subscribed") { $0 == .subscribed(lobby) }
        let channel = "\(prefix)channel:lobby"
        let unsubscribe = "*2\r\n$11\r\nUNSUBSCRIBE\r\n$\(channel.utf8.count)\r\n\(channel)\r\n"
        #expect(proxy.inject(unsubscribe, where: "SUBSCRIBE", hiding: "*3\r\n$11\r\nunsubscribe"))
        try await eventually("redis has forgotten it", within: .seconds(60)) {
            try redis.cli("PUBSUB", "CHANNELS") == ""
        }
        #expect(!link.all.contains { $0.isSubscriptionsDown }, "nobody noticed yet")
        try await link.with { $0.subscribe(yard) }
        guard
            case .subscriptionsDown(let reason, _) = try await link.next("noticed", where: { $0.isSubscriptionsDown })
        else { return }
        #expect(reason.contains("subscriptions of this connection"))
        try await link.next("a new connection") { $0.isSubscriptionsUp }
        try await link.stop()
    }

    /// The loop is blocked for longer than Redis may take, while Redis has answered long since.
    @Test func aNodeThatWasHeldUpItselfDoesNotBlameRedis() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let link = try await LinkTesting.link(
            try LinkTesting.settings("redis://127.0.0.1:\(redis.port)") {
                $0.pingInterval = .milliseconds(200)
                $0.commandTimeout = .milliseconds(400)
            })
        for round in 1...UInt64(3) {
            let room = try RoomName("room\(round)")
            try await link.with { $0.subscribe(room) }
            try await link.submit(.ping, serial: round)
            // After the write of the requests, and before the checks.
            try await link.eventLoop.submit { _ = usleep(1_200_000) }.get()
            let expected: [LinkEvent] = [.completed(round, .success(.done)), .subscribed(room)]
            try await eventually("Redis has answered") { expected.allSatisfy(link.all.contains) }
        }
        #expect(!link.all.contains { $0.isCommandsDown || $0.isSubscriptionsDown })
        try await link.stop()
    }
}
