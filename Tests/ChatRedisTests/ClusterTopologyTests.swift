import ChatCore
import TestSupport
import Testing

@testable import ChatRedis

/// Slots, the output of CLUSTER NODES, and URLs of Clusters.
@Suite struct ClusterTopologyTests {
    @Test(arguments: [
        ("123456789", 0x31C3), ("foo", 12_182), ("{user1000}.following", 3_443), ("{user1000}.followers", 3_443),
        ("foo{}{bar}", 8_363), ("foo{{bar}}zap", 4_015), ("foo{bar}{zap}", 5_061), ("", 0),
    ])
    func slotsAreThoseOfTheSpecification(key: String, slot: Int) {
        #expect(HashSlot(ofKey: key).number == slot)
    }

    @Test func redisSaysTheSame() async throws {
        let bus = "cluster-port \(try PrivateRedis.freePort())"
        let redis = try await PrivateRedis.start(.init(configuration: ["cluster-enabled yes", bus]))
        defer { redis.stop() }
        for room in ["lobby", "a b", "ü", "x:y", "{"] {
            let key = "martlet:{\(room)}:log"
            #expect(try redis.cli("CLUSTER", "KEYSLOT", key) == "\(HashSlot(ofKey: key).number)")
        }
        #expect(HashSlot(of: try RoomName("lobby")) == HashSlot(ofKey: "martlet:{lobby}:log"))
    }

    @Test func setsOfSlots() throws {
        var some = SlotSet((0..<10).compactMap { HashSlot($0) })
        some.formUnion(SlotSet([try #require(HashSlot(16_383))]))
        #expect(some.description == "0-9 16383" && some.count == 11)
        #expect(SlotSet.all.subtracting(some).description == "10-16382")
        #expect(SlotSet.all.description == "0-16383" && SlotSet().isEmpty && HashSlot(16_384) == nil)
        let even = SlotSet(stride(from: 0, to: 40, by: 2).compactMap { HashSlot($0) })
        #expect(even.summary == "0 2 4 6 8 10 12 14 … (20 slots)" && some.summary == some.description)
        #expect(some.intersection(SlotSet([try #require(HashSlot(3))])).slots.map(\.number) == [3])
    }

    private let asked = ClusterAddress(host: "10.0.0.9", port: 7_000)

    @Test func whoServesWhat() throws {
        let text = """
            aaa 127.0.0.1:7000@17000,,tls-port=0,shard-id=x myself,master - 0 0 1 connected 0-5460 9000 [93->-bbb]
            bbb :7001@17001,b.example master - 0 1 2 connected 5461-8999
            ccc ::1:7002@17002 slave aaa 0 1 1 connected
            ddd 127.0.0.1:7003@17003 master,fail - 0 1 3 disconnected 9001-9002
            eee :0@0 handshake - 0 0 0 connected
            fff 127.0.0.1:7004@17004 master - 0 1 4 connected

            """
        let topology = try ClusterTopology(nodes: text, from: asked, names: false)
        #expect(topology.masters.map(\.id) == ["aaa", "bbb", "ddd"])
        #expect(topology.masters.map(\.slots.description) == ["0-5460 9000", "5461-8999", "9001-9002"])
        #expect(topology.masters.map(\.address.description) == ["127.0.0.1:7000", "b.example:7001", "127.0.0.1:7003"])
        #expect(topology.nodes.map(\.port) == [7_000, 7_001, 7_002, 7_004])
        #expect(topology.nodes[2].description == "[::1]:7002")
        let named = try ClusterTopology(
            nodes: "aaa 1.2.3.4:7000@17000,a.example myself,master - 0 0 1 connected 0", from: asked, names: true)
        #expect(named.masters.first?.address.host == "a.example")
        let alone = try ClusterTopology(
            nodes: "aaa :7000@17000 myself,master - 0 0 1 connected 0", from: asked, names: false)
        #expect(alone.masters.first?.address.host == "10.0.0.9", "the node does not know its own address")
    }

    @Test(arguments: [
        "", "hello", "aaa nowhere master - 0 0 1 connected 0-1", "aaa 1.2.3.4:7000@1 master - 0 0 x connected 0-1",
        "aaa 1.2.3.4:7000@1 master - 0 0 1 connected 0-16384", "aaa 1.2.3.4:7000@1 master - 0 0 1 connected 7-3",
        "aaa 1.2.3.4:99999@1 master - 0 0 1 connected 0", "aaa 1.2.3.4:7000@1 master - 0 0 1 connected -",
    ])
    func nonsenseIsAnError(text: String) {
        #expect(throws: ClusterTopologyError.self) { try ClusterTopology(nodes: text, from: asked, names: false) }
    }

    private func view(_ lines: String...) throws -> ClusterTopology {
        try ClusterTopology(nodes: lines.joined(separator: "\n"), from: asked, names: false)
    }

    @Test func theHigherEpochHasTheSlot() throws {
        let before = try view(
            "aaa 1.1.1.1:1@1 master - 0 0 1 connected 0-9", "bbb 1.1.1.2:1@1 slave aaa 0 0 1 connected")
        let after = try view(
            "aaa 1.1.1.1:1@1 master,fail - 0 0 1 connected", "bbb 1.1.1.2:1@1 master - 0 0 5 connected 0-9")
        #expect(after.seen(after: before).masters.map(\.id) == ["bbb"])
        // A server that was cut off still reports the earlier state.
        let merged = before.seen(after: after)
        #expect(merged.masters.map(\.id) == ["bbb"] && merged.covered.description == "0-9")
        // Some slots have moved, others have not.
        let moved = try view(
            "aaa 1.1.1.1:1@1 master - 0 0 1 connected 0-4", "ccc 1.1.1.3:1@1 master - 0 0 7 connected 5-9")
        #expect(moved.seen(after: before).masters.map(\.slots.description) == ["0-4", "5-9"])
        let back = before.seen(after: moved)
        #expect(back.masters.map(\.id) == ["aaa"], "a Cluster without ccc")
        // A new Cluster begins at epoch 1.
        let anew = try view("zzz 1.1.1.9:1@1 master - 0 0 1 connected 0-9")
        #expect(anew.seen(after: after).masters.map(\.id) == ["zzz"])
    }

    @Test func refusals() {
        #expect(ClusterRefusal("MOVED 3999 127.0.0.1:6381") == .moved(ClusterAddress(host: "127.0.0.1", port: 6_381)))
        #expect(ClusterRefusal("MOVED 3999 :6381") == .moved(nil) && ClusterRefusal("MOVED") == .moved(nil))
        #expect(ClusterRefusal("ASK 3999 127.0.0.1:6381") == .migrating && ClusterRefusal("TRYAGAIN x") == .migrating)
        #expect(ClusterRefusal("CLUSTERDOWN Hash slot not served") == .down)
        #expect(ClusterRefusal("ERR MOVED") == nil && ClusterRefusal("") == nil)
    }

    @Test func urls() throws {
        let url = try ClusterURL("redis+cluster://ana:p%40ss@h1:7000,h2,[::1]:7002")
        #expect(url.seeds.map(\.place) == ["h1:7000", "h2:6379", "[::1]:7002"])
        #expect(url.seeds.allSatisfy { $0.user == "ana" && $0.password == "p@ss" && $0.tls == nil })
        #expect(url.description == "redis+cluster://ana:***@h1:7000,h2:6379,[::1]:7002")
        #expect(try ClusterURL("REDISS+cluster://h/?insecure=1").seeds.first?.tls?.insecure == true)
        #expect(url.node(ClusterAddress(host: "h9", port: 9)).password == "p@ss")
        for bad in [
            "redis://h", "redis+cluster://", "redis+cluster://h/1", "redis+cluster://h,", "redis+cluster://h:0",
            "redis+cluster://h?db=1", "redis+cluster://h/name", "redis+cluster://h?ca=x",
        ] {
            #expect(throws: RedisURLError.self, "\(bad)") { try ClusterURL(bad) }
        }
    }
}
