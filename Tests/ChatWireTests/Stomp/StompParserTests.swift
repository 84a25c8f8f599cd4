import ChatCore
import ChatWire
import Foundation
import Testing

@Suite struct StompParserTests {
    private static let bounds = StompParser.Bounds(headBytes: 256, headers: 8, bodyBytes: 64)

    /// All events of these bytes, given to a new parser in pieces of this size.
    static func parse(
        _ bytes: [UInt8], _ version: StompVersion? = .v12, pieces: Int = .max,
        bounds: StompParser.Bounds = StompParserTests.bounds
    ) -> [StompParser.Event] {
        var parser = StompParser(bounds: bounds)
        parser.version = version
        var events: [StompParser.Event] = []
        var start = 0
        while start < bytes.count {
            let end = pieces < bytes.count - start ? start + pieces : bytes.count
            parser.append(Array(bytes[start..<end]))
            while let event = parser.next() { events.append(event) }
            start = end
        }
        return events
    }

    private static func parse(_ text: String, _ version: StompVersion? = .v12) -> [StompParser.Event] {
        parse(Array(text.utf8), version)
    }

    private static func fault(_ text: String, _ version: StompVersion? = .v12) -> StompFault? {
        guard case .fault(let fault)? = parse(text, version).last else { return nil }
        return fault
    }

    private static func frame(
        _ command: String, _ headers: KeyValuePairs<String, String> = [:], _ body: String = ""
    ) -> StompParser.Event {
        .frame(StompFrame(command, headers.map { StompFrame.Header($0.key, $0.value) }, body: Array(body.utf8)))
    }

    @Test func aFrameHasACommandHeadersAndABody() {
        #expect(
            Self.parse("SEND\ndestination:/topic/a\nx:1\n\nhello\0")
                == [Self.frame("SEND", ["destination": "/topic/a", "x": "1"], "hello")])
        #expect(Self.parse("BEGIN\r\ntransaction:t\r\n\r\n\0") == [Self.frame("BEGIN", ["transaction": "t"])])
        #expect(Self.parse("DISCONNECT\n\n\0") == [Self.frame("DISCONNECT")])
    }

    @Test func linesBetweenFramesAreHeartBeatsAndANULIsNothing() {
        #expect(
            Self.parse("\n\r\n\0A\n\n\0\nB\n\n\0")
                == [.heartBeat, .heartBeat, Self.frame("A"), .heartBeat, Self.frame("B")])
        #expect(Self.fault("\rA\n\n\0") != nil)
    }

    @Test func contentLengthCountsOctetsAndWinsOverNUL() {
        #expect(
            Self.parse("SEND\ncontent-length:5\n\na\0b\0c\0A\n\n\0")
                == [Self.frame("SEND", ["content-length": "5"], "a\0b\0c"), Self.frame("A")])
        #expect(
            Self.parse("SEND\ncontent-length:6\n\n가나\0")
                == [Self.frame("SEND", ["content-length": "6"], "가나")])
        #expect(Self.parse("SEND\ncontent-length:0\n\n\0") == [Self.frame("SEND", ["content-length": "0"])])
        for wrong in ["4\n\nhello\0", "9\n\nhello\0and more", "-1\n\n\0", "five\n\n\0", "\n\n\0", "+5\n\nhello\0"] {
            #expect(Self.fault("SEND\ncontent-length:\(wrong)")?.summary == "Malformed frame", "\(wrong)")
        }
        // The first of repeated headers counts.
        #expect(
            Self.parse("SEND\ncontent-length:1\ncontent-length:9\n\na\0").last
                == Self.frame("SEND", ["content-length": "1", "content-length": "9"], "a"))
    }

    @Test func ofRepeatedHeadersTheFirstCounts() {
        guard case .frame(let frame)? = Self.parse("SEND\na:1\na:2\n\n\0").first else {
            Issue.record("no frame")
            return
        }
        #expect(frame["a"] == "1")
        #expect(frame["b"] == nil)
    }

    @Test func escapesDependOnTheVersion() {
        let text = #"SEND"# + "\n" + #"a\cb:x\ny\\z"# + "\n\n\0"
        #expect(Self.parse(text, .v12) == [Self.frame("SEND", ["a:b": "x\ny\\z"])])
        #expect(Self.parse(text, .v11) == [Self.frame("SEND", ["a:b": "x\ny\\z"])])
        #expect(Self.parse(text, .v10) == [Self.frame("SEND", [#"a\cb"#: #"x\ny\\z"#])])
        #expect(Self.parse("SEND\na:\\r\n\n\0", .v12) == [Self.frame("SEND", ["a": "\r"])])
        #expect(Self.fault("SEND\na:\\r\n\n\0", .v11) != nil)
        for escape in ["\\t", "\\x", "\\"] {
            #expect(Self.fault("SEND\na:\(escape)\n\n\0", .v12) != nil)
            #expect(Self.fault("SEND\na:\(escape)\n\n\0", .v11) != nil)
            #expect(Self.fault("SEND\na:\(escape)\n\n\0", .v10) == nil)
        }
        // Not in CONNECT.
        #expect(Self.parse("CONNECT\nlogin:a\\tb\n\n\0", nil) == [Self.frame("CONNECT", ["login": "a\\tb"])])
        // Colons in values.
        #expect(Self.parse("SEND\na:b:c\n\n\0") == [Self.frame("SEND", ["a": "b:c"])])
    }

    @Test func only10TrimsHeaders() {
        #expect(Self.parse("SEND\n a : b \n\n\0", .v10) == [Self.frame("SEND", ["a": "b"])])
        #expect(Self.parse("SEND\n a : b \n\n\0", .v11) == [Self.frame("SEND", [" a ": " b "])])
    }

    @Test func badHeadsAreFaults() {
        for text in ["SEND\nno colon\n\n\0", "SEND\n:no name\n\n\0"] {
            #expect(Self.fault(text)?.summary == "Malformed frame", "\(text)")
        }
        let notUTF8 = Array("SEND\na:".utf8) + [0xFF, 0x0A, 0x0A, 0]
        guard case .fault? = Self.parse(notUTF8).last else {
            Issue.record("no fault")
            return
        }
    }

    @Test func sizesAreBounded() {
        let head = "SEND\na:" + String(repeating: "x", count: 300)
        #expect(Self.fault(head)?.summary == "Frame too large")
        #expect(Self.fault(head + "\n\n\0")?.summary == "Frame too large")
        let many = "SEND\n" + (0..<9).map { "h\($0):1\n" }.joined() + "\n\0"
        #expect(Self.fault(many)?.summary == "Frame too large")
        #expect(Self.fault("SEND\ncontent-length:65\n\n")?.summary == "Frame too large")
        #expect(Self.fault("SEND\ncontent-length:99999999999999999999\n\n")?.summary == "Frame too large")
        let body = String(repeating: "x", count: 65)
        #expect(Self.fault("SEND\n\n" + body)?.summary == "Frame too large")
        #expect(Self.fault("SEND\n\n" + body + "\0")?.summary == "Frame too large")
        #expect(Self.fault("SEND\n\n" + body.dropLast() + "\0") == nil)
    }

    @Test func nothingIsParsedAfterAFault() {
        let events = Self.parse("bad\nline\n\n\0SEND\n\n\0")
        #expect(events.count == 1)
    }

    @Test func piecesMakeNoDifference() {
        let text = "\nSEND\r\na:\\c\r\ncontent-length:7\r\n\r\na\0b\nc\0d\0\n\nACK\nid:1\n\n\0SEND\n\n가\0"
        let whole = Self.parse(Array(text.utf8))
        #expect(whole.count == 6)
        for size in 1..<text.utf8.count { #expect(Self.parse(Array(text.utf8), pieces: size) == whole, "\(size)") }
    }

    /// Inputs made of what frames consist of, in pieces of random sizes: no trap, bounded results, and the same events
    /// whatever the pieces. `MARTLET_STOMP_FUZZ`: how many.
    @Test(arguments: [1, 2, 3] as [UInt64])
    func wildInput(seed: UInt64) {
        let parts: [[UInt8]] =
            [
                "CONNECT\n", "SEND\n", "SUBSCRIBE\n", "ACK\r\n", "destination:/topic/a\n", "content-length:3\n",
                "content-length:", "content-length:99\n", "id:1\n", "a:\\c\\n\\\\\\r\n", "a:\\t\n", "\n", "\r\n", "\r",
                "\0",
                "abc", "\0\0", ":", "x", "가", "receipt:1\n", "\n\n\0", "\n\nbody\0",
            ].map { Array($0.utf8) } + [[0xFF], [0xC3]]
        var random = SplitMix64(seed: seed)
        let count = ProcessInfo.processInfo.environment["MARTLET_STOMP_FUZZ"].flatMap { Int($0) } ?? 20_000
        for _ in 0..<count / 3 {
            var bytes: [UInt8] = []
            for _ in 0..<random.below(14) { bytes += parts[random.below(parts.count)] }
            if random.below(3) == 0, !bytes.isEmpty {
                bytes[random.below(bytes.count)] = UInt8(truncatingIfNeeded: random.next())
            }
            let version = [nil, .v10, .v11, .v12][random.below(4)] as StompVersion?
            let whole = Self.parse(bytes, version)
            let pieces = Self.parse(bytes, version, pieces: 1 + random.below(9))
            // A fault of size may be seen earlier or later, but is seen.
            if whole != pieces {
                #expect(whole.count == pieces.count, "\(bytes)")
                if case .fault? = whole.last, case .fault? = pieces.last {} else { Issue.record("\(bytes)") }
            }
            for case .frame(let frame) in whole {
                #expect(frame.body.count <= Self.bounds.bodyBytes)
                #expect(frame.headers.count <= Self.bounds.headers)
            }
        }
    }
}
