import ChatCore
import ChatWire
import NIOCore
import TestSupport
import Testing

@testable import ChatGateway

/// Connections follow RFC 9110 and 9112, whatever is served on them.
struct HTTPConnectionTests {
    private let path = "/api/rooms/lobby/messages"

    @Test func whoWaitsForLeaveToSendABodyGetsItAtOnce() async throws {
        try await withGateway { port, _, _ in
            let socket = try await TestSocket.connect(port: port)
            let body = #"{"user":"bot","text":"hi"}"#
            try await socket.write(
                "POST \(path) HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: \(body.utf8.count)\r\n\r\n"
            )
            #expect(await socket.readAnswer(hasBody: false)?.head == "HTTP/1.1 100 Continue")
            try await socket.write(body)
            #expect(await socket.readAnswer()?.head.hasPrefix("HTTP/1.1 201 ") == true)
            // The body is there already, so nobody waits for `100 Continue`.
            try await socket.write(
                "POST \(path) HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n"
                    + "Content-Length: \(body.utf8.count)\r\n\r\n\(body)"
            )
            #expect(await socket.readAnswer()?.head.hasPrefix("HTTP/1.1 201 ") == true)
        }
    }

    @Test(arguments: [
        ("Expect: 100-continue\r\nContent-Length: 5000000\r\n", 413),
        ("Expect: a-miracle\r\nContent-Length: 5\r\n", 417),
        ("Transfer-Encoding: gzip\r\n", 501),
    ])
    func aBodyThatIsNotWantedNeedNotBeSent(fields: String, status: Int) async throws {
        try await withGateway { port, _, _ in
            let socket = try await TestSocket.connect(port: port)
            try await socket.write("POST \(path) HTTP/1.1\r\nHost: a\r\n\(fields)\r\n")
            let all = await socket.readToEnd()
            #expect(all.hasPrefix("HTTP/1.1 \(status) "))
            #expect(all.contains("Connection: close"))
        }
    }

    @Test func anOldClientsConnectionEndsUnlessItAsksForMore() async throws {
        try await withGateway { port, _, _ in
            let first = try await TestSocket.connect(port: port)
            try await first.write("GET /healthz HTTP/1.0\r\n\r\n")
            #expect(await first.readToEnd().hasSuffix("ok\n"))
            let second = try await TestSocket.connect(port: port)
            for _ in 0..<2 {
                try await second.write("GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                #expect(await second.readAnswer()?.head.contains("Connection: keep-alive") == true)
            }
            let third = try await TestSocket.connect(port: port)
            try await third.write("GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            #expect(await third.readToEnd().hasSuffix("ok\n"))
        }
    }

    @Test func everyMethodIsAnsweredAsItIsMeant() async throws {
        try await withGateway { port, _, _ in
            let socket = try await TestSocket.connect(port: port)
            func ask(_ line: String, hasBody: Bool = true) async throws -> String {
                try await socket.write("\(line) HTTP/1.1\r\nHost: a\r\n\r\n")
                return try #require(await socket.readAnswer(hasBody: hasBody)).head
            }
            #expect(try await ask("HEAD /healthz", hasBody: false).contains("Content-Length: 3"))
            let options = try await ask("OPTIONS /healthz")
            #expect(options.hasPrefix("HTTP/1.1 204 ") && options.contains("Allow: GET, HEAD, OPTIONS"))
            #expect(!options.contains("Content-Length"))
            #expect(try await ask("OPTIONS *").hasPrefix("HTTP/1.1 204 "))
            #expect(try await ask("DELETE /healthz").hasPrefix("HTTP/1.1 405 "))
            #expect(try await ask("FROB /healthz").hasPrefix("HTTP/1.1 501 "))
            #expect(try await ask("GET /nowhere").hasPrefix("HTTP/1.1 404 "))
            #expect(try await ask("GET /healthz").hasPrefix("HTTP/1.1 200 "))
        }
    }

    /// `nc -N` and some proxies close their side when they have nothing more to send.
    @Test func whoHasAskedMayEndItsSide() async throws {
        try await withGateway { port, _, server in
            let socket = try await TestSocket.connect(port: port)
            try await socket.channel.setOption(.allowRemoteHalfClosure, value: true).get()
            try await socket.write("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            try await socket.channel.close(mode: .output).get()
            #expect(await socket.readAnswer()?.body == "ok\n")
            try await eventually("it is gone") { await server.counters().connections == 0 }
        }
    }

    @Test func manyPipelinedRequestsAreAllAnswered() async throws {
        try await withGateway { port, _, _ in
            let socket = try await TestSocket.connect(port: port)
            let request = "GET /healthz HTTP/1.1\r\nHost: a\r\nX: \(String(repeating: "x", count: 500))\r\n\r\n"
            try await socket.write(String(repeating: request, count: 300))
            for _ in 0..<300 { #expect(await socket.readAnswer()?.body == "ok\n") }
        }
    }

    @Test func whatIsSaidOverHTTPMayBeAsLongAsOverAWebSocket() async throws {
        try await withGateway {
            $0.limits.frameBytes = 300_000
        } _: { port, _, _ in
            let body = #"{"user":"bot","text":"\#(String(repeating: "x", count: 250_000))"}"#
            let socket = try await TestSocket.connect(port: port)
            try await socket.write(
                "POST \(path) HTTP/1.1\r\nHost: a\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)")
            #expect(await socket.readAnswer()?.head.hasPrefix("HTTP/1.1 201 ") == true)
        }
    }

    /// Longer than the bytes that are collected for one write.
    @Test func aLongAnswerComesWholeAndTheConnectionStays() async throws {
        try await withGateway {
            $0.staticFiles = [
                "/long": StaticFile(contentType: "text/plain", bytes: [UInt8](repeating: 0x78, count: 3_000_000))
            ]
        } _: { port, _, _ in
            let socket = try await TestSocket.connect(port: port)
            try await socket.write("HEAD /long HTTP/1.1\r\nHost: a\r\n\r\nGET /long HTTP/1.0\r\nHost: a\r\n\r\n")
            #expect(await socket.readAnswer(hasBody: false)?.head.contains("Content-Length: 3000000") == true)
            let all = await socket.readToEnd()
            #expect(all.hasPrefix("HTTP/1.1 200 ") && all.utf8.count > 3_000_000)
        }
    }

    @Test func eachThingThatAConnectionDoesHasItsTime() {
        let times = RequestClock.Times(
            receiving: .seconds(10), answering: .seconds(30), idle: .seconds(75), closing: .seconds(5))
        let begin = Moment(nanoseconds: 1_000_000_000)
        var clock = RequestClock(times: times, now: begin)
        clock.bytesCame(now: begin + .seconds(9))
        clock.waits(isWithinRequest: true, now: begin + .seconds(9))
        #expect(clock.over(now: begin + .seconds(10)) == .receiving, "dripping bytes gains nothing")
        clock.answers(now: begin + .seconds(9))
        clock.answerGoesOn(now: begin + .seconds(30))
        #expect(clock.over(now: begin + .seconds(59)) == nil)
        clock.waits(isWithinRequest: false, now: begin + .seconds(59))
        #expect(clock.over(now: begin + .seconds(133)) == nil && clock.over(now: begin + .seconds(134)) == .idle)
        clock.bytesCame(now: begin + .seconds(100))
        #expect(clock.over(now: begin + .seconds(110)) == .receiving)
        clock.closes(now: begin + .seconds(110))
        clock.shorten(to: .seconds(1), now: begin + .seconds(110))
        #expect(clock.over(now: begin + .seconds(111)) == .closing)
    }

    // MARK: Other origins

    private func ask(_ port: Int, _ line: String, _ fields: String, body: String = "") async throws -> String {
        let socket = try await TestSocket.connect(port: port)
        try await socket.write(
            "\(line) HTTP/1.1\r\nHost: a\r\n\(fields)"
                + "Content-Length: \(body.utf8.count)\r\nConnection: close\r\n\r\n\(body)"
        )
        return await socket.readToEnd().lowercased()
    }

    @Test func pagesOfOtherOriginsMayImportTheModuleAndUseTheAPI() async throws {
        try await withGateway {
            $0.staticFiles = ["/martlet.js": StaticFile(contentType: "text/javascript", bytes: Array("1".utf8))]
        } _: { port, _, _ in
            let origin = "Origin: https://app.example\r\n"
            #expect(try await ask(port, "GET /martlet.js", origin).contains("access-control-allow-origin: *\r\n"))
            let preflight = try await ask(
                port, "OPTIONS \(path)",
                origin + "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n")
            #expect(preflight.hasPrefix("http/1.1 204 "))
            #expect(preflight.contains("access-control-allow-origin: *\r\n"))
            #expect(preflight.contains("access-control-allow-methods: get, head, options, post\r\n"))
            let fields = "authorization, content-type, idempotency-key, last-event-id"
            #expect(preflight.contains("access-control-allow-headers: \(fields)\r\n"))
            #expect(try await ask(port, "GET \(path)?limit=x", origin).contains("access-control-allow-origin: *\r\n"))
            #expect(try await !ask(port, "GET /metrics", origin).contains("access-control"))
        }
    }

    @Test func onlyAllowedOriginsMayUseTheAPI() async throws {
        try await withGateway {
            $0.allowedOrigins = ["https://app.example"]
        } _: { port, _, _ in
            let fine = try await ask(port, "GET \(path)", "Origin: https://app.example\r\n")
            #expect(
                fine.contains("access-control-allow-origin: https://app.example\r\n")
                    && fine.contains("vary: origin\r\n"))
            let evil = try await ask(port, "GET \(path)", "Origin: https://evil.example\r\n")
            #expect(!evil.contains("access-control-allow-origin") && evil.contains("vary: origin\r\n"))
        }
    }

    @Test(arguments: [
        ("Origin: https://evil.example\r\nContent-Type: text/plain\r\n", 415), ("Origin: null\r\n", 415),
        ("Sec-Fetch-Site: cross-site\r\nContent-Type: application/x-www-form-urlencoded\r\n", 415),
        ("Origin: https://app.example\r\nContent-Type: Application/JSON; charset=utf-8\r\n", 201),
        ("Content-Type: application/x-www-form-urlencoded\r\n", 201), ("", 201),
    ])
    func aFormOfAnotherPageStoresNothing(fields: String, status: Int) async throws {
        try await withGateway { port, _, _ in
            let answer = try await ask(port, "POST \(path)", fields, body: #"{"user":"bot","text":"hi"}"#)
            #expect(answer.hasPrefix("http/1.1 \(status) "))
        }
    }
}
