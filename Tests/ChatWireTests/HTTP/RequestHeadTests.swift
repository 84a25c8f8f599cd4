import Testing

@testable import ChatWire

struct RequestHeadTests {
    private func head(_ text: String) throws -> RequestHead { try RequestHead(Array(text.utf8)) }

    private func status(_ text: String) -> Int? {
        do throws(RequestProblem) {
            _ = try RequestHead(Array(text.utf8))
            return nil
        } catch {
            return error.status
        }
    }

    /// RFC 9112 §3.2, and what curl sends for a URL with other characters.
    @Test(arguments: [
        ("/ws?user=ana", "/ws", "user=ana"), ("/", "/", ""), ("/a?", "/a", ""), ("/a?b?c", "/a", "b?c"),
        ("http://chat.example:8080/ws?room=a", "/ws", "room=a"), ("HTTPS://chat.example", "/", ""),
        ("http://a?x=1", "/", "x=1"),
        ("ws://[::1]:80/ws", "/ws", ""), ("//a", "//a", ""), ("/caf\u{E9}?n=\u{E9}", "/caf\u{E9}", "n=\u{E9}"),
        ("/a#b", "/a", ""),
    ])
    func aTargetMayHaveAnyForm(target: String, path: String, query: String) throws {
        let head = try head("GET \(target) HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(head.path == path)
        #expect(head.query == query)
    }

    @Test func onlyOptionsIsAboutTheWholeServer() throws {
        #expect(try head("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").path == "*")
        #expect(status("GET * HTTP/1.1\r\nHost: a\r\n\r\n") == 400)
        #expect(status("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n") == 501)
    }

    /// RFC 9110 §5.5: obs-text is opaque.
    @Test func aValueMayHoldAnyBytesButControlCharacters() throws {
        var bytes = Array("GET / HTTP/1.1\r\nHost: a\r\nCookie: nick=Ren".utf8)
        bytes += [0xE9] + Array("\r\nX-City:\t Z\u{FC}rich \t\r\nX-Empty:\r\nx-city: b\r\n\r\n".utf8)
        let head = try RequestHead(bytes)
        #expect(head.values("x-city") == ["Z\u{FC}rich", "b"])
        #expect(head.first("x-empty") == "")
        #expect(head.first("cookie") == "nick=Ren\u{FFFD}")
        var values: [[UInt8]] = []
        head.forEachField { _, value in values.append(Array(value)) }
        #expect(values[1].last == 0xE9)
    }

    @Test func listsAreJoinedOverTheirLines() throws {
        let head = try head("GET / HTTP/1.1\r\nConnection: keep-alive,\r\nHost: a\r\nCONNECTION: , Upgrade ,x\r\n\r\n")
        #expect(head.list("connection") == ["keep-alive", "Upgrade", "x"])
        #expect(head.only("connection") == nil)
    }

    @Test func aConnectionStaysAsItsVersionSays() throws {
        #expect(try head("GET / HTTP/1.1\r\nHost: a\r\n\r\n").isPersistent)
        #expect(try !head("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n").isPersistent)
        #expect(try !head("GET / HTTP/1.0\r\n\r\n").isPersistent)
        #expect(try head("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").isPersistent)
        #expect(try head("GET / HTTP/1.7\r\nHost: a\r\n\r\n").isPersistent)
    }

    @Test func theFramingIsClearOrRefused() throws {
        func framing(_ fields: String) throws -> RequestHead.Framing {
            try head("POST / HTTP/1.1\r\nHost: a\r\n\(fields)\r\n").framing
        }
        #expect(try framing("") == .none)
        #expect(try framing("Content-Length: 0\r\n") == .none)
        #expect(try framing("Content-Length: 017\r\n") == .length(17))
        #expect(try framing("Content-Length: 99999999999999999999999\r\n") == .length(.max))
        #expect(try framing("Transfer-Encoding: Chunked\r\n") == .chunked)
        for (fields, expected) in [
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", 400),
            ("Content-Length: 5, 5\r\n", 400), ("Content-Length: +5\r\n", 400), ("Content-Length: -5\r\n", 400),
            ("Content-Length:\r\n", 400), ("Content-Length: 0x5\r\n", 400),
            ("Transfer-Encoding: gzip, chunked\r\n", 501),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 501),
            ("Transfer-Encoding: xchunked\r\n", 501),
        ] {
            #expect(status("POST / HTTP/1.1\r\nHost: a\r\n\(fields)\r\n") == expected, "\(fields)")
        }
        #expect(status("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n") == 400)
    }

    @Test(arguments: [
        "", "GET /\r\n\r\n", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n", "G\u{7F}T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / http/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nb\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "GET /\ta HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\u{0}b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http:/a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET a HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.11\r\nHost: a\r\n\r\n", "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
    ])
    func whatTwoReadersCouldReadDifferentlyIsNoRequest(text: String) {
        #expect(status(text) == 400)
    }

    @Test func anotherVersionIsRefusedAsSuch() {
        #expect(status("GET / HTTP/2.0\r\nHost: a\r\n\r\n") == 505)
        #expect(status("GET / HTTP/0.9\r\nHost: a\r\n\r\n") == 505)
    }
}
