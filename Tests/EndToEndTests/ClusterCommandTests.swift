import Foundation
import MartletClient
import TestSupport
import Testing

/// `martlet top` and `doctor` as processes, at a Redis Cluster.
@Suite(.serialized, .inTurn)
struct ClusterCommandTests {
    /// One room for each master, in the order of their slots.
    private static let rooms = ["news", "lobby", "foo"]

    /// The user for nodes in redis/users.acl.
    private static func user() throws -> [String] {
        let root = URL(filePath: #filePath).appending(path: "../../../redis").standardizedFileURL
        let text = try String(contentsOf: root.appending(path: "users.acl"), encoding: .utf8)
        return text.split(separator: "\n").map(String.init).filter { !$0.hasPrefix("#") }
    }

    private static func url(_ cluster: PrivateCluster) -> String {
        "redis+cluster://martlet:change-me@"
            + cluster.servers.map { "127.0.0.1:\($0.port)" }.joined(separator: ",")
    }

    private static func start() async throws -> PrivateCluster {
        try await PrivateCluster.start(
            configuration: [
                "stream-node-max-bytes 512", "appendonly yes", "client-output-buffer-limit pubsub 256mb 64mb 60",
                "lazyfree-lazy-expire yes",
            ] + user())
    }

    @Test func topAndDoctorSeeAllMasters() async throws {
        let cluster = try await Self.start()
        defer { cluster.stop() }
        let url = Self.url(cluster)
        let environment = ["MARTLET_HEARTBEAT_INTERVAL": "1s"]
        let nodes = [
            try await TestNode.start("node1", redis: url, environment),
            try await TestNode.start("node2", redis: url, environment),
        ]
        defer { for node in nodes { node.signal(SIGKILL) } }
        let ana = try await Watcher.connect("ana", nodes[0])
        let bob = try await Watcher.connect("bob", nodes[1])
        for room in try Self.rooms.map({ try RoomName($0) }) {
            try await ana.client.join(room)
            try await bob.client.join(room)
            try await ana.client.send("hello", to: room)
        }

        let top = try await Program.run(["top", "--redis", url, "--once", "--interval", "0.2", "--json"])
        #expect(top.code == 0, "\(top.error)")
        let view = try #require(try CommandTests.object(top.lines.last))
        let rooms = try #require(view["rooms"] as? [[String: Any]])
        #expect(Set(rooms.compactMap { $0["room"] as? String }) == Set(Self.rooms))
        #expect(rooms.allSatisfy { $0["people"] as? Int == 2 && $0["nodes"] as? Int == 2 && $0["inLog"] as? Int == 1 })
        #expect((view["nodes"] as? [[String: Any]])?.map { $0["state"] as? String } == ["ok", "ok"])
        #expect((view["redis"] as? [String: Any])?["masters"] as? Int == 3)
        #expect((view["behind"] as? [String])?.isEmpty == true)

        let healthy = try await Program.run(["doctor", "--redis", url, "--wait", "8"])
        #expect(healthy.code == 0, "\(healthy.output)\(healthy.error)")
        #expect(healthy.lines.last == "nothing must be done, 0 warnings", "\(healthy.output)")
        #expect(healthy.output.contains("3 masters at redis+cluster://martlet:***@127.0.0.1:"))
        #expect(healthy.lines.contains { $0.hasPrefix("ok       rooms: 3 looked at") })

        try cluster.servers[0].cli("SET", "martlet:{news}:meta", "x")
        let (second, third) = (cluster.servers[1].port, cluster.servers[2].port)
        try cluster.servers[1].cli("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        try cluster.servers[2].cli("FUNCTION", "FLUSH")
        try cluster.servers[2].cli("HSET", "martlet:{foo}:nodes", "ghost-1", "5")
        let sick = try await Program.run(["doctor", "--redis", url, "--wait", "0", "--json"])
        #expect(sick.code == 1)
        let report = try #require(try CommandTests.object(sick.lines.first))
        let findings = try #require(report["findings"] as? [[String: Any]])
        let found = Set(
            findings.filter { $0["level"] as? String != "ok" }.map { "\($0["area"] ?? "") \($0["place"] ?? "")" })
        // The nodes' probes notice within a second that the functions are gone, and load them again.
        #expect(
            found.subtracting(["library martlet at 127.0.0.1:\(third)"]) == [
                "settings maxmemory-policy at 127.0.0.1:\(second)", "keys martlet:{news}:meta",
                "rooms foo, node ghost-1",
            ])
        await ana.close()
        await bob.close()
    }

    @Test func theySayWhatNobodyServesAndLookAtTheRest() async throws {
        let cluster = try await Self.start()
        defer { cluster.stop() }
        let url = Self.url(cluster)
        try cluster.servers[0].cli("SET", "martlet:{news}:log", "x")
        for server in cluster.servers { try server.cli("CLUSTER", "DELSLOTS", "0", "1") }
        cluster.servers[2].kill()
        let sick = try await Program.run(["doctor", "--redis", url, "--wait", "0"])
        #expect(sick.code == 1, "\(sick.error)")
        #expect(sick.output.contains("redis: slots 0-1: nobody serves them"), "\(sick.output)")
        #expect(sick.output.contains("redis: the master at 127.0.0.1:\(cluster.servers[2].port): redis at "))
        #expect(sick.output.contains("keys: martlet:{news}:log: it is a string"))
        let top = try await Program.run(["top", "--redis", url, "--once", "--interval", "0.2"])
        #expect(top.code == 0, "\(top.error)")
        #expect(top.output.contains("cannot be reached"), "\(top.output)")

        let single = try await Program.run(["top", "--redis", "redis://127.0.0.1:\(cluster.servers[0].port)", "--once"])
        #expect(single.code == 2)
        #expect(single.error.contains("write redis+cluster://"))
    }
}
