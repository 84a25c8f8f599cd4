import ChatCore
import Foundation
import Glibc
import Logging
import NIOCore
import NIOPosix
import TestSupport
import Testing

@testable import ChatRedis

/// Counts the calls to an observer.
final class CountingObserver: RedisLinkObserver, @unchecked Sendable {
    private let lock = NSLock()
    private var counted = (writes: 0, commands: 0, answers: 0, accepted: 0, rejected: 0, connects: 0, disconnects: 0)

    var counts:
        (writes: Int, commands: Int, answers: Int, accepted: Int, rejected: Int, connects: Int, disconnects: Int)
    {
        lock.withLock { counted }
    }

    func redisSent(commands: Int, bytes: Int, queuedBytes: Int) {
        lock.withLock {
            counted.writes += 1
            counted.commands += commands
        }
    }
    func redisAnswered(operation: UInt8, nanoseconds: UInt64) { lock.withLock { counted.answers += 1 } }
    func redisHeard(bytes: Int, accepted: Bool) {
        lock.withLock { if accepted { counted.accepted += 1 } else { counted.rejected += 1 } }
    }
    func redisIgnored(_ kind: IgnoredData) {}
    func redisConnected(_ role: RedisConnectionRole, attempt: Int) { lock.withLock { counted.connects += 1 } }
    func redisDisconnected(_ role: RedisConnectionRole) { lock.withLock { counted.disconnects += 1 } }
}

/// Helpers of the link tests.
enum LinkTesting {
    static func settings(
        _ url: String, _ change: (inout RedisLinkSettings) -> Void = { _ in }
    ) throws -> RedisLinkSettings {
        var settings = RedisLinkSettings(
            url: try RedisURL(url), nodeName: "node ä", loopIndex: 3, commandTimeout: .seconds(10),
            connectTimeout: .seconds(10),
            pingInterval: .milliseconds(200), backoffFirst: .milliseconds(10), backoffLongest: .milliseconds(100))
        change(&settings)
        return settings
    }

    /// A link with its own key prefix. With `isUp`, waits until both connections are up.
    static func link(
        _ settings: RedisLinkSettings, observer: CountingObserver? = nil, prefix: String = prefix(),
        brokenLibrary: Bool = false,
        isUp: Bool = true, on loop: (any EventLoop)? = nil
    ) async throws -> LinkProbe {
        let codec = TransportCodec(prefix: prefix, hasBrokenLibrary: brokenLibrary)
        let probe = try await LinkProbe.start(on: loop) { eventLoop in
            var logger = Logger(label: "test")
            logger.logLevel = .critical
            return try RedisLink(
                settings: settings, codec: codec, eventLoop: eventLoop, tick: tick(of: eventLoop), logger: logger,
                observer: observer)
        }
        if isUp { try await bothUp(probe) }
        return probe
    }

    static func tick(of eventLoop: any EventLoop) -> LoopTick {
        LoopTick(execute: { eventLoop.execute($0) })
    }

    static func bothUp(_ probe: LinkProbe) async throws {
        let first = try await probe.next("a connection") { $0.isCommandsUp || $0.isSubscriptionsUp }
        try await probe.next("the other connection") { first.isCommandsUp ? $0.isSubscriptionsUp : $0.isCommandsUp }
    }

    static func prefix() -> String { "t\(UInt32.random(in: 0 ... .max)):" }

    static func append(_ room: String, epoch: UInt64 = 1, others: OtherNodes? = nil) throws -> BrokerRequest {
        let content = MessageContent(user: try UserID("ana"), at: 0, text: "x")
        return .append(room: try RoomName(room), epoch: epoch, content: content, others: others)
    }

    static func publish(_ room: String, _ number: UInt64) throws -> BrokerRequest {
        .publish(room: try RoomName(room), event: TransportCodec.event(number))
    }
}

@Suite struct TransportLinkTests {
    @Test func aTicksRequestsLeaveInOneWriteAndComeBackInOrder() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let observer = CountingObserver()
        let link = try await LinkTesting.link(try LinkTesting.settings(redis.url), observer: observer)
        let before = observer.counts
        let request = try LinkTesting.append("lobby", epoch: 7)
        try await link.with { link in
            for serial in 1...2_000 {
                link.submit(request, tag: RequestTag(owner: 0, generation: 0, serial: UInt64(serial)))
            }
        }
        for serial in 1...2_000 {
            let event = try await link.next("answer \(serial)") { $0.serial != nil }
            #expect(event == .completed(UInt64(serial), .success(.appended(Position(epoch: 7, seq: UInt64(serial))))))
        }
        let after = observer.counts
        #expect(after.answers - before.answers == 2_000)
        // A PING of the link itself may come in between.
        #expect(after.writes - before.writes <= 1 + (after.commands - before.commands - 2_000))
        try await link.stop()
    }

    /// With 32 requests unanswered, and in the tick after one with 32 appends for others, the link is busy.
    @Test func theLinkIsBusyWhileManyRequestsAreOnTheirWay() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let link = try await LinkTesting.link(try LinkTesting.settings(redis.url))
        let alone = try LinkTesting.append("lobby")
        let shared = try LinkTesting.append("lobby", others: OtherNodes(known: 0, base: 0))
        func isPublished(_ result: Result<BrokerReply, BrokerError>?) -> Bool? {
            if case .success(.appended(_, let isPublished))? = result { isPublished } else { nil }
        }
        #expect(isPublished(try await link.ask(shared)) == true)
        #expect(isPublished(try await link.ask(alone)) == false)
        try await link.with { link in
            for serial in 1...100 {
                link.submit(shared, tag: RequestTag(owner: 0, generation: 0, serial: UInt64(serial)))
            }
        }
        var answers: [Bool?] = []
        for serial in 1...100 {
            let event = try await link.next("answer \(serial)") { $0.serial != nil }
            if case .completed(_, let result) = event { answers.append(isPublished(result)) }
        }
        // A PING of the link itself may be unanswered too.
        #expect(answers.prefix(31).allSatisfy { $0 == true })
        #expect(answers.count == 100 && answers.dropFirst(32).allSatisfy { $0 == false })
        #expect(isPublished(try await link.ask(shared)) == false, "the last tick that had any had a hundred")
        #expect(isPublished(try await link.ask(shared)) == true)
        try await link.stop()
    }

    /// A node whose loop was blocked does not take that for silence of Redis.
    @Test func whatHasComeAndWasNotReadIsSeen() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        // A group of its own, because its loop is blocked.
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let link = try await LinkTesting.link(try LinkTesting.settings(redis.url), on: group.next())
        let request = try LinkTesting.append("lobby", epoch: 7)
        let eventLoop = link.eventLoop
        let seen = eventLoop.makePromise(of: Bool.self)
        try await link.with { broker in
            let bound = NIOLoopBound(broker, eventLoop: eventLoop)
            broker.submit(request, tag: RequestTag(owner: 0, generation: 0, serial: 1))
            // After the task that writes the request, and before the loop checks its sockets again.
            eventLoop.execute {
                let end = ContinuousClock.now + .seconds(5)
                while !bound.value.hasUnread, ContinuousClock.now < end { usleep(100) }
                seen.succeed(bound.value.hasUnread)
            }
        }
        #expect(try await seen.futureResult.get())
        try await link.next("the answer") { $0.serial == 1 }
        try await link.stop()
        try await link.with { #expect(!$0.hasUnread) }
        try await group.shutdownGracefully()
    }

    @Test func aRequestOfTwoCommandsHasBothReplies() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let link = try await LinkTesting.link(try LinkTesting.settings(redis.url))
        let content = MessageContent(user: try UserID("ana"), at: 0, text: "five!")
        let answer = try await link.ask(.say(room: try RoomName("r"), content: content))
        #expect(answer == .success(.said(Position(epoch: 0, seq: 5), repeated: false)))
        #expect(try await link.ask(.ping) == .success(.done))
        try await link.stop()
    }

    @Test func whatIsAskedBeforeTheConnectionIsUpIsNotConnectedAndToldAfterTheCall() async throws {
        let link = try await LinkTesting.link(try LinkTesting.settings("redis://127.0.0.1:1"), isUp: false)
        let request = try LinkTesting.append("lobby")
        try await link.with { broker in
            broker.submit(request, tag: RequestTag(owner: 0, generation: 0, serial: 1))
            broker.submit(request, tag: RequestTag(owner: 0, generation: 0, serial: 2))
            #expect(!link.all.contains { $0.serial != nil }, "no callback from within a call")
        }
        for serial in 1...2 {
            let event = try await link.next("answer \(serial)") { $0.serial != nil }
            #expect(event == .completed(UInt64(serial), .failure(.notConnected)))
        }
        let down = try await link.next("a reason") { $0.isCommandsDown }
        guard case .commandsDown(let reason, _) = down else { return }
        #expect(reason.contains("127.0.0.1:1") && reason.contains("refused"))
        try await link.next("a second try") { $0.isCommandsDown }
        try await link.stop()
    }

    @Test func anErrorOfTheCodecCompletesInItsTurn() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let link = try await LinkTesting.link(try LinkTesting.settings(redis.url))
        let node = try NodeID("n")
        try await link.with { link in
            link.submit(.ping, tag: RequestTag(owner: 0, generation: 0, serial: 1))
            link.submit(.forget(node), tag: RequestTag(owner: 0, generation: 0, serial: 2))
            link.submit(.ping, tag: RequestTag(owner: 0, generation: 0, serial: 3))
        }
        #expect(try await link.next("1") { $0.serial != nil } == .completed(1, .success(.done)))
        #expect(
            try await link.next("2") { $0.serial != nil }
                == .completed(2, .failure(.notStored("the codec does not want to"))))
        #expect(try await link.next("3") { $0.serial != nil } == .completed(3, .success(.done)))
        try await link.stop()
    }

    @Test func errorsOfRedisSayThatNothingWasStored() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let prefix = LinkTesting.prefix()
        let link = try await LinkTesting.link(try LinkTesting.settings(redis.url), prefix: prefix)
        func text(_ result: Result<BrokerReply, BrokerError>) -> String {
            if case .failure(.notStored(let text)) = result { text } else { "\(result)" }
        }
        try redis.cli("RPUSH", "\(prefix){wrong}", "x")
        #expect(text(try await link.ask(try LinkTesting.append("wrong"))).hasPrefix("WRONGTYPE"))
        try redis.cli("CONFIG", "SET", "maxmemory", "1")
        #expect(text(try await link.ask(try LinkTesting.append("lobby"))).hasPrefix("OOM"))
        try redis.cli("CONFIG", "SET", "maxmemory", "0")
        try redis.cli("REPLICAOF", "127.0.0.1", "1")
        #expect(text(try await link.ask(try LinkTesting.append("lobby"))).hasPrefix("READONLY"))
        try redis.cli("REPLICAOF", "NO", "ONE")
        // A link does not stay with a replica, so the connections were given up.
        try await LinkTesting.bothUp(link)
        #expect(try await link.ask(try LinkTesting.append("lobby")) == .success(.appended(Position(epoch: 1, seq: 1))))
        try await link.stop()
    }

    // MARK: Function library

    @Test func aLostLibraryIsLoadedAgainAndNobodyOvertakesTheSecondTry() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let link = try await LinkTesting.link(try LinkTesting.settings(redis.url))
        #expect(try await link.ask(.nodes) == .success(.heartbeat(known: true)))
        try redis.cli("FUNCTION", "FLUSH")
        try await link.with { link in
            for (serial, request) in [BrokerRequest.ping, .nodes, .ping, .nodes, .ping].enumerated() {
                link.submit(request, tag: RequestTag(owner: 0, generation: 0, serial: UInt64(serial)))
            }
        }
        for serial in 0..<5 {
            let expected: BrokerReply = serial % 2 == 0 ? .done : .heartbeat(known: true)
            let event = try await link.next("answer \(serial)") { $0.serial != nil }
            #expect(event == .completed(UInt64(serial), .success(expected)))
        }
        try await link.stop()
    }

    @Test func aLibraryThatCannotBeLoadedIsAClearReason() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let link = try await LinkTesting.link(try LinkTesting.settings(redis.url), brokenLibrary: true, isUp: false)
        guard case .commandsDown(let reason, _) = try await link.next("a reason", where: { $0.isCommandsDown }) else {
            return
        }
        #expect(
            reason.contains("did not take the function library") && reason.contains("nonsense")
                || reason.contains("compil"))
        try await link.stop()
    }

    // MARK: Bounds

    @Test func beyondTheBytesThatMayWaitARequestIsNotStoredInItsTurn() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let settings = try LinkTesting.settings(redis.url) {
            $0.queuedBytes = 10_000
            $0.commandTimeout = .seconds(60)
        }
        let link = try await LinkTesting.link(settings)
        let content = MessageContent(user: try UserID("ana"), at: 0, text: String(repeating: "x", count: 3_000))
        let request = BrokerRequest.say(room: try RoomName("r"), content: content)
        redis.freeze()
        try await link.with { link in
            for serial in 0..<10 {
                link.submit(request, tag: RequestTag(owner: 0, generation: 0, serial: UInt64(serial)))
            }
        }
        redis.thaw()
        var stored = 0
        for serial in 0..<10 {
            guard case .completed(let heard, let result) = try await link.next("\(serial)", where: { $0.serial != nil })
            else { return }
            #expect(heard == UInt64(serial))
            if serial < 4 {
                #expect((try? result.get()) != nil)
                stored += 1
            } else {
                #expect(result == .failure(.notStored("more than 10000 bytes are waiting for redis")))
            }
        }
        #expect(stored == 4)
        #expect(try await link.ask(request) == .success(.said(Position(epoch: 0, seq: 3_000), repeated: false)))
        try await link.stop()
    }

    @Test func stopLetsWhatWasSubmittedFinishAndIsSilentThen() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let prefix = LinkTesting.prefix()
        let link = try await LinkTesting.link(try LinkTesting.settings(redis.url), prefix: prefix)
        let request = try LinkTesting.append("lobby")
        let stopped = try await link.eventLoop.submit {
            NIOLoopBoundBox<EventLoopFuture<Void>?>(nil, eventLoop: link.eventLoop)
        }.get()
        try await link.with { broker in
            for serial in 1...500 {
                broker.submit(request, tag: RequestTag(owner: 0, generation: 0, serial: UInt64(serial)))
            }
            broker.stop()
            broker.submit(request, tag: RequestTag(owner: 0, generation: 0, serial: 501))
            stopped.value = (broker as? RedisLink)?.stopped
        }
        for serial in 1...501 {
            let event = try await link.next("answer \(serial)") { $0.serial != nil }
            let seq = UInt64(serial)
            let expected: Result<BrokerReply, BrokerError> =
                serial <= 500 ? .success(.appended(Position(epoch: 1, seq: seq))) : .failure(.notConnected)
            #expect(event == .completed(seq, expected))
        }
        try await link.eventLoop.flatSubmit { stopped.value ?? link.eventLoop.makeSucceededVoidFuture() }.get()
        #expect(try redis.cli("GET", "\(prefix){lobby}") == "500")
        #expect(!link.all.contains { $0.isCommandsDown || $0.isSubscriptionsDown })
        #expect(try await link.ask(request) == .failure(.notConnected), "still exactly one completion")
    }
}
