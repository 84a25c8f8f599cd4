import Foundation
import Glibc
import MartletClient
import TestSupport
import Testing

/// Nodes that fail or leave, and starts that must be refused.
@Suite(.serialized, .inTurn)
struct FailureTests {
    @Test func aKilledNodesMembersLeaveOnceWithinTheLeaseAndItsClientsMissNothing() async throws {
        var cluster = try await Cluster.start(3, ["MARTLET_NODE_LEASE": "3s", "MARTLET_HEARTBEAT_INTERVAL": "500ms"])
        defer { cluster.end() }
        let room = try RoomName("lobby")
        let ana = try await Watcher.connect("ana", cluster.nodes[0])
        let eve = try await Watcher.connect("eve", cluster.nodes[1])
        let bob = try await Watcher.connect("bob", cluster.nodes[2], cluster.nodes[1])
        let mute = try await Watcher.connect("mute", cluster.nodes[2])
        for watcher in [ana, eve, bob, mute] { try await watcher.client.join(room) }
        for number in 0..<10 { try await ana.client.send("\(number)", to: room) }
        try await bob.wait(for: 10, in: room)
        await mute.close()
        let lost = try await Watcher.connect("lost", cluster.nodes[2])
        try await lost.client.join(room)
        let lostUser = try UserID("lost")
        try await eventually("everybody knows lost") {
            eve.seen(room).joined[lostUser] == 1 && ana.seen(room).joined[lostUser] == 1
        }

        let dead = cluster.nodes.remove(at: 2)
        try await dead.killNow()
        await lost.close()
        let killed = ContinuousClock.now
        for number in 10..<20 { try await ana.client.send("\(number)", to: room) }
        try await bob.wait(for: 20, in: room)
        #expect(bob.texts(room) == (0..<20).map(String.init))
        #expect(bob.positions(room).areContiguous)

        try await eventually("lost leaves") { ana.seen(room).left[lostUser] == 1 && eve.seen(room).left[lostUser] == 1 }
        // A node that ignored the setting would wait for 15 s at least. A busy machine delays the rest.
        #expect(ContinuousClock.now - killed < .seconds(15))
        try await eventually("the roster is true") {
            try Set(cluster.redis("HKEYS", "martlet:{lobby}:roster")) == ["ana", "eve", "bob"]
        }
        #expect(try cluster.redis("HLEN", "martlet:{lobby}:nodes") == ["2"])
        #expect(ana.seen(room).left[lostUser] == 1)
    }

    @Test func aNodeThatIsToldToLeaveLosesNothingAndIsForgotten() async throws {
        var cluster = try await Cluster.start(2)
        defer { cluster.end() }
        let room = try RoomName("moving")
        let ana = try await Watcher.connect("ana", cluster.nodes[1], cluster.nodes[0])
        let bob = try await Watcher.connect("bob", cluster.nodes[0])
        try await ana.client.join(room)
        try await bob.client.join(room)
        let talk = Task {
            for number in 0..<60 { try await bob.client.send("\(number)", to: room) }
        }
        let leaving = cluster.nodes.remove(at: 1)
        try await leaving.terminate()
        try await talk.value
        try await ana.wait(for: 60, in: room)
        #expect(ana.texts(room) == (0..<60).map(String.init))
        #expect(leaving.output.contains("notice the node has left"))
        #expect(try cluster.redis("ZCARD", "martlet:nodes") == ["1"])
    }

    @Test func redisThatGoesAndComesBackIsFoundAgain() async throws {
        let cluster = try await Cluster.start(2)
        defer { cluster.end() }
        let room = try RoomName("outage")
        let ana = try await Watcher.connect("ana", cluster.nodes[0])
        let bob = try await Watcher.connect("bob", cluster.nodes[1])
        try await ana.client.join(room)
        try await bob.client.join(room)
        try await ana.client.send("before", to: room)
        try await bob.wait(for: 1, in: room)
        try await cluster.redis.restart()
        let sent = try await ana.client.send("after", to: room)
        try await eventually("bob is shown it") { bob.positions(room).last == sent.position }
        // The server came back empty: the nodes put back what they remember, or announce that the history is void.
        let log = try cluster.redis("XLEN", "martlet:{outage}:log")
        #expect(log == ["2"] || !bob.seen(room).resets.isEmpty)
        for node in cluster.nodes {
            try await eventually("\(node.name) is ready again") {
                try await Shell.status(of: "\(node.http)/readyz") == 200
            }
        }
    }

    @Test func aWrongPasswordRefusesTheStartAndIsNotShown() async throws {
        let redis = try await PrivateRedis.start(.init(password: "right"))
        defer { redis.stop() }
        let (code, output) = try await TestNode.refuse([
            "MARTLET_PORT": "0", "MARTLET_REDIS_URL": "redis://:wr0ng-secret@127.0.0.1:\(redis.port)",
        ])
        #expect(code == 69)
        #expect(output.contains("password"))
        #expect(!output.contains("wr0ng-secret"))
    }

    @Test func aTypoInEveryVariableIsListedAtOnce() async throws {
        let (code, output) = try await TestNode.refuse([
            "MARTLET_PORT": "eighty", "MARTLET_LINGER": "10", "MARTLET_NODE_LEASE": "soon",
            "MARTLET_REDIS_URL": "http://x",
            "MARTLET_HISTROY_LENGTH": "5",
        ])
        #expect(code == 78)
        for name in ["MARTLET_PORT", "MARTLET_LINGER", "MARTLET_NODE_LEASE", "MARTLET_REDIS_URL"] {
            #expect(output.contains(name))
        }
        #expect(output.contains("MARTLET_HISTORY_LENGTH"))
    }

    @Test func aForeignTypeAtOneOfOurKeysCostsOnlyThatRoom() async throws {
        let cluster = try await Cluster.start(1)
        defer { cluster.end() }
        _ = try cluster.redis("SET", "martlet:{broken}:log", "mine")
        let ana = try await Watcher.connect("ana", cluster.nodes[0])
        do {
            try await ana.client.join(try RoomName("broken"))
            Issue.record("the join succeeded")
        } catch ClientError.refused(let fault) {
            #expect(fault.message.contains("WRONGTYPE"))
        } catch ClientError.timedOut {
            // The client keeps trying, as `unavailable` invites it to.
        }
        let fine = try RoomName("fine")
        try await ana.client.join(fine)
        try await ana.client.send("hello", to: fine)
        try await ana.wait(for: 1, in: fine)
        #expect(try cluster.redis("GET", "martlet:{broken}:log") == ["mine"])
        #expect(try await Shell.status(of: "\(cluster.nodes[0].http)/readyz") == 200)
    }
}
