import Foundation
import Glibc
import MartletClient
import TestSupport
import Testing

/// The log at debug level, as an operator searches it.
@Suite(.inTurn)
struct LogSearchTests {
    @Test func oneSearchFindsWhatASessionOrARoomDid() async throws {
        let node = try await TestNode.start("node", redis: "memory:", ["MARTLET_LOG_LEVEL": "debug"])
        defer { node.signal(SIGKILL) }
        let room = try RoomName("lobby")
        let ana = try await Watcher.connect("ana", node)
        try await ana.client.join(room)
        try await ana.client.leave(room)
        await ana.close()
        try await eventually("the closing is logged") { node.output.contains("session closed") }
        let lines = node.output.split(separator: "\n").map { $0.split(separator: " ") }
        let id = try #require(lines.joined().first { $0.hasPrefix("session.id=") })
        let session = lines.filter { $0.contains(id) }.map { $0.joined(separator: " ") }
        #expect(session.count == 4, "\(session)")
        for (line, text) in zip(session, ["opened", "joined a room", "left a room", "closed"]) {
            #expect(line.contains("debug session \(text) "))
        }
        #expect(session.first?.contains("member.id=ana") == true && session.last?.contains("reason=peer") == true)
        #expect(lines.filter { $0.contains("room.id=lobby") }.count == 2)
    }
}
