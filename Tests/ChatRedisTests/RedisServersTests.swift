import ChatCore
import TestSupport
import Testing

@testable import ChatRedis

/// What tools read from one Redis, and from a real Cluster whose slots move and whose masters fail.
@Suite(.timeLimit(.minutes(3))) struct RedisServersTests {
    private func target(_ cluster: PrivateCluster) throws -> RedisTarget {
        .cluster(try ClusterURL(cluster.url), nodesSlot: HashSlot(ofKey: "martlet:nodes"))
    }

    /// One key for each master, by the server that has it.
    private let keys = ["{user1000}", "martlet:nodes", "foo"]

    @Test func oneRedisIsAskedAsItIs() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let servers = try await RedisServers.connect(.single(try RedisURL(redis.url)), name: "test")
        let (replies, each) = try await servers.ask([["SET", "a", "1"], ["GET", "a"]], each: [["DBSIZE"]])
        #expect(replies == [.string("OK"), .string("1")])
        #expect(each.map(\.server) == ["127.0.0.1:\(redis.port)"] && each.map { $0[0] } == [.integer(1)])
        #expect(await servers.all.first?.slots == nil)
        #expect(await servers.count == 1)
        #expect(await servers.unserved.isEmpty)
        try redis.cli("CLIENT", "KILL", "TYPE", "normal")
        await #expect(throws: RedisSetupError.self) { try await servers.ask("PING") }
        #expect(try await servers.ask("GET", "a") == .string("1"), "it connects anew")
        redis.kill()
        await #expect(throws: RedisSetupError.self) { try await servers.ask("PING") }
        await #expect(throws: RedisSetupError.self) { try await servers.ask("PING") }
    }

    @Test func eachURLIsForItsOwnKind() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let url = try ClusterURL("redis+cluster://127.0.0.1:\(redis.port)")
        let error = await #expect(throws: RedisSetupError.self) {
            try await RedisServers.connect(.cluster(url, nodesSlot: HashSlot(ofKey: "")), name: "test")
        }
        #expect(error?.code == .cluster)
        let cluster = try await PrivateCluster.start(masters: 1, password: "secret")
        defer { cluster.stop() }
        let other = await #expect(throws: RedisSetupError.self) {
            try await RedisServers.connect(.single(try RedisURL(cluster.servers[0].url)), name: "test")
        }
        #expect(other?.code == .cluster)
        let alone = try await RedisServers.connect(try target(cluster), name: "test")
        #expect(try await alone.ask([["SET", "a", "1"], ["GET", "a"]]).last == .string("1"))
        #expect(alone.target.description.contains(":***@"))
    }

    @Test func aBatchGoesToTheMastersThatHaveItsKeys() async throws {
        let cluster = try await PrivateCluster.start()
        defer { cluster.stop() }
        let servers = try await RedisServers.connect(try target(cluster), name: "test")
        let all = await servers.all
        #expect(all.map(\.name) == cluster.servers.map { "127.0.0.1:\($0.port)" })
        #expect(all.map(\.hasNodes) == [false, true, false])
        #expect(await servers.count == 3)
        let (replies, each) = try await servers.ask(
            keys.map { ["SET", $0, $0] } + keys.map { ["GET", $0] } + [["TIME"]], each: [["DBSIZE"], ["PING"]])
        #expect(Array(replies.prefix(6)) == Array(repeating: .string("OK"), count: 3) + keys.map { .string($0) })
        #expect(replies.last?.array?.count == 2)
        #expect(each.map { $0[0] } == Array(repeating: .integer(1), count: 3))
        #expect(each.allSatisfy { $0[1] == .string("PONG") })
        for (server, key) in zip(cluster.servers, keys) { #expect(try server.cli("KEYS", "*") == key) }
    }

    @Test func aSlotThatMovesIsFollowedAllTheWay() async throws {
        let cluster = try await PrivateCluster.start()
        defer { cluster.stop() }
        let servers = try await RedisServers.connect(try target(cluster), name: "test")
        let names = (1...6).map { "{foo}\($0)" }
        _ = try await servers.ask(names.map { ["SET", $0, $0] })
        let slot = HashSlot(ofKey: "foo").number
        try await cluster.move(slot, to: cluster.servers[0]) {
            let replies = try await servers.ask(names.map { ["GET", $0] } + [["GET", "{foo}none"]])
            #expect(replies == names.map { .string($0) } + [.null], "half of them is elsewhere")
        }
        #expect(try await servers.ask(names.map { ["GET", $0] }) == names.map { .string($0) })
        #expect(await servers.all[0].slots?.contains(HashSlot(ofKey: "foo")) == true)
    }

    @Test func aMasterThatIsAwayCostsOnlyItsOwnReplies() async throws {
        let cluster = try await PrivateCluster.start()
        defer { cluster.stop() }
        let servers = try await RedisServers.connect(try target(cluster), name: "test", timeout: .seconds(2))
        _ = try await servers.ask(keys.map { ["SET", $0, $0] })
        cluster.servers[2].kill()
        let (replies, each) = try await servers.ask(keys.map { ["GET", $0] }, each: [["PING"]])
        #expect(Array(replies.prefix(2)) == [.string(keys[0]), .string(keys[1])])
        #expect(replies[2].isUnserved && replies[2].error?.contains("cannot be reached") == true)
        #expect(each.map { $0[0].isUnserved } == [false, false, true])
        let present = await servers.all.map { (try? $0.inspector.get()) != nil }
        #expect(present == [true, true, false])
        #expect(await servers.unserved.isEmpty, "it still claims them")
        #expect(try await servers.ask("GET", keys[2]).isUnserved)
        // A tool that starts only now.
        let late = try await RedisServers.connect(try target(cluster), name: "test", timeout: .seconds(2))
        #expect(try await late.ask("GET", keys[0]) == .string(keys[0]))
        for server in cluster.servers { server.kill() }
        await #expect(throws: RedisSetupError.self) { try await servers.ask(keys.map { ["GET", $0] }) }
    }

    @Test func aReplicaThatTookOverIsAskedInItsMastersPlace() async throws {
        let cluster = try await PrivateCluster.start(replicas: 1)
        defer { cluster.stop() }
        let servers = try await RedisServers.connect(try target(cluster), name: "test")
        _ = try await servers.ask(keys.map { ["SET", $0, $0] })
        // If the other masters have not voted within 5 s, the replica gives up without telling anybody, so it is asked
        // again.
        let clock = ContinuousClock()
        var again = clock.now
        try await eventually("it is the master", within: .seconds(60)) {
            if cluster.servers[5].isMaster { return true }
            if clock.now >= again {
                try cluster.servers[5].cli("CLUSTER", "FAILOVER")
                again = clock.now + .seconds(6)
            }
            return false
        }
        try await eventually("the old one knows", within: .seconds(60)) { !cluster.servers[2].isMaster }
        #expect(try await servers.ask("GET", keys[2]) == .string(keys[2]))
        #expect(await servers.all.contains { $0.name == "127.0.0.1:\(cluster.servers[5].port)" })
        #expect(await servers.count == 3)
    }

    @Test func slotsThatNobodyServesAreNamed() async throws {
        let cluster = try await PrivateCluster.start()
        defer { cluster.stop() }
        let slot = HashSlot(ofKey: keys[0])
        // First at its master, which tells the others as long as it has the slot.
        for server in cluster.servers {
            try await eventually("it has forgotten the slot", within: .seconds(60)) {
                try server.cli("CLUSTER", "DELSLOTS", "\(slot.number)")
                return try server.cli("CLUSTER", "INFO").contains("cluster_slots_assigned:16383")
            }
        }
        let servers = try await RedisServers.connect(try target(cluster), name: "test")
        #expect(await servers.unserved == SlotSet([slot]))
        let replies = try await servers.ask([["GET", "foo"], ["GET", keys[0]]])
        #expect(replies == [.null, .error("CLUSTERDOWN nobody serves slot 3443")])
    }
}
