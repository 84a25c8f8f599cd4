import ChatCore
import Logging
import NIOCore
import NIOPosix
import TestSupport
import Testing

@testable import ChatRedis

/// Real sentinels, a real master with its replica, and failovers.
@Suite(.serialized) struct TransportFailoverTests {
    private let room: RoomName

    init() throws { room = try RoomName("lobby") }

    private func master(_ url: String) throws -> RedisMaster {
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        let master = try RedisMaster(
            try SentinelURL(url), eventLoop: MultiThreadedEventLoopGroup.singleton.next(), logger: logger)
        master.start()
        return master
    }

    private func link(
        _ master: RedisMaster, _ change: (inout RedisLinkSettings) -> Void = { _ in }
    ) async throws -> LinkProbe {
        let settings = try LinkTesting.settings("redis://unused") {
            $0.master = master
            change(&$0)
        }
        return try await LinkTesting.link(settings, isUp: false)
    }

    /// Waits until both connections are up with that server.
    private func bothUp(_ link: LinkProbe, _ redis: PrivateRedis) async throws {
        let run = try redis.runID()
        var commands = false
        var subscriptions = false
        while !commands || !subscriptions {
            switch try await link.next("connections to \(redis.port)", where: { $0.isUpOrDown }) {
            case .commandsUp(let identity, _): commands = identity.runID == run
            case .subscriptionsUp(let identity, _): subscriptions = identity.runID == run
            case .commandsDown: commands = false
            case .subscriptionsDown: subscriptions = false
            case .completed, .subscribed, .unsubscribed, .heard: break
            }
        }
    }

    private func works(_ link: LinkProbe, _ number: UInt64) async throws {
        let room = room
        try await link.with { $0.subscribe(room) }
        try await link.next("subscribed") { $0 == .subscribed(room) }
        try await link.submit(try LinkTesting.publish("lobby", number), serial: number)
        try await link.next("heard") { $0 == .heard(room, TransportCodec.event(number)) }
    }

    @Test func aFailoverMovesBothConnections() async throws {
        let sentinels = try await PrivateSentinels.start()
        defer { sentinels.stop() }
        let master = try master(sentinels.url)
        defer { master.stop() }
        let link = try await link(master)
        try await bothUp(link, sentinels.servers[0])
        try await works(link, 1)
        try sentinels.sentinel(1, "SENTINEL", "FAILOVER", PrivateSentinels.masterName)
        try await bothUp(link, sentinels.servers[1])
        try await works(link, 2)
        try await link.stop()
    }

    @Test func aStoppedMasterIsLeftAlthoughItsSocketsStayOpen() async throws {
        let sentinels = try await PrivateSentinels.start()
        defer { sentinels.stop() }
        let master = try master(sentinels.url)
        defer { master.stop() }
        // The deadlines are so long that they cannot be what notices the failure.
        let link = try await link(master) {
            $0.commandTimeout = .seconds(300)
            $0.pingInterval = .seconds(300)
        }
        try await bothUp(link, sentinels.servers[0])
        sentinels.servers[0].freeze()
        try await bothUp(link, sentinels.servers[1])
        try await works(link, 1)
        sentinels.servers[0].thaw()
        try await works(link, 2)
        let down = link.all.contains {
            if case .commandsDown(let reason, _) = $0 { reason.contains("no longer the master") } else { false }
        }
        #expect(down, "it was Sentinel that said so")
        try await link.stop()
    }

    @Test func aKilledMasterIsReplacedAndADeadSentinelChangesNothing() async throws {
        let sentinels = try await PrivateSentinels.start(password: "geheim", sentinelPassword: "wache")
        defer { sentinels.stop() }
        var url = try SentinelURL(
            sentinels.url.replacing("@", with: "@127.0.0.1:1,"))
        url.authenticate(user: nil, password: "wache")
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        let master = try RedisMaster(url, eventLoop: MultiThreadedEventLoopGroup.singleton.next(), logger: logger)
        master.start()
        defer { master.stop() }
        sentinels.freeze(sentinel: 0)
        let link = try await link(master)
        try await bothUp(link, sentinels.servers[0])
        try await works(link, 1)
        sentinels.servers[0].kill()
        try await bothUp(link, sentinels.servers[1])
        try await works(link, 2)
        // The old master comes back as a master until a sentinel demotes it; no connection goes there.
        try await sentinels.servers[0].restart()
        try await works(link, 3)
        #expect(try await link.ask(.ping) == .success(.done))
        try await link.stop()
    }

    @Test func aSentinelThatKnowsNoneOfTheFailoversIsNotBelieved() async throws {
        let sentinels = try await PrivateSentinels.start()
        let stale = try await PrivateSentinels.start(sentinels: 1)
        defer {
            sentinels.stop()
            stale.stop()
        }
        try sentinels.sentinel(0, "SENTINEL", "FAILOVER", PrivateSentinels.masterName)
        try await eventually("the replica is the master", within: .seconds(60)) { sentinels.servers[1].isMaster }
        let master = try master(sentinels.url.replacing("://", with: "://127.0.0.1:\(stale.ports[0]),"))
        defer { master.stop() }
        let link = try await link(master)
        try await bothUp(link, sentinels.servers[1])
        // It is asked every two seconds, and answers the same each time.
        for number in 1...25 {
            try await works(link, UInt64(number))
            try await Task.sleep(for: .milliseconds(100))
        }
        #expect(try await master.find(within: .zero).place == "127.0.0.1:\(sentinels.servers[1].port)")
        try await link.stop()
    }

    @Test func whatIsWrongWithSentinelsIsSaidAtStart() async throws {
        let sentinels = try await PrivateSentinels.start(sentinels: 1, sentinelPassword: "wache")
        defer { sentinels.stop() }
        func error(_ url: SentinelURL, within time: Duration = .milliseconds(400)) async throws -> RedisSetupError? {
            var logger = Logger(label: "test")
            logger.logLevel = .critical
            let master = try RedisMaster(url, eventLoop: MultiThreadedEventLoopGroup.singleton.next(), logger: logger)
            master.start()
            defer { master.stop() }
            do throws(RedisSetupError) {
                _ = try await master.find(within: time)
                return nil
            } catch { return error }
        }
        var url = try SentinelURL(sentinels.url)
        #expect(try await error(url)?.message.contains("wants a password") == true)
        url.authenticate(user: nil, password: "falsch")
        #expect(try await error(url)?.message.contains("does not accept the user or password") == true)
        url.authenticate(user: nil, password: "wache")
        #expect(try await error(url, within: .seconds(30)) == nil)
        var other = try SentinelURL(sentinels.url.replacing("/mymaster", with: "/yours"))
        other.authenticate(user: nil, password: "wache")
        let unknown = try await error(other)
        #expect(unknown?.code == .unknownMaster && unknown?.mayHeal == false, "\(unknown?.message ?? "")")
        let nobody = try await error(try SentinelURL("redis+sentinel://127.0.0.1:1/m"))
        #expect(nobody?.code == .noSentinel && nobody?.mayHeal == true, "\(nobody?.message ?? "")")
        let redis = try await error(try SentinelURL("redis+sentinel://127.0.0.1:\(sentinels.servers[0].port)/m"))
        #expect(redis?.message.contains("is no sentinel") == true, "\(redis?.message ?? "")")
    }

    // MARK: Without Sentinel

    @Test func aMasterThatBecomesAReplicaIsLeftAtItsFirstRefusal() async throws {
        let redis = try await PrivateRedis.start()
        let other = try await PrivateRedis.start()
        defer {
            redis.stop()
            other.stop()
        }
        let link = try await LinkTesting.link(try LinkTesting.settings(redis.url) { $0.pingInterval = .seconds(300) })
        try redis.cli("REPLICAOF", "127.0.0.1", "\(other.port)")
        guard case .failure(.notStored(let text)) = try await link.ask(try LinkTesting.append("lobby")) else {
            Issue.record("a replica took it")
            return
        }
        #expect(text.hasPrefix("READONLY"))
        try await link.next("subscriptions given up") { $0.isSubscriptionsDown }
        try await link.next("a refused try") {
            if case .commandsDown(let reason, _) = $0 { reason.contains("is a replica of") } else { false }
        }
        try redis.cli("REPLICAOF", "NO", "ONE")
        try await LinkTesting.bothUp(link)
        #expect(try await link.ask(.ping) == .success(.done))
        try await link.stop()
    }

    @Test func connectionsThatFindDifferentServersDoNotStay() async throws {
        let old = try await PrivateRedis.start()
        let new = try await PrivateRedis.start()
        defer {
            old.stop()
            new.stop()
        }
        // A name that leads elsewhere for all connections from now on.
        let proxy = try await TCPProxy.start(to: old.port)
        defer { proxy.stop() }
        let link = try await LinkTesting.link(try LinkTesting.settings("redis://127.0.0.1:\(proxy.port)"))
        proxy.redirect(to: new.port)
        try old.cli("CLIENT", "KILL", "TYPE", "normal")
        try await bothUp(link, new)
        try await works(link, 1)
        try await link.stop()
    }
}

extension LinkEvent {
    var isUpOrDown: Bool { isCommandsUp || isCommandsDown || isSubscriptionsUp || isSubscriptionsDown }
}
