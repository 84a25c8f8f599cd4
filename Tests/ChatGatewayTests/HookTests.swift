import ChatAccess
import ChatCore
import ChatGateway
import ChatJSON
import ChatWire
import TestSupport
import Testing

/// The hook, through a whole node and a server that is asked: decisions, order, and servers that do not answer well.
@Suite struct HookTests {
    private static let secret = "a secret of the hook, long enough"

    private func withHook(
        _ answer: @escaping @Sendable (HookServer.Question) -> HookServer.Answer,
        with environment: [String: String] = [:],
        _ body: (_ port: Int, _ server: HookServer) async throws -> Void
    ) async throws {
        let server = try await HookServer(answer)
        let settings = [
            "MARTLET_HOOK_URL": "http://127.0.0.1:\(server.port)/decide?x=1", "MARTLET_HOOK_SECRET": Self.secret,
            "MARTLET_HOOK_TIMEOUT": "30s",
        ]
        try await withMemoryNode(settings.merging(environment) { $1 }) { port in try await body(port, server) }
        await server.close()
    }

    private typealias Decide = @Sendable (HookServer.Question) -> HookServer.Answer

    private static let allow = HookServer.Answer.say(#"{"action":"allow"}"#)
    private static let allowAll: Decide = { _ in allow }
    private static let holdSlow: Decide = { $0.text.hasPrefix("slow") ? .hold : allow }

    private static func ask(
        _ port: Int, _ method: String, _ path: String, body: String? = nil
    ) async throws -> (status: Int, body: String) {
        let socket = try await TestSocket.connect(port: port)
        let content =
            body.map {
                "Content-Type: application/json\r\nContent-Length: \($0.utf8.count)\r\n\r\n\($0)"
            } ?? "\r\n"
        try await socket.write("\(method) \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\(content)")
        let answer = try #require(await socket.readAnswer())
        return (try #require(Int(answer.head.split(separator: " ")[1])), answer.body)
    }

    private static func member(_ port: Int, _ query: String = "user=ana&room=lobby") async throws -> TestWebSocket {
        let client = try await TestWebSocket.connect(port: port, query)
        _ = try await client.json("joined")
        return client
    }

    private static func send(_ client: TestWebSocket, _ ref: Int, _ text: String, room: String = "lobby") async throws {
        try await client.send(#"{"type":"send","ref":\#(ref),"room":"\#(room)","text":"\#(text)"}"#)
    }

    private static func count(_ port: Int, _ result: String) async throws -> Int {
        let text = try await ask(port, "GET", "/metrics").body
        let series = "martlet_hook_decisions_total{result=\"\(result)\"}"
        let line = text.split(separator: "\n").first { $0.hasPrefix(series + " ") }
        return try #require(line.flatMap { Double($0.dropFirst(series.count + 1)) }.map { Int($0) }, "\(series)")
    }

    @Test func theHookAllowsRefusesAndReplaces() async throws {
        let decide: Decide = { question in
            switch question.text {
            case "bad": .say(#"{"action":"refuse","reason":"not\u0007 here"}"#)
            case "wrong": .say(#"{"action":"replace","text":"right"}"#)
            case "empty": .raw("HTTP/1.1 204 No Content\r\n\r\n")
            default: Self.allow
            }
        }
        try await withHook(decide) { port, server in
            let (ana, bob) = (try await Self.member(port), try await Self.member(port, "user=bob&room=lobby"))
            try await ana.send(#"{"type":"send","ref":1,"room":"lobby","text":"good","data":{"a":[1]},"key":"k"}"#)
            #expect(try await bob.json("message")["text"]?.string == "good")
            try await Self.send(ana, 2, "bad")
            let error = try await ana.json("error")
            #expect(error["ref"]?.integer == 2 && error["code"]?.integer == 309)
            #expect(error["name"]?.string == "rejected" && error["retry"]?.bool == false)
            #expect(error["message"]?.string == "send: the message was rejected: not  here")
            try await Self.send(ana, 3, "wrong")
            #expect(try await bob.json("message")["text"]?.string == "right")
            try await Self.send(ana, 4, "empty")
            #expect(try await bob.json("message")["text"]?.string == "empty")
            let posted = try await Self.ask(
                port, "POST", "/api/rooms/lobby/messages", body: #"{"user":"bot","text":"bad"}"#)
            #expect(posted.status == 403 && posted.body.contains("\"rejected\""), "\(posted)")
            let other = try await Self.ask(
                port, "POST", "/api/rooms/lobby/messages", body: #"{"user":"bot","text":"wrong"}"#)
            #expect(other.status == 201)
            #expect(try await bob.json("message")["text"]?.string == "right")
            let first = try #require(server.questions.first)
            #expect(first.head.hasPrefix("POST /decide?x=1 HTTP/1.1\r\n"))
            #expect(first.json["room"]?.string == "lobby" && first.json["user"]?.string == "ana")
            #expect(first.json["type"]?.string == "message" && first.json["key"]?.string == "k")
            #expect(first.json["data"]?["a"]?.array?.first?.integer == 1 && first.json["at"]?.integer != nil)
            for (result, count) in [("allowed", 2), ("replaced", 2), ("refused", 2), ("late", 0)] {
                #expect(try await Self.count(port, result) == count, "\(result)")
            }
            #expect(server.connections <= 2, "connections are kept open")
        }
    }

    @Test func questionsAreSignedAsStandardWebhooksAre() async throws {
        try await withHook(Self.allowAll) { port, server in
            let client = try await Self.member(port)
            try await Self.send(client, 1, "a")
            _ = try await client.json("sent")
            let question = try #require(server.questions.first)
            let id = try #require(question.header("webhook-id"))
            let time = try #require(question.header("webhook-timestamp"))
            let signature = try #require(question.header("webhook-signature"))
            let age = try #require(Int64(time)).distance(to: Int64(WallClock.milliseconds / 1_000))
            #expect((0...60).contains(age))
            let secret = try #require(HookSecret(Self.secret))
            let fields = HookMessage.fields(
                id: id, now: try #require(UInt64(time)) * 1_000, body: Array(question.body.utf8), secret: secret)
            #expect(fields.last?.value == signature && signature.hasPrefix("v1,"))
        }
    }

    @Test func theOrderOfARoomHoldsAndOtherRoomsDoNotWait() async throws {
        try await withHook(Self.holdSlow) { port, server in
            let (ana, bob) = (try await Self.member(port), try await Self.member(port, "user=bob&room=other"))
            for (ref, text) in ["slow 1", "fast 2", "slow 3", "fast 4"].enumerated() {
                try await Self.send(ana, ref, text)
            }
            for text in ["slow 1", "fast 2", "slow 3", "fast 4"] { try await server.heard(text) }
            try await Self.send(bob, 9, "fast", room: "other")
            #expect(try await bob.json("sent")["ref"]?.integer == 9, "while another room waits")
            #expect(try await Self.ask(port, "GET", "/api/rooms/lobby/messages").body.contains("\"messages\":[]"))
            try server.answer("slow 3", #"{"action":"replace","text":"three"}"#)
            try server.answer("slow 1", #"{"action":"allow"}"#)
            for text in ["slow 1", "fast 2", "three", "fast 4"] {
                #expect(try await ana.json("message")["text"]?.string == text)
            }
        }
    }

    @Test func aRepeatedKeyIsAnsweredLikeTheFirst() async throws {
        let hold: Decide = { _ in .hold }
        try await withHook(hold) { port, server in
            let client = try await Self.member(port)
            try await client.send(#"{"type":"send","ref":1,"room":"lobby","text":"a","key":"k"}"#)
            try await server.heard("a")
            try await client.send(#"{"type":"send","ref":2,"room":"lobby","text":"a","key":"k","again":true}"#)
            try await eventually("both are asked about") { server.questions.count == 2 }
            try server.answer("a", #"{"action":"allow"}"#)
            let sent = try await client.json("sent")
            try server.answer("a", #"{"action":"refuse"}"#)
            let again = try await client.json("sent")
            #expect(sent["ref"]?.integer == 1 && again["ref"]?.integer == 2)
            #expect(sent["position"] == again["position"] && again["repeated"]?.bool == true)
        }
    }

    /// What a hook may do wrong, and how that is counted.
    private static let troubles: [(answer: HookServer.Answer, result: String)] = [
        (.raw("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"), "badAnswer"),
        (.raw("HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"), "badAnswer"),
        (.say("[]"), "badAnswer"), (.say(#"{"action":"maybe"}"#), "badAnswer"), (.say("{"), "badAnswer"),
        (.say(#"{"action":"replace"}"#), "badAnswer"), (.say(#"{"action":"replace","text":""}"#), "badAnswer"),
        (.say(#"{"action":"replace","text":"\#(String(repeating: "x", count: 70_000))"}"#), "badAnswer"),
        (.raw("SSH-2.0-OpenSSH\r\n\r\n"), "badAnswer"), (.endless, "badAnswer"),
        (.rawAndClose("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"), "unreachable"),
        (.rawAndClose(""), "unreachable"),
    ]

    @Test(arguments: troubles.indices)
    func aHookThatAnswersBadlyDecidesNothing(index: Int) async throws {
        let trouble = Self.troubles[index]
        let answer: Decide = { _ in trouble.answer }
        for (policy, isStored) in [("allow", true), ("refuse", false)] {
            try await withHook(answer, with: ["MARTLET_HOOK_ON_FAILURE": policy]) { port, server in
                let client = try await Self.member(port)
                try await Self.send(client, 1, "a")
                if isStored {
                    #expect(try await client.json("message")["text"]?.string == "a")
                } else {
                    let error = try await client.json("error")
                    #expect(error["name"]?.string == "unavailable" && error["retry"]?.bool == true)
                }
                #expect(try await Self.count(port, trouble.result) == 1)
                #expect(!server.questions.isEmpty)
            }
        }
    }

    @Test func aSlowHookIsNotWaitedForLongerThanTheTimeout() async throws {
        // Long enough for a busy machine to answer what is not held.
        let settings = ["MARTLET_HOOK_TIMEOUT": "2s", "MARTLET_HOOK_ON_FAILURE": "refuse"]
        try await withHook(Self.holdSlow, with: settings) { port, server in
            let client = try await Self.member(port)
            try await Self.send(client, 1, "slow")
            #expect(try await client.json("error")["name"]?.string == "unavailable")
            #expect(try await Self.count(port, "late") == 1)
            try await Self.send(client, 2, "fast")
            #expect(try await client.json("sent")["ref"]?.integer == 2)
        }
    }

    @Test func aHookThatIsNotThereDecidesNothing() async throws {
        let closed = try await HookServer(Self.allowAll)
        let port = closed.port
        await closed.close()
        try await withMemoryNode([
            "MARTLET_HOOK_URL": "http://127.0.0.1:\(port)/", "MARTLET_HOOK_SECRET": Self.secret,
        ]) { port in
            let client = try await Self.member(port)
            try await Self.send(client, 1, "a")
            #expect(try await client.json("sent")["ref"]?.integer == 1)
            #expect(try await Self.count(port, "unreachable") == 1)
        }
    }

    @Test func aConnectionThatTheServerClosedIsReplaced() async throws {
        let decide: Decide = { question in
            let body = #"{"action":"allow"}"#
            let head = "HTTP/1.1 200 OK\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
            return question.text == "last" ? .rawAndClose(head) : .raw(head)
        }
        try await withHook(decide) { port, server in
            let client = try await Self.member(port)
            for (ref, text) in ["first", "last", "first", "last", "first"].enumerated() {
                try await Self.send(client, ref, text)
                #expect(try await client.json("sent")["ref"]?.integer == ref)
            }
            #expect(try await Self.count(port, "allowed") == 5)
            #expect(server.connections == 3)
        }
    }
}
