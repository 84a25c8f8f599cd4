import Foundation
import MartletClient
import TestSupport
import Testing

/// Redis moves, stops answering, loses a subscription, or has replicas that do not answer.
@Suite(.serialized, .inTurn)
struct OutageTests {
    private func status(_ node: TestNode) async throws -> Int { try await Shell.status(of: "\(node.http)/readyz") }

    // MARK: Sentinel

    @Test func clientsTalkOnThroughFailoversAndNothingThatWasAckedIsLost() async throws {
        let sentinels = try await PrivateSentinels.start(configuration: [
            "appendonly no", "repl-diskless-sync-delay 0", "enable-debug-command local",
        ])
        defer { sentinels.stop() }
        var nodes: [TestNode] = []
        defer { for node in nodes { node.signal(SIGKILL) } }
        for index in 1...2 { nodes.append(try await TestNode.start("node\(index)", redis: sentinels.url)) }
        let room = try RoomName("moving")
        let ana = try await Watcher.connect("ana", nodes[0])
        let bob = try await Watcher.connect("bob", nodes[1])
        try await ana.client.join(room)
        try await bob.client.join(room)

        let talk = Task {
            var sent = 0
            while !Task.isCancelled {
                try await ana.client.send("\(sent)", to: room)
                sent += 1
                try? await Task.sleep(for: .milliseconds(1))
            }
            return sent
        }
        func talked(_ count: Int) async throws {
            let before = bob.texts(room).count
            try await eventually("bob is shown \(count) more", within: .seconds(180)) {
                bob.texts(room).count >= before + count
            }
        }
        // Many messages: the nodes put back what they remember into the new master.
        try await talked(900)
        // A failover by hand,
        try sentinels.sentinel(0, "SENTINEL", "FAILOVER", PrivateSentinels.masterName)
        try await eventually("the replica is the master", within: .seconds(60)) { sentinels.servers[1].isMaster }
        try await talked(20)
        try await eventually("the old master follows", within: .seconds(60)) {
            (try? sentinels.servers[1].cli("INFO", "replication"))?.contains("state=online") ?? false
        }
        // and one after a crash. Sentinel waits a while between two failovers.
        sentinels.servers[1].kill()
        try await eventually("the first one is the master again", within: .seconds(90)) {
            sentinels.servers[0].isMaster
        }
        try await talked(20)
        talk.cancel()
        let sent = try await talk.value
        try await bob.wait(for: sent, in: room)

        let expected = (0..<sent).map(String.init)
        #expect(bob.seen(room).resets.isEmpty && bob.seen(room).gaps.isEmpty)
        #expect(bob.texts(room) == expected && ana.texts(room) == expected)
        #expect(bob.positions(room).areContiguous)
        let log = try sentinels.servers[0].cli("XRANGE", "martlet:{moving}:log", "-", "+")
        let lines = log.split(separator: "\n").map(String.init)
        let stored = lines.indices.dropLast().filter { lines[$0] == "text" }.map { lines[$0 + 1] }
        #expect(stored.suffix(900) == expected.suffix(900), "all of it is in the log")
        for node in nodes {
            try await eventually("\(node.name) is ready") { try await self.status(node) == 200 }
        }
    }

    @Test func aMasterThatNobodyKnowsRefusesTheStart() async throws {
        let sentinels = try await PrivateSentinels.start(sentinels: 1)
        defer { sentinels.stop() }
        let (code, output) = try await TestNode.refuse([
            "MARTLET_PORT": "0", "MARTLET_REDIS_URL": sentinels.url.replacing("/mymaster", with: "/mymistress"),
        ])
        #expect(code == 69)
        #expect(output.contains("no sentinel knows a master") && output.contains("mymistress"), "\(output)")
    }

    // MARK: Replicas

    @Test func sentWaitsForReplicasAndSaysSoWhenTheyDoNotAnswer() async throws {
        let master = try await PrivateRedis.start()
        let replica = try await PrivateRedis.start(
            .init(configuration: ["replicaof 127.0.0.1 \(master.port)"]))
        defer {
            master.stop()
            replica.stop()
        }
        try await eventually("the replica follows", within: .seconds(60)) {
            try master.cli("INFO", "replication").contains("state=online")
        }
        let node = try await TestNode.start(
            "node", redis: master.url, ["MARTLET_ACK_REPLICAS": "1", "MARTLET_ACK_DEADLINE": "300ms"])
        defer { node.signal(SIGKILL) }
        let room = try RoomName("safe")
        let ana = try await Watcher.connect("ana", node)
        try await ana.client.join(room)
        try await ana.client.send("one", to: room)
        #expect(try replica.cli("XLEN", "martlet:{safe}:log") == "1")
        func refusals() async throws -> Double {
            let metrics = try await Shell.get("\(node.http)/metrics")
            let line = metrics.split(separator: "\n").first { $0.hasPrefix("martlet_not_replicated_total ") }
            return line.flatMap { $0.split(separator: " ").last }.flatMap { Double($0) } ?? 0
        }
        let before = try await refusals()

        replica.freeze()
        func say() async throws -> String {
            try await Shell.run(
                "curl",
                [
                    "-s", "-m", "10", "\(node.http)/api/rooms/safe/messages", "-d",
                    #"{"user":"bot","text":"two","key":"k"}"#,
                ])
        }
        let refused = try await say()
        #expect(refused.contains("notReplicated") && refused.contains("404"), "\(refused)")
        let late = Task { try await ana.client.send("three", to: room) }
        try await eventually("both are shown all the same") { ana.texts(room) == ["one", "two", "three"] }
        try await eventually("ana's node has said so") {
            try await refusals() >= before + 2
        }
        #expect(try await status(node) == 200, "a slow replica is no outage")
        replica.thaw()
        let sent = try await late.value
        #expect(sent.repeated, "it was tried again under its key")
        let repeated = try await say()
        #expect(repeated.contains(#""repeated":true"#), "\(repeated)")
        #expect(ana.texts(room) == ["one", "two", "three"])
        #expect(try replica.cli("XLEN", "martlet:{safe}:log") == "3")
    }

    // MARK: Silence

    /// Ana on a node that reaches Redis through a proxy, with one loop and views of quiet rooms so rare that they
    /// repair nothing; bob on one that reaches it directly; both in one room, to which bob has sent `first`.
    private struct ProxiedTalk {
        let redis: PrivateRedis
        let proxy: TCPProxy
        let node: TestNode
        let other: TestNode
        let room: RoomName
        let ana: Watcher
        let bob: Watcher

        init(first: String) async throws {
            redis = try await PrivateRedis.start()
            proxy = try await TCPProxy.start(to: redis.port)
            node = try await TestNode.start(
                "proxied", redis: "redis://127.0.0.1:\(proxy.port)",
                ["MARTLET_EVENT_LOOPS": "1", "MARTLET_ROOM_VIEW_INTERVAL": "1h"])
            other = try await TestNode.start("other", redis: redis.url)
            room = try RoomName("lobby")
            ana = try await Watcher.connect("ana", node)
            bob = try await Watcher.connect("bob", other)
            try await ana.client.join(room)
            try await bob.client.join(room)
            try await bob.client.send(first, to: room)
            try await ana.wait(for: 1, in: room)
        }

        func end() {
            node.signal(SIGKILL)
            other.signal(SIGKILL)
            proxy.stop()
            redis.stop()
        }
    }

    @Test func aSilentNetworkTurnsReadyzRedAndIsRepaired() async throws {
        let talk = try await ProxiedTalk(first: "before")
        defer { talk.end() }
        let (node, proxy, room, ana, bob) = (talk.node, talk.proxy, talk.room, talk.ana, talk.bob)
        proxy.silence()
        let began = ContinuousClock.now
        try await eventually("readyz is red") { try await self.status(node) == 503 }
        #expect(ContinuousClock.now - began < .seconds(8))
        try await bob.client.send("meanwhile", to: room)
        #expect(ana.texts(room) == ["before"])
        proxy.heal()
        try await eventually("readyz is green") { try await self.status(node) == 200 }
        try await bob.client.send("after", to: room)
        try await ana.wait(for: 3, in: room)
        #expect(ana.texts(room) == ["before", "meanwhile", "after"])
    }

    @Test func aStoppedRedisTurnsReadyzRedAndIsFoundAgain() async throws {
        let cluster = try await Cluster.start(1)
        defer { cluster.end() }
        let room = try RoomName("lobby")
        let ana = try await Watcher.connect("ana", cluster.nodes[0])
        try await ana.client.join(room)
        cluster.redis.freeze()
        let began = ContinuousClock.now
        try await eventually("readyz is red") { try await self.status(cluster.nodes[0]) == 503 }
        #expect(ContinuousClock.now - began < .seconds(8))
        let late = Task { try await ana.client.send("late", to: room) }
        cluster.redis.thaw()
        _ = try await late.value
        try await eventually("readyz is green") { try await self.status(cluster.nodes[0]) == 200 }
        #expect(ana.texts(room) == ["late"])
    }

    @Test func aSubscriptionLostInSilenceIsNoticedWithinSecondsAndRepaired() async throws {
        let talk = try await ProxiedTalk(first: "one")
        defer { talk.end() }
        let (redis, node, proxy, room, ana, bob) = (talk.redis, talk.node, talk.proxy, talk.room, talk.ana, talk.bob)
        let channel = "martlet:{lobby}"
        let bytes = "*2\r\n$11\r\nUNSUBSCRIBE\r\n$\(channel.utf8.count)\r\n\(channel)\r\n"
        #expect(
            proxy.inject(
                bytes, where: "\r\nSUBSCRIBE\r\n", hiding: "*3\r\n$11\r\nunsubscribe\r\n$\(channel.utf8.count)\r\n"))
        try await eventually("redis has lost it, or it is repaired already") {
            try redis.cli("PUBSUB", "NUMSUB", channel).hasSuffix("1")
                || node.output.contains("connection to redis is down")
        }
        let began = ContinuousClock.now
        try await bob.client.send("two", to: room)
        try await ana.wait(for: 2, in: room)
        #expect(ContinuousClock.now - began < .seconds(8))
        try await eventually("both are subscribed") { try redis.cli("PUBSUB", "NUMSUB", channel).hasSuffix("2") }
        try await bob.client.send("three", to: room)
        try await ana.wait(for: 3, in: room)
        #expect(ana.texts(room) == ["one", "two", "three"])
    }

    @Test func aMessageLostInSilenceIsReadFromTheLogWithinSeconds() async throws {
        let talk = try await ProxiedTalk(first: "0")
        defer { talk.end() }
        let (proxy, room, ana, bob) = (talk.proxy, talk.room, talk.ana, talk.bob)
        var count = 1
        // The proxy hides whole reads; a read that begins with something else passes.
        while proxy.hidden == 0, count < 50 {
            #expect(proxy.hide("*3\r\n$7\r\nmessage\r\n$15\r\nmartlet:{lobby}", where: "\r\nSUBSCRIBE\r\n"))
            let began = ContinuousClock.now
            try await bob.client.send("\(count)", to: room)
            count += 1
            try await ana.wait(for: count, in: room)
            #expect(ContinuousClock.now - began < .seconds(8))
        }
        #expect(proxy.hidden >= 1)
        #expect(ana.texts(room) == (0..<count).map(String.init))
    }

    // MARK: Starts

    @Test func aHostNameThatDoesNotResolveIsWaitedForAndThenSaid() async throws {
        let began = ContinuousClock.now
        let (code, output) = try await TestNode.refuse([
            "MARTLET_PORT": "0", "MARTLET_REDIS_URL": "redis://no-such-host.invalid:6379",
            "MARTLET_REDIS_NAME_WAIT": "1s",
        ])
        #expect(code == 69)
        #expect(ContinuousClock.now - began >= .seconds(1))
        #expect(output.contains("does not resolve yet, waiting") && output.contains("MARTLET_REDIS_NAME_WAIT"))
    }

    @Test func aRedisClusterIsRefusedByName() async throws {
        // By default the bus uses the port + 10,000, which may be out of range.
        let bus = "cluster-port \(try PrivateRedis.freePort())"
        let redis = try await PrivateRedis.start(.init(configuration: ["cluster-enabled yes", bus]))
        defer { redis.stop() }
        let (code, output) = try await TestNode.refuse(["MARTLET_PORT": "0", "MARTLET_REDIS_URL": redis.url])
        #expect(code == 69)
        #expect(output.contains("runs as a Redis Cluster"), "\(output)")
    }

    @Test func foreignKeysWhereHeartbeatsAreStopNobody() async throws {
        let cluster = try await Cluster.start(2, ["MARTLET_NODE_LEASE": "3s", "MARTLET_HEARTBEAT_INTERVAL": "500ms"])
        defer { cluster.end() }
        _ = try cluster.redis("ZADD", "martlet:nodes", "1", "stranger", "1", "garbled")
        _ = try cluster.redis("HSET", "martlet:node:stranger", "a", "b")
        _ = try cluster.redis("SET", "martlet:node:garbled", "{\"version\":", "PX", "500")
        let room = try RoomName("lobby")
        let ana = try await Watcher.connect("ana", cluster.nodes[0])
        let bob = try await Watcher.connect("bob", cluster.nodes[1])
        try await ana.client.join(room)
        try await bob.client.join(room)
        try await cluster.nodes[1].killNow()
        try await eventually("all three are swept") { try cluster.redis("ZCARD", "martlet:nodes") == ["1"] }
        try await eventually("bob has left") { try cluster.redis("HKEYS", "martlet:{lobby}:roster") == ["ana"] }
        #expect(try await status(cluster.nodes[0]) == 200)
    }
}
