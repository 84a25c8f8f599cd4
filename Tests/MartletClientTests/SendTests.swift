import ChatCore
import ChatJSON
import ChatWire
import Testing

@testable import MartletClient

@Suite struct SendTests {
    private func sent(_ id: UInt64, _ position: String, repeated: Bool = false) -> String {
        """
        {"type":"sent","ref":\(id),"room":"lobby","position":"\(position)","at":"2026-11-21T03:04:05.678Z",\
        "repeated":\(repeated)}
        """
    }

    private func key(_ frame: String?) -> Substring? {
        frame?.firstRange(of: "\"key\":\"").flatMap { range in
            frame?[range.upperBound...].split(separator: "\"").first
        }
    }

    /// The connection is lost, and the client joins the room again.
    private func comeBack(_ harness: inout Harness, at position: String) throws {
        harness.machine.connectionClosed(.lost, now: harness.now)
        harness.now = try #require(harness.machine.nextDeadline)
        harness.machine.timerFired(now: harness.now)
        try harness.welcome()
        let ref = try #require(try harness.joinRef())
        _ = harness.take()
        try harness.hear(
            #"{"type":"joined","ref":\#(ref),"room":"lobby","position":"\#(position)","resumed":true,"messages":[],"count":1}"#
        )
    }

    @Test func aFirstTrySaysThatItIsOne() throws {
        var harness = try Harness.inLobby()
        let id = try harness.send("hello")
        let frame = try #require(harness.written().first)
        #expect(frame.hasPrefix(#"{"type":"send","ref":\#(id),"room":"lobby","text":"hello","key":"c"#))
        #expect(frame.hasSuffix(#","again":false,"since":"5-10"}"#))
        try harness.hear(sent(id, "5-11"))
        let result = Sent(position: Position(epoch: 5, seq: 11), at: 1_795_230_245_678, repeated: false)
        #expect(harness.take() == [.complete(id, .success(.sent(result)))])
    }

    @Test func keysAreNeverTheSame() throws {
        var keys: Set<Substring> = []
        for seed in 1...20 as ClosedRange<UInt64> {
            var harness = Harness(seed: seed)
            harness.machine.start(now: harness.now)
            _ = harness.machine.join(try RoomName("lobby"), now: harness.now)
            try harness.welcome()
            let ref = try #require(try harness.joinRef())
            try harness.hear(
                #"{"type":"joined","ref":\#(ref),"room":"lobby","position":"5-10","messages":[],"count":1}"#)
            _ = harness.take()
            for _ in 0..<20 { _ = try harness.send("x") }
            for frame in harness.written() { keys.insert(try #require(key(frame))) }
        }
        #expect(keys.count == 400)
    }

    @Test func whatWasNotAnsweredIsRepeatedUnderTheSameKey() throws {
        var harness = try Harness.inLobby()
        let id = try harness.send("hello")
        let first = harness.written().first
        try harness.message("5-11")
        try comeBack(&harness, at: "5-11")
        let second = harness.written().first
        #expect(key(second) != nil && key(second) == key(first))
        #expect(second?.hasSuffix(#","again":true,"since":"5-10"}"#) == true, "\(second ?? "")")
        try harness.hear(sent(id, "5-11", repeated: true))
        let result = Sent(position: Position(epoch: 5, seq: 11), at: 1_795_230_245_678, repeated: true)
        #expect(harness.take() == [.complete(id, .success(.sent(result)))])
    }

    @Test func whatWasNeverWrittenIsAFirstTryOnTheNextConnection() throws {
        var options = ClientOptions()
        options.sendWindow = 1
        var harness = try Harness.inLobby(options: options)
        let first = try harness.send("one")
        _ = try harness.send("two")
        #expect(harness.written().count == 1)
        try comeBack(&harness, at: "5-10")
        #expect(harness.written().first?.contains("\"again\":true") == true)
        try harness.hear(sent(first, "5-11"))
        #expect(harness.written().first?.contains("\"again\":false,") == true)
    }

    @Test func sendsWaitUntilTheRoomIsJoined() throws {
        var harness = Harness()
        harness.machine.start(now: harness.now)
        _ = harness.machine.join(try RoomName("lobby"), now: harness.now)
        _ = try harness.send("early")
        try harness.welcome()
        let ref = try #require(try harness.joinRef())
        #expect(harness.written().count == 1)
        try harness.hear(#"{"type":"joined","ref":\#(ref),"room":"lobby","position":"5-10","messages":[],"count":1}"#)
        #expect(harness.written().count == 1)
    }

    @Test func atMostTheWindowIsUnanswered() throws {
        var options = ClientOptions()
        options.sendWindow = 3
        var harness = try Harness.inLobby(options: options)
        let ids = try (0..<5).map { try harness.send("\($0)") }
        #expect(harness.written().count == 3)
        try harness.hear(sent(ids[1], "5-11"))
        #expect(harness.written().count == 1)
    }

    @Test func aRefusalForNowIsTriedAgainBeforeLaterOnes() throws {
        var options = ClientOptions()
        options.sendWindow = 1
        var harness = try Harness.inLobby(options: options)
        let first = try harness.send("one")
        _ = try harness.send("two")
        _ = harness.take()
        try harness.hear(#"{"type":"error","ref":\#(first),"code":201,"name":"rateLimited","message":"","retry":true}"#)
        #expect(harness.take().isEmpty)
        harness.now = try #require(harness.machine.nextDeadline)
        harness.machine.timerFired(now: harness.now)
        let frames = harness.written()
        #expect(frames.count == 1)
        #expect(frames.first?.contains("\"text\":\"one\"") == true)
        #expect(frames.first?.contains("\"again\":false,") == true, "it was certainly not stored")
    }

    @Test func anUnknownOutcomeIsTriedAgainAsARepetition() throws {
        var harness = try Harness.inLobby()
        let id = try harness.send("one")
        _ = harness.take()
        try harness.hear(#"{"type":"error","ref":\#(id),"code":400,"name":"unavailable","message":"","retry":true}"#)
        harness.now = try #require(harness.machine.nextDeadline)
        harness.machine.timerFired(now: harness.now)
        #expect(harness.written().first?.hasSuffix(#","again":true,"since":"5-10"}"#) == true)
    }

    @Test func aRefusalForGoodFailsTheSendAlone() throws {
        var harness = try Harness.inLobby()
        let bad = try harness.send("one")
        let good = try harness.send("two")
        _ = harness.take()
        try harness.hear(
            #"{"type":"error","ref":\#(bad),"code":401,"name":"outcomeUnknown","message":"m","retry":false}"#)
        let fault = ServerFault(code: 401, name: "outcomeUnknown", message: "m", retry: false)
        #expect(harness.take() == [.complete(bad, .failure(.refused(fault)))])
        try harness.hear(sent(good, "5-11"))
        #expect(harness.take().count == 1)
    }

    @Test func aSendThatNobodyAnswersTimesOut() throws {
        var harness = try Harness.inLobby()
        let id = try harness.send("one")
        _ = harness.take()
        for _ in 0..<12 {
            harness.machine.heard(now: harness.now)
            harness.wait(.seconds(5))
        }
        // The pings that test the connection were answered.
        let done = harness.take().filter { if case .complete = $0 { true } else { false } }
        #expect(done == [.complete(id, .failure(.timedOut))])
    }

    @Test func theQueueIsBounded() throws {
        var options = ClientOptions()
        options.maxUnsent = 2
        var harness = try Harness.inLobby(options: options)
        _ = try harness.send("1")
        _ = try harness.send("2")
        _ = harness.take()
        let third = try harness.send("3")
        #expect(harness.take() == [.complete(third, .failure(.queueFull))])
    }

    @Test func nonsenseIsRefusedBeforeItIsSent() throws {
        var harness = try Harness.inLobby()
        let lobby = try RoomName("lobby")
        for request in [
            SendRequest(room: lobby), SendRequest(room: lobby, text: "x", key: "~x"),
            SendRequest(room: lobby, text: "x", key: ""),
            SendRequest(room: lobby, text: "x", key: String(repeating: "k", count: 65)),
            SendRequest(room: lobby, text: String(repeating: "x", count: 65_537)),
        ] {
            let id = harness.machine.send(request, now: harness.now)
            guard case .complete(id, .failure(.badArgument)) = harness.take().first else {
                Issue.record("\(request) was accepted")
                continue
            }
        }
    }

    @Test func aSendThatIsTooLongAsAFrameFailsAtOnceWheneverItWasMade() throws {
        var harness = Harness()
        let lobby = try RoomName("lobby")
        harness.machine.start(now: harness.now)
        _ = harness.machine.join(lobby, now: harness.now)
        // Before the node has said how long a frame may be: the first message is too long, the third one because of its
        // JSON encoding.
        let long = try harness.send(String(repeating: "x", count: 80_000))
        let short = try harness.send("short")
        let escaped = try harness.send(String(repeating: "\u{1}", count: 11_000))
        let last = try harness.send("last")
        _ = harness.take()
        try harness.hear(
            #"{"type":"welcome","session":"s","user":"ana","device":"d","node":"n1","heartbeat":30,"limits":{"frameBytes":65536}}"#
        )
        let ref = try #require(try harness.joinRef())
        _ = harness.take()
        try harness.hear(#"{"type":"joined","ref":\#(ref),"room":"lobby","position":"5-10","messages":[],"count":1}"#)
        var written: [UInt64?] = []
        var failed: [UInt64] = []
        for action in harness.take() {
            switch action {
            case .write(let request): written.append(request.ref?.serial)
            case .complete(let id, .failure(.badArgument)): failed.append(id)
            case .complete, .emit, .connect, .disconnect: break
            }
        }
        #expect(failed == [long, escaped])
        #expect(written == [short, last])
        // Exactly the largest frame, and one byte more.
        let frame = ClientRequest(
            ref: Ref(serial: 99), body: .send(SendRequest(room: lobby, text: "", key: "k", again: false)))
        var bytes = ByteWriter()
        frame.write(to: &bytes)
        let since = #","since":"18446744073709551615-18446744073709551615""#.utf8.count
        for (extra, fits) in [(0, true), (8, false)] {
            let text = String(repeating: "x", count: 65_536 - bytes.count - since + extra)
            let id = harness.machine.send(SendRequest(room: lobby, text: text, key: "k"), now: harness.now)
            let refused = harness.take().contains {
                if case .complete(id, .failure(.badArgument)) = $0 { true } else { false }
            }
            #expect(refused != fits)
        }
    }

    @Test func theNodesRateLimitIsKept() throws {
        var harness = Harness()
        harness.machine.start(now: harness.now)
        _ = harness.machine.join(try RoomName("lobby"), now: harness.now)
        try harness.welcome(rate: 10)
        let ref = try #require(try harness.joinRef())
        try harness.hear(#"{"type":"joined","ref":\#(ref),"room":"lobby","position":"5-10","messages":[],"count":1}"#)
        _ = harness.take()
        for _ in 0..<30 { _ = try harness.send("x") }
        var count = harness.written().count
        #expect(count == 8, "nine tenths of the burst, less the join")
        let began = harness.now
        while count < 26 {
            harness.now = try #require(harness.machine.nextDeadline)
            harness.machine.timerFired(now: harness.now)
            count += harness.written().count
        }
        let took = harness.now - began
        #expect(took > .milliseconds(1_900) && took < .milliseconds(2_200), "18 at 9 a second: \(took)")
    }

    @Test func thereIsNoDeadlineInThePastAfterTheTimer() throws {
        // A deadline in the past would make its timer fire endlessly.
        var harness = try Harness.inLobby()
        var random = SplitMix64(seed: 7)
        for step in 0..<2_000 {
            switch random.next() % 6 {
            case 0: _ = try harness.send("x")
            case 1: harness.machine.connectionClosed(.lost, now: harness.now)
            case 2: if harness.machine.welcome == nil { try harness.welcome() }
            case 3:
                if let ref = try harness.joinRef() {
                    try harness.hear(
                        #"{"type":"joined","ref":\#(ref),"room":"lobby","position":"5-10","messages":[],"count":1}"#)
                }
            case 4:
                let codes = [201, 202, 400, 401, 402, 403]
                let code = codes[Int(random.next() % 6)]
                if let id = harness.machine.roomOfSend.keys.randomElement(using: &random) {
                    try harness.hear(
                        #"{"type":"error","ref":\#(id),"code":\#(code),"name":"n","message":"","retry":\#(code != 401)}"#
                    )
                }
            default: harness.now = harness.now + .milliseconds(Int64(random.next() % 300))
            }
            harness.machine.timerFired(now: harness.now)
            if let next = harness.machine.nextDeadline { #expect(next > harness.now, "step \(step)") }
            harness.machine.actions = []
        }
    }
}
