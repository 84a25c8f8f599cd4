import ChatWire
import Testing

struct WebSocketSendingTests {
    @Test(arguments: [0, 125, 126, 65_535, 65_536])
    func section5_2_framesAreWrittenWithTheShortestLengthAndReadBack(length: Int) {
        let payload = [UInt8](repeating: 0x62, count: length)
        var bytes: [UInt8] = []
        WebSocketFrame.append(.binary, payload, to: &bytes)
        #expect(bytes.count == length + (length < 126 ? 2 : length < 65_536 ? 4 : 10))
        var client = WebSocketHarness(role: .client)
        #expect(client.feed(bytes) == [.binary(payload)])
    }

    @Test func section5_3_aClientsFramesAreMaskedWithTheKeyGiven() {
        var bytes: [UInt8] = []
        WebSocketFrame.append(.text, Array("Hello".utf8), maskingKey: 0x37FA_213D, to: &bytes)
        #expect(bytes == [0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58])
    }

    @Test func section5_5_1_aCloseReasonIsCutBetweenCharactersToFit() {
        var bytes: [UInt8] = []
        WebSocketFrame.appendClose(.normal, reason: String(repeating: "€", count: 60), to: &bytes)
        var client = WebSocketHarness(role: .client)
        #expect(client.feed(bytes) == [.close(.normal, reason: String(repeating: "€", count: 41))])
        bytes = []
        WebSocketFrame.appendClose(nil, reason: "dropped without a code", to: &bytes)
        #expect(bytes == [0x88, 0x00])
    }

    @Test func section5_5_1_weCloseOnceThenWaitForThePeersAndSendNothingMore() {
        var machine = WebSocketCloseStateMachine()
        #expect(machine.maySend)
        #expect(machine.close() == .sendClose)
        #expect(!machine.maySend)
        #expect(machine.close() == .doNothing)
        #expect(machine.closeReceived() == .disconnect)
        #expect(machine.isClosed)
    }

    @Test func section5_5_1_thePeersCloseIsAnsweredOnceAndEndsIt() {
        var machine = WebSocketCloseStateMachine()
        #expect(machine.closeReceived() == .replyAndDisconnect)
        #expect(machine.closeReceived() == .doNothing)
        #expect(machine.close() == .doNothing)
        #expect(machine.failed() == .doNothing)
    }

    @Test func section7_1_7_aFailureIsToldUnlessOurCloseHasGone() {
        var open = WebSocketCloseStateMachine()
        #expect(open.failed() == .sendCloseAndDisconnect)
        var closing = WebSocketCloseStateMachine()
        _ = closing.close()
        #expect(closing.failed() == .disconnect)
        var gone = WebSocketCloseStateMachine()
        gone.disconnected()
        #expect(gone.close() == .doNothing)
    }
}
