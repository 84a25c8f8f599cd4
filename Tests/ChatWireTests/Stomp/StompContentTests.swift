import ChatCore
import ChatJSON
import ChatWire
import Testing

/// What becomes of a SEND's body and headers, and what a MESSAGE shows of messages of any protocol.
@Suite struct StompContentTests {
    /// Sends a frame, stores what the node is asked to store, and returns the MESSAGE that comes of it.
    private func roundTrip(
        _ headers: String, _ body: [UInt8], destination: String = "/topic/a", subscribed: String = "/topic/a",
        _ version: StompVersion = .v12
    ) throws -> (stored: SendRequest, shown: SentFrame, isText: Bool) {
        let client = try StompHarness(version)
        client.read("SUBSCRIBE\nid:1\ndestination:\(subscribed)\n\n\0")
        try client.answerJoin()
        let frame = "SEND\ndestination:\(destination)\n\(headers)content-length:\(body.count)\n\n"
        client.read(Array(frame.utf8) + body + [0], isText: false)
        guard case .send(let send)? = client.takeRequests().last?.body else {
            throw StompHarness.NoFrame("nothing sent: \(String(decoding: client.bytes, as: UTF8.self))")
        }
        let content = MessageContent(user: try UserID("bo"), at: 0, text: send.text, data: send.data, key: send.key)
        client.broadcast(
            .message(room: send.room, Message(position: Position(epoch: 7, seq: 1), content: content), showKey: false))
        return (send, try client.next("MESSAGE"), client.isTextOnly)
    }

    @Test func aTextIsAText() throws {
        let (stored, shown, _) = try roundTrip("", Array("hi 가".utf8))
        #expect(stored.text == "hi 가")
        #expect(stored.data == nil)
        #expect(shown.body == "hi 가")
        #expect(shown["content-type"] == "text/plain")
        #expect(shown["content-length"] == "6")
    }

    @Test func headersComeBack() throws {
        let (stored, shown, _) = try roundTrip(
            "x-one:1\nx-two:a\\cb\\\\c\nuser:mallory\nposition:9-9\ncontent-type:text/x\n", Array("hi".utf8))
        #expect(stored.text == "hi")
        #expect(try JSONValue(parsing: stored.data ?? "")["stomp"]?["type"]?.string == "text/x")
        #expect(shown["x-one"] == "1")
        #expect(shown["x-two"] == "a\\cb\\\\c")
        #expect(shown["content-type"] == "text/x")
        #expect(shown["user"] == "bo")
        #expect(shown["position"] == "7-1")
        #expect(shown.body == "hi")
    }

    @Test func aCarriageReturnInAHeaderIsEscapedAsTheVersionAllows() throws {
        let (_, shown, _) = try roundTrip("x:a\\rb\n", Array("hi".utf8))
        #expect(shown["x"] == "a\\rb")
        let client = try StompHarness(.v11)
        try client.subscribe("a")
        let data = #"{"stomp":{"headers":{"x":"a\rb\n"}}}"#
        client.broadcast(
            .message(room: try StompHarness.room("a"), try client.message(1, "hi", data: data), showKey: false))
        #expect(try client.next("MESSAGE")["x"] == "a\rb\\n")
    }

    @Test func aJSONObjectIsData() throws {
        for (type, body, text) in [
            ("", #"{"x": 1}"#, nil), ("content-type:application/json\n", #"{"message":"hi","n":[1]}"#, "hi"),
            ("", #"{"content":"hi"}"#, "hi"),
        ] as [(String, String, String?)] {
            let (stored, shown, _) = try roundTrip(type, Array(body.utf8))
            #expect(stored.text == text)
            #expect(stored.data == body)
            #expect(shown.body == body)
            #expect(shown["content-type"] == "application/json")
        }
        // With headers, both are kept.
        let (stored, shown, _) = try roundTrip("x:1\n", Array(#"{"message" : "hi"}"#.utf8))
        #expect(stored.text == "hi")
        #expect(shown.body == #"{"message" : "hi"}"#)
        #expect(shown["x"] == "1")
        // What is no JSON object that every parser takes is a text.
        for body in ["[1]", "42", "{", #"{"a":1e999}"#, #"{"a":1} x"#] {
            let (stored, shown, _) = try roundTrip("", Array(body.utf8))
            #expect(stored.text == body)
            #expect(shown.body == body)
        }
    }

    @Test func aBodyThatIsNoTextComesBackInABinaryMessage() throws {
        let body: [UInt8] = [0, 0xFF, 1, 2, 0x80]
        let client = try StompHarness()
        try client.subscribe("a")
        client.read(Array("SEND\ndestination:/topic/a\ncontent-length:5\n\n".utf8) + body + [0], isText: false)
        guard case .send(let send)? = client.takeRequests().last?.body else {
            Issue.record("nothing sent")
            return
        }
        #expect(send.text == nil)
        #expect(send.data == #"{"stomp":{"base64":"AP8BAoA="}}"#)
        client.broadcast(
            .message(
                room: send.room, try client.message(1, nil, data: send.data), showKey: false))
        #expect(!client.isTextOnly)
        let shown = client.takeBytes()
        #expect(shown.suffix(6) == body + [0])
    }

    @Test func anEmptyBodyIsAMessage() throws {
        let (stored, shown, _) = try roundTrip("", [])
        #expect(stored.text == nil)
        #expect(stored.data == #"{"stomp":{}}"#)
        #expect(shown.body.isEmpty)
    }

    @Test func messagesOfOtherProtocolsAreShown() throws {
        let client = try StompHarness()
        try client.subscribe("a")
        let room = try StompHarness.room("a")
        for (seq, text, data, body, header) in [
            (1, "hi", nil, "hi", nil), (2, nil, #"{"a":1}"#, #"{"a":1}"#, nil), (3, nil, "[1]", "[1]", nil),
            (4, "hi", #"{"a":"b"}"#, "hi", #"{"a"\c"b"}"#),
            // Data that only looks like ours.
            (5, "hi", #"{"stomp":{"headers":7}}"#, "hi", nil), (6, "hi", #"{"stomp":{"base64":"?"}}"#, "hi", nil),
            (7, "hi", #"{"stomp":{"#, "hi", nil),
        ] as [(UInt64, String?, String?, String, String?)] {
            client.broadcast(.message(room: room, try client.message(seq, text, data: data), showKey: false))
            let message = try client.next("MESSAGE")
            #expect(message.body == body, "\(seq)")
            if let header { #expect(message["data"] == header) }
        }
    }

    // MARK: the layouts

    @Test func theLayoutOfTutorialsNeedsNoConfiguration() throws {
        let body = #"{"type":"TALK","roomId":"a","sender":"bo","message":"hi"}"#
        let (stored, shown, _) = try roundTrip(
            "", Array(body.utf8), destination: "/pub/chat/message", subscribed: "/sub/chat/room/a")
        #expect(stored.room == (try StompHarness.room("a")))
        #expect(stored.text == "hi")
        #expect(stored.data == body)
        #expect(shown.body == body)
        #expect(shown["destination"] == "/sub/chat/room/a")
        // A message of another client becomes such an object.
        let client = try StompHarness()
        client.read("SUBSCRIBE\nid:1\ndestination:/sub/chat/room/12\n\n\0")
        try client.answerJoin()
        for seq in 1...2 as ClosedRange<UInt64> {
            client.broadcast(
                .message(room: try StompHarness.room("12"), try client.message(seq, "a \"b\""), showKey: false))
            let message = try client.next("MESSAGE")
            #expect(message["message-id"] == "7-\(seq)")
            let value = try JSONValue(parsing: message.body)
            #expect(value["type"]?.string == "TALK")
            #expect(value["roomId"]?.string == "12")
            #expect(value["sender"]?.string == "bo")
            #expect(value["message"]?.string == "a \"b\"")
        }
    }

    @Test func enteringGetsTheTextOfTheTutorials() throws {
        for (destination, body) in [
            ("/pub/chat/enter", #"{"roomId":12,"sender":"x"}"#),
            ("/pub/chat/message", #"{"type":"ENTER","roomId":"12","message":""}"#),
            ("/pub/chat/message", #"{"type":"ENTER","roomId":"12","message":null}"#),
        ] {
            let (stored, shown, _) = try roundTrip(
                "", Array(body.utf8), destination: destination, subscribed: "/sub/chat/room/12")
            #expect(stored.room == (try StompHarness.room("12")))
            #expect(stored.text == "ana님이 입장하셨습니다.")
            #expect(try JSONValue(parsing: shown.body)["message"]?.string == "ana님이 입장하셨습니다.")
        }
    }

    @Test(arguments: [
        ("/topic/lobby", "lobby"), ("/topic/room.lobby", "lobby"), ("/topic/chat/room/1", "chat/room/1"),
        ("/topic/a%2Fb", "a/b"), ("/topic/100%", "100%"), ("/exchange/amq.topic/lobby", "lobby"),
        ("/exchange/x/a/b", "a/b"), ("/app/lobby", "lobby"), ("/app/chat/lobby", "lobby"),
        ("/app/chat.sendMessage", "public"), ("/app/chat.addUser", "public"), ("/pub/chat/room/1", "1"),
        ("/topic/c#", "c#"), ("/topic/방", "방"),
    ])
    func destinationsAreRooms(destination: String, room: String) throws {
        let client = try StompHarness()
        client.read("SEND\ndestination:\(destination)\n\nx\0")
        let rooms = client.requests.compactMap { if case .send(let send) = $0.body { send.room.text } else { nil } }
        #expect(rooms == [room])
    }

    @Test func aMessageIsAsLongAsAFrameMayBe() throws {
        var limits = Limits()
        limits.frameBytes = 100
        let client = try StompHarness(limits: limits)
        try client.subscribe("a")
        // Base64 and escapes make it longer.
        client.read(
            Array("SEND\ndestination:/topic/a\ncontent-length:90\n\n".utf8) + Array(repeating: 0xFF, count: 90) + [0],
            isText: false)
        #expect(try client.next("ERROR")["message"] == "Frame too large")
    }
}
