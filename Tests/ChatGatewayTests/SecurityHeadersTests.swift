import ChatCore
import NIOSSL
import TestSupport
import Testing

@testable import ChatGateway

/// Fields that keep browsers from misusing what is served, on every answer.
struct SecurityHeadersTests {
    /// The fields of an answer's head in lower case, by name.
    private func fields(_ head: String) -> [String: String] {
        var fields: [String: String] = [:]
        for line in head.lowercased().split(separator: "\r\n").dropFirst() {
            let parts = line.split(separator: ":", maxSplits: 1)
            guard parts.count == 2 else { continue }
            fields[String(parts[0])] = String(parts[1].drop { $0 == " " })
        }
        return fields
    }

    private func ask(_ port: Int, _ request: String, _ tls: NIOSSLContext?) async throws -> String {
        let socket = try await TestSocket.connect(port: port, tls: tls)
        try await socket.write(request)
        guard let answer = await socket.readAnswer(hasBody: false) else { throw TestFailure("no answer: \(request)") }
        return answer.head
    }

    private func check(_ head: String, isTLS: Bool, _ what: String) {
        let fields = fields(head)
        #expect(fields["x-content-type-options"] == "nosniff", "\(what): \(head)")
        #expect(fields["referrer-policy"] == "no-referrer", "\(what): \(head)")
        let isShared = fields["access-control-allow-origin"] == "*"
        #expect(
            fields["cross-origin-resource-policy"] == (isShared ? "cross-origin" : "same-origin"), "\(what): \(head)")
        #expect(fields["strict-transport-security"] == (isTLS ? "max-age=31536000" : nil), "\(what): \(head)")
        if fields["content-type"]?.hasPrefix("text/html") ?? false {
            #expect(fields["x-frame-options"] == "deny", "\(what): \(head)")
            #expect(fields["cross-origin-opener-policy"] == "same-origin", "\(what): \(head)")
            #expect(fields["content-security-policy"]?.contains("frame-ancestors 'none'") == true, "\(what): \(head)")
        }
    }

    @Test(arguments: [false, true])
    func everyAnswerHasThem(isTLS: Bool) async throws {
        let own = isTLS ? try PrivateCertificate.make() : nil
        let tls = try own?.client()
        let service = FakeService()
        let routes = try servedRoutes(service).map { $0.path.replacing(":room", with: "lobby") }
        let paths = routes + WebPage.files.keys.sorted()
        #expect(routes.count >= 6 && WebPage.files.count >= 13)
        try await withGateway(service: service) {
            $0.certificate = own?.files
            $0.staticFiles = WebPage.files
        } _: { port, _, _ in
            for path in paths {
                for method in ["GET", "HEAD", "OPTIONS", "DELETE"] {
                    let head = try await ask(port, "\(method) \(path) HTTP/1.1\r\nHost: a\r\n\r\n", tls)
                    check(head, isTLS: isTLS, "\(method) \(path)")
                }
            }
            for file in WebPage.files.keys {
                let head = try await ask(port, "GET \(file) HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n", tls)
                #expect(head.hasPrefix("HTTP/1.1 200 "))
                check(head, isTLS: isTLS, "compressed \(file)")
                let tag = fields(head)["etag"] ?? ""
                let again = try await ask(port, "GET \(file) HTTP/1.1\r\nHost: a\r\nIf-None-Match: \(tag)\r\n\r\n", tls)
                #expect(again.hasPrefix("HTTP/1.1 304 "))
                check(again, isTLS: isTLS, "unchanged \(file)")
            }
        }
    }

    @Test(arguments: [
        ("GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 404), ("FROB / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 204), ("GARBAGE\r\n\r\n", 400),
        ("GET /ws HTTP/1.1\r\nHost: a\r\n\r\n", 426), ("GET / HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\n\r\n", 417),
        ("POST /api/rooms/a/messages HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n{\"text\":\"x\"}", 401),
        ("GET /api/rooms/away/roster HTTP/1.1\r\nHost: a\r\n\r\n", 503),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \(String(repeating: "x", count: 20_000))\r\n\r\n", 431),
    ])
    func refusalsHaveThemToo(request: String, status: Int) async throws {
        try await withGateway { port, _, _ in
            let head = try await ask(port, request, nil)
            #expect(head.hasPrefix("HTTP/1.1 \(status) "))
            check(head, isTLS: false, request)
        }
    }

    @Test func whatOtherPagesMayReadMayBeUsedInThem() async throws {
        try await withGateway {
            $0.staticFiles = WebPage.files
        } _: { port, _, _ in
            for (path, policy) in [
                ("/martlet.js", "cross-origin"), ("/openapi.json", "cross-origin"), ("/martlet.d.ts", "cross-origin"),
                ("/", "same-origin"), ("/chat.css", "same-origin"), ("/metrics", "same-origin"),
            ] {
                let head = try await ask(port, "GET \(path) HTTP/1.1\r\nHost: a\r\n\r\n", nil)
                #expect(fields(head)["cross-origin-resource-policy"] == policy, "\(path)")
            }
        }
    }
}
