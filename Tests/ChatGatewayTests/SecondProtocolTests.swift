import ChatCore
import ChatGateway
import ChatJSON
import ChatNode
import ChatWire
import Logging
import TestSupport
import Testing

/// A second client protocol beside `martlet.v1`, through the shipped gateway; where rooms matter, through a whole node.
@Suite struct SecondProtocolTests {
    private static let offer = "Sec-WebSocket-Protocol: \(LineProtocol.subprotocol)\r\n"

    private static func connect(_ port: Int) async throws -> TestWebSocket {
        let client = try await TestWebSocket.connect(port: port, "", extra: offer)
        #expect(try await client.line() == "say who you are")
        return client
    }

    private static func connect(_ user: String, _ port: Int) async throws -> TestWebSocket {
        let client = try await connect(port)
        try await client.send("user \(user)")
        #expect(try await client.line() == "welcome \(user)")
        return client
    }

    /// A gateway that speaks both, with a fake service behind it.
    private func withBoth(
        authenticator: any Authenticator = DevelopmentAuthenticator(),
        _ change: (inout GatewayOptions) throws -> Void = { _ in },
        _ body: (_ port: Int, _ service: FakeService, _ server: GatewayServer) async throws -> Void
    ) async throws {
        var registry = ProtocolRegistry.standard(limits: Limits())
        registry.register(at: "/ws", subprotocol: LineProtocol.subprotocol) { _ in LineProtocol() }
        try await withGateway(
            service: FakeService(protocols: registry), authenticator: authenticator, protocols: registry, change, body)
    }

    // MARK: the gateway

    @Test(.timeLimit(.minutes(1)))
    func theHandshakeIsAnsweredThoughTheProtocolSaysNothingAtFirst() async throws {
        var registry = ProtocolRegistry.standard(limits: Limits())
        registry.register(at: "/echo", subprotocol: nil) { _ in QuietProtocol() }
        try await withGateway(service: FakeService(protocols: registry), protocols: registry) { port, _, _ in
            let client = try await TestWebSocket.connect(port: port, "", path: "/echo")
            try await client.send("hi")
            #expect(await client.next() == .text(Array("hi".utf8)))
            // A message without bytes is a message.
            try await client.send("")
            #expect(await client.next() == .text([]))
            try await client.sendFrame(.binary, [])
            #expect(await client.next() == .binary([]))
        }
    }

    @Test func aClientSaysInItsFirstLineWhoItIsAndBadLinesGetErrors() async throws {
        try await withBoth { port, service, server in
            let client = try await Self.connect(port)
            for (line, answer) in [
                ("dance", "error unknownType"), ("join lobby", "error unauthenticated"), ("user", "error missingField"),
            ] {
                try await client.send(line)
                #expect(try await client.line().hasPrefix(answer))
            }
            #expect(service.sessions == 0)
            try await client.sendFrame(.binary, [1, 2])
            #expect(try await client.line() == "error binaryFrame a binary frame; lines.v1 is text")
            try await client.sendFrame(.ping, [7])
            #expect(await client.next() == .pong([7]))

            try await client.send("user ana\njoin a\nping")
            #expect(try await client.line() == "welcome ana")
            #expect(try await client.line() == "joined a at 1-0")
            #expect(try await client.line() == "pong")
            #expect(service.sessions == 1)
            for (line, answer) in [
                ("user bob", "error badField"), ("say a", "error missingField"), ("say b hi", "error notJoined"),
                ("join \u{7}", "error badName"),
            ] {
                try await client.send(line)
                #expect(try await client.line().hasPrefix(answer))
            }
            try await client.send("quit")
            #expect(await client.next() == .close(.normal, reason: ""))
            try await eventually("it has left") { service.sessions == 0 }
            #expect(await server.counters().badFrames["unknownType"] == 1)
        }
    }

    @Test func whoeverIsRefusedIsToldInTheProtocolsWords() async throws {
        try await withBoth {
            $0.limits.badFramesPerMinute = 2
        } _: { port, service, server in
            let nobody = try await Self.connect(port)
            try await nobody.send("user \u{1}")
            #expect(try await nobody.line().hasPrefix("error badName"))
            #expect(try await nobody.line() == "bye badName")
            #expect(await nobody.next() == .close(WebSocketCloseCode(rawValue: 4009), reason: "badName"))

            let noise = try await Self.connect(port)
            for _ in 0..<3 {
                try await noise.send("noise")
                #expect(try await noise.line().hasPrefix("error unknownType"))
            }
            #expect(try await noise.line() == "bye abuse")
            #expect(await noise.next() == .close(WebSocketCloseCode(rawValue: 4005), reason: "abuse"))
            #expect(service.sessions == 0)
            #expect(await server.counters().limitRefusals[.badFramesPerMinute] == 1)
        }
    }

    @Test func whoSaysNothingIsClosedAfterTheTimeOfAHandshake() async throws {
        try await withBoth {
            $0.handshakeTimeout = .seconds(2)
        } _: { port, _, server in
            let client = try await Self.connect(port)
            #expect(try await client.line() == "bye unauthenticated")
            #expect(await client.closeFrame() != nil)
            #expect(await server.counters().connectionsTimedOut == 1)
        }
    }

    @Test func whatComesWhileTheAuthenticatorThinksIsDoneAfterwards() async throws {
        struct Slow: Authenticator {
            func authenticateAtOnce(_ credentials: Credentials) -> Result<Identity, WireError>? { nil }
            func authenticate(_ credentials: Credentials) async -> Result<Identity, WireError> {
                await Task.yield()
                return DevelopmentAuthenticator().authenticateAtOnce(credentials)
                    ?? .failure(WireError(.unauthenticated, "nobody"))
            }
        }
        try await withBoth(authenticator: Slow()) { port, _, _ in
            let client = try await Self.connect(port)
            var bytes: [UInt8] = []
            for text in ["user ana\njoin a", "ping", "say a one"] {
                WebSocketFrame.append(.text, Array(text.utf8), maskingKey: 0x0102_0304, to: &bytes)
            }
            try await client.socket.write(bytes)
            for answer in ["welcome ana", "joined a at 1-0", "pong", "stored a 1-1", "a 1-1 ana: one"] {
                #expect(try await client.line() == answer)
            }
        }
    }

    @Test func aQuietSessionIsAskedInTheProtocolsWords() async throws {
        try await withBoth {
            $0.heartbeatSeconds = 1
        } _: { port, _, _ in
            let client = try await Self.connect("ana", port)
            #expect(try await client.line() == "are you there?")
            #expect(try await client.line() == "bye heartbeatMissed")
        }
    }

    // MARK: a node

    private struct Counts: Sendable {
        let martlet = EncodingCount()
        let lines = EncodingCount()
    }

    /// A whole node with its rooms in memory, in which both protocols are spoken and their encodings are counted.
    private func withNode(_ body: (_ port: Int, _ counts: Counts) async throws -> Void) async throws {
        let counts = Counts()
        try await withMemoryNode(
            protocols: { limits in
                var registry = ProtocolRegistry(limits: limits)
                registry.register(at: "/ws", subprotocol: MartletV1Codec.subprotocol) {
                    CountedProtocol(base: MartletV1(limits: $0), messages: counts.martlet)
                }
                registry.register(at: "/ws", subprotocol: LineProtocol.subprotocol) { _ in
                    CountedProtocol(base: LineProtocol(), messages: counts.lines)
                }
                return registry
            },
            { port in try await body(port, counts) })
    }

    /// What `martlet.v1` shows of a message, as a line.
    private static func line(_ message: JSONValue) throws -> String {
        let fields = try ["room", "position", "user", "text"].map { try #require(message[$0]?.string) }
        return "\(fields[0]) \(fields[1]) \(fields[2]): \(fields[3])"
    }

    @Test func bothProtocolsShareARoomAndEachMessageIsEncodedOnceForEach() async throws {
        try await withNode { port, counts in
            let bo = try await TestWebSocket.connect(port: port, "user=bo&room=lobby")
            _ = try await bo.json("joined")
            let eve = try await TestWebSocket.connect(port: port, "user=eve&room=lobby")
            _ = try await eve.json("joined")
            let ana = try await Self.connect("ana", port)
            let cat = try await Self.connect("cat", port)
            for client in [ana, cat] {
                try await client.send("join lobby")
                #expect(try await client.line().hasPrefix("joined lobby at "))
            }
            // Nobody waits for anybody: the room's order decides.
            for number in 0..<10 {
                try await ana.send("say lobby line \(number)")
                try await bo.send(#"{"type":"send","room":"lobby","text":"json \#(number)"}"#)
                try await cat.send("say lobby cat \(number)")
            }
            var seen: [[String]] = []
            for client in [bo, eve] {
                var lines: [String] = []
                while lines.count < 30 { lines.append(try Self.line(try await client.json("message"))) }
                seen.append(lines)
            }
            for client in [ana, cat] {
                var lines: [String] = []
                while lines.count < 30 {
                    let line = try await client.line()
                    if line.hasPrefix("lobby ") { lines.append(line) }
                }
                seen.append(lines)
            }
            for lines in seen { #expect(lines == seen[0]) }
            for (user, word) in [("ana", "line"), ("bo", "json"), ("cat", "cat")] {
                let texts = seen[0].compactMap { line in
                    line.firstRange(of: " \(user): ").map { String(line[$0.upperBound...]) }
                }
                #expect(texts == (0..<10).map { "\(word) \($0)" })
            }
            #expect(counts.martlet.value == 30 && counts.lines.value == 30)

            // When nobody speaks lines in it any more, the room encodes for the others alone.
            for client in [ana, cat] {
                try await client.send("leave lobby")
                while try await client.line() != "left lobby" {}
            }
            for number in 0..<5 {
                try await bo.send(#"{"type":"send","room":"lobby","text":"alone \#(number)"}"#)
                #expect(try await eve.json("message")["text"]?.string == "alone \(number)")
            }
            #expect(counts.martlet.value == 35 && counts.lines.value == 30)
        }
    }

    @Test func aRoomOfOneProtocolEncodesForNoOther() async throws {
        try await withNode { port, counts in
            let ana = try await Self.connect("ana", port)
            let bo = try await Self.connect("bo", port)
            for client in [ana, bo] {
                try await client.send("join quiet")
                #expect(try await client.line().hasPrefix("joined quiet at "))
            }
            for number in 0..<5 {
                try await ana.send("say quiet \(number)")
                #expect(try await bo.line().hasSuffix(" ana: \(number)"))
            }
            #expect(counts.lines.value == 5 && counts.martlet.value == 0)
        }
    }
}

extension TestWebSocket {
    /// The next text message; pings are skipped.
    fileprivate func line() async throws -> String {
        while let event = await next() {
            switch event {
            case .text(let bytes): return String(decoding: bytes, as: UTF8.self)
            case .ping, .pong: continue
            case .binary, .close, .refused, .failed: throw TestFailure("not a line: \(event)")
            }
        }
        throw TestFailure("the connection has gone")
    }
}

/// Sends back each message, and nothing else.
private final class QuietProtocol: ClientProtocol, ClientReader {
    let name = "quiet"
    var framing: ProtocolFraming { ProtocolFraming(takesBinary: true) }

    func hello(in head: RequestHead) throws(WireError) -> ClientHello? {
        ClientHello(credentials: Credentials(user: "ana", token: nil))
    }

    func makeReader() -> any ClientReader { self }

    func read(_ bytes: [UInt8], isText: Bool, _ body: (ClientInput) -> Void) { body(.say(bytes, isText: isText)) }

    func encode(_ event: ServerEvent, viewer: UserID?, into bytes: inout ByteWriter) {}
}
