import Foundation
import MartletClient
import TestSupport
import Testing

/// Nodes on a Redis Cluster.
@Suite(.serialized, .inTurn)
struct ClusterTests {
    private let sharing = [
        "MARTLET_NODE_LEASE": "3s", "MARTLET_HEARTBEAT_INTERVAL": "500ms", "MARTLET_LIMIT_REQUESTS_PER_SECOND": "10000",
        "MARTLET_LIMIT_REQUEST_BURST": "10000",
    ]

    private func status(_ node: TestNode) async throws -> Int { try await Shell.status(of: "\(node.http)/readyz") }

    private func slot(_ room: RoomName, _ cluster: PrivateCluster) throws -> Int {
        try #require(Int(try cluster.servers[0].cli("CLUSTER", "KEYSLOT", "martlet:{\(room)}:log")))
    }

    /// A room for each master.
    private func rooms(_ cluster: PrivateCluster) throws -> [RoomName] {
        try (0..<cluster.masters).map { index in
            let share = 16_384 * index / cluster.masters..<16_384 * (index + 1) / cluster.masters
            return try #require(
                try (0..<100).lazy.map { try RoomName("room\($0)") }.first { share.contains(try slot($0, cluster)) })
        }
    }

    /// Two users, each on a node, in all of the rooms.
    private func join(_ rooms: [RoomName], _ nodes: [TestNode]) async throws -> (ana: Watcher, bob: Watcher) {
        let ana = try await Watcher.connect("ana", nodes[0])
        let bob = try await Watcher.connect("bob", nodes[1])
        for room in rooms {
            try await ana.client.join(room)
            try await bob.client.join(room)
        }
        return (ana, bob)
    }

    @Test func clientsTalkOnWhileSlotsMoveAndAMasterFails() async throws {
        let cluster = try await PrivateCluster.start(replicas: 1)
        defer { cluster.stop() }
        var nodes: [TestNode] = []
        defer { for node in nodes { node.signal(SIGKILL) } }
        for index in 1...2 { nodes.append(try await TestNode.start("node\(index)", redis: cluster.url, sharing)) }
        let rooms = try rooms(cluster)
        let (ana, bob) = try await join(rooms, nodes)
        // One user sends to each room, one message after the other.
        let talk = rooms.map { room in
            Task {
                var sent = 0
                while !Task.isCancelled {
                    try await ana.client.send("\(sent)", to: room)
                    sent += 1
                    try? await Task.sleep(for: .milliseconds(5))
                }
                return sent
            }
        }
        func talked(_ count: Int, in some: [RoomName]) async throws {
            for room in some {
                let before = bob.texts(room).count
                try await eventually("bob is shown \(count) more in \(room)", within: .seconds(60)) {
                    bob.texts(room).count >= before + count
                }
            }
        }
        try await talked(100, in: rooms)
        // The slot of the first room moves to the second master, and back.
        for target in [1, 0] {
            try await cluster.move(try slot(rooms[0], cluster), to: cluster.servers[target]) {
                try await self.talkedMeanwhile(bob, Array(rooms.dropFirst()))
            }
            try await talked(50, in: rooms)
        }
        // The master of the third room fails; the other rooms do not wait for its replica.
        let third = try slot(rooms[2], cluster)
        let master = try cluster.master(of: third)
        master.kill()
        try await talked(50, in: Array(rooms.prefix(2)))
        for node in nodes { #expect(try await status(node) == 200, "\(node.name) serves the rooms of the others") }
        try await eventually("its replica takes over", within: .seconds(60)) {
            (try? cluster.master(of: third)).map { $0.port != master.port } ?? false
        }
        try await talked(50, in: rooms)

        for (room, task) in zip(rooms, talk) {
            task.cancel()
            let sent = try await task.value
            try await bob.wait(for: sent, in: room)
            try await ana.wait(for: sent, in: room)
            let expected = (0..<sent).map(String.init)
            #expect(bob.seen(room).resets.isEmpty && bob.seen(room).gaps.isEmpty)
            #expect(bob.texts(room) == expected && ana.texts(room) == expected)
            #expect(bob.positions(room).areContiguous)
            let log = try cluster.master(of: try slot(room, cluster)).cli("XLEN", "martlet:{\(room)}:log")
            #expect(Int(log).map { $0 >= min(sent, 900) } == true, "all of it is in the log")
        }
        for node in nodes {
            try await eventually("\(node.name) is ready", within: .seconds(60)) { try await self.status(node) == 200 }
        }
    }

    private func talkedMeanwhile(_ bob: Watcher, _ rooms: [RoomName]) async throws {
        for room in rooms {
            let before = bob.texts(room).count
            try await eventually("others talk on in \(room)", within: .seconds(60)) {
                bob.texts(room).count >= before + 10
            }
        }
    }

    @Test func aNodeThatDiesLeavesItsRoomsOnEveryMaster() async throws {
        let cluster = try await PrivateCluster.start()
        defer { cluster.stop() }
        var nodes: [TestNode] = []
        defer { for node in nodes { node.signal(SIGKILL) } }
        for index in 1...2 { nodes.append(try await TestNode.start("node\(index)", redis: cluster.url, sharing)) }
        let rooms = try rooms(cluster)
        let people = try await join(rooms, nodes)
        defer { withExtendedLifetime(people) {} }
        nodes[0].signal(SIGKILL)
        for room in rooms {
            let master = try cluster.master(of: try slot(room, cluster))
            try await eventually("\(room) is left", within: .seconds(60)) {
                try master.cli("HKEYS", "martlet:{\(room)}:roster") == "bob"
            }
        }
        let home = try cluster.master(
            of: try #require(Int(cluster.servers[0].cli("CLUSTER", "KEYSLOT", "martlet:nodes"))))
        try await eventually("nothing is left of it", within: .seconds(60)) {
            try home.cli("ZCARD", "martlet:nodes") == "1"
        }
        #expect(try home.cli("FCALL", "martlet_nodes", "1", "martlet:nodes").contains("node2"))
    }

    @Test func whatIsThereIsNamed() async throws {
        let cluster = try await PrivateCluster.start()
        defer { cluster.stop() }
        let url = "redis://127.0.0.1:\(cluster.servers[0].port)"
        let (code, output) = try await TestNode.refuse(["MARTLET_PORT": "0", "MARTLET_REDIS_URL": url])
        #expect(code == 69 && output.contains("redis+cluster://"), "\(code): \(output)")
        let single = try await PrivateRedis.start()
        defer { single.stop() }
        let (other, said) = try await TestNode.refuse([
            "MARTLET_PORT": "0", "MARTLET_REDIS_URL": "redis+cluster://127.0.0.1:\(single.port)",
        ])
        #expect(other == 69 && said.contains("cluster-enabled no"), "\(other): \(said)")
    }
}
