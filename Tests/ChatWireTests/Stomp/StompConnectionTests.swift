import ChatCore
import ChatJSON
import ChatWire
import Testing

@Suite struct StompConnectionTests {
    // MARK: CONNECT

    @Test(
        arguments: [
            (nil, "1.0"), ("1.0", "1.0"), ("1.1", "1.1"), ("1.2", "1.2"), ("1.0,1.1,1.2", "1.2"), ("1.1,1.0", "1.1"),
            ("2.0, 1.2", "1.2"),
        ] as [(String?, String)])
    func theHighestCommonVersionIsSpoken(accepts: String?, version: String) throws {
        let client = try StompHarness(connect: nil)
        client.read("CONNECT\n\(accepts.map { "accept-version:\($0)\n" } ?? "")login:ana\n\n\0")
        try client.welcome()
        let connected = try client.next("CONNECTED")
        #expect(connected["version"] == version)
        #expect(connected["session"] == "n-1")
        #expect(connected["heart-beat"] == "0,0")
        #expect(connected["server"]?.hasPrefix("Martlet") == true)
    }

    @Test func withoutACommonVersionThereIsAnError() throws {
        let client = try StompHarness(connect: nil)
        client.read("CONNECT\naccept-version:100.1\n\n\0")
        let error = try client.next("ERROR")
        #expect(error["message"] == "Version mismatch")
        #expect(error["version"] == "1.0,1.1,1.2")
        #expect(error.body == "Supported versions are 1.0,1.1,1.2\n")
        #expect(client.ended != nil)
        #expect(client.hello == nil)
    }

    @Test func theFirstFrameMustBeCONNECT() throws {
        let client = try StompHarness(connect: nil)
        client.read("SEND\ndestination:/topic/a\n\nx\0")
        let error = try client.next("ERROR")
        #expect(error["message"] == "Illegal command")
        #expect(error.body == "You must log in using CONNECT first")
        #expect(client.ended != nil)
        let again = try StompHarness()
        again.read("CONNECT\n\n\0")
        #expect(try again.next("ERROR")["message"] == "Illegal command")
    }

    @Test func credentialsAreLoginAndPasscodeOrAuthorization() throws {
        for (headers, user, token) in [
            ("login:ana\npasscode:t.o.k\n", "ana", "t.o.k"), ("passcode:t.o.k\n", nil, "t.o.k"),
            ("login:ana\n", "ana", nil), ("Authorization:Bearer t\npasscode:p\n", nil, "t"),
            ("login: ana \n", "ana", nil),
        ] as [(String, String?, String?)] {
            let client = try StompHarness(connect: nil)
            client.read("STOMP\n\(headers)\n\0")
            #expect(client.hello?.credentials.user == user)
            #expect(client.hello?.credentials.token == token)
        }
        let guest = try StompHarness(connect: nil)
        guest.read("CONNECT\n\n\0")
        #expect(guest.hello?.credentials.user == nil)
        #expect(guest.hello?.guest?.hasPrefix("guest-") == true)
    }

    @Test func framesBehindCONNECTWaitForTheSession() throws {
        let client = try StompHarness(connect: nil)
        client.read("CONNECT\naccept-version:1.2\nlogin:ana\n\n\0SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\0")
        #expect(client.requests.isEmpty)
        try client.welcome()
        _ = try client.next("CONNECTED")
        #expect(client.requests.count == 1)
    }

    @Test func aClientThatIsRefusedIsTold() throws {
        let client = try StompHarness(connect: nil)
        client.read("CONNECT\nlogin:gust\npasscode:x\n\n\0")
        let bytes = client.connection.refusal(WireError(.unauthenticated, "no such key")) ?? []
        #expect(String(decoding: bytes, as: UTF8.self).contains("message:Bad CONNECT\n"))
        #expect(String(decoding: bytes, as: UTF8.self).contains("\nreason:no such key\n"))
        #expect(String(decoding: bytes, as: UTF8.self).contains("\n\nAccess refused for user 'gust'\n\0"))
        #expect(client.connection.farewell(.unauthenticated)?.payload == [])
    }

    // MARK: SUBSCRIBE and MESSAGE

    @Test func aMessageHasTheDestinationOfItsSubscriber() throws {
        let client = try StompHarness()
        client.read("SUBSCRIBE\nid:x\ndestination:/exchange/amq.topic/lobby\nreceipt:r\n\n\0")
        #expect(client.isQuiet)
        try client.answerJoin(at: 4)
        #expect(try client.next("RECEIPT")["receipt-id"] == "r")
        client.broadcast(.message(room: try StompHarness.room("lobby"), try client.message(5, "hi"), showKey: false))
        let message = try client.next("MESSAGE")
        #expect(message["subscription"] == "x")
        #expect(message["destination"] == "/exchange/amq.topic/lobby")
        #expect(message["message-id"] == "7-5")
        #expect(message["position"] == "7-5")
        #expect(message["user"] == "bo")
        #expect(message["at"] == "2025-11-21T03:00:00.000Z")
        #expect(message["content-type"] == "text/plain")
        #expect(message.body == "hi")
        // What is no message is not sent, nor is a message of a room without a subscription.
        client.broadcast(.presence(room: try StompHarness.room("lobby"), joined: [client.me], left: [], count: 1))
        client.broadcast(.message(room: try StompHarness.room("other"), try client.message(1, "x"), showKey: false))
        #expect(client.isQuiet)
    }

    @Test func membersShareAllButTheirPrefix() throws {
        let first = try StompHarness()
        try first.subscribe("a")
        let message = ServerEvent.message(room: try StompHarness.room("a"), try first.message(1, "x"), showKey: false)
        guard case .prefixed(let prefix) = first.connection.form(of: message) else {
            Issue.record("not shared")
            return
        }
        #expect(String(decoding: prefix.bytes, as: UTF8.self) == "MESSAGE\nsubscription:s1\ndestination:/topic/a\n")
        let second = try #require(first.shared.makeReader() as? any ClientWriter)
        var ref: Ref?
        let take = { (input: ClientInput) in if case .request(let request) = input { ref = request.ref } }
        second.read(Array("CONNECT\naccept-version:1.1\n\n\0".utf8), isText: true, take)
        second.write(
            .welcome(
                Welcome(
                    session: "n-2", user: first.me, device: try DeviceName("d"), node: "n", heartbeat: 1,
                    limits: Limits())), viewer: first.me
        ) { _, _ in }
        second.read(Array("SUBSCRIBE\nid:s1\ndestination:/topic/a\n\n\0".utf8), isText: true, take)
        second.write(
            .joined(
                Joined(
                    ref: ref, room: try StompHarness.room("a"), position: Position(epoch: 7, seq: 0), messages: [],
                    members: nil, count: 1, resumption: .fresh)), viewer: first.me
        ) { _, _ in }
        guard case .prefixed(let other) = second.form(of: message) else {
            Issue.record("not shared")
            return
        }
        #expect(other === prefix)
    }

    @Test func secondSubscriptionsOfARoomRepeatNothing() throws {
        let client = try StompHarness()
        try client.subscribe("a", id: "1", at: 2)
        client.read("SUBSCRIBE\nid:2\ndestination:/topic/room.a\nreceipt:r\n\n\0")
        #expect(client.requests.isEmpty)
        #expect(try client.next("RECEIPT")["receipt-id"] == "r")
        let room = try StompHarness.room("a")
        client.broadcast(.message(room: room, try client.message(3, "x"), showKey: false))
        #expect(try client.next("MESSAGE")["subscription"] == "1")
        #expect(try client.next("MESSAGE")["subscription"] == "2")
        // A third one wants what was before: the room is asked, and only this one is shown it.
        client.read("SUBSCRIBE\nid:3\ndestination:/topic/a\nx-stream-offset:first\n\n\0")
        guard case .join(room, Position(epoch: 0, seq: 0)?, _)? = client.requests.last?.body else {
            Issue.record("\(client.requests)")
            return
        }
        try client.answerJoin(
            at: 4, [try client.message(2, "b"), try client.message(3, "x"), try client.message(4, "d")], .complete)
        var seen: [String] = []
        while !client.isQuiet {
            let message = try client.next("MESSAGE")
            seen.append("\(message["subscription"] ?? ""): \(message.body)")
        }
        #expect(seen == ["3: b", "3: x", "1: d", "2: d", "3: d"])
    }

    @Test(
        arguments: [
            ("x-stream-offset:first", Position(epoch: 0, seq: 0), 0), ("x-stream-offset:next", nil, 0),
            ("x-stream-offset:last", nil, 1), ("x-stream-offset:offset=7-3", Position(epoch: 7, seq: 3), 0),
            ("martlet-after:7-3", Position(epoch: 7, seq: 3), 0),
        ] as [(String, Position?, Int)])
    func subscriptionsBeginWhereTheySay(header: String, after: Position?, history: Int) throws {
        let client = try StompHarness()
        client.read("SUBSCRIBE\nid:1\ndestination:/topic/a\n\(header)\n\n\0")
        #expect(
            client.requests.map(\.body) == [.join(room: try StompHarness.room("a"), after: after, history: history)])
    }

    @Test func whatWasMissedIsSentAndGapsAreTold() throws {
        let client = try StompHarness()
        client.read("SUBSCRIBE\nid:1\ndestination:/topic/a\nmartlet-after:7-3\n\n\0")
        let gap = Gap(after: Position(epoch: 7, seq: 3), before: Position(epoch: 7, seq: 8))
        try client.answerJoin(at: 9, [try client.message(8, "h"), try client.message(9, "i")], .gap(gap))
        let event = try client.next("MESSAGE")
        #expect(event["martlet-event"] == "gap")
        #expect(try JSONValue(parsing: event.body)["before"]?.string == "7-8")
        #expect(try client.next("MESSAGE").body == "h")
        #expect(try client.next("MESSAGE").body == "i")
        client.give(.message(room: try StompHarness.room("a"), try client.message(9, "i"), showKey: false))
        #expect(client.isQuiet)
    }

    @Test func aResetIsToldAndOldPositionsAreForgotten() throws {
        let client = try StompHarness()
        client.read("SUBSCRIBE\nid:1\ndestination:/topic/a\nmartlet-after:9-300\n\n\0")
        let reset = Reset(position: Position(epoch: 7, seq: 5), reason: .rewound)
        try client.answerJoin(at: 5, [], .reset(reset))
        #expect(try client.next("MESSAGE")["martlet-event"] == "reset")
        client.broadcast(.message(room: try StompHarness.room("a"), try client.message(6, "x"), showKey: false))
        #expect(try client.next("MESSAGE")["message-id"] == "7-6")
    }

    @Test(arguments: [
        ("SUBSCRIBE\nid:1\n", "Missing destination"), ("SUBSCRIBE\ndestination:/topic/a\n", "Missing header"),
        ("SUBSCRIBE\nid:1\ndestination:/queue/a\n", "Invalid destination"),
        ("SUBSCRIBE\nid:1\ndestination:/topic/a.*\n", "Invalid destination"),
        ("SUBSCRIBE\nid:1\ndestination:/topic/#\n", "Invalid destination"),
        ("SUBSCRIBE\nid:1\ndestination:/nowhere\n", "Unknown destination"),
        ("SUBSCRIBE\nid:1\ndestination:/topic/\n", "Invalid destination"),
        ("SUBSCRIBE\nid:1\ndestination:/topic/{\n", "Invalid destination"),
        ("SUBSCRIBE\nid:1\ndestination:/pub/chat/message\n", "Invalid destination"),
        ("SUBSCRIBE\nid:1\ndestination:/topic/a\nack:never\n", "Invalid header"),
        ("SUBSCRIBE\nid:1\ndestination:/topic/a\nprefetch-count:x\n", "Invalid header"),
        ("SUBSCRIBE\nid:1\ndestination:/topic/a\nx-stream-offset:timestamp=1\n", "Invalid header"),
        ("SUBSCRIBE\nid:1\ndestination:/topic/a\nx-stream-offset:offset=5\n", "Invalid header"),
        ("SUBSCRIBE\nid:1\ndestination:/topic/a\nmartlet-after:soon\n", "Invalid header"),
        ("SUBSCRIBE\nid:1\ndestination:/topic/a\ndurable:true\n", "Invalid header"),
        ("SUBSCRIBE\nid:1\ndestination:/topic/a\nselector:x\n", "Invalid header"),
        ("UNSUBSCRIBE\nid:9\n", "No subscription found"), ("UNSUBSCRIBE\n", "Missing destination or id"),
        ("SEND\ndestination:/topic/a\nmessage-id:1\n", "Invalid header"), ("SEND\n", "Missing destination"),
        ("SEND\ndestination:/user/queue/errors\n", "Invalid destination"),
        ("SEND\ndestination:/pub/chat/message\n", "Invalid body"),
        ("SEND\ndestination:/topic/a\ntransaction:t\n", "Bad transaction"),
        ("BEGIN\n", "Missing transaction"), ("COMMIT\ntransaction:t\n", "Bad transaction"),
        ("ABORT\ntransaction:t\n", "Bad transaction"), ("ACK\n", "Missing header"), ("ACK\nid:x\n", "Invalid header"),
        ("ACK\nid:99~1-1\n", "Invalid header"), ("NACK\nid:1-1\n", "Invalid header"),
        ("WRONGCOMMAND\n", "Bad command"), ("connect\n", "Bad command"), ("MESSAGE\n", "Bad command"),
    ])
    func whatCannotBeDoneIsAnErrorThatEndsTheConnection(frame: String, message: String) throws {
        let client = try StompHarness()
        client.read("\(frame)receipt:r\n\n\0")
        let error = try client.next("ERROR")
        #expect(error["message"] == message)
        #expect(error["receipt-id"] == "r")
        #expect(!error.body.isEmpty)
        #expect(client.ended != nil)
        client.read("SEND\ndestination:/topic/a\n\nx\0")
        #expect(client.requests.isEmpty)
    }

    @Test func aDuplicateSubscriptionIsAnError() throws {
        let client = try StompHarness()
        try client.subscribe("a", id: "1")
        client.read("SUBSCRIBE\nid:1\ndestination:/topic/b\n\n\0")
        #expect(try client.next("ERROR")["message"] == "Duplicated subscription identifier")
    }

    @Test func theLastUNSUBSCRIBELeavesTheRoom() throws {
        let client = try StompHarness()
        try client.subscribe("a", id: "1")
        client.read("SUBSCRIBE\nid:2\ndestination:/topic/a\n\n\0UNSUBSCRIBE\nid:1\nreceipt:r\n\n\0")
        #expect(client.takeRequests().isEmpty)
        #expect(try client.next("RECEIPT")["receipt-id"] == "r")
        client.read("UNSUBSCRIBE\nid:2\n\n\0")
        #expect(client.takeRequests().map(\.body) == [.leave(room: try StompHarness.room("a"))])
        client.read("SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\0")
        #expect(client.requests.count == 1)
    }

    /// A client that waits for the receipt of a SUBSCRIBE gets it, also if it leaves before the room is joined.
    @Test func theReceiptOfASUBSCRIBEComesWhateverFollows() throws {
        let client = try StompHarness()
        client.read("SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:s\n\n\0UNSUBSCRIBE\nid:1\nreceipt:u\n\n\0")
        #expect(try client.next("RECEIPT")["receipt-id"] == "s")
        #expect(try client.next("RECEIPT")["receipt-id"] == "u")
        try client.answerJoin()
        #expect(client.isQuiet && client.ended == nil)

        let leaving = try StompHarness()
        leaving.read("SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:s\n\n\0DISCONNECT\nreceipt:d\n\n\0")
        #expect(leaving.isQuiet && !leaving.saidGoodbye)
        try leaving.answerJoin()
        leaving.passTime()
        #expect(try leaving.next("RECEIPT")["receipt-id"] == "s")
        #expect(try leaving.next("RECEIPT")["receipt-id"] == "d")
        #expect(leaving.saidGoodbye)
    }

    @Test func aSubscriptionOf10IsNamedByItsDestination() throws {
        let client = try StompHarness(.v10)
        client.read("SUBSCRIBE\ndestination: /topic/a \n\n\0")
        try client.answerJoin()
        client.broadcast(
            .message(room: try StompHarness.room("a"), try client.message(1, "x", by: "b:o"), showKey: false))
        let message = try client.next("MESSAGE")
        #expect(message["subscription"] == nil)
        #expect(message["destination"] == "/topic/a")
        #expect(message["user"] == "b:o")
        client.read("UNSUBSCRIBE\ndestination:/topic/a\n\n\0")
        #expect(client.requests.count == 1)
    }

    @Test func aJoinThatFailsIsAnError() throws {
        let client = try StompHarness()
        client.read("SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:r\n\n\0")
        client.give(.error(ref: client.requests[0].ref, WireError(.banned, "banned until noon")))
        let error = try client.next("ERROR")
        #expect(error["message"] == "banned")
        #expect(error["receipt-id"] == "r")
        #expect(client.ended != nil)
    }

    @Test func whoIsRemovedFromARoomIsTold() throws {
        let client = try StompHarness()
        try client.subscribe("a")
        client.give(.removed(room: try StompHarness.room("a"), Removal(.banned)))
        #expect(try client.next("MESSAGE")["martlet-event"] == "left")
        client.broadcast(.message(room: try StompHarness.room("a"), try client.message(1, "x"), showKey: false))
        #expect(client.isQuiet)
        #expect(client.ended == nil)
    }
}
