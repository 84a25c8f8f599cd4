import ChatWire
import Testing

/// The protocol's addition to RFC 6455: a frame that cannot be read is answered with an error, and only abuse closes
/// the session.
struct WebSocketRefusalTests {
    private typealias Harness = WebSocketHarness

    @Test func aMessageThatIsTooLargeIsRefusedAtItsHeaderAndSkipped() {
        var harness = Harness(maxMessageBytes: 10)
        let large = Harness.frame(.text, String(repeating: "x", count: 11))
        #expect(harness.feed(Array(large[..<6])) == [.refused(.tooLarge)], "the header alone tells")
        #expect(harness.feed(Array(large[6...])) == [])
        #expect(harness.feed(Harness.frame(.text, "0123456789")) == [text("0123456789")])
    }

    @Test func fragmentsThatAddUpToTooMuchAreRefusedOnce() {
        var harness = Harness(maxMessageBytes: 10)
        let bytes =
            Harness.frame(.text, "012345", isFinal: false) + Harness.frame(.continuation, "67890", isFinal: false)
            + Harness.frame(.ping, "p") + Harness.frame(.continuation, "tail")
        #expect(harness.feed(bytes) == [.refused(.tooLarge), .ping(Array("p".utf8))])
        #expect(harness.feed(Harness.frame(.text, "next")) == [text("next")])
    }

    @Test func aBinaryMessageIsRefusedWhereOnlyTextIsSpoken() {
        var harness = Harness(acceptsBinary: false)
        let bytes = Harness.frame(.binary, [1, 2], isFinal: false) + Harness.frame(.continuation, [3])
        #expect(harness.feed(bytes + Harness.frame(.text, "a")) == [.refused(.binary), text("a")])
    }

    @Test func whatIsSkippedIsNotReadAsText() {
        var harness = Harness(maxMessageBytes: 2)
        #expect(
            harness.feed(Harness.frame(.text, [0xFF, 0xFF, 0xFF]) + Harness.frame(.text, "a")) == [
                .refused(.tooLarge), text("a"),
            ])
    }

    @Test func theRulesOfFragmentationHoldAlsoWhileSkipping() {
        var harness = Harness(maxMessageBytes: 2)
        let bytes = Harness.frame(.text, "large", isFinal: false) + Harness.frame(.text, "a")
        #expect(
            harness.feed(bytes) == [
                .refused(.tooLarge), failure(.protocolError, "a new message inside a fragmented one"),
            ])
    }

    @Test func section7_4_1_aMessageFarBeyondTheLimitFailsWith1009() {
        var harness = Harness(maxMessageBytes: 10, maxSkippedBytes: 100)
        #expect(
            harness.feed(Array(Harness.frame(.text, String(repeating: "x", count: 101))[..<8])).last
                == failure(.messageTooBig, "a message far beyond 10 bytes"))
        var drip = Harness(maxMessageBytes: 10, maxSkippedBytes: 100)
        var bytes = Harness.frame(.text, String(repeating: "x", count: 60), isFinal: false)
        bytes += Harness.frame(.continuation, String(repeating: "x", count: 60), isFinal: false)
        #expect(drip.feed(bytes) == [.refused(.tooLarge), failure(.messageTooBig, "a message far beyond 10 bytes")])
    }

    @Test func aLengthOfTwoToThePowerOf62FailsAndReservesNothing() {
        var harness = Harness()
        let header: [UInt8] = [0x81, 0xFF, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        #expect(harness.feed(header).last == failure(.messageTooBig, "a message far beyond 100000 bytes"))
    }
}
