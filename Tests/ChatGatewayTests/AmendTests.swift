import ChatJSON
import Foundation
import TestSupport
import Testing

@testable import ChatGateway

/// Amendments over the WebSocket and HTTP, on a node with its rooms in memory.
struct AmendTests {
    private func post(
        _ port: Int, _ body: String, to path: String = "/api/rooms/lobby/amendments"
    ) async throws -> (status: Int, json: JSONValue) {
        try await ask(port, "POST", path, body)
    }

    private func ask(
        _ port: Int, _ method: String, _ path: String, _ body: String? = nil
    ) async throws -> (status: Int, json: JSONValue) {
        let socket = try await TestSocket.connect(port: port)
        let content = body.map { "Content-Length: \($0.utf8.count)\r\n\r\n\($0)" } ?? "\r\n"
        try await socket.write("\(method) \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\(content)")
        let answer = try #require(await socket.readAnswer())
        return (Int(answer.head.split(separator: " ")[1]) ?? 0, try JSONValue(parsing: Array(answer.body.utf8)))
    }

    private func say(_ socket: TestWebSocket, _ fields: String) async throws -> String {
        try await socket.send(#"{"type":"send","ref":1,"room":"lobby",\#(fields)}"#)
        return try #require(try await socket.json("sent")["position"]?.string)
    }

    @Test func whatIsAmendedIsShownToEverybodyAndFoldedInPages() async throws {
        try await withMemoryNode(protocols: nil) { (port: Int) async throws in
            let ana = try await TestWebSocket.connect(port: port, "user=ana&room=lobby")
            let bo = try await TestWebSocket.connect(port: port, "user=bo&room=lobby")
            _ = try await ana.json("joined")
            _ = try await bo.json("joined")
            let first = try await say(ana, #""text":"helo""#)
            let second = try await say(ana, #""text":"secret""#)
            let reply = try await say(bo, #""text":"hi","thread":"\#(first)","mentions":["ana"]"#)
            try await ana.send(
                #"{"type":"amend","ref":2,"room":"lobby","operation":"edit","of":"\#(first)","text":"hello","key":"e"}"#
            )
            let amended = try await ana.json("amended")
            #expect(amended["ref"]?.integer == 2 && amended["repeated"] == nil)
            for socket in [ana, bo] {
                let changed = try await socket.json("changed")
                #expect(changed["of"]?.string == first && changed["text"]?.string == "hello")
                #expect(changed["edited"]?["version"]?.integer == 1 && changed["edited"]?["by"]?.string == "ana")
                #expect(changed["position"] == amended["position"])
            }
            try await bo.send(
                #"{"type":"amend","ref":3,"room":"lobby","operation":"react","of":"\#(first)","reaction":"👍"}"#)
            #expect(try await ana.json("changed")["reactions"]?["👍"]?["count"]?.integer == 1)
            #expect(try await post(port, #"{"by":"ana","operation":"delete","of":"\#(second)"}"#).status == 201)
            #expect(try await ana.json("changed")["deleted"]?["by"]?.string == "ana")
            let late = try await post(port, #"{"by":"ana","operation":"edit","of":"\#(second)","text":"x"}"#)
            #expect(late.status == 410 && late.json["error"]?["name"]?.string == "messageDeleted")
            #expect(
                try await post(port, #"{"by":"ana","operation":"edit","of":"\#(first)","text":"x","key":"e"}"#).status
                    == 200)
            #expect(try await post(port, #"{"by":"ana","operation":"pin","of":"1-1"}"#).status == 404)
            #expect(try await post(port, #"{"by":"ana","operation":"burn","of":"1-1"}"#).status == 400)

            // A session that joins anew, and the HTTP API, get folded messages.
            let cy = try await TestWebSocket.connect(port: port, "user=cy")
            try await cy.send(#"{"type":"join","room":"lobby","history":50}"#)
            let joined = try await cy.json("joined")
            let page = try await ask(port, "GET", "/api/rooms/lobby/messages").json
            for messages in [joined["messages"]?.array, page["messages"]?.array] {
                #expect(messages?.map { $0["position"]?.string } == [first, second, reply])
                #expect(messages?[0]["text"]?.string == "hello" && messages?[0]["replies"]?.integer == 1)
                #expect(messages?[0]["reactions"]?["👍"]?["users"]?.array == [.string("bo")])
                #expect(messages?[1]["text"] == nil && messages?[1]["deleted"]?["by"]?.string == "ana")
                #expect(messages?[2]["thread"]?.string == first && messages?[2]["mentions"]?.array == [.string("ana")])
            }
            #expect(joined["changes"] == nil && joined["position"]?.string != reply)

            // Who comes back is told what became of the messages that it has.
            try await cy.send(#"{"type":"join","room":"lobby","after":"\#(reply)"}"#)
            let back = try await cy.json("joined")
            #expect(back["resumed"]?.bool == true && back["messages"]?.array?.isEmpty == true)
            #expect(back["changes"]?.array?.map { $0["operation"]?.string } == ["edit", "react", "delete"])
        }
    }

    @Test func moderatorsReadWhoReportedAMessage() async throws {
        try await withMemoryNode(protocols: nil) { (port: Int) async throws in
            let said = try await post(port, #"{"user":"ana","text":"spam"}"#, to: "/api/rooms/lobby/messages")
            let position = try #require(said.json["position"]?.string)
            let report = #"{"by":"bo","operation":"report","of":"\#(position)","reason":"spam"}"#
            #expect(try await post(port, report).status == 201)
            let again = try await post(port, report)
            #expect(again.status == 200 && again.json["unchanged"]?.bool == true)
            let audit = try await ask(port, "GET", "/api/rooms/lobby/audit?limit=5")
            let entry = try #require(audit.json["entries"]?.array?.first)
            #expect(entry["operation"]?.string == "report" && entry["by"]?.string == "bo")
            #expect(entry["user"]?.string == "ana" && entry["value"]?.string == position)
            #expect(try await ask(port, "GET", "/api/rooms/lobby/audit?before=x").status == 400)
        }
    }

    @Test func wordsOfEditsAreLookedAt() async throws {
        let path = FileManager.default.temporaryDirectory.appending(path: "words-\(UInt64.random(in: 0 ... .max))").path
        defer { try? FileManager.default.removeItem(atPath: path) }
        try Data("darn\n".utf8).write(to: URL(filePath: path), options: .atomic)
        try await withMemoryNode(["MARTLET_WORDS": path], protocols: nil) { (port: Int) async throws in
            let said = try await post(port, #"{"user":"ana","text":"fine"}"#, to: "/api/rooms/lobby/messages")
            let position = try #require(said.json["position"]?.string)
            let edit = try await post(port, #"{"by":"ana","operation":"edit","of":"\#(position)","text":"darn"}"#)
            #expect(edit.status == 403 && edit.json["error"]?["name"]?.string == "blockedWord")
        }
    }
}
