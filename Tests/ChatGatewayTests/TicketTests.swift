import ChatAccess
import ChatCore
import ChatJSON
import ChatNode
import ChatWire
import TestSupport
import Testing

@testable import ChatGateway

/// Tickets, through a whole node: who gets one, and what it opens.
@Suite struct TicketTests {
    private static let key = "a key of the back end"
    private static let keys = "backend:\(APIKeys.hash(of: key)):admin,bot:\(APIKeys.hash(of: "bot")):read+send"

    private func withTokens(
        _ environment: [String: String] = [:], _ body: (_ port: Int) async throws -> Void
    ) async throws {
        try await withMemoryNode(
            ["MARTLET_TOKEN_HMAC_SECRET": TestTokens.secret, "MARTLET_API_KEYS": Self.keys]
                .merging(environment) { $1 }, body)
    }

    private static func ask(
        _ port: Int, _ method: String, _ path: String, _ bearer: String? = nil, fields: String = "",
        body: String? = nil
    ) async throws -> (status: Int, body: JSONValue) {
        let socket = try await TestSocket.connect(port: port)
        let content = body.map { "Content-Length: \($0.utf8.count)\r\n\r\n\($0)" } ?? "\r\n"
        let credentials = bearer.map { "Authorization: Bearer \($0)\r\n" } ?? ""
        try await socket.write(
            "\(method) \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\(credentials)\(fields)\(content)")
        let answer = try #require(await socket.readAnswer())
        let status = try #require(Int(answer.head.split(separator: " ")[1]))
        return (status, (try? JSONValue(parsing: Array(answer.body.utf8))) ?? .null)
    }

    private static func ticket(_ port: Int, _ bearer: String, body: String? = nil) async throws -> String {
        let answer = try await ask(port, "POST", "/api/tickets", bearer, body: body)
        #expect(answer.status == 201 && answer.body["expires"]?.integer == 30, "\(answer)")
        return try #require(answer.body["ticket"]?.string)
    }

    private static let unauthenticated = WebSocketDecoder.Event.close(
        WebSocketCloseCode(rawValue: 4002), reason: "unauthenticated")

    @Test func aTicketOpensOneWebSocketWithTheRightsOfItsToken() async throws {
        try await withTokens { port in
            let token = try TestTokens.make("ana", ["lobby": ["read"]])
            let ticket = try await Self.ticket(port, token)
            let client = try await TestWebSocket.connect(port: port, "ticket=\(ticket)&room=lobby&device=phone")
            let welcome = try await client.json("welcome")
            #expect(welcome["user"]?.string == "ana" && welcome["device"]?.string == "phone")
            #expect(welcome["expires"]?.integer.map { (3_500...3_600).contains($0) } == true)
            _ = try await client.json("joined")
            try await client.send(#"{"type":"send","ref":1,"room":"lobby","text":"a"}"#)
            #expect(try await client.json("error")["code"]?.integer == 301)
            let again = try await TestWebSocket.connect(port: port, "ticket=\(ticket)")
            #expect(await again.closeFrame() == Self.unauthenticated)
        }
    }

    @Test func aTicketAnswersOneRequestAndGivesNoOtherTicket() async throws {
        try await withTokens { port in
            let ticket = try await Self.ticket(port, try TestTokens.make("ana"))
            let tickets = try await Self.ask(port, "POST", "/api/tickets?ticket=\(ticket)")
            #expect(tickets.status == 401, "and it was not used")
            let path = "/api/rooms/lobby/messages?ticket=\(ticket)"
            #expect(try await Self.ask(port, "POST", path, body: #"{"text":"hi"}"#).status == 201)
            #expect(try await Self.ask(port, "GET", path).status == 401)
            let other = String(repeating: "A", count: 43)
            for wrong in ["", "x", other, "a.b.c", "%20", other + other] {
                let path = "/api/rooms/lobby/messages?ticket=\(wrong)"
                #expect(try await Self.ask(port, "GET", path).status == 401, "\(wrong)")
            }
        }
    }

    @Test func aRevocationBetweenTakingAndUsingATicketCounts() async throws {
        try await withTokens { port in
            let ticket = try await Self.ticket(port, try TestTokens.make("ana", id: "t1"))
            let used = try await Self.ticket(port, try TestTokens.make("ana", id: "t1"))
            let client = try await TestWebSocket.connect(port: port, "ticket=\(used)")
            _ = try await client.json("welcome")
            let revoked = try await Self.ask(port, "POST", "/api/revocations", Self.key, body: #"{"token":"t1"}"#)
            #expect(revoked.status == 200)
            #expect(await client.closeFrame() == .close(WebSocketCloseCode(rawValue: 4012), reason: "revoked"))
            let late = try await TestWebSocket.connect(port: port, "ticket=\(ticket)")
            #expect(await late.closeFrame() == Self.unauthenticated)
        }
    }

    @Test func aSessionOfATicketEndsWithItsToken() async throws {
        try await withTokens(["MARTLET_TOKEN_GRACE": "0s", "MARTLET_TOKEN_LEEWAY": "1s"]) { port in
            let ticket = try await Self.ticket(port, try TestTokens.make("ana", lives: 40))
            // Long enough for a busy machine to take the ticket and to use it.
            let short = try TestTokens.make("ana", lives: 6)
            let brief = try await Self.ask(port, "POST", "/api/tickets", short)
            #expect(brief.status == 201 && (brief.body["expires"]?.integer ?? 99) <= 6)
            let client = try await TestWebSocket.connect(
                port: port, "ticket=\(try #require(brief.body["ticket"]?.string))")
            _ = try await client.json("welcome")
            #expect(await client.closeFrame() == .close(WebSocketCloseCode(rawValue: 4011), reason: "expired"))
            _ = try await TestWebSocket.connect(port: port, "ticket=\(ticket)").json("welcome")
        }
    }

    @Test func aServerTakesTicketsForItsUsers() async throws {
        try await withTokens { port in
            let order = #"{"user":"ana","rooms":{"team:*":["read","send"]},"deny":["team:b"],"device":"phone"}"#
            let ticket = try await Self.ticket(port, Self.key, body: order)
            let client = try await TestWebSocket.connect(port: port, "ticket=\(ticket)")
            let welcome = try await client.json("welcome")
            #expect(welcome["user"]?.string == "ana" && welcome["device"]?.string == "phone")
            for (room, answer) in [("team:a", "joined"), ("team:b", "error"), ("lobby", "error")] {
                try await client.send(#"{"type":"join","room":"\#(room)"}"#)
                _ = try await client.json(answer)
            }
            // The bearer of such a ticket is no server.
            let mine = try await Self.ticket(port, Self.key, body: order)
            let path = "/api/rooms/team:a/messages?ticket=\(mine)"
            #expect(try await Self.ask(port, "POST", path, body: #"{"user":"bob","text":"x"}"#).status == 403)
            let tablet = try await Self.ticket(port, Self.key, body: order)
            let other = try await TestWebSocket.connect(port: port, "ticket=\(tablet)&device=tablet")
            #expect(await other.closeFrame() == .close(WebSocketCloseCode(rawValue: 4010), reason: "forbidden"))
        }
    }

    @Test(arguments: [
        (key, "{}", 400), (key, #"{"user":"ana"}"#, 400), (key, #"{"user":7,"rooms":{"a":["read"]}}"#, 400),
        (key, #"{"user":"ana","rooms":{"a":["fly"]}}"#, 400), (key, #"{"user":"ana","rooms":{"a*":["read"]}}"#, 400),
        (key, #"{"user":"ana","rooms":{"a":["read"]},"deni":["b"]}"#, 400), (key, "[]", 400), (key, "{", 400),
        (key, #"{"user":"a\u0000","rooms":{"a":["read"]}}"#, 400),
        (key, #"{"user":"ana","rooms":{"a":["read"]},"exp":5}"#, 400),
        (key, #"{"user":"ana","rooms":{"a":["read"]},"exp":99999999999}"#, 401),
        (key, #"{"user":"ana","rooms":{"a":["read"]},"device":7}"#, 400),
        ("bot", #"{"user":"ana","rooms":{"a":["read"]}}"#, 403), ("nobody", "{}", 401),
    ])
    func ordersThatAreNoneAreRefused(bearer: String, body: String, status: Int) async throws {
        try await withTokens { port in
            let answer = try await Self.ask(port, "POST", "/api/tickets", bearer, body: body)
            #expect(answer.status == status)
        }
    }

    @Test func aTokenGivesATicketForItsOwnUserOnly() async throws {
        try await withTokens(["MARTLET_ANONYMOUS": "chat"]) { port in
            let token = try TestTokens.make("ana")
            let bob = #"{"user":"bob","rooms":{"**":["read"]}}"#
            #expect(try await Self.ask(port, "POST", "/api/tickets", token, body: bob).status == 403)
            #expect(try await Self.ask(port, "POST", "/api/tickets", token, body: #"{"exp":1}"#).status == 400)
            #expect(try await Self.ask(port, "POST", "/api/tickets").status == 401, "a guest has no token")
            let page = "Origin: https://evil.example\r\nContent-Type: text/plain\r\n"
            #expect(try await Self.ask(port, "POST", "/api/tickets", token, fields: page, body: "").status == 415)
        }
    }

    @Test func aUserMayNotTakeMoreTicketsThanTheLimit() async throws {
        try await withTokens(["MARTLET_LIMIT_TICKETS_PER_MINUTE_PER_USER": "3"]) { port in
            let (ana, bob) = (try TestTokens.make("ana"), try TestTokens.make("bob"))
            for _ in 0..<3 { _ = try await Self.ticket(port, ana) }
            let refused = try await Self.ask(port, "POST", "/api/tickets", ana)
            #expect(refused.status == 429 && refused.body["error"]?["name"]?.string == "rateLimited")
            _ = try await Self.ticket(port, bob)
        }
    }

    @Test func thereAreNoTicketsInDevelopmentMode() async throws {
        try await withMemoryNode { (port: Int) async throws in
            #expect(try await Self.ask(port, "POST", "/api/tickets").status == 404)
            let client = try await TestWebSocket.connect(port: port, "ticket=abc")
            #expect(await client.closeFrame() == Self.unauthenticated)
        }
    }
}
