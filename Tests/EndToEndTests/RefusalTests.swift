import Foundation
import MartletClient
import TestSupport
import Testing

/// Redis refuses commands while its connections stay open.
@Suite(.serialized, .inTurn)
struct RefusalTests {
    private func readiness(_ node: TestNode) async throws -> (status: Int, text: String) {
        let text = try await Shell.run("curl", ["-s", "-m", "5", "-w", " %{http_code}", "\(node.http)/readyz"])
        return (Int(text.suffix(3)) ?? 0, text)
    }

    @Test func nobodyLeavesBecauseRedisWasFullForLongerThanHeartbeatsLast() async throws {
        var cluster = try await Cluster.start(3, ["MARTLET_NODE_LEASE": "3s", "MARTLET_EVENT_LOOPS": "1"])
        defer { cluster.end() }
        let room = try RoomName("lobby")
        var watchers: [Watcher] = []
        for (name, node) in zip(["ana", "bob", "eve"], cluster.nodes) {
            watchers.append(try await Watcher.connect(name, node))
            try await watchers.last?.client.join(room)
        }
        func heartbeats() throws -> Int {
            try cluster.redis("KEYS", "martlet:node:*").count { !$0.isEmpty && !$0.hasSuffix(":rooms") }
        }
        try await eventually("all three have said that they live") { try heartbeats() == 3 }
        for _ in 0..<3 {
            _ = try cluster.redis("CONFIG", "SET", "maxmemory", "1mb")
            // How soon is measured by scripts/chaos refusals: beside other tests it says only how busy the machine is.
            for node in cluster.nodes {
                try await eventually("\(node.name) is not ready") {
                    let answer = try await readiness(node)
                    return answer.status == 503 && answer.text.contains("OOM")
                        && answer.text.contains("raise maxmemory")
                }
            }
            try await eventually("no heartbeat is left") { try heartbeats() == 0 }
            _ = try cluster.redis("CONFIG", "SET", "maxmemory", "0")
            for node in cluster.nodes {
                try await eventually("\(node.name) is ready again") { try await readiness(node).status == 200 }
            }
            try await eventually("they say again that they live") { try heartbeats() == 3 }
        }
        // A node that fails now is noticed: later than a node that could merely not write its heartbeats.
        let dead = cluster.nodes.remove(at: 2)
        try await dead.killNow()
        let eve = try UserID("eve")
        try await eventually("eve leaves") { watchers.prefix(2).allSatisfy { $0.seen(room).left[eve] != nil } }
        #expect(watchers[0].seen(room).left == [eve: 1] && watchers[1].seen(room).left == [eve: 1])
        let presence = try cluster.redis("XRANGE", "martlet:{lobby}:presence", "-", "+")
        #expect(presence.count { $0 == "expire" } == 1 && presence.count { $0 == "join" } == 3, "\(presence)")
        for node in cluster.nodes {
            let warnings = node.output.split(separator: "\n").filter {
                $0.contains("warning redis refuses, nothing can be said")
            }
            #expect(warnings.count == 1, "once in a minute: \(warnings)")
            #expect(warnings.first?.contains("remedy=\"raise maxmemory") ?? false, "\(warnings)")
            let metrics = try await Shell.get("\(node.http)/metrics")
            let count = metrics.split(separator: "\n").first {
                $0.hasPrefix("martlet_redis_refusals_total{kind=\"outOfMemory\"}")
            }
            #expect(count.map { !$0.hasSuffix(" 0") } ?? false, "\(count ?? "no metric")")
        }
    }

    @Test func aSendThatWasStoredWithoutTheRightToPublishIsFoundByItsKey() async throws {
        let cluster = try await Cluster.start(2, ["MARTLET_LIMIT_SEND_WAIT": "3s", "MARTLET_EVENT_LOOPS": "1"])
        defer { cluster.end() }
        let room = try RoomName("lobby")
        let ana = try await Watcher.connect("ana", cluster.nodes[0])
        let bob = try await Watcher.connect("bob", cluster.nodes[1])
        try await ana.client.join(room)
        try await bob.client.join(room)
        try await ana.client.send("one", to: room)
        try await bob.wait(for: 1, in: room)

        _ = try cluster.redis("ACL", "SETUSER", "default", "-publish")
        let late = Task { try await ana.client.send("two", to: room, key: "k-2") }
        try await eventually("it is stored all the same") {
            try cluster.redis("XLEN", "martlet:{lobby}:log") == ["2"]
        }
        for node in cluster.nodes {
            try await eventually("\(node.name) says why it is not ready") {
                let answer = try await readiness(node)
                return answer.status == 503 && answer.text.contains("NOPERM") && answer.text.contains("users.acl")
            }
        }
        _ = try cluster.redis("ACL", "SETUSER", "default", "+publish")
        _ = try await late.value
        for watcher in [ana, bob] { try await watcher.wait(for: 2, in: room) }
        let sent = try await bob.client.send(
            SendRequest(room: room, text: "three", data: nil, key: "k-3"))
        #expect(!sent.repeated)
        for watcher in [ana, bob] {
            try await watcher.wait(for: 3, in: room)
            #expect(watcher.texts(room) == ["one", "two", "three"], "once each")
        }
        #expect(try cluster.redis("XLEN", "martlet:{lobby}:log") == ["3"])
    }
}
