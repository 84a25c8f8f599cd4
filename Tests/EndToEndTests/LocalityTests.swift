import Foundation
import MartletClient
import TestSupport
import Testing

/// Promise 7: channels only for rooms with local sessions, PUBLISH only if another node is in the room, and nothing
/// left behind.
@Suite(.serialized, .inTurn)
struct LocalityTests {
    @Test func aRoomOnOneNodeIsAppendedToAndNeverPublished() async throws {
        let cluster = try await Cluster.start(2)
        defer { cluster.end() }
        let room = try RoomName("home")
        let ana = try await Watcher.connect("ana", cluster.nodes[0])
        let bob = try await Watcher.connect("bob", cluster.nodes[0])
        try await ana.client.join(room)
        try await bob.client.join(room)
        let before = try calls(cluster)
        var began = ContinuousClock.now
        for number in 0..<150 { try await ana.client.send("\(number)", to: room) }
        try await bob.wait(for: 150, in: room)
        let after = try calls(cluster)
        #expect(after["xadd", default: 0] - before["xadd", default: 0] >= 150)
        #expect(
            after["publish", default: 0] - before["publish", default: 0] <= probes(since: began),
            "messages were published")

        // Another node enters: from now on every message is published, once.
        let eve = try await Watcher.connect("eve", cluster.nodes[1])
        try await eve.client.join(room)
        let shared = try calls(cluster)
        began = .now
        for number in 150..<180 { try await ana.client.send("\(number)", to: room) }
        try await eve.wait(for: 30, in: room)
        let published = try calls(cluster)["publish", default: 0] - shared["publish", default: 0]
        #expect(published >= 30 && published <= 30 + probes(since: began))
    }

    /// The number of allowed probes, because each loop sends itself a message every second.
    private func probes(since began: ContinuousClock.Instant) -> Int {
        60 + 8 * Int((ContinuousClock.now - began).components.seconds)
    }

    private func calls(_ cluster: Cluster) throws -> [String: Int] {
        var calls: [String: Int] = [:]
        for line in try cluster.redis("INFO", "commandstats") where line.hasPrefix("cmdstat_") {
            let name = line.dropFirst("cmdstat_".count).prefix { $0 != ":" }
            let count = line.drop { $0 != "=" }.dropFirst().prefix { $0.isNumber }
            calls[String(name)] = Int(count)
        }
        return calls
    }

    @Test func channelsAreExactlyTheRoomsAndUsersWithSessions() async throws {
        let cluster = try await Cluster.start(3, ["MARTLET_LINGER": "200ms"])
        defer { cluster.end() }
        let watcher = try await Watcher.connect("ana", cluster.nodes[0])
        let other = try await Watcher.connect("bob", cluster.nodes[1])
        for name in ["a", "b"] { try await watcher.client.join(try RoomName(name)) }
        for name in ["b", "c"] { try await other.client.join(try RoomName(name)) }
        try await eventually("three channels") {
            try channels(cluster) == ["martlet:{a}", "martlet:{b}", "martlet:{c}"]
        }
        try await eventually("two users are online") {
            try channels(cluster, of: "martlet:user:{") == ["martlet:user:{ana}", "martlet:user:{bob}"]
        }
        try await watcher.client.leave(try RoomName("a"))
        await other.close()
        try await eventually("one channel is left") { try channels(cluster) == ["martlet:{b}"] }
        try await eventually("one user is online") {
            try channels(cluster, of: "martlet:user:{") == ["martlet:user:{ana}"]
        }
    }

    private func channels(_ cluster: Cluster, of kind: String = "martlet:{") throws -> [String] {
        try cluster.redis("PUBSUB", "CHANNELS").filter { $0.hasPrefix(kind) }.sorted()
    }

    @Test func rapidJoinsAndLeavesFromTwoNodesLeaveNothingBehind() async throws {
        let cluster = try await Cluster.start(2, ["MARTLET_LINGER": "50ms"])
        defer { cluster.end() }
        let room = try RoomName("revolving")
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for index in 0..<4 {
                tasks.addTask {
                    let watcher = try await Watcher.connect("user\(index)", cluster.nodes[index % 2])
                    for _ in 0..<100 {
                        try await watcher.client.join(room)
                        try await watcher.client.leave(room)
                    }
                    await watcher.close()
                }
            }
            try await tasks.waitForAll()
        }
        try await eventually("no channel, no node, no member is left") {
            let empty = try channels(cluster).isEmpty && cluster.redis("EXISTS", "martlet:{revolving}:nodes") == ["0"]
            return try empty && cluster.redis("EXISTS", "martlet:{revolving}:roster") == ["0"]
        }
        let keys = try cluster.redis("KEYS", "martlet:{revolving}:*")
        for key in keys { #expect(try cluster.redis("PTTL", key) != ["-1"], "\(key) would stay for ever") }
        for key in try cluster.redis("KEYS", "martlet:node:*:rooms") { #expect(Bool(false), "\(key) is left") }
    }
}
