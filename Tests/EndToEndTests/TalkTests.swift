import Foundation
import MartletClient
import TestSupport
import Testing

/// What users see: several nodes, one Redis, clients that come and go.
@Suite(.serialized, .inTurn)
struct TalkTests {
    @Test func clientsOnDifferentNodesTalkAndOneComesBackElsewhereMissingNothing() async throws {
        let cluster = try await Cluster.start(3)
        defer { cluster.end() }
        let room = try RoomName("lobby")
        let ana = try await Watcher.connect("ana", cluster.nodes[0])
        let bob = try await Watcher.connect("bob", cluster.nodes[1])
        try await ana.client.join(room)
        try await bob.client.join(room)
        try await ana.client.send("one", to: room)
        try await bob.client.send("둘 🎉", to: room)
        try await ana.wait(for: 2, in: room)
        try await bob.wait(for: 2, in: room)
        #expect(ana.texts(room) == ["one", "둘 🎉"])
        #expect(bob.positions(room) == ana.positions(room))

        let known = try #require(bob.positions(room).last)
        await bob.close()
        for number in 3...7 { try await ana.client.send("\(number)", to: room) }
        let again = try await Watcher.connect("bob", cluster.nodes[2])
        let joined = try await again.client.join(room, after: known)
        #expect(joined.resumption == .complete)
        try await ana.client.send("8", to: room)
        try await again.wait(for: 6, in: room)
        #expect(again.texts(room) == ["3", "4", "5", "6", "7", "8"])
        #expect(([known] + again.positions(room)).areContiguous)
    }

    @Test func anOutsiderWithRedisCLIReachesEveryClientOnEveryNode() async throws {
        let cluster = try await Cluster.start(3)
        defer { cluster.end() }
        let room = try RoomName("뉴스")
        var watchers: [Watcher] = []
        for (index, node) in cluster.nodes.enumerated() {
            let watcher = try await Watcher.connect("user\(index)", node)
            try await watcher.client.join(room)
            watchers.append(watcher)
        }
        let reply = try cluster.redis("FCALL", "martlet_say", "1", "martlet:{뉴스}:log", "bot", "안녕")
        for watcher in watchers {
            try await watcher.wait(for: 1, in: room)
            #expect(watcher.texts(room) == ["안녕"])
            #expect(watcher.positions(room).first?.description == reply.first)
        }
    }

    @Test func aRepeatedSendIsStoredOnceAlsoOnAnotherNode() async throws {
        let cluster = try await Cluster.start(2)
        defer { cluster.end() }
        let room = try RoomName("once")
        let first = try await Watcher.connect("ana", cluster.nodes[0])
        try await first.client.join(room)
        let sent = try await first.client.send("only once", to: room, key: "k-1")
        await first.close()
        let second = try await Watcher.connect("ana", cluster.nodes[1])
        try await second.client.join(room)
        let request = SendRequest(room: room, text: "only once", key: "k-1", again: true, since: sent.position)
        let again = try await second.client.send(request)
        #expect(again.position == sent.position)
        #expect(again.repeated)
        #expect(try cluster.redis("XLEN", "martlet:{once}:log") == ["1"])
    }

    @Test func twentySessionsOnThreeNodesSeeOneOrderWhileNodesComeAndGo() async throws {
        let cluster = try await Cluster.start(3, ["MARTLET_LINGER": "0s"])
        defer { cluster.end() }
        let room = try RoomName("busy")
        let watchers = try await connect(20, cluster, room)
        let churn = Task {
            // The third node leaves the room and enters it again, which each time begins a new epoch, so that refused
            // appends are repeated.
            var rounds = 0
            while !Task.isCancelled {
                let visitor = try await Watcher.connect("visitor", cluster.nodes[2])
                try await visitor.client.join(room)
                try await visitor.client.send("visit \(rounds)", to: room)
                await visitor.close()
                rounds += 1
            }
            return rounds
        }
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for watcher in watchers {
                tasks.addTask {
                    for number in 0..<25 { try await watcher.client.send("\(watcher.user) \(number)", to: room) }
                }
            }
            try await tasks.waitForAll()
        }
        churn.cancel()
        let visits = (try? await churn.value) ?? 0
        #expect(visits > 0)
        let total = try #require(Int(try cluster.redis("XLEN", "martlet:{busy}:log").first ?? ""))
        #expect(total >= 500)
        for watcher in watchers { try await watcher.wait(for: total, in: room) }
        let order = watchers[0].positions(room)
        #expect(order.count == total)
        #expect(order.areContiguous)
        for watcher in watchers { #expect(watcher.positions(room) == order, "\(watcher.user) sees another order") }
        for watcher in watchers {
            let own = watchers[0].texts(room).filter { $0.hasPrefix("\(watcher.user) ") }
            #expect(own == (0..<25).map { "\(watcher.user) \($0)" }, "a sender's own order changed")
        }
    }

    /// All users are on the first two nodes.
    private func connect(_ count: Int, _ cluster: Cluster, _ room: RoomName) async throws -> [Watcher] {
        var watchers: [Watcher] = []
        for index in 0..<count {
            let watcher = try await Watcher.connect("user\(index)", cluster.nodes[index % 2])
            try await watcher.client.join(room)
            watchers.append(watcher)
        }
        return watchers
    }

    @Test func signalsReachTheOthersAndAreNotStored() async throws {
        let cluster = try await Cluster.start(2)
        defer { cluster.end() }
        let room = try RoomName("typing")
        let ana = try await Watcher.connect("ana", cluster.nodes[0])
        let bob = try await Watcher.connect("bob", cluster.nodes[1])
        try await ana.client.join(room)
        try await bob.client.join(room)
        try await eventually("both nodes know each other") {
            try cluster.redis("HLEN", "martlet:{typing}:nodes") == ["2"]
        }
        ana.client.signal(room, "typing")
        try await eventually("bob hears it") { bob.seen(room).signals == ["ana typing"] }
        #expect(ana.seen(room).signals.isEmpty)
        #expect(try cluster.redis("XLEN", "martlet:{typing}:log") == ["0"])
    }
}
