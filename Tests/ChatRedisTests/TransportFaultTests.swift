import ChatCore
import NIOCore
import TestSupport
import Testing

@testable import ChatRedis

@Suite struct TransportFaultTests {
    // MARK: Losing a Redis that was there

    @Test func aFrozenRedisCostsBothConnectionsAfterTheDeadlineAndNotBefore() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let settings = try LinkTesting.settings(redis.url) {
            $0.commandTimeout = .milliseconds(1_500)
            $0.connectTimeout = .milliseconds(300)
        }
        let link = try await LinkTesting.link(settings)
        redis.freeze()
        let began = ContinuousClock.now
        let request = try LinkTesting.append("lobby")
        try await link.with { link in
            for serial in 1...2 {
                link.submit(request, tag: RequestTag(owner: 0, generation: 0, serial: UInt64(serial)))
            }
        }
        guard case .commandsDown(let reason, _) = try await link.next("down", where: { $0.isCommandsDown }) else {
            return
        }
        #expect(reason.contains("did not answer"))
        #expect(ContinuousClock.now - began >= .milliseconds(1_000), "a PING may have been out for a while")
        for serial in 1...2 {
            let event = try await link.next("answer \(serial)") { $0.serial != nil }
            #expect(event == .completed(UInt64(serial), .failure(.outcomeUnknown)))
        }
        guard case .commandsDown(let again, _) = try await link.next("a try", where: { $0.isCommandsDown }) else {
            return
        }
        #expect(again.contains("took the connection, but did not answer"))
        if !link.all.contains(where: { $0.isSubscriptionsDown }) {
            try await link.next("the subscribe connection down") { $0.isSubscriptionsDown }
        }
        redis.thaw()
        try await link.next("up again") { $0.isCommandsUp }
        #expect(try await link.ask(.ping) == .success(.done))
        try await link.stop()
    }

    @Test func aKilledConnectionComesBackAndItsRequestsHaveUnknownOutcomes() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let observer = CountingObserver()
        let link = try await LinkTesting.link(try LinkTesting.settings(redis.url), observer: observer)
        for round in 1...5 {
            redis.freeze()
            let (request, room) = (try LinkTesting.append("lobby"), try RoomName("lobby"))
            try await link.with { link in
                for serial in 0..<3 {
                    link.submit(request, tag: RequestTag(owner: 0, generation: 0, serial: UInt64(round * 10 + serial)))
                }
                link.reset(room)
            }
            try await link.next("down") { $0.isCommandsDown }
            redis.thaw()
            for serial in 0..<3 {
                let event = try await link.next("answer") { $0.serial != nil }
                #expect(event == .completed(UInt64(round * 10 + serial), .failure(.outcomeUnknown)))
            }
            try await link.next("up") { $0.isCommandsUp }
            try redis.cli("CLIENT", "KILL", "TYPE", "normal")
            try await link.next("down") { $0.isCommandsDown }
            try await link.next("up") { $0.isCommandsUp }
            #expect(try await link.ask(.ping) == .success(.done))
        }
        #expect(observer.counts.connects >= 11 && observer.counts.disconnects >= 10)
        try await link.stop()
    }

    @Test func aRestartedRedisHasAnotherIdentity() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let link = try await LinkTesting.link(try LinkTesting.settings(redis.url), isUp: false)
        guard case .commandsUp(let before, _) = try await link.next("up", where: { $0.isCommandsUp }) else { return }
        redis.kill()
        try await link.next("down") { $0.isCommandsDown }
        guard case .commandsDown(let reason, _) = try await link.next("a try", where: { $0.isCommandsDown }) else {
            return
        }
        #expect(reason.contains("refused"))
        try await redis.restart()
        guard case .commandsUp(let after, _) = try await link.next("up", where: { $0.isCommandsUp }) else { return }
        #expect(before.runID.count == 40 && before.replicationID.count == 40)
        #expect(before.runID != after.runID && before.replicationID != after.replicationID)
        #expect(try await link.ask(.nodes) == .success(.heartbeat(known: true)), "the functions are loaded")
        try await link.stop()
    }

    // MARK: What is not a Redis

    @Test(arguments: [
        ("HTTP/1.1 400 Bad Request\r\n\r\n", false, "is no RESP2"), ("\u{15}\u{3}\u{1}\0\u{2}", true, "rediss://"),
        ("", true, "closed the connection during set-up"), ("+OK\r\n+OK\r\n+OK\r\n", false, "redis_version"),
        ("+OK\r\n$2\r\nhi\r\n$2\r\nhi\r\n:1\r\n", false, "redis_version"), (":1\r\n", false, "no text"),
        ("*2147483647\r\n*2147483647\r\n", false, "elements"),
        ("-ERR max number of clients reached\r\n", true, "maxclients"),
        ("-DENIED Redis is running in protected mode\r\n", true, "protected mode"),
    ])
    func garbageIsAClearReasonAndIsTriedAgain(bytes: String, closes: Bool, expected: String) async throws {
        let server = try await FakeServer.start(.init(bytes: Array(bytes.utf8), closes: closes))
        defer { server.stop() }
        let link = try await LinkTesting.link(try LinkTesting.settings("redis://127.0.0.1:\(server.port)"), isUp: false)
        for _ in 0..<2 {
            guard case .commandsDown(let reason, _) = try await link.next("a reason", where: { $0.isCommandsDown })
            else {
                return
            }
            #expect(reason.contains(expected))
        }
        try await link.stop()
    }

    @Test func aRedisThatTurnsToGarbageIsGivenUp() async throws {
        let info = "redis_version:7.0.0\r\nrun_id:x\r\nrole:master\r\n"
        let bytes =
            "+OK\r\n$\(info.utf8.count)\r\n\(info)\r\n$\(info.utf8.count)\r\n\(info)\r\n*1\r\n:1\r\n+surprise\r\n"
        let server = try await FakeServer.start(.init(bytes: Array(bytes.utf8)))
        defer { server.stop() }
        let link = try await LinkTesting.link(try LinkTesting.settings("redis://127.0.0.1:\(server.port)"), isUp: false)
        try await link.next("up") { $0.isCommandsUp }
        guard case .commandsDown(let reason, _) = try await link.next("a reason", where: { $0.isCommandsDown }) else {
            return
        }
        #expect(reason.contains("answered what was not asked"))
        try await link.stop()
    }

    // MARK: Probe

    private func failure(_ url: String, timeout: Duration = .seconds(5)) async -> RedisSetupError? {
        do throws(RedisSetupError) {
            guard let url = try? RedisURL(url) else { return nil }
            _ = try await RedisLink.probe(url, codec: TransportCodec(prefix: "probe"), timeout: timeout)
            return nil
        } catch {
            return error
        }
    }

    @Test func theProbeSaysWhatIsWrong() async throws {
        let redis = try await PrivateRedis.start(.init(password: "hunter2"))
        defer { redis.stop() }
        #expect(await failure(redis.url) == nil)
        let wrong = await failure("redis://:wrong@127.0.0.1:\(redis.port)")
        #expect(wrong?.code == .wrongPassword && wrong?.mayHeal == false && wrong?.message.contains("wrong@") == false)
        #expect(await failure("redis://127.0.0.1:\(redis.port)")?.code == .passwordNeeded)
        #expect(await failure("redis://:hunter2@127.0.0.1:\(redis.port)/99")?.code == .noSuchDatabase)
        #expect(await failure("redis://127.0.0.1:1")?.code == .unreachable)
        #expect(await failure("redis://no-such-host.invalid")?.code == .unknownHost)
        #expect(await failure("unix:///no/such/socket")?.code == .unreachable)
        #expect(await failure("rediss://127.0.0.1?ca=/no/such/file")?.code == .tls)
    }

    @Test func theProbeGivesUpOnASilentServer() async throws {
        let server = try await FakeServer.start(.init(bytes: []))
        defer { server.stop() }
        #expect(await failure("redis://127.0.0.1:\(server.port)", timeout: .milliseconds(200))?.code == .timedOut)
    }

    @Test func theProbeReturnsWhatItFound() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let info = try await RedisLink.probe(try RedisURL(redis.url))
        #expect(info.version.hasPrefix("7.") && info.replicas == 0 && info.identity.runID.count == 40)
        #expect(try redis.cli("FUNCTION", "LIST") == "", "without a codec nothing is loaded")
    }
}

@Suite struct TransportWaysTests {
    private func works(_ url: String, redis: PrivateRedis) async throws {
        let prefix = LinkTesting.prefix()
        let link = try await LinkTesting.link(try LinkTesting.settings(url), prefix: prefix)
        let room = try RoomName("lobby")
        try await link.with { $0.subscribe(room) }
        try await link.next("subscribed") { $0 == .subscribed(room) }
        #expect(try await link.ask(try LinkTesting.append("lobby")) == .success(.appended(Position(epoch: 1, seq: 1))))
        try await link.submit(try LinkTesting.publish("lobby", 4), serial: 9)
        try await link.next("heard") { $0 == .heard(room, TransportCodec.event(4)) }
        try await link.stop()
    }

    @Test func aPasswordAnACLUserAndADatabaseNumber() async throws {
        let redis = try await PrivateRedis.start(
            .init(password: "top:secret/", configuration: ["user ana on >geheim ~* &* +@all"]))
        defer { redis.stop() }
        try await works("redis://:top%3Asecret%2F@127.0.0.1:\(redis.port)", redis: redis)
        try await works("redis://ana:geheim@127.0.0.1:\(redis.port)/7", redis: redis)
        #expect(try redis.cli("INFO", "keyspace").contains("db7:keys=1"))
    }

    @Test func aUnixSocket() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        try await works("unix://\(redis.socketPath)?db=2", redis: redis)
        #expect(try redis.cli("INFO", "keyspace").contains("db2:keys=1"))
    }

    @Test func tlsWithTheCertificateVerified() async throws {
        let redis = try await PrivateRedis.start(.init(tls: true))
        defer { redis.stop() }
        try await works("rediss://localhost:\(redis.tlsPort)?ca=\(redis.certificatePath)", redis: redis)
        try await works("rediss://127.0.0.1:\(redis.tlsPort)?ca=\(redis.certificatePath)", redis: redis)
        try await works("rediss://127.0.0.1:\(redis.tlsPort)?insecure=1", redis: redis)
    }

    @Test func tlsWithACertificateThatNobodyVouchesForIsRefused() async throws {
        let redis = try await PrivateRedis.start(.init(tls: true))
        defer { redis.stop() }
        let error = await #expect(throws: RedisSetupError.self) {
            _ = try await RedisLink.probe(try RedisURL("rediss://localhost:\(redis.tlsPort)"))
        }
        #expect(
            error?.code == .tls && error?.message.contains("certificate verify failed: self-signed") == true,
            "\(error?.message ?? "")")
    }

    @Test func tlsOnOneSideOnlyIsSaid() async throws {
        let redis = try await PrivateRedis.start(.init(tls: true))
        defer { redis.stop() }
        let tls = await #expect(throws: RedisSetupError.self) {
            _ = try await RedisLink.probe(
                try RedisURL("rediss://127.0.0.1:\(redis.port)?insecure=1"), timeout: .milliseconds(500))
        }
        #expect(tls?.message.contains("does it speak TLS?") == true, "\(tls?.message ?? "")")
        let plain = await #expect(throws: RedisSetupError.self) {
            _ = try await RedisLink.probe(
                try RedisURL("redis://127.0.0.1:\(redis.tlsPort)"), timeout: .milliseconds(500))
        }
        #expect(plain?.message.contains("does it want rediss://?") == true, "\(plain?.message ?? "")")
    }

    @Test func theConnectionsHaveNamesThatPeopleCanRead() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let link = try await LinkTesting.link(try LinkTesting.settings(redis.url))
        let clients = try redis.cli("CLIENT", "LIST")
        #expect(
            clients.contains("name=martlet:node__:3:commands")
                && clients.contains("name=martlet:node__:3:subscriptions"))
        try await link.stop()
    }
}
