import ChatCore
import ChatGateway
import ChatJSON
import ChatWire
import NIOCore
import TestSupport
import Testing

struct HandshakeTests {
    /// Sends a request and reads its answer. The connection ends afterwards unless the status is 101.
    private func answer(_ port: Int, _ request: String) async throws -> (head: String, body: String) {
        let socket = try await TestSocket.connect(port: port)
        try await socket.write(request)
        guard let answer = await socket.readAnswer() else { throw TestFailure("no answer") }
        return answer
    }

    private func expect(
        _ port: Int, _ request: String, status: Int, name: String, field: String? = nil,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let answer = try await answer(port, request)
        #expect(answer.head.hasPrefix("HTTP/1.1 \(status) "), "\(answer.head)", sourceLocation: sourceLocation)
        let error = try JSONValue(parsing: answer.body)["error"]
        #expect(error?["name"]?.string == name, "\(answer.body)", sourceLocation: sourceLocation)
        #expect(error?["message"]?.string?.isEmpty == false, sourceLocation: sourceLocation)
        if let field { #expect(answer.head.contains(field), "\(answer.head)", sourceLocation: sourceLocation) }
    }

    private func request(
        method: String = "GET", path: String = "/ws?user=ana", key: String? = TestWebSocket.key,
        version: String? = "13",
        upgrade: String? = "websocket", extra: String = ""
    ) -> String {
        var text = "\(method) \(path) HTTP/1.1\r\nHost: localhost\r\n"
        if let upgrade { text += "Upgrade: \(upgrade)\r\nConnection: Upgrade\r\n" }
        if let key { text += "Sec-WebSocket-Key: \(key)\r\n" }
        if let version { text += "Sec-WebSocket-Version: \(version)\r\n" }
        return text + extra + "\r\n"
    }

    @Test func section4_2_2_theAnswerProvesThatTheKeyWasRead() async throws {
        try await withGateway { port, _, _ in
            let answer = try await answer(port, request())
            #expect(answer.head.hasPrefix("HTTP/1.1 101 "))
            #expect(answer.head.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="))
            #expect(!answer.head.contains("Sec-WebSocket-Protocol"))
        }
    }

    @Test func aSubprotocolThatWeSpeakIsChosenAndOnlyUnknownOnesAreRefused() async throws {
        try await withGateway { port, _, _ in
            let chosen = try await answer(port, request(extra: "Sec-WebSocket-Protocol: v9, martlet.v1\r\n"))
            #expect(chosen.head.contains("\r\nSec-WebSocket-Protocol: martlet.v1"))
            try await expect(
                port, request(extra: "Sec-WebSocket-Protocol: v9.stomp\r\n"), status: 400, name: "badField")
        }
    }

    @Test func whatIsNoHandshakeIsAnsweredWithItsStatus() async throws {
        try await withGateway { port, _, _ in
            try await expect(port, request(method: "POST"), status: 405, name: "badField", field: "Allow: GET")
            try await expect(
                port, request(upgrade: nil), status: 426, name: "badField", field: "Sec-WebSocket-Version: 13")
            try await expect(
                port, request(upgrade: "h2c"), status: 426, name: "badField", field: "Upgrade: websocket")
            try await expect(
                port, request(version: "8"), status: 426, name: "badField", field: "Sec-WebSocket-Version: 13")
            try await expect(port, request(key: nil), status: 400, name: "badField")
            try await expect(port, request(key: "c2hvcnQ="), status: 400, name: "badField")
            try await expect(
                port, request(extra: "Sec-WebSocket-Key: \(TestWebSocket.key)\r\n"), status: 400, name: "badField")
            try await expect(port, request(path: "/wsx?user=ana"), status: 404, name: "notFound")
            try await expect(port, request(path: "/chat"), status: 404, name: "notFound")
        }
    }

    /// A browser hides an answer other than 101 from the page, so everything that a client must know is a close code.
    @Test(arguments: [
        ("/ws", CloseReason.unauthenticated), ("/ws?user=", .badName), ("/ws?user=a%00b", .badName),
        ("/ws?user=a&room=%7Bx%7D", .badName), ("/ws?user=a&device=\(String(repeating: "d", count: 65))", .badName),
        ("/ws?user=%zz", .badName), ("/ws?user=%FF", .badName),
    ])
    func whoTheClientIsAndItsNamesAreChecked(path: String, reason: CloseReason) async throws {
        try await withGateway { port, service, server in
            let socket = try await TestSocket.connect(port: port)
            try await socket.write(request(path: path))
            let all = await socket.readToEnd()
            #expect(all.hasPrefix("HTTP/1.1 101 "))
            #expect(all.hasSuffix(reason.name))
            #expect(service.sessions == 0)
            let refusal: GatewayCounters.Refusal = reason == .badName ? .badName : .unauthenticated
            #expect(await server.counters().refusals == [refusal: 1])
            try await eventually("it is gone") { await server.counters().connections == 0 }
        }
    }

    @Test func aQueryMayHoldWhatIsNotAskedFor() async throws {
        try await withGateway { port, _, _ in
            let answer = try await answer(port, request(path: "/ws?x=%zz&user=ana&%FF"))
            #expect(answer.head.hasPrefix("HTTP/1.1 101 "))
        }
    }

    @Test func anAuthenticatorMayTakeItsTimeAndSeesTheToken() async throws {
        struct Tokens: Authenticator {
            func authenticateAtOnce(_ credentials: Credentials) -> Result<Identity, WireError>? { nil }
            func authenticate(_ credentials: Credentials) async -> Result<Identity, WireError> {
                await Task.yield()
                guard credentials.token == "secret", let user = try? UserID("tina") else {
                    return .failure(WireError(.unauthenticated, "the token is not valid"))
                }
                return .success(Identity(user: user))
            }
        }
        try await withGateway(authenticator: Tokens()) { port, _, _ in
            let client = try await TestWebSocket.connect(
                port: port, "user=x", extra: "Authorization: Bearer secret\r\n")
            #expect(try await client.json("welcome")["user"]?.string == "tina")
            let query = try await TestWebSocket.connect(port: port, "token=secret")
            #expect(try await query.json("welcome")["user"]?.string == "tina")
            let wrong = try await TestWebSocket.connect(port: port, "token=wrong")
            #expect(await wrong.next() == .close(WebSocketCloseCode(rawValue: 4002), reason: "unauthenticated"))
        }
    }

    @Test func onlyPagesOfAllowedOriginsMayConnect() async throws {
        try await withGateway {
            $0.allowedOrigins = ["https://chat.example.org"]
        } _: { port, _, _ in
            try await expect(
                port, request(extra: "Origin: https://evil.example\r\n"), status: 403, name: "forbidden")
            let fine = try await answer(port, request(extra: "Origin: https://Chat.example.org\r\n"))
            #expect(fine.head.hasPrefix("HTTP/1.1 101 "))
            let program = try await answer(port, request())
            #expect(program.head.hasPrefix("HTTP/1.1 101 "))
        }
    }

    @Test(arguments: [
        "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "Host: other\r\n", "X: a\r\n folded\r\n",
        "X : a\r\n", "X: a\u{0}b\r\n",
        "X: a\nY: b\r\n", "X\r\n", ": empty\r\n",
    ])
    func anAmbiguousHandshakeIsRefused(line: String) async throws {
        try await withGateway { port, service, _ in
            try await expect(port, request(extra: line), status: 400, name: "badField")
            #expect(service.sessions == 0)
        }
    }

    @Test func aHeadThatIsTooLongIsRefused() async throws {
        try await withGateway {
            $0.limits.headBytes = 1_000
        } _: { port, _, _ in
            try await expect(
                port, request(extra: "X: \(String(repeating: "x", count: 1_000))\r\n"), status: 431, name: "badField")
            let endless = "GET /ws?user=ana HTTP/1.1\r\nX: " + String(repeating: "x", count: 2_000)
            try await expect(port, endless, status: 431, name: "badField")
        }
    }

    @Test func aHandshakeThatComesInPiecesIsTaken() async throws {
        try await withGateway { port, _, _ in
            let socket = try await TestSocket.connect(port: port)
            for byte in TestWebSocket.handshake().utf8 { try await socket.write([byte]) }
            #expect(await socket.readAnswer(hasBody: false)?.head.hasPrefix("HTTP/1.1 101 ") == true)
        }
    }

    @Test func halfAHandshakeIsAnswered408AndClosed() async throws {
        try await withGateway {
            $0.handshakeTimeout = .milliseconds(200)
            $0.closeTimeout = .milliseconds(100)
        } _: { port, _, server in
            let socket = try await TestSocket.connect(port: port)
            // On a busy machine the time may be over before the first byte.
            try? await socket.write("GET /ws?user=ana HTTP/1.1\r\nHost: local")
            let all = await socket.readToEnd()
            #expect(all.hasPrefix("HTTP/1.1 408 "))
            let silent = try await TestSocket.connect(port: port)
            #expect(await silent.readToEnd().hasPrefix("HTTP/1.1 408 "))
            #expect(await server.counters().connectionsTimedOut == 2)
            try await eventually("both are gone") { await server.counters().connections == 0 }
        }
    }

    @Test func bytesSentRightBehindTheHandshakeAreFrames() async throws {
        try await withGateway { port, _, _ in
            let socket = try await TestSocket.connect(port: port)
            var bytes = Array(TestWebSocket.handshake().utf8)
            WebSocketFrame.append(.ping, Array("early".utf8), maskingKey: 1, to: &bytes)
            try await socket.write(bytes)
            var all: [UInt8] = []
            let pong = [0x8A, 5] + Array("early".utf8)
            while !all.indices.contains(where: { all[$0...].starts(with: pong) }), let more = await socket.read() {
                all += more
            }
            #expect(all.indices.contains { all[$0...].starts(with: pong) })
        }
    }

    @Test func garbageRightBehindTheHandshakeFailsThatConnectionAlone() async throws {
        try await withGateway { port, service, _ in
            let other = try await TestWebSocket.connect(port: port, "user=bob")
            let socket = try await TestSocket.connect(port: port)
            try await socket.write(TestWebSocket.handshake() + "GET /healthz HTTP/1.1\r\n\r\n")
            let all = await socket.readToEnd()
            #expect(all.hasPrefix("HTTP/1.1 101 "))
            #expect(!all.contains("HTTP/1.1 200"), "what follows the upgrade is no HTTP any more")
            try await eventually("it is gone") { service.sessions == 1 }
            try await other.send(#"{"type":"ping","ref":1}"#)
            #expect(try await other.json("pong")["ref"]?.integer == 1)
        }
    }

    @Test func aFullNodeClosesWithItsCode() async throws {
        try await withGateway(service: FakeService(refusal: .nodeFull)) { port, _, server in
            let client = try await TestWebSocket.connect(port: port)
            #expect(await client.next() == .close(WebSocketCloseCode(rawValue: 4003), reason: "nodeFull"))
            try await client.sendFrame(.close, [0x0F, 0xA3])
            #expect(await client.next() == nil)
            try await eventually("counted") { await server.counters().sessionsClosed == ["nodeFull": 1] }
        }
    }

    @Test func connectionsAreLimited() async throws {
        try await withGateway {
            $0.maxConnections = 1
        } _: { port, _, server in
            let first = try await TestWebSocket.connect(port: port)
            let second = try await TestSocket.connect(port: port)
            #expect(await second.readToEnd().hasPrefix("HTTP/1.1 503 "))
            try await eventually("the place is free again") { await server.counters().connections == 1 }
            try await first.send(#"{"type":"ping"}"#)
            _ = try await first.json("pong")
            #expect(await server.counters().connectionsRefused == 1)
        }
    }

    /// RFC 9110 §7.8: any request may ask for an upgrade. Proxies that reuse connections send it as a later one.
    @Test func aWebSocketOpensWithALaterRequestToo() async throws {
        try await withGateway { port, _, _ in
            let socket = try await TestSocket.connect(port: port)
            for _ in 0..<3 {
                try await socket.write("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
                #expect(await socket.readAnswer()?.head.hasPrefix("HTTP/1.1 200 ") == true)
            }
            try await socket.write(request())
            #expect(await socket.readAnswer(hasBody: false)?.head.hasPrefix("HTTP/1.1 101 ") == true)
            let welcome = await socket.read() ?? []
            #expect(String(decoding: welcome, as: UTF8.self).contains("\"welcome\""))
        }
    }

    @Test func requestsBeforeTheUpgradeAreAnsweredFirstAndInOrder() async throws {
        try await withGateway { port, _, _ in
            let socket = try await TestSocket.connect(port: port)
            let body = #"{"user":"a","text":"hello"}"#
            let post =
                "POST /api/rooms/a/messages HTTP/1.1\r\nHost: a\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
            var bytes = Array(("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" + post + request()).utf8)
            WebSocketFrame.append(.ping, Array("early".utf8), maskingKey: 1, to: &bytes)
            try await socket.write(bytes)
            #expect(await socket.readAnswer()?.body == "ok\n")
            #expect(await socket.readAnswer()?.head.hasPrefix("HTTP/1.1 201 ") == true)
            #expect(await socket.readAnswer(hasBody: false)?.head.hasPrefix("HTTP/1.1 101 ") == true)
            var all: [UInt8] = []
            let pong = [0x8A, 5] + Array("early".utf8)
            while !all.indices.contains(where: { all[$0...].starts(with: pong) }), let more = await socket.read() {
                all += more
            }
            #expect(all.indices.contains { all[$0...].starts(with: pong) })
        }
    }

    @Test(arguments: [
        "Cookie: nick=Ren\u{E9}\r\n", "Connection: keep-alive\r\nConnection: ,\r\n",
        "Sec-WebSocket-Protocol: v9\r\nSec-WebSocket-Protocol: martlet.v1\r\n",
        "X-Empty:\r\nX-Tab:\ta\t\r\n", "Content-Length: 0\r\n",
    ])
    func whatHTTPAllowsIsTaken(extra: String) async throws {
        try await withGateway { port, _, _ in
            let text = request(path: "http://localhost/ws?user=ana", extra: extra).replacing(
                "Upgrade: websocket", with: "UPGRADE:h2c,  WebSocket")
            let socket = try await TestSocket.connect(port: port)
            try await socket.write([0x0D, 0x0A] + text.unicodeScalars.map { UInt8(truncatingIfNeeded: $0.value) })
            #expect(await socket.readAnswer(hasBody: false)?.head.hasPrefix("HTTP/1.1 101 ") == true)
        }
    }
}
