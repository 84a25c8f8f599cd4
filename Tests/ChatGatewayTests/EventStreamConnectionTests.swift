import ChatAccess
import ChatCore
import ChatJSON
import ChatNode
import ChatWire
import NIOCore
import TestSupport
import Testing

@testable import ChatGateway

/// Event streams, through a whole node.
@Suite struct EventStreamConnectionTests {
    @discardableResult
    private static func post(
        _ port: Int, _ room: String, _ text: String, fields: String = "", path: String? = nil, body: String? = nil
    ) async throws -> (status: Int, body: JSONValue) {
        let socket = try await TestSocket.connect(port: port)
        let body = body ?? #"{"user":"bo","text":"\#(text)"}"#
        try await socket.write(
            "POST \(path ?? "/api/rooms/\(room)/messages") HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\(fields)"
                + "Content-Length: \(body.utf8.count)\r\n\r\n\(body)")
        let answer = try #require(await socket.readAnswer())
        return (
            Int(answer.head.split(separator: " ")[1]) ?? 0, (try? JSONValue(parsing: Array(answer.body.utf8))) ?? .null
        )
    }

    private static func metrics(_ port: Int) async throws -> String {
        let socket = try await TestSocket.connect(port: port)
        try await socket.write("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return await socket.readToEnd()
    }

    @Test func aStreamIsAPresentSessionThatIsShownWhatIsSaid() async throws {
        try await withMemoryNode { port in
            let ana = try await TestWebSocket.connect(port: port, "user=ana&room=lobby")
            _ = try await ana.json("joined")
            let stream = try await TestEventStream.open(port, "user=eve&device=tv&room=lobby")
            #expect(stream.status == 200)
            for field in [
                "Content-Type: text/event-stream; charset=utf-8", "Cache-Control: no-store, no-transform",
                "X-Accel-Buffering: no", "Connection: close", "X-Content-Type-Options: nosniff",
            ] {
                #expect(stream.head.lowercased().contains(field.lowercased()), "\(field)")
            }
            #expect(!stream.head.lowercased().contains("content-length"))
            let welcome = try await stream.next("welcome")
            #expect(welcome.json["user"]?.string == "eve" && welcome.json["device"]?.string == "tv")
            #expect(stream.retry == 2_000)
            let joined = try await stream.next("joined")
            #expect(joined.json["ref"]?.string == "lobby" && joined.json["count"]?.integer == 2)
            #expect(joined.json["following"]?.integer == 0)
            #expect(try await ana.json("presence")["joined"]?.array?.first?.string == "eve")
            try await ana.send(#"{"type":"send","room":"lobby","text":"hello","key":"k1"}"#)
            let message = try await stream.next("message")
            #expect(message.json["text"]?.string == "hello" && message.id == message.json["position"]?.string)
            #expect(message.json["key"] == nil && message.json["type"]?.string == "message")
            try await ana.send(#"{"type":"signal","room":"lobby","name":"typing"}"#)
            #expect(try await stream.next("signal").json["user"]?.string == "ana")
            #expect(try await Self.metrics(port).contains("martlet_protocol_sessions{protocol=\"event-stream\"} 1\n"))
            try await stream.socket.channel.close().get()
            #expect(try await ana.json("presence")["left"]?.array?.first?.string == "eve")
        }
    }

    @Test func theOwnMessagesHaveTheirKeys() async throws {
        try await withMemoryNode { port in
            let stream = try await TestEventStream.open(port, "user=bo&room=lobby&room=kitchen")
            for _ in 0..<2 { _ = try await stream.next("joined") }
            let body = #"{"user":"bo","text":"a","key":"k7"}"#
            #expect(try await Self.post(port, "lobby", "", body: body).status == 201)
            #expect(try await stream.next("message").json["key"]?.string == "k7")
        }
    }

    @Test func aStreamGoesOnWhereTheLastOneEnded() async throws {
        try await withMemoryNode { port in
            var stream = try await TestEventStream.open(port, "user=eve&room=lobby&room=kitchen")
            for _ in 0..<2 { _ = try await stream.next("joined") }
            var seen: [String] = []
            var id = ""
            for number in 0..<12 {
                let room = number % 3 == 0 ? "kitchen" : "lobby"
                try await Self.post(port, room, "\(number)")
                if number % 4 == 3 {
                    // Two that nobody hears, and then back.
                    try await stream.socket.channel.close().get()
                    try await Self.post(port, "lobby", "\(number) a")
                    try await Self.post(port, "kitchen", "\(number) b")
                    stream = try await TestEventStream.open(
                        port, "user=eve&room=lobby&room=kitchen", fields: "Last-Event-ID: \(id)\r\n")
                    var count = 0
                    while count < 3 {
                        let event = try await stream.next("message")
                        seen.append(try #require(event.json["text"]?.string))
                        id = event.id
                        count += 1
                    }
                } else {
                    let event = try await stream.next("message")
                    seen.append(try #require(event.json["text"]?.string))
                    id = event.id
                }
            }
            #expect(seen.count == 18 && Set(seen).count == 18)
            // Nothing is sent again to whoever has all.
            let last = try await TestEventStream.open(
                port, "user=eve&room=lobby&room=kitchen&lastEventId=\(percentEncoded(id))")
            for _ in 0..<2 {
                let joined = try await last.next("joined")
                #expect(joined.json["resumed"]?.bool == true && joined.json["following"]?.integer == 0)
            }
        }
    }

    @Test func whatIsLongGoneIsToldBeforeTheRest() async throws {
        try await withMemoryNode { port in
            let position = try #require(try await Self.post(port, "lobby", "a").body["position"]?.string)
            let epoch = try #require(Position(position)?.epoch)
            let stream = try await TestEventStream.open(port, "user=eve&room=lobby&after=\(epoch + 1_000)-7&history=5")
            let joined = try await stream.next("joined")
            #expect(joined.json["reset"]?["reason"]?.string == "rewound")
            #expect(try await stream.next("message").json["text"]?.string == "a")
        }
    }

    @Test func manyMissedMessagesComeOneByOneInOrder() async throws {
        let rich = ["MARTLET_LIMIT_COST_PER_SECOND": "10000000", "MARTLET_LIMIT_COST_BURST": "100000000"]
        try await withMemoryNode(rich) { port in
            let first = try #require(try await Self.post(port, "lobby", "first").body["position"]?.string)
            for number in 0..<350 { try await Self.post(port, "lobby", "\(number)") }
            let stream = try await TestEventStream.open(port, "user=eve&room=lobby&after=\(first)")
            for number in 0..<350 {
                let event = try await stream.next("message")
                #expect(event.json["text"]?.string == "\(number)" && event.id == event.json["position"]?.string)
            }
        }
    }

    @Test func aMessageIsEncodedOnceForAllStreamsOfTheRoom() async throws {
        let count = EncodingCount()
        try await withMemoryNode(
            protocols: { limits in
                var registry = ProtocolRegistry(limits: limits)
                registry.register(at: "/ws", subprotocol: MartletV1Codec.subprotocol) { MartletV1(limits: $0) }
                registry.registerStream(at: "/api/events") {
                    CountedProtocol(base: EventStreams(limits: $0), messages: count)
                }
                return registry
            },
            { port in
                var streams: [TestEventStream] = []
                for number in 0..<8 {
                    let more = number % 2 == 0 ? "" : "&room=other"
                    streams.append(try await TestEventStream.open(port, "user=u\(number)&room=lobby\(more)"))
                    for _ in 0...(number % 2) { _ = try await streams[number].next("joined") }
                }
                for number in 0..<5 { try await Self.post(port, "lobby", "\(number)") }
                for stream in streams {
                    for number in 0..<5 {
                        #expect(try await stream.next("message").json["text"]?.string == "\(number)")
                    }
                }
                #expect(count.value == 5)
            })
    }

    // MARK: refusals

    @Test func badRequestsGetAStatusAndAReason() async throws {
        try await withMemoryNode { port in
            for (query, fields, status, name) in [
                ("user=eve&room=lobby", "Last-Event-ID: nonsense\r\n", 400, "badField"),
                ("user=eve&room=lobby&room=b&after=1-1", "", 400, "badField"),
                ("user=eve&room=lobby&room=lobby", "", 400, "badField"), ("user=eve&room=", "", 400, "badName"),
                ("room=lobby", "", 401, "unauthenticated"), ("user=%01&room=lobby", "", 400, "badName"),
            ] {
                let refused = try await TestEventStream.open(port, query, fields: fields)
                #expect(refused.status == status, "\(query)")
                let body = await refused.body()
                #expect(body.contains("\"\(name)\""), "\(query): \(body)")
            }
            let post = try await Self.post(port, "", "", path: "/api/events", body: "{}")
            #expect(post.status == 405)
            let head = try await TestEventStream.open(
                port, "user=eve&room=lobby", fields: "Connection: close\r\n", method: "HEAD")
            #expect(head.status == 200 && head.head.contains("text/event-stream"))
            #expect(await head.body().isEmpty)
        }
    }

    @Test func rightsHoldAsForEverySession() async throws {
        let key = "a key of the back end"
        let keys = "backend:\(APIKeys.hash(of: key)):admin"
        try await withMemoryNode(
            [
                "MARTLET_TOKEN_HMAC_SECRET": TestTokens.secret, "MARTLET_API_KEYS": keys,
                "MARTLET_TOKEN_COOKIE": "chat", "MARTLET_ALLOWED_ORIGINS": "https://good.example",
            ]
        ) { port in
            let admin = "Authorization: Bearer \(key)\r\n"
            let token = try TestTokens.make("eve", ["lobby": ["read"]])
            let ticket = try #require(
                try await Self.post(
                    port, "", "", fields: "Authorization: Bearer \(token)\r\n", path: "/api/tickets", body: "{}"
                ).body["ticket"]?.string)
            for (query, fields) in [
                ("", "Authorization: Bearer \(token)\r\n"), ("&token=\(token)", ""), ("&ticket=\(ticket)", ""),
                ("", "Cookie: chat=\(token)\r\nOrigin: https://good.example\r\n"),
                ("", "Cookie: chat=\(token)\r\nSec-Fetch-Site: same-origin\r\n"),
            ] {
                let stream = try await TestEventStream.open(port, "room=lobby\(query)", fields: fields)
                #expect(stream.status == 200, "\(query) \(fields)")
                #expect(try await stream.next("welcome").json["user"]?.string == "eve")
            }
            for (query, fields, status) in [
                ("room=lobby", "", 401), ("room=lobby&token=a.b.c", "", 401),
                ("room=secret&token=\(token)", "", 403), ("room=lobby&ticket=\(ticket)", "", 401),
                ("room=lobby", "Cookie: chat=\(token)\r\nOrigin: https://bad.example\r\n", 403),
                ("room=lobby", "Cookie: chat=\(token)\r\n", 403),
                ("room=lobby&user=bo&token=\(token)", "", 403),
            ] {
                let refused = try await TestEventStream.open(port, query, fields: fields)
                #expect(refused.status == status, "\(query) \(fields)")
            }
            // Of several rooms, those that may be read.
            let some = try await TestEventStream.open(port, "room=secret&room=lobby&token=\(token)")
            #expect(try await some.next("failure").json["ref"]?.string == "secret")
            #expect(try await some.next("joined").json["room"]?.string == "lobby")
            let ban = #"{"operation":"ban","user":"eve"}"#
            let path = "/api/rooms/lobby/moderation"
            #expect(try await Self.post(port, "", "", fields: admin, path: path, body: ban).status == 200)
            #expect(try await some.next("left").json["reason"]?.string == "banned")
            let closed = try await some.next("closed")
            #expect(closed.json["reconnect"]?.bool == false && some.retry == 86_400_000)
            #expect(await some.next() == nil)
            // Banned from all rooms: there is no stream, and a browser stops asking.
            let sanction = try await Self.post(
                port, "", "", fields: admin, path: "/api/users/eve/sanctions", body: #"{"operation":"ban"}"#)
            #expect(sanction.status == 200)
            try await eventually("the ban counts") {
                try await TestEventStream.open(port, "room=lobby&token=\(token)").status == 204
            }
        }
    }

    @Test func pagesOfAllowedOriginsMayReadAnswersAndErrors() async throws {
        try await withMemoryNode(["MARTLET_ALLOWED_ORIGINS": "https://good.example"]) { port in
            for (query, origin, isAllowed) in [
                ("user=eve&room=lobby", "https://good.example", true), ("room=lobby", "https://good.example", true),
                ("user=eve&room=lobby&after=x", "https://good.example", true),
                ("user=eve&room=lobby", "https://bad.example", false), ("room=lobby", "https://bad.example", false),
            ] {
                let answer = try await TestEventStream.open(port, query, fields: "Origin: \(origin)\r\n")
                let allows = answer.head.contains("Access-Control-Allow-Origin: \(origin)")
                #expect(allows == isAllowed, "\(query) \(origin)")
                #expect(answer.head.contains("Vary: Origin"))
            }
            let preflight = try await TestEventStream.open(
                port, "room=lobby",
                fields: "Origin: https://good.example\r\nAccess-Control-Request-Method: GET\r\nConnection: close\r\n",
                method: "OPTIONS")
            #expect(preflight.status == 204)
            #expect(preflight.head.contains("Last-Event-ID") && preflight.head.contains("Authorization"))
        }
    }

    @Test func aFullNodeLetsABrowserComeBack() async throws {
        try await withMemoryNode(["MARTLET_LIMIT_SESSIONS_PER_NODE": "1"]) { port in
            let first = try await TestEventStream.open(port, "user=eve&room=lobby")
            _ = try await first.next("joined")
            let program = try await TestEventStream.open(port, "user=bo&room=lobby")
            #expect(program.status == 503 && program.head.contains("Retry-After"))
            let browser = try await TestEventStream.open(
                port, "user=bo&room=lobby", fields: "Accept: text/event-stream\r\n")
            #expect(browser.status == 200)
            #expect(try await browser.next("closed").json["reconnect"]?.bool == true)
            #expect(await browser.next() == nil)
        }
    }

    @Test func aStreamThatIsNeverReadIsEndedAsSlow() async throws {
        let rich = [
            "MARTLET_LIMIT_COST_PER_SECOND": "10000000", "MARTLET_LIMIT_COST_BURST": "100000000",
            "MARTLET_LIMIT_OUTBOUND_BYTES": "128KiB", "MARTLET_LIMIT_FRAME_BYTES": "32KiB",
            "MARTLET_SOCKET_SEND_BUFFER": "16KiB",
            "MARTLET_LIMIT_USER_BYTES_PER_SECOND": "1GiB", "MARTLET_LIMIT_USER_BYTES_BURST": "1GiB",
        ]
        try await withMemoryNode(rich) { port in
            let stalled = try await TestSocket.connect(port: port, autoRead: false)
            try await stalled.write("GET /api/events?user=slow&room=lobby HTTP/1.1\r\nHost: x\r\n\r\n")
            let reader = try await TestEventStream.open(port, "user=eve&room=lobby")
            _ = try await reader.next("joined")
            var sent = 0
            try await eventually("the stalled one is ended") {
                for _ in 0..<10 {
                    try await Self.post(port, "lobby", String(repeating: "x", count: 8_000))
                    sent += 1
                    _ = try await reader.next("message")
                }
                return try await Self.metrics(port).contains("martlet_sessions_closed_total{reason=\"slow\"} 1\n")
            }
            #expect(sent < 1_000)
            try await stalled.channel.close().get()
        }
    }

    @Test func aNodeThatLeavesSendsItsStreamsElsewhere() async throws {
        var streams: [TestEventStream] = []
        try await withMemoryNode { port in
            for number in 0..<5 {
                streams.append(try await TestEventStream.open(port, "user=u\(number)&room=lobby"))
                _ = try await streams[number].next("joined")
            }
        }
        for stream in streams {
            #expect(try await stream.next("draining").json["reconnectAfter"]?.integer != nil)
            let closed = try await stream.next("closed")
            #expect(closed.json["name"]?.string == "draining" && stream.retry == 250)
            #expect(await stream.next() == nil)
        }
    }
}
