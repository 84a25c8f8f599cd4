import Foundation
import TestSupport
import Testing

/// `martlet replay` in every protocol, at real nodes.
@Suite(.serialized, .inTurn)
struct ReplayProtocolTests {
    /// Some people in two rooms, one of whom goes and comes back, and one of whom is gone for a while.
    private static let trace: String = {
        var lines: [String] = []
        func add(_ user: Int, _ room: String, _ event: String, _ text: String? = nil) {
            let said = text.map { #","text":"\#($0)""# } ?? ""
            lines.append(#"{"at":\#(lines.count),"room":"\#(room)","user":"u:\#(user)","event":"\#(event)"\#(said)}"#)
        }
        for room in ["lobby", "방 1"] { for user in 0..<6 { add(user, room, "join") } }
        for number in 0..<300 {
            add(number % 5, number % 3 == 0 ? "방 1" : "lobby", "message", "#\(number) \\\\ {\\\"안녕\\\"}: \\u0001")
            if number == 100 { add(5, "lobby", "leave") }
            if number == 150 { add(5, "lobby", "join") }
        }
        for number in 0..<10 {
            add(7, "lobby", "join")
            add(7, "lobby", "message", "again \(number)")
            add(7, "lobby", "leave")
        }
        return lines.joined(separator: "\n")
    }()

    @Test(arguments: ["martlet", "socketio", "stomp", "events"])
    func aTraceIsPlayedInEveryProtocol(_ name: String) async throws {
        let cluster = try await Cluster.start(2, ["MARTLET_SOCKETIO": "on"])
        defer { cluster.end() }
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID().uuidString).ndjson")
        try Self.trace.write(to: file, atomically: true, encoding: .utf8)
        defer { try? FileManager.default.removeItem(at: file) }
        let urls = cluster.nodes.flatMap { ["--url", "ws://127.0.0.1:\($0.port)"] }
        let result = try await Program.run(
            ["replay", file.path, "--protocol", name, "--json"] + urls, limit: .seconds(120))
        #expect(result.code == 0, "\(result.output) \(result.error)")
        let verdict = try #require(
            try JSONSerialization.jsonObject(with: Data(result.output.utf8)) as? [String: Any])
        #expect(verdict["ok"] as? Bool == true)
        #expect(verdict["messages"] as? Int == 310, "\(result.output)")
        #expect(try cluster.redis("XLEN", "martlet:{lobby}:log") == ["210"])
    }
}
