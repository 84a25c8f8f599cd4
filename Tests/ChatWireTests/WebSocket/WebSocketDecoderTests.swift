import ChatCore
import ChatWire
import Testing

/// One test for each rule of RFC 6455 §5 to §8 for receivers; the section is part of the name.
struct WebSocketDecoderTests {
    private typealias Harness = WebSocketHarness

    @Test func section5_1_aServerFailsOnAnUnmaskedFrame() {
        var harness = Harness()
        #expect(harness.feed([0x81, 0x01, 0x61]) == [failure(.protocolError, "a frame of a client must be masked")])
    }

    @Test func section5_1_aClientFailsOnAMaskedFrame() {
        var harness = Harness(role: .client)
        #expect(
            harness.feed(Harness.frame(.text, "a")) == [
                failure(.protocolError, "a frame of a server must not be masked")
            ])
    }

    @Test(arguments: [0x40, 0x20, 0x10] as [UInt8])
    func section5_2_aReservedBitFails(bit: UInt8) {
        var bytes = Harness.frame(.text, "a")
        bytes[0] |= bit
        var harness = Harness()
        #expect(
            harness.feed(bytes) == [failure(.protocolError, "a reserved bit is set and no extension was negotiated")])
    }

    @Test(arguments: [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] as [UInt8])
    func section5_2_aReservedOpcodeFails(opcode: UInt8) {
        var bytes = Harness.frame(.text, "a")
        bytes[0] = 0x80 | opcode
        var harness = Harness()
        #expect(harness.feed(bytes) == [failure(.protocolError, "opcode \(opcode) is reserved")])
    }

    @Test(arguments: [0, 1, 125, 126, 127, 65_535, 65_536, 100_000])
    func section5_2_everyLengthFormIsRead(length: Int) {
        var harness = Harness()
        let payload = [UInt8](repeating: 0x61, count: length)
        #expect(harness.feed(Harness.frame(.text, payload)) == [.text(payload)])
    }

    @Test(
        arguments: [
            [0x81, 0xFE, 0, 125], [0x81, 0xFE, 0, 0], [0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF],
            [0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0, 1],
        ] as [[UInt8]])
    func section5_2_aLengthNotInItsShortestFormFails(header: [UInt8]) {
        var harness = Harness()
        #expect(
            harness.feed(header + [0, 0, 0, 0]) == [failure(.protocolError, "the length is not in its shortest form")])
    }

    @Test func section5_2_aLengthWithItsHighestBitSetFails() {
        var harness = Harness()
        let header: [UInt8] = [0x81, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        #expect(harness.feed(header) == [failure(.protocolError, "the most significant bit of the length is set")])
    }

    /// §5.7 gives these bytes.
    @Test func section5_7_theExamplesOfTheRFC() {
        var server = Harness()
        #expect(server.feed([0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58]) == [text("Hello")])
        var client = Harness(role: .client)
        #expect(client.feed([0x81, 0x05, 0x48, 0x65, 0x6C, 0x6C, 0x6F]) == [text("Hello")])
        #expect(client.feed([0x01, 0x03, 0x48, 0x65, 0x6C, 0x80, 0x02, 0x6C, 0x6F]) == [text("Hello")])
        #expect(client.feed([0x89, 0x05, 0x48, 0x65, 0x6C, 0x6C, 0x6F]) == [.ping(Array("Hello".utf8))])
        #expect(
            server.feed([0x8A, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58]) == [
                .pong(Array("Hello".utf8))
            ])
    }

    @Test func section5_3_eachFrameIsUnmaskedWithItsOwnKey() {
        var bytes: [UInt8] = []
        for (part, key) in [("ab", 0x0102_0304), ("cdefg", 0xFFFF_FFFF), ("h", 0)] as [(String, UInt32)] {
            let opcode: WebSocketOpcode = part == "ab" ? .text : .continuation
            WebSocketFrame.append(opcode, Array(part.utf8), isFinal: part == "h", maskingKey: key, to: &bytes)
        }
        for pieces in [1, 2, 3, 100] {
            var harness = Harness()
            #expect(harness.feed(bytes, pieces: pieces) == [text("abcdefgh")])
        }
    }

    @Test func section5_4_fragmentsAreJoinedAlsoEmptyOnes() {
        var harness = Harness()
        let bytes =
            Harness.frame(.text, "a", isFinal: false) + Harness.frame(.continuation, "", isFinal: false)
            + Harness.frame(.continuation, "b", isFinal: false) + Harness.frame(.continuation, "")
        #expect(harness.feed(bytes) == [text("ab")])
    }

    @Test func section5_4_controlFramesMayComeBetweenFragments() {
        var harness = Harness()
        let bytes =
            Harness.frame(.binary, "a", isFinal: false) + Harness.frame(.ping, "p") + Harness.frame(.continuation, "b")
        #expect(harness.feed(bytes) == [.ping(Array("p".utf8)), .binary(Array("ab".utf8))])
    }

    @Test func section5_4_aContinuationWithoutAMessageFails() {
        var harness = Harness()
        #expect(
            harness.feed(Harness.frame(.continuation, "a"))
                == [failure(.protocolError, "a continuation frame without a message to continue")])
        var after = Harness()
        #expect(
            after.feed(Harness.frame(.text, "a") + Harness.frame(.continuation, "b"))
                == [text("a"), failure(.protocolError, "a continuation frame without a message to continue")])
    }

    @Test(arguments: [WebSocketOpcode.text, .binary])
    func section5_4_aNewMessageInsideAFragmentedOneFails(opcode: WebSocketOpcode) {
        var harness = Harness()
        #expect(
            harness.feed(Harness.frame(.text, "a", isFinal: false) + Harness.frame(opcode, "b"))
                == [failure(.protocolError, "a new message inside a fragmented one")])
    }

    @Test(arguments: [WebSocketOpcode.close, .ping, .pong])
    func section5_5_aControlFrameLongerThan125BytesFails(opcode: WebSocketOpcode) {
        var fits = Harness()
        let payload: [UInt8] = [0x03, 0xE8] + [UInt8](repeating: 0x61, count: 123)
        #expect(fits.feed(Harness.frame(opcode, payload)).count == 1)
        #expect(!fits.decoder.hasEnded || opcode == .close)
        var harness = Harness()
        #expect(
            harness.feed(Harness.frame(opcode, payload + [0x61]))
                == [failure(.protocolError, "a control frame is longer than 125 bytes")])
    }

    @Test(arguments: [WebSocketOpcode.close, .ping, .pong])
    func section5_5_aFragmentedControlFrameFails(opcode: WebSocketOpcode) {
        var harness = Harness()
        #expect(
            harness.feed(Harness.frame(opcode, "", isFinal: false))
                == [failure(.protocolError, "a control frame must not be fragmented")])
    }

    @Test func section5_5_1_whatComesAfterACloseFrameIsDiscarded() {
        var harness = Harness()
        #expect(
            harness.feed(Harness.close(1000, Array("bye".utf8)) + Harness.frame(.text, "a") + [0xFF, 0xFF])
                == [.close(.normal, reason: "bye")])
        #expect(harness.decoder.hasEnded)
        #expect(harness.feed([1, 2, 3]) == [])
    }

    @Test func section5_5_1_aCloseBodyIsEmptyOrAtLeastACode() {
        var empty = Harness()
        #expect(empty.feed(Harness.frame(.close, "")) == [.close(nil, reason: "")])
        var one = Harness()
        #expect(one.feed(Harness.frame(.close, "a")) == [failure(.protocolError, "a close body of one byte")])
    }

    @Test func section5_5_1_aCloseReasonMustBeUTF8() {
        var harness = Harness()
        #expect(
            harness.feed(Harness.close(1000, [0xCE, 0xBA, 0xE1, 0x80]))
                == [failure(.invalidPayload, "the close reason is not UTF-8")])
    }

    @Test(
        arguments: [
            1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4001, 4999,
        ] as [UInt16])
    func section7_4_aCodeThatMayBeSentIsTaken(code: UInt16) {
        var harness = Harness()
        #expect(harness.feed(Harness.close(code)) == [.close(WebSocketCloseCode(rawValue: code), reason: "")])
    }

    @Test(arguments: [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] as [UInt16])
    func section7_4_aCodeThatMustNotBeSentFails(code: UInt16) {
        var harness = Harness()
        #expect(
            harness.feed(Harness.close(code)) == [failure(.protocolError, "close code \(code) must not be sent")])
    }

    @Test func section7_1_7_afterAFailureNothingMoreIsRead() {
        var harness = Harness()
        #expect(harness.feed([0x81, 0x01, 0x61] + Harness.frame(.text, "a")).count == 1)
        #expect(harness.feed(Harness.frame(.text, "a")) == [])
    }

    @Test func section8_1_aTextMessageThatIsNotUTF8FailsWith1007() {
        for bytes in [[0xFF], [0xC0, 0xAF], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0x80], [0xF5]] as [[UInt8]] {
            var harness = Harness()
            guard case .failed(let failed)? = harness.feed(Harness.frame(.text, bytes)).first else {
                Issue.record("\(bytes) was taken")
                continue
            }
            #expect(failed.code == .invalidPayload)
        }
    }

    @Test func section8_1_aTextThatEndsInsideACharacterFailsWith1007() {
        var harness = Harness()
        #expect(
            harness.feed(Harness.frame(.text, [0xE2, 0x82]))
                == [failure(.invalidPayload, "the text ends inside a UTF-8 character")])
    }

    @Test func section8_1_aCharacterMayBeCutBetweenFragmentsAndPieces() {
        let euro: [UInt8] = [0xE2, 0x82, 0xAC, 0xF0, 0x9F, 0x98, 0x80]
        for cut in 0...euro.count {
            let bytes =
                Harness.frame(.text, Array(euro[..<cut]), isFinal: false)
                + Harness.frame(.continuation, Array(euro[cut...]))
            for pieces in [1, 2, 3, 5, 100] {
                var harness = Harness()
                #expect(harness.feed(bytes, pieces: pieces) == [text("€😀")])
            }
        }
    }

    @Test func section8_1_aWrongByteFailsBeforeTheMessageIsComplete() {
        var harness = Harness()
        let started = Harness.frame(.text, Array("ok".utf8) + [0xFF], isFinal: false)
        #expect(harness.feed(started) == [failure(.invalidPayload, "not UTF-8 at byte 2")])
        var half = Harness()
        #expect(half.feed(Array(Harness.frame(.text, [0xFF] + Array("more to come".utf8))[..<8])).count == 1)
    }

    @Test func section8_1_binaryIsNotCheckedForUTF8() {
        var harness = Harness()
        #expect(harness.feed(Harness.frame(.binary, [0xFF, 0x00])) == [.binary([0xFF, 0x00])])
    }

    @Test func piecesOfAnySizeGiveTheSameEvents() {
        let bytes =
            Harness.frame(.text, "héllo", isFinal: false) + Harness.frame(.ping, "1")
            + Harness.frame(.continuation, String(repeating: "wörld", count: 60)) + Harness.frame(.pong, "")
            + Harness.frame(.binary, [UInt8](repeating: 7, count: 70_000)) + Harness.close(4001)
        var whole = Harness()
        let expected = whole.feed(bytes)
        #expect(expected.count == 5)
        for pieces in [1, 2, 7, 13, 1_024] {
            var harness = Harness()
            #expect(harness.feed(bytes, pieces: pieces) == expected)
        }
    }

    /// Random frames and random bytes: the events do not depend on how the bytes are split, there is at most one
    /// failure, and never a trap.
    @Test func randomBytesNeverTrap() {
        var generator = SplitMix64(seed: 6_455)
        for _ in 0..<3_000 {
            var bytes: [UInt8] = []
            for _ in 0..<4 {
                let opcode = WebSocketOpcode.allCases[Int(generator.next() % 6)]
                let payload = (0..<Int(generator.next() % 140)).map { _ in
                    UInt8(truncatingIfNeeded: generator.next() % 128)
                }
                bytes += Harness.frame(opcode, payload, isFinal: generator.next() % 4 != 0)
            }
            if generator.next() % 2 == 0 {
                bytes[Int(generator.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: generator.next())
            }
            var whole = Harness(maxMessageBytes: 200, maxSkippedBytes: 1_000)
            var torn = Harness(maxMessageBytes: 200, maxSkippedBytes: 1_000)
            let events = whole.feed(bytes)
            #expect(events == torn.feed(bytes, pieces: 1 + Int(generator.next() % 9)))
            let last = events.dropLast()
            #expect(!last.contains { if case .failed = $0 { true } else { false } })
        }
    }
}
