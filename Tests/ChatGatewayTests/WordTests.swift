import ChatAccess
import ChatCore
import ChatJSON
import ChatWire
import Foundation
import TestSupport
import Testing

/// A node's list of words, through a whole node: WebSocket and HTTP, refusing and masking, and a new list.
@Suite struct WordTests {
    private static let key = "a key of the back end"

    private func withWords(
        _ words: String, _ environment: [String: String] = [:],
        _ body: (_ port: Int, _ path: String) async throws -> Void
    ) async throws {
        let path = FileManager.default.temporaryDirectory.appending(path: "words-\(UInt64.random(in: 0 ... .max))").path
        defer { try? FileManager.default.removeItem(atPath: path) }
        try Self.write(words, path)
        try await withMemoryNode(["MARTLET_WORDS": path].merging(environment) { $1 }) { port in
            try await body(port, path)
        }
    }

    private static func write(_ words: String, _ path: String) throws {
        try Data(words.utf8).write(to: URL(filePath: path), options: .atomic)
    }

    private static func ask(
        _ port: Int, _ method: String, _ path: String, fields: String = "", body: String? = nil
    ) async throws -> (status: Int, body: String) {
        let socket = try await TestSocket.connect(port: port)
        let content =
            body.map {
                "Content-Type: application/json\r\nContent-Length: \($0.utf8.count)\r\n\r\n\($0)"
            } ?? "\r\n"
        try await socket.write(
            "\(method) \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\(fields)\(content)")
        let answer = try #require(await socket.readAnswer())
        return (try #require(Int(answer.head.split(separator: " ")[1])), answer.body)
    }

    private static func member(_ port: Int, _ query: String = "user=ana&room=lobby") async throws -> TestWebSocket {
        let client = try await TestWebSocket.connect(port: port, query)
        _ = try await client.json("joined")
        return client
    }

    /// The value of a counter in `/metrics`.
    private static func count(_ port: Int, _ series: String) async throws -> Int {
        let text = try await ask(port, "GET", "/metrics").body
        let line = text.split(separator: "\n").first { $0.hasPrefix(series + " ") }
        return try #require(line.flatMap { Double($0.dropFirst(series.count + 1)) }.map { Int($0) }, "\(series)")
    }

    @Test func aMessageWithAWordIsRefusedAndNotStored() async throws {
        try await withWords("ass\n바보\n") { port, _ in
            let client = try await Self.member(port)
            try await client.send(#"{"type":"send","ref":1,"room":"lobby","text":"you ＡＳＳ"}"#)
            let error = try await client.json("error")
            #expect(error["ref"]?.integer == 1 && error["code"]?.integer == 308)
            #expect(error["name"]?.string == "blockedWord" && error["retry"]?.bool == false)
            for text in ["이 ㅂㅏㅂㅗ야", "이 바\u{200B}보"] {
                try await client.send(#"{"type":"send","ref":2,"room":"lobby","text":"\#(text)"}"#)
                #expect(try await client.json("error")["name"]?.string == "blockedWord")
            }
            let posted = try await Self.ask(
                port, "POST", "/api/rooms/lobby/messages", body: #"{"user":"bot","text":"an ass"}"#)
            #expect(posted.status == 403 && posted.body.contains("\"blockedWord\""), "\(posted)")
            try await client.send(#"{"type":"send","ref":3,"room":"lobby","text":"first class"}"#)
            #expect(try await client.json("message")["text"]?.string == "first class")
            let history = try await Self.ask(port, "GET", "/api/rooms/lobby/messages")
            #expect(history.body.contains("first class") && !history.body.contains("an ass"), "\(history)")
            #expect(try await Self.count(port, "martlet_word_messages_total{result=\"refused\"}") == 4)
        }
    }

    @Test func wordsAreMaskedForEverybodyAndInTheLog() async throws {
        try await withWords("ass\n바보\n", ["MARTLET_WORDS_MODE": "mask"]) { port, _ in
            let (ana, bob) = (try await Self.member(port), try await Self.member(port, "user=bob&room=lobby"))
            try await ana.send(#"{"type":"send","ref":1,"room":"lobby","text":"Ass, 바보!","data":{"a":"ass"}}"#)
            for client in [ana, bob] {
                let message = try await client.json("message")
                #expect(message["text"]?.string == "***, **!" && message["data"]?["a"]?.string == "ass")
            }
            let posted = try await Self.ask(
                port, "POST", "/api/rooms/lobby/messages", body: #"{"user":"bot","text":"an ass"}"#)
            #expect(posted.status == 201)
            #expect(try await bob.json("message")["text"]?.string == "an ***")
            let history = try await Self.ask(port, "GET", "/api/rooms/lobby/messages")
            #expect(history.body.contains("***, **!") && history.body.contains("an ***"))
            #expect(try await Self.count(port, "martlet_word_messages_total{result=\"masked\"}") == 2)
        }
    }

    @Test func aMessageWithoutTextAndOneOfNoMemberAreDecidedAsBefore() async throws {
        try await withWords("ass\n") { port, _ in
            let client = try await Self.member(port)
            try await client.send(#"{"type":"send","ref":1,"room":"lobby","data":"ass"}"#)
            #expect(try await client.json("message")["data"]?.string == "ass")
            try await client.send(#"{"type":"send","ref":2,"room":"elsewhere","text":"ass"}"#)
            #expect(try await client.json("error")["name"]?.string == "notJoined")
        }
    }

    @Test func moderatorsAreBoundByTheListAsWell() async throws {
        try await withWords("ass\n", ["MARTLET_TOKEN_HMAC_SECRET": TestTokens.secret]) { port, _ in
            let token = try TestTokens.make("ana", ["**": ["read", "send", "moderate"]])
            let client = try await Self.member(port, "token=\(token)&room=lobby")
            try await client.send(#"{"type":"send","ref":1,"room":"lobby","text":"ass"}"#)
            #expect(try await client.json("error")["name"]?.string == "blockedWord")
        }
    }

    @Test func aNewListIsUsedWithoutARestartAndABadOneIsNot() async throws {
        try await withWords("ass\n") { port, path in
            let client = try await Self.member(port)
            try await client.send(#"{"type":"send","ref":1,"room":"lobby","text":"fool","key":"k1"}"#)
            _ = try await client.json("sent")
            try Self.write("fool\n", path)
            // A message that is refused was decided by the new list.
            try await eventually("the new list is used") {
                let answer = try await Self.ask(
                    port, "POST", "/api/rooms/other/messages", body: #"{"user":"bot","text":"fool"}"#)
                return answer.status == 403
            }
            try await client.send(#"{"type":"send","ref":2,"room":"lobby","text":"ass"}"#)
            #expect(try await client.json("sent")["ref"]?.integer == 2)
            // What was stored before is repeated, not decided again.
            try await client.send(#"{"type":"send","ref":3,"room":"lobby","text":"fool","key":"k1","again":true}"#)
            let again = try await client.json("sent")
            #expect(again["ref"]?.integer == 3 && again["repeated"]?.bool == true)
        }
    }
}
