import ChatCore
import ChatJSON
import ChatWire
import NIOCore
import TestSupport
import Testing

@testable import ChatGateway

struct HTTPRoutesTests {
    private func exchange(_ port: Int, _ request: String) async throws -> (head: String, body: String) {
        let socket = try await TestSocket.connect(port: port)
        try await socket.write(request)
        guard let answer = await socket.readAnswer(hasBody: !request.hasPrefix("HEAD")) else {
            throw TestFailure("no answer")
        }
        return answer
    }

    private func get(_ port: Int, _ path: String, method: String = "GET", extra: String = "") async throws -> (
        head: String, body: String
    ) {
        try await exchange(port, "\(method) \(path) HTTP/1.1\r\nHost: localhost\r\n\(extra)\r\n")
    }

    private func post(_ port: Int, _ path: String, _ body: String, extra: String = "") async throws -> (
        head: String, body: String
    ) {
        try await exchange(
            port,
            "POST \(path) HTTP/1.1\r\nHost: localhost\r\n\(extra)Content-Length: \(body.utf8.count)\r\n\r\n\(body)")
    }

    private func expect(
        _ answer: (head: String, body: String), _ status: Int, _ name: String? = nil,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        #expect(answer.head.hasPrefix("HTTP/1.1 \(status) "), "\(answer)", sourceLocation: sourceLocation)
        guard let name else { return }
        let error = (try? JSONValue(parsing: answer.body))?["error"]
        #expect(error?["name"]?.string == name, "\(answer.body)", sourceLocation: sourceLocation)
        #expect(error?["retry"]?.bool != nil, sourceLocation: sourceLocation)
    }

    @Test func healthReadinessAndMetricsAnswer() async throws {
        try await withGateway { port, service, _ in
            expect(try await get(port, "/healthz"), 200)
            #expect(try await get(port, "/readyz").body == #"{"ready":true,"reasons":[]}"#)
            service.setReady(false)
            let answer = try await get(port, "/readyz")
            expect(answer, 503)
            #expect(answer.body == #"{"ready":false,"reasons":["redis: away"]}"#)
            let metrics = try await get(port, "/metrics")
            #expect(metrics.body == "martlet_sessions 0\n")
            #expect(metrics.head.lowercased().contains("content-type: text/plain; version=0.0.4"))
            let head = try await get(port, "/healthz", method: "HEAD")
            expect(head, 200)
            #expect(head.head.lowercased().contains("content-length: 3"))
        }
    }

    @Test func messagesAreSaidAndRead() async throws {
        try await withGateway { port, _, _ in
            let path = "/api/rooms/caf%C3%A9%20%F0%9F%98%80%2Fx/messages"
            let client = try await TestWebSocket.connect(port: port, "user=ana&room=caf%C3%A9+%F0%9F%98%80/x")
            _ = try await client.json("joined")
            let said = try await post(port, path, #"{"user":"bot","text":"hi","data":{"n":1.50},"key":"k"}"#)
            expect(said, 201)
            #expect(said.body == #"{"room":"café 😀/x","position":"1-1","repeated":false}"#)
            expect(try await post(port, path, #"{"user":"bot","text":"hi","key":"k"}"#), 200)
            let message = try await client.json("message")
            #expect(message["user"]?.string == "bot")
            #expect(message["data"]?["n"] == .number("1.50"))
            let history = try JSONValue(parsing: try await get(port, path + "?limit=10").body)
            #expect(history["messages"]?.array?.count == 1)
            #expect(history["newest"]?.string == "1-1")
            let roster = try await get(port, "/api/rooms/lobby/roster")
            #expect(roster.body == #"{"room":"lobby","roster":[],"count":0}"#)
        }
    }

    @Test func whatIsWrongIsNamed() async throws {
        try await withGateway {
            $0.limits.frameBytes = 1_000
        } _: { port, _, _ in
            let path = "/api/rooms/lobby/messages"
            expect(try await get(port, path + "?limit=0"), 400, "badField")
            expect(try await get(port, path + "?limit=x"), 400, "badField")
            expect(try await get(port, path + "?before=x"), 400, "badField")
            expect(try await get(port, path + "?before=1-1&after=1-1"), 400, "badField")
            expect(try await get(port, path + "?before=%zz"), 400, "badField")
            expect(try await get(port, "/api/rooms/%FF/messages"), 400, "badName")
            expect(try await get(port, "/api/rooms/a%0Ab/messages"), 400, "badName")
            expect(try await get(port, "/api/rooms/\(String(repeating: "x", count: 200))/messages"), 400, "badName")
            expect(try await get(port, "/api/rooms/away/roster"), 503, "unavailable")
            expect(try await get(port, "/nothing"), 404, "notFound")
            expect(try await get(port, "/api/rooms/lobby/nothing"), 404, "notFound")
            let wrong = try await get(port, path, method: "DELETE")
            expect(wrong, 405, "badField")
            #expect(wrong.head.lowercased().contains("allow: get, head, options, post"))
            expect(try await post(port, path, "{"), 400, "badFrame")
            expect(try await post(port, path, "[]"), 400, "badFrame")
            expect(try await post(port, path, #"{"text":"x"}"#), 401, "unauthenticated")
            expect(try await post(port, path, #"{"user":7,"text":"x"}"#), 400, "badField")
            expect(try await post(port, path, #"{"user":"a"}"#), 400, "missingField")
            expect(try await post(port, path, #"{"user":"a","text":""}"#), 400, "missingField")
            expect(try await post(port, path, #"{"user":"a","text":7}"#), 400, "badField")
            expect(try await post(port, path, #"{"user":"a","text":"x","key":"~x"}"#), 400, "badField")
            expect(try await post(port, path, String(repeating: " ", count: 1_001)), 413, "frameTooLarge")
            let chunked =
                "POST \(path) HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n"
                + String(repeating: " ", count: 2_000) + "\r\n0\r\n\r\n"
            expect(try await exchange(port, chunked), 413, "frameTooLarge")
        }
    }

    /// A proxy that closes a path to the public compares it as it is written.
    @Test func aPathIsServedInOneFormOnly() async throws {
        try await withGateway { port, _, _ in
            let others = [
                "//metrics", "/metrics/", "/metrics//", "///healthz", "/%6Detrics", "/./metrics", "/x/../metrics",
                "/api//rooms/lobby/roster", "/api/rooms//roster", "/api/rooms/lobby//roster",
                "/api/rooms/lobby/roster/", "//ws", "http://localhost//metrics",
            ]
            for path in others {
                expect(try await get(port, path), 404, "notFound")
                expect(try await get(port, path + "?x=//"), 404, "notFound")
            }
            expect(try await post(port, "//api/rooms/lobby/messages", #"{"user":"a","text":"x"}"#), 404, "notFound")
            expect(try await get(port, "/metrics?x=//"), 200)
            let roster = try await get(port, "/api/rooms/%2Fa%2F%2Fb%2F/roster")
            #expect(roster.body == #"{"room":"/a//b/","roster":[],"count":0}"#)
        }
    }

    /// If two readers could see the end of a request in different places, it must not be answered as two (RFC 9112
    /// §11.2).
    @Test(arguments: [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n", "GET /\u{0} HTTP/1.1\r\nHost: a\r\n\r\n", "GARBAGE\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}",
        "GET / HTTP/9.9\r\nHost: a\r\n\r\n",
    ])
    func ambiguousRequestsEndTheConnection(request: String) async throws {
        try await withGateway {
            $0.handshakeTimeout = .seconds(1)
            $0.closeTimeout = .milliseconds(100)
        } _: { port, _, server in
            let socket = try await TestSocket.connect(port: port)
            try? await socket.write(request + "GET /healthz HTTP/1.1\r\nHost: smuggled\r\n\r\n")
            let all = await socket.readToEnd()
            #expect(!all.contains("200 OK"), "\(all)")
            try await eventually("it is gone") { await server.counters().connections == 0 }
        }
    }

    @Test func pipelinedRequestsAreAnsweredInOrder() async throws {
        try await withGateway { port, _, _ in
            let socket = try await TestSocket.connect(port: port)
            let one = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
            try await socket.write(one + "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n" + one)
            #expect(await socket.readAnswer()?.body == "ok\n")
            #expect(await socket.readAnswer()?.body.hasPrefix("{\"ready\"") == true)
            #expect(await socket.readAnswer()?.body == "ok\n")
        }
    }

    /// Slowloris: a byte now and then does not keep a connection open.
    @Test(arguments: [
        "GET /healthz HTTP/1.1\r\nHost: a\r\nX: ",
        "POST /api/rooms/a/messages HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n{",
    ])
    func aRequestThatDripsIsCutOff(start: String) async throws {
        try await withGateway {
            $0.handshakeTimeout = .milliseconds(300)
        } _: { port, _, server in
            let socket = try await TestSocket.connect(port: port)
            try? await socket.write(start)
            let drip = Task { [channel = socket.channel] in
                while channel.isActive {
                    try? await channel.writeAndFlush(ByteBuffer(string: "x")).get()
                    try? await Task.sleep(for: .milliseconds(20))
                }
            }
            let clock = ContinuousClock()
            let began = clock.now
            _ = await socket.readToEnd()
            #expect(clock.now - began < .seconds(10))
            await drip.value
            #expect(await server.counters().connectionsTimedOut == 1)
        }
    }

    @Test func anIdleConnectionIsClosedButNotOneThatWasUsedLately() async throws {
        try await withGateway {
            $0.handshakeTimeout = .seconds(1)
            $0.idleTimeout = .seconds(3)
        } _: { port, _, _ in
            let clock = ContinuousClock()
            var socket = try await TestSocket.connect(port: port)
            // A busy machine may need more than the handshake's time to write the request.
            while true {
                try? await socket.write("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
                if await socket.readAnswer()?.body == "ok\n" { break }
                socket = try await TestSocket.connect(port: port)
            }
            let answered = clock.now
            #expect(await socket.readToEnd() == "")
            #expect(clock.now - answered > .seconds(2), "the handshake's time does not run between requests")
        }
    }

    @Test func aHeadThatIsTooLongIsRefused() async throws {
        try await withGateway {
            $0.limits.headBytes = 1_000
        } _: { port, _, _ in
            let socket = try await TestSocket.connect(port: port)
            try await socket.write(
                "GET /healthz HTTP/1.1\r\nHost: a\r\nX: \(String(repeating: "x", count: 5_000))\r\n\r\n")
            let all = await socket.readToEnd()
            #expect(!all.contains("200 OK"))
        }
    }

    @Test func staticFilesAreServedWithTheirPolicyAndRevalidated() async throws {
        try await withGateway {
            $0.staticFiles = ["/": StaticFile(contentType: "text/html; charset=utf-8", bytes: Array("<p>hi".utf8))]
        } _: { port, _, _ in
            let page = try await get(port, "/")
            expect(page, 200)
            #expect(page.body == "<p>hi")
            let head = page.head.lowercased()
            #expect(head.contains("content-security-policy: default-src 'none'"))
            #expect(head.contains("x-content-type-options: nosniff"))
            guard
                let tag = page.head.split(separator: "\r\n").first(where: { $0.lowercased().hasPrefix("etag: ") })?
                    .dropFirst(6)
            else {
                Issue.record("no entity tag")
                return
            }
            let again = try await get(port, "/", method: "HEAD", extra: "If-None-Match: \(tag)\r\n")
            expect(again, 304)
        }
    }

    @Test(arguments: [
        ("gzip, deflate, br", true), ("*", true), ("GZIP;q=0.5", true), ("gzip;q=0", false), ("*;q=0", false),
        ("br", false),
        ("gzip;q=0, *", false),
    ]) func staticFilesAreCompressedForWhoTakesThem(accepted: String, isCompressed: Bool) async throws {
        let bytes = Array(String(repeating: "<p>hi</p>\n", count: 500).utf8)
        try await withGateway {
            $0.staticFiles = ["/": StaticFile(contentType: "text/html; charset=utf-8", bytes: bytes)]
        } _: { port, _, _ in
            let plain = try await get(port, "/").head.lowercased()
            #expect(plain.contains("content-length: 5000") && plain.contains("vary: accept-encoding"))
            #expect(!plain.contains("content-encoding"))
            let head = try await get(port, "/", method: "HEAD", extra: "Accept-Encoding: \(accepted)\r\n").head
                .lowercased()
            #expect(head.contains("content-encoding: gzip") == isCompressed && head.contains("vary: accept-encoding"))
            let tag = head.split(separator: "\r\n").first { $0.hasPrefix("etag: ") }?.dropFirst(6) ?? ""
            #expect(tag.contains("-gzip") == isCompressed)
            // The tag as a proxy forwards it.
            expect(try await get(port, "/", extra: "If-None-Match: \"x\", W/\(tag)\r\n"), 304)
        }
    }

    /// The test of the page in Chromium shows that browsers can decompress it.
    @Test func whatWouldBeNoShorterIsNotCompressed() {
        #expect(Gzip.compressed([]) == nil && Gzip.compressed(Array("<p>hi".utf8)) == nil)
        let bytes = Gzip.compressed(Array(String(repeating: "Martlet ", count: 40_000).utf8)) ?? []
        #expect(bytes.starts(with: [0x1f, 0x8b, 8]) && bytes.count < 4_000)
        // ISIZE, the length of the uncompressed data (RFC 1952 §2.3.1).
        #expect(bytes.suffix(4).reversed().reduce(0) { $0 << 8 | Int($1) } == 320_000)
    }

    @Test func aPortThatIsTakenIsNamed() async throws {
        try await withGateway { port, _, _ in
            await #expect(
                throws: GatewayError(
                    description: "cannot listen on 127.0.0.1:\(port): the address is in use by another program")
            ) {
                try await withGateway {
                    $0.port = port
                } _: { _, _, _ in
                }
            }
        }
    }
}
