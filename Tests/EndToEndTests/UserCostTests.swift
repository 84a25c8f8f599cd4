import Foundation
import MartletClient
import TestSupport
import Testing

/// One user at the limits: expensive requests are refused, and others notice nothing. The limits are low, so that a few
/// requests suffice.
@Suite(.serialized, .inTurn)
struct UserCostTests {
    private static let environment = [
        "MARTLET_LIMIT_COST_PER_SECOND": "1000", "MARTLET_LIMIT_COST_BURST": "20000", "MARTLET_EVENT_LOOPS": "2",
    ]

    private func metric(_ node: TestNode, _ limit: String) async throws -> Int {
        let line = #"martlet_limit_refusals_total{limit="\#(limit)"} "#
        let text = try await Shell.get("\(node.http)/metrics")
        return text.split(separator: "\n").first { $0.hasPrefix(line) }.flatMap { Int($0.dropFirst(line.count)) } ?? 0
    }

    @Test func signalsToManyAreRefusedAndTalkOfOthersGoesOn() async throws {
        let cluster = try await Cluster.start(1, Self.environment)
        defer { cluster.end() }
        let node = cluster.nodes[0]
        let room = try RoomName("crowd")
        var members: [RawReader] = []
        for number in 0..<40 { members.append(try RawReader(port: node.port, query: "user=m\(number)&room=crowd")) }
        try await eventually("all are in the room") {
            for member in members { member.read() }
            return members.allSatisfy { $0.types.contains("joined") }
        }
        let eve = try RawReader(port: node.port, query: "user=eve&room=crowd")
        try await eventually("eve is in the room") {
            eve.read()
            return eve.types.contains("joined")
        }
        for ref in 0..<200 { eve.send(#"{"type":"signal","room":"crowd","name":"typing","ref":\#(ref)}"#) }
        try await eventually("most are refused, \(eve.types.count { $0 == "error" }) are") {
            eve.read()
            for member in members { member.read() }
            return eve.types.count { $0 == "error" } > 100
        }
        let heard = members[0].types.count { $0 == "signal" }
        // 0.4 ms each, of a burst of 20 ms.
        #expect((20...80).contains(heard), "\(heard)")
        #expect(try await metric(node, "costPerSecond") > 100)
        let bob = try await Watcher.connect("bob", node)
        try await bob.client.join(room)
        for number in 0..<10 { try await bob.client.send("\(number)", to: room) }
        try await bob.wait(for: 10, in: room)
        await bob.close()
    }

    @Test func rostersAndPagesOfOneUserAndOneAddressAreRefusedWhenTheyCostTooMuch() async throws {
        let cluster = try await Cluster.start(1, Self.environment)
        defer { cluster.end() }
        let node = cluster.nodes[0]
        for hundred in 0..<30 {
            let users = (0..<100).flatMap { ["user\(hundred)-\($0)", #"{"n-9":["d"]}"#] }
            _ = try cluster.redis.cli(["HSET", "martlet:{big}:roster"] + users)
        }
        let eve = try RawReader(port: node.port, query: "user=eve")
        eve.widen()
        for ref in 0..<60 { eve.send(#"{"type":"roster","room":"big","ref":\#(ref)}"#) }
        try await eventually("all are answered, \(eve.types)") {
            eve.read()
            return eve.types.count { $0 == "roster" || $0 == "error" } == 60
        }
        let rosters = eve.types.count { $0 == "roster" }
        // 1.6 ms for each part of 500, of 20 ms.
        #expect((5...40).contains(rosters), "\(rosters)")
        #expect(try await metric(node, "costPerSecond") == 60 - rosters)

        var statuses: [Int] = []
        while statuses.count < 100, statuses.last != 429 {
            statuses.append(try await Shell.status(of: "\(node.http)/api/rooms/big/roster"))
        }
        #expect((5...60).contains(statuses.count) && statuses.dropLast().allSatisfy { $0 == 200 }, "\(statuses)")
        #expect(try await Shell.status(of: "\(node.http)/readyz") == 200, "health has an account of its own")
        // Another address, because the one that is over its limit cannot read the metrics.
        let text = try await Shell.run("curl", ["-s", "-H", "X-Forwarded-For: 192.0.2.1", "\(node.http)/metrics"])
        #expect(text.contains(#"martlet_limit_refusals_total{limit="costOfAddress"} 1"#))
    }
}
