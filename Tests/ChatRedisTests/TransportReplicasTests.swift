import ChatCore
import NIOCore
import TestSupport
import Testing

@testable import ChatRedis

/// WAIT, which has a connection of its own.
@Suite(.serialized) struct TransportReplicasTests {
    private func confirm(
        _ link: LinkProbe, _ count: Int, _ time: Duration = .seconds(30)
    ) async throws -> Int? {
        try await link.confirmed(replicas: count, within: time)
    }

    /// A master with a replica, and a link that waits for replicas.
    private func start() async throws -> (master: PrivateRedis, replica: PrivateRedis, link: LinkProbe) {
        let master = try await PrivateRedis.start()
        let replica = try await PrivateRedis.start(.init(configuration: ["replicaof 127.0.0.1 \(master.port)"]))
        try await eventually("the replica follows", within: .seconds(60)) {
            try master.cli("INFO", "replication").contains("state=online")
        }
        let settings = try LinkTesting.settings(master.url) { $0.confirmsReplicas = true }
        return (master, replica, try await LinkTesting.link(settings))
    }

    /// The link does not report when its third connection is up.
    private func waitForReplicas(_ link: LinkProbe) async throws {
        try await eventually("the replica confirms") { try await confirm(link, 1, .milliseconds(100)) != nil }
    }

    @Test func whatWasAnsweredIsOnTheReplicaWhenItConfirms() async throws {
        let (master, replica, link) = try await start()
        defer {
            master.stop()
            replica.stop()
        }
        try await waitForReplicas(link)
        for number in 1...50 {
            let answer = try await link.ask(try LinkTesting.append("lobby"))
            guard case .success(.appended(let position, _)) = answer else {
                Issue.record("not appended")
                return
            }
            #expect(position.seq == UInt64(number))
            #expect(try await confirm(link, 1) == 1)
            let key = try replica.cli("KEYS", "*lobby*")
            #expect(try replica.cli("GET", key) == "\(number)")
        }
        try await link.stop()
    }

    @Test func aStoppedReplicaDelaysConfirmationsAndNothingElse() async throws {
        let (master, replica, link) = try await start()
        defer {
            master.stop()
            replica.stop()
        }
        try await waitForReplicas(link)
        replica.freeze()
        _ = try await link.ask(try LinkTesting.append("lobby"))
        let began = ContinuousClock.now
        async let waiting = confirm(link, 1, .milliseconds(1_500))
        for _ in 0..<20 {
            guard case .success(.appended) = try await link.ask(try LinkTesting.append("lobby")) else {
                Issue.record("not appended")
                return
            }
        }
        let appended = ContinuousClock.now - began
        #expect(try await waiting == 0)
        let waited = ContinuousClock.now - began
        #expect(waited >= .milliseconds(1_450) && appended < waited, "the command connection was not held up")
        replica.thaw()
        #expect(try await confirm(link, 1) == 1)
        try await link.stop()
    }

    @Test func withoutReplicasNoneConfirms() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let link = try await LinkTesting.link(try LinkTesting.settings(redis.url) { $0.confirmsReplicas = true })
        try await waitForReplicas(link)
        #expect(try await confirm(link, 1, .milliseconds(50)) == 0)
        redis.kill()
        #expect(try await confirm(link, 1) == nil, "nothing is known")
        try await link.stop()
    }

    @Test func aLinkThatDoesNotWaitForReplicasKnowsNothingOfThem() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let link = try await LinkTesting.link(try LinkTesting.settings(redis.url))
        #expect(try await confirm(link, 1) == nil)
        #expect(try !redis.cli("CLIENT", "LIST").contains(":replicas"))
        try await link.stop()
    }
}
