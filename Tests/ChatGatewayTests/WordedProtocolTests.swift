import ChatCore
import ChatGateway
import ChatJSON
import ChatWire
import TestSupport
import Testing

/// Protocols in which what is sent depends on the connection, over WebSocket and as the body of an HTTP answer.
@Suite struct WordedProtocolTests {
    private func withNode(_ body: (_ port: Int, _ encodings: EncodingCount) async throws -> Void) async throws {
        let encodings = EncodingCount()
        try await withMemoryNode(
            protocols: { limits in
                var registry = ProtocolRegistry.standard(limits: limits)
                registry.register(at: "/ws", subprotocol: "worded.v1") { _ in WordedLines(encodings: encodings) }
                registry.registerStream(at: "/lines") { _ in WordedLines(encodings: encodings) }
                return registry
            },
            { port in try await body(port, encodings) })
    }

    private static func connect(_ query: String, _ port: Int) async throws -> TestWebSocket {
        try await TestWebSocket.connect(port: port, query, extra: "Sec-WebSocket-Protocol: worded.v1\r\n")
    }

    @Test func aMessageIsEncodedOnceAndEachConnectionAddsItsWords() async throws {
        try await withNode { port, encodings in
            let first = try await Self.connect("user=ana&name=one&room=a", port)
            let second = try await Self.connect("user=bo&name=two&room=a", port)
            let third = try await Self.connect("user=cat&name=two&room=a", port)
            for client in [first, second, third] {
                while try await client.text() != "in a" {}
            }
            for number in 0..<5 { try await first.send("a line \(number)") }
            for (client, name) in [(first, "one"), (second, "two"), (third, "two")] {
                var seen: [String] = []
                while seen.count < 5 {
                    let text = try await client.text()
                    if text.hasPrefix("[") { seen.append(text) }
                }
                #expect(seen == (0..<5).map { "[\(name)] ana: line \($0)" })
            }
            #expect(encodings.value == 5)
        }
    }

    @Test func aConnectionKeepsTimeItsOwnWay() async throws {
        try await withNode { port, _ in
            let client = try await Self.connect("user=ana&name=one&beat=20", port)
            var beats = 0
            while beats < 3 { if try await client.text() == "beat" { beats += 1 } }
            try await client.send("break")
            var last = ""
            while case .text(let bytes) = await client.next() { last = String(decoding: bytes, as: UTF8.self) }
            #expect(last == "broken")
        }
    }

    @Test func messagesAreTheBodyOfAnAnswer() async throws {
        try await withNode { port, _ in
            let stream = try await TestSocket.connect(port: port)
            try await stream.write(Array("GET /lines?user=ana&name=s&room=a HTTP/1.1\r\nHost: x\r\n\r\n".utf8))
            var seen = try await stream.text(until: "in a\n")
            #expect(seen.hasPrefix("HTTP/1.1 200 OK\r\n"))
            #expect(seen.contains("\r\nContent-Type: text/x-lines\r\n"))
            let speaker = try await TestWebSocket.connect(port: port, "user=bo&room=a")
            _ = try await speaker.json("joined")
            try await speaker.send(#"{"type":"send","room":"a","text":"hello"}"#)
            seen = try await stream.text(until: "[s] bo: hello\n")
            #expect(seen == "[s] bo: hello\n")

            let nobody = try await TestSocket.connect(port: port)
            try await nobody.write(Array("GET /lines HTTP/1.1\r\nHost: x\r\n\r\n".utf8))
            #expect(try await nobody.text(until: "}}").hasPrefix("HTTP/1.1 401 "))
        }
    }
}

extension TestWebSocket {
    /// The next text message, without the end of its line; pings are skipped.
    fileprivate func text() async throws -> String {
        while let event = await next() {
            if case .text(let bytes) = event {
                return String(decoding: bytes, as: UTF8.self).split(separator: "\n").joined()
            }
            switch event {
            case .ping, .pong: continue
            case .text, .binary, .close, .refused, .failed: throw TestFailure("not a line: \(event)")
            }
        }
        throw TestFailure("the connection has gone")
    }
}

extension TestSocket {
    /// What comes, up to these words.
    fileprivate func text(until end: String) async throws -> String {
        var text = ""
        while !text.hasSuffix(end) {
            guard let bytes = await read() else { throw TestFailure("the connection has ended: \(text)") }
            text += String(decoding: bytes, as: UTF8.self)
        }
        return text
    }
}

/// Lines of text of which each connection gets those of others behind a name that it chose.
private struct WordedLines: ClientProtocol {
    let encodings: EncodingCount

    var name: String { "worded.v1" }
    var ping: ProtocolPing { .none }
    var streamFields: [(name: String, value: String)] { [("Content-Type", "text/x-lines")] }

    func hello(in head: RequestHead) throws(WireError) -> ClientHello? {
        guard let query = PercentEncoding.query(head.query, only: ["user", "room"]), let user = query["user"] else {
            throw WireError(.unauthenticated, "user is missing")
        }
        return ClientHello(credentials: Credentials(user: user, token: nil))
    }

    func makeReader() -> any ClientReader { Connection() }

    func encode(_ event: ServerEvent, viewer: UserID?, into bytes: inout ByteWriter) {
        guard case .message(_, let message, _) = event else { return }
        encodings.add()
        bytes.appendRaw("\(message.content.user): \(message.content.text ?? "")\n")
    }

    final class Connection: ClientWriter {
        private var prefix = FramePrefix([])
        private var beat: Duration?
        private(set) var deadline: Moment?

        func begin(_ head: RequestHead, _ body: (ClientInput) -> Void) {
            let query = PercentEncoding.query(head.query, only: ["name", "room", "beat"]) ?? [:]
            prefix = Self.prefixes[query["name"] ?? ""] ?? FramePrefix([])
            if let room = query["room"].flatMap({ try? RoomName($0) }) {
                body(.request(ClientRequest(ref: nil, body: .join(room: room, after: nil, history: nil))))
            }
            beat = query["beat"].flatMap { Int($0) }.map { .milliseconds($0) }
            deadline = beat.map { .now + $0 }
        }

        /// Connections of the same name share a prefix.
        private static let prefixes = [
            "one": FramePrefix(Array("[one] ".utf8)), "two": FramePrefix(Array("[two] ".utf8)),
            "s": FramePrefix(Array("[s] ".utf8)),
        ]

        func read(_ bytes: [UInt8], isText: Bool, _ body: (ClientInput) -> Void) {
            let words = String(decoding: bytes, as: UTF8.self).split(separator: " ", maxSplits: 1).map(String.init)
            guard words.count == 2, let room = try? RoomName(words[0]) else {
                let farewell = ProtocolFarewell(payload: Array("broken".utf8), code: .protocolError, text: "broken")
                return body(.end(farewell, reason: "brokenLine"))
            }
            body(.request(ClientRequest(ref: nil, body: .send(SendRequest(room: room, text: words[1])))))
        }

        func form(of event: ServerEvent) -> SharedForm {
            if case .message = event { return .prefixed(prefix) }
            return .nothing
        }

        func write(_ event: ServerEvent, viewer: UserID, _ body: ([UInt8], Bool) -> Void) {
            if case .joined(let joined) = event { body(Array("in \(joined.room)\n".utf8), true) }
        }

        func timePassed(now: Moment, lastWritten: Moment, _ body: (ClientInput) -> Void) {
            body(.say(Array("beat".utf8), isText: true))
            deadline = beat.map { now + $0 }
        }
    }
}
