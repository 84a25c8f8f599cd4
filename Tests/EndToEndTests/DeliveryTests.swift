import Foundation
import MartletClient
import TestSupport
import Testing

/// Readers of all speeds in one room.
@Suite(.serialized, .inTurn)
struct DeliveryTests {
    private static let environment = [
        "MARTLET_LIMIT_OUTBOUND_BYTES": "128KiB", "MARTLET_LIMIT_FRAME_BYTES": "16KiB",
        "MARTLET_ROOM_MEMORY_BYTES": "64MiB", "MARTLET_LIMIT_REQUESTS_PER_SECOND": "100000",
        "MARTLET_LIMIT_REQUEST_BURST": "100000", "MARTLET_EVENT_LOOPS": "2",
        // One user sends everything here.
        "MARTLET_LIMIT_COST_BURST": "100000000", "MARTLET_LIMIT_USER_BYTES_BURST": "1GiB",
    ]
    private let text = String(repeating: "x", count: 8_000)

    private func say(_ count: Int, _ watcher: Watcher, in room: RoomName) async throws {
        for _ in 0..<(count / 50) {
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<50 { group.addTask { _ = try await watcher.client.send(text, to: room) } }
                try await group.waitForAll()
            }
        }
    }

    @Test func whatAClientMissedComesAsItReadsAndIsFollowedByWhatIsSaidMeanwhile() async throws {
        let cluster = try await Cluster.start(1, Self.environment)
        defer { cluster.end() }
        let room = try RoomName("busy")
        let ana = try await Watcher.connect("ana", cluster.nodes[0])
        try await ana.client.join(room)
        try await say(900, ana, in: room)
        try await ana.wait(for: 900, in: room)
        let first = try #require(ana.positions(room).first)

        // 7 MB were missed and 128 KB may wait, so the rest must wait in the room's memory.
        let slow = try RawReader(port: cluster.nodes[0].port, query: "user=slow")
        slow.send(#"{"type":"join","ref":1,"room":"busy","after":"\#(first)"}"#)
        try await eventually("the answer begins") {
            slow.read(atMost: 20_000)
            return slow.types.contains("joined")
        }
        try await say(50, ana, in: room)
        try await ana.wait(for: 950, in: room)
        try await eventually("all is read, has \(slow.positions.count)") {
            slow.read(atMost: 500_000)
            return slow.positions.count >= 949 || slow.closeCode != nil || slow.ended
        }
        for count in stride(from: 959, through: 999, by: 10) {
            // 80 KB at once, which is less than may wait.
            for _ in 0..<10 { try await ana.client.send(text, to: room) }
            try await eventually("what is said then is heard, has \(slow.positions.count) of \(count)") {
                slow.read()
                return slow.positions.count >= count || slow.closeCode != nil || slow.ended
            }
        }
        #expect(slow.closeCode == nil)
        try await ana.wait(for: 1_000, in: room)
        #expect(([first] + slow.positions).areContiguous)
        #expect(slow.positions == Array(ana.positions(room).dropFirst()))
        await ana.close()
    }

    @Test func historyThatIsAskedForAllAtOnceComesAsItIsRead() async throws {
        let cluster = try await Cluster.start(1, Self.environment)
        defer { cluster.end() }
        let room = try RoomName("busy")
        let ana = try await Watcher.connect("ana", cluster.nodes[0])
        try await ana.client.join(room)
        try await say(100, ana, in: room)
        let page = try await ana.client.history(room, HistoryQuery(anchor: .newest, limit: 100))
        #expect(page.hasOlder && !page.hasNewer)
        #expect((1...10).contains(page.messages.count), "32 KB of 800: \(page.messages.count) messages")
        #expect(page.messages.last?.position == ana.positions(room).last)

        let slow = try RawReader(port: cluster.nodes[0].port, query: "user=slow")
        for ref in 1...60 { slow.send(#"{"type":"history","ref":\#(ref),"room":"busy","limit":100}"#) }
        try await eventually("60 pages are read, has \(slow.types.count)") {
            slow.read(atMost: 300_000)
            return slow.types.count { $0 == "history" } == 60 || slow.closeCode != nil
        }
        #expect(slow.closeCode == nil)
        await ana.close()
    }

    @Test func oneThatNeverReadsIsClosedAsSlowAndResumesAndTheOthersNeverNotice() async throws {
        let cluster = try await Cluster.start(1, Self.environment)
        defer { cluster.end() }
        let node = cluster.nodes[0]
        let room = try RoomName("busy")
        var others: [Watcher] = []
        for number in 0..<8 {
            let watcher = try await Watcher.connect("u\(number)", node)
            try await watcher.client.join(room)
            others.append(watcher)
        }
        let blocked = try RawReader(port: node.port, query: "user=blocked&room=busy")
        try await eventually("it is in the room") {
            try await Shell.get("\(node.http)/metrics").contains("martlet_sessions 9\n")
        }
        var said = 0
        while said < 2_000 {
            try await say(50, others[0], in: room)
            said += 50
            if others[0].seen(room).left[try UserID("blocked")] == 1 { break }
        }
        blocked.widen()
        try await eventually("it finds the numbered close behind what it was sent") {
            blocked.read()
            return blocked.closeCode != nil || blocked.ended
        }
        #expect(blocked.closeCode == 4001)
        for watcher in others {
            try await watcher.wait(for: said, in: room)
            #expect(watcher.positions(room).count == said)
            #expect(watcher.positions(room).areContiguous)
            #expect(watcher.positions(room) == others[0].positions(room))
        }
        let slow = #"martlet_sessions_closed_total{reason="slow"} 1"#
        try await eventually("its end is counted") { try await Shell.get("\(node.http)/metrics").contains(slow) }
        #expect(try await Shell.get("\(node.http)/metrics").contains("martlet_outbound_queue_bytes 0\n"))

        let last = try #require(blocked.positions.last)
        let again = try RawReader(port: node.port, query: "user=blocked")
        again.send(#"{"type":"join","ref":1,"room":"busy","after":"\#(last)"}"#)
        let missed = said - blocked.positions.count
        try await eventually("it is sent what it missed, has \(again.positions.count) of \(missed)") {
            again.read()
            return again.positions.count >= missed || again.closeCode != nil
        }
        #expect(blocked.positions + again.positions == others[0].positions(room))
        for watcher in others { await watcher.close() }
    }
}
