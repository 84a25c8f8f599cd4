import Testing

@testable import ChatWire

struct RequestReaderTests {
    private static let limits = RequestReader.Limits(headBytes: 1_000, headFields: 20, bodyBytes: 100)

    /// The events for bytes that arrive in parts of this size: `GET /a`, `body …`, `refused 400`.
    private func events(_ bytes: [UInt8], pieces: Int = .max, limits: RequestReader.Limits = limits) -> [String] {
        var reader = RequestReader(limits: limits)
        var told: [String] = []
        var start = 0
        while start < bytes.count {
            let end = start + min(pieces, bytes.count - start)
            bytes[start..<end].withUnsafeBytes { reader.received($0) }
            start = end
            while let event = reader.next() {
                switch event {
                case .head(let head, _): told.append("\(head.method) \(head.target)")
                case .body(let body): told.append("body \(String(decoding: body, as: UTF8.self))")
                case .refused(let problem): told.append("refused \(problem.status)")
                }
            }
        }
        return told
    }

    private func events(_ text: String, pieces: Int = .max) -> [String] { events(Array(text.utf8), pieces: pieces) }

    @Test(arguments: [1, 2, 3, 7, 64, .max])
    func requestsOfAConnectionComeOneAfterTheOtherHoweverTheyArrive(pieces: Int) {
        let text =
            "\r\n\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n"
            + "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\r\n"
            + "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            + "3;x=\"y\"\r\nabc\r\n0a \r\n0123456789\r\n0\r\n"
            + "X-Sum: 1\r\n\r\nGET /d HTTP/1.0\r\n\r\n"
        #expect(
            events(text, pieces: pieces) == [
                "GET /a", "body ", "POST /b", "body hello", "POST /c", "body abc0123456789", "GET /d", "body ",
            ])
    }

    @Test(arguments: [1, 5, .max])
    func nothingIsReadBehindWhatIsRefused(pieces: Int) {
        let next = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        let chunked = "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        for (text, status) in [
            ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\nY: 2\r\n\r\n", 400), ("\u{16}\u{3}\u{1}", 400),
            (String(repeating: "\r\n", count: 9), 400), ("GET /" + String(repeating: "a", count: 1_000), 414),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: " + String(repeating: "a", count: 1_000), 431),
            ("GET / HTTP/1.1\r\nHost: a\r\n" + String(repeating: "X: a\r\n", count: 20) + "\r\n", 431),
        ] {
            #expect(events(text + next, pieces: pieces) == ["refused \(status)"], "\(text)")
        }
        #expect(
            events("POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n" + next, pieces: pieces) == [
                "refused 413"
            ])
        for body in [
            "g\r\n", "\r\n", "5\nhello\r\n0\r\n\r\n", "5\r\nhello!\r\n0\r\n\r\n", "3\r\nab\r\n0\r\n\r\n", "-1\r\n",
            "ffffffffffffffff\r\n", "0\r\nX : a\r\n\r\n", "5 x\r\nhello\r\n",
            "1;" + String(repeating: "x", count: 300) + "\r\na\r\n0\r\n\r\n",
        ] {
            #expect(events(chunked + body + next, pieces: pieces) == ["POST /c", "refused 400"], "\(body)")
        }
        #expect(
            events(chunked + "64\r\n" + String(repeating: "x", count: 100) + "\r\n1\r\n" + next, pieces: pieces).last
                == "refused 413")
    }

    @Test func whatFollowsAHeadCanBeTaken() {
        var reader = RequestReader(limits: Self.limits)
        Array("GET /ws HTTP/1.1\r\nHost: a\r\n\r\nframes".utf8).withUnsafeBytes { reader.received($0) }
        guard case .head(_, let mayWait) = reader.next() else {
            Issue.record("no head")
            return
        }
        #expect(!mayWait)
        #expect(reader.takeRest() == Array("frames".utf8))
        #expect(reader.next() == nil)
    }

    @Test func whetherARequestIsUnderWayIsKnown() {
        var reader = RequestReader(limits: Self.limits)
        #expect(!reader.isWithinRequest)
        Array("POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n".utf8).withUnsafeBytes { reader.received($0) }
        guard case .head(let head, let mayWait) = reader.next() else {
            Issue.record("no head")
            return
        }
        #expect(mayWait && !head.expectsContinue && reader.isWithinRequest)
        #expect(reader.next() == nil)
        Array("ok".utf8).withUnsafeBytes { reader.received($0) }
        #expect(reader.next() == .body(Array("ok".utf8)))
        #expect(!reader.isWithinRequest)
    }

    /// Eight bytes are examined together: at every place of a word, also beside bytes that produce a borrow.
    @Test func controlCharactersAreFoundWhereverTheyAre() {
        let plain = [UInt8](repeating: 0x20, count: 40)
        for byte in UInt8.min ... .max {
            for place in 0..<40 {
                var bytes = plain
                bytes[place] = byte
                let found = bytes.withUnsafeBytes { HTTPBytes.firstControl($0, from: 0) }
                #expect(found == (byte < 0x20 || byte == 0x7F ? place : nil))
            }
        }
    }
}
