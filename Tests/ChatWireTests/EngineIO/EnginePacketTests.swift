import Testing

@testable import ChatWire

struct EnginePacketTests {
    private func packets(_ text: String) -> [EnginePacket]? {
        var packets: [EnginePacket] = []
        return EnginePayload.read(Array(text.utf8)) {
            packets.append($0)
            return true
        } ? packets : nil
    }

    @Test func payloadsAreReadAndWrittenAsTheProtocolDescribesThem() {
        #expect(
            packets("4hello\u{1E}2\u{1E}4€") == [.message(Array("hello".utf8)), .ping([]), .message(Array("€".utf8))])
        #expect(packets("2probe") == [.ping(Array("probe".utf8))])
        #expect(packets("4hello\u{1E}bAQIDBA==") == [.message(Array("hello".utf8)), .binary([1, 2, 3, 4])])
        #expect(packets("1\u{1E}3\u{1E}5\u{1E}6") == [.close, .pong([]), .upgrade, .noop])
        let payload = EnginePayload([.message(Array("hello".utf8)), .binary([1, 2, 3, 4]), .close])
        #expect(payload.bytes == Array("4hello\u{1E}bAQIDBA==\u{1E}1".utf8))
    }

    @Test(arguments: [
        "", "abc", "7", "4a\u{1E}", "\u{1E}4a", "4a\u{1E}x", "b!", "bA", "bAQ=D", "bAQ===", "4a\u{1E}\u{1E}4b",
    ])
    func whatHoldsNoPacketIsRefused(_ text: String) {
        #expect(packets(text) == nil)
    }

    @Test func readingEndsWhereTheReceiverWantsNoMore() {
        var count = 0
        let isWhole = EnginePayload.read(Array("4a\u{1E}1\u{1E}x".utf8)) { _ in
            count += 1
            return count < 2
        }
        #expect(isWhole && count == 2)
    }

    @Test func binaryOfEveryLengthComesBack() {
        for length in 0..<70 {
            let bytes = (0..<length).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ length) }
            let payload = EnginePayload([.binary(bytes)])
            #expect(EnginePacket(inPayload: payload.bytes[...]) == .binary(bytes))
            // Some clients leave the padding out.
            let bare = payload.bytes.filter { $0 != UInt8(ascii: "=") }
            #expect(EnginePacket(inPayload: bare[...]) == .binary(bytes))
        }
    }

    @Test func theFirstPacketHasFiveKeys() {
        var settings = EngineSettings(pingInterval: .milliseconds(300), pingTimeout: .milliseconds(200))
        settings.maxPayload = 1_000_000
        let text = { (mayUpgrade: Bool) in
            String(decoding: settings.open(sid: "a.0.b", mayUpgrade: mayUpgrade).content, as: UTF8.self)
        }
        #expect(
            text(true)
                == #"0{"sid":"a.0.b","upgrades":["websocket"],"pingInterval":300,"pingTimeout":200,"maxPayload":1000000}"#
        )
        #expect(text(false).contains(#""upgrades":[]"#))
    }

    @Test func namesOfSessionsSayWhereTheyAre() throws {
        var generator = SystemRandomNumberGenerator()
        let made = EngineSessionID(node: "west.1-0a1b2c3d", loop: 3, using: &generator)
        let read = try #require(EngineSessionID(made.text))
        #expect(read == made && read.node == "west.1-0a1b2c3d" && read.loop == 3)
        for text in [
            "", "a", "a.b", "..", ".1.aaaaaaaaaaaaaaaaaaaa", "n.-1.aaaaaaaaaaaaaaaaaaaa", "n.1.short",
            "n.99999.aaaaaaaaaaaaaaaaaaaa", String(repeating: "n", count: 200) + ".1.aaaaaaaaaaaaaaaaaaaa",
        ] { #expect(EngineSessionID(text) == nil, "\(text)") }
    }

    @Test func queriesAreJudged() throws {
        func query(_ text: String) throws(EngineError) -> EngineQuery {
            guard let head = try? RequestHead(Array("GET /engine.io/?\(text) HTTP/1.1\r\nHost: a\r\n\r\n".utf8)) else {
                throw .badRequest
            }
            return try EngineQuery(head)
        }
        let handshake = try query("EIO=4&transport=polling&t=x")
        #expect(handshake.transport == .polling && handshake.sid == nil)
        #expect(try query("transport=websocket&EIO=4&sid=a").sid == "a")
        for (text, error) in [
            ("transport=polling", EngineError.unsupportedVersion), ("EIO=3&transport=polling", .unsupportedVersion),
            ("EIO=abc&transport=polling", .unsupportedVersion), ("EIO=4", .unknownTransport),
            ("EIO=4&transport=abc", .unknownTransport), ("EIO=4&transport=%FF", .badRequest),
        ] { #expect(throws: error, "\(text)") { try query(text) } }
    }
}
