import ChatCore
import ChatJSON
import ChatWire
import Testing

@Suite struct StompSendingTests {
    private static func sends(_ requests: [ClientRequest]) -> [SendRequest] {
        requests.compactMap { if case .send(let send) = $0.body { send } else { nil } }
    }

    private static func answer(_ request: ClientRequest, _ client: StompHarness, at seq: UInt64 = 1) {
        guard case .send(let send) = request.body else { return }
        client.give(
            .sent(
                ref: request.ref, room: send.room, position: Position(epoch: 7, seq: seq), at: 0, repeated: false))
    }

    @Test func aReceiptOfSENDMeansStored() throws {
        let client = try StompHarness()
        try client.subscribe("a")
        client.read("SEND\ndestination:/topic/a\nreceipt:r\n\nhi\0")
        let requests = client.takeRequests()
        #expect(Self.sends(requests) == [SendRequest(room: try StompHarness.room("a"), text: "hi")])
        #expect(client.isQuiet)
        Self.answer(requests[0], client)
        #expect(try client.next("RECEIPT")["receipt-id"] == "r")
    }

    @Test func aRoomWithoutSubscriptionIsJoinedToo() throws {
        let client = try StompHarness()
        client.read("SEND\ndestination:/topic/a\n\none\0SEND\ndestination:/topic/a\n\ntwo\0")
        let room = try StompHarness.room("a")
        let requests = client.takeRequests()
        #expect(
            requests.map(\.body) == [
                .join(room: room, after: nil, history: 0), .send(SendRequest(room: room, text: "one")),
                .send(SendRequest(room: room, text: "two")),
            ])
        // Nothing of the room is shown.
        client.give(
            .joined(
                Joined(
                    ref: requests[0].ref, room: room, position: Position(epoch: 7, seq: 0), messages: [], members: nil,
                    count: 1, resumption: .fresh)))
        client.broadcast(.message(room: room, try client.message(1, "one"), showKey: true))
        #expect(client.isQuiet)
        // A room that was not used for the longest time is left when there are many.
        for number in 0..<20 {
            client.read("SEND\ndestination:/topic/b\(number)\n\nx\0")
            for request in client.takeRequests() {
                switch request.body {
                case .join(let room, _, _):
                    client.give(
                        .joined(
                            Joined(
                                ref: request.ref, room: room, position: Position(epoch: 7, seq: 0), messages: [],
                                members: nil, count: 1, resumption: .fresh)))
                case .send: Self.answer(request, client)
                case .leave(let room):
                    #expect(number >= 16)
                    client.give(.left(ref: request.ref, room: room))
                case .signal, .history, .roster, .ping, .moderate, .conversation, .amend, .inbox, .token:
                    Issue.record("\(request)")
                }
            }
        }
    }

    @Test func aRefusedSENDIsAnErrorUnlessErrorsAreSubscribedTo() throws {
        let client = try StompHarness()
        try client.subscribe("a")
        client.read("SEND\ndestination:/topic/a\nreceipt:r\n\nx\0")
        client.give(.error(ref: client.takeRequests()[0].ref, WireError(.muted, "muted until noon")))
        let error = try client.next("ERROR")
        #expect(error["message"] == "muted")
        #expect(error["receipt-id"] == "r")
        #expect(error.body == "muted until noon\n")
        #expect(client.ended != nil)

        let second = try StompHarness()
        try second.subscribe("a")
        second.read("SUBSCRIBE\nid:e\ndestination:/user/queue/errors\n\n\0")
        second.read("SEND\ndestination:/topic/a\nreceipt:r\n\nx\0")
        second.give(.error(ref: second.takeRequests()[0].ref, WireError(.muted, "muted until noon")))
        let message = try second.next("MESSAGE")
        #expect(message["subscription"] == "e")
        #expect(message["code"] == "muted")
        #expect(message["receipt-id"] == "r")
        #expect(second.ended == nil)
        // Also if the room cannot be joined.
        second.atOnce = { request in
            guard case .join = request.body else { return nil }
            return .error(ref: request.ref, WireError(.forbidden, "not yours"))
        }
        second.read("SEND\ndestination:/topic/secret\n\nx\0SEND\ndestination:/topic/secret\n\ny\0")
        #expect(try second.next("MESSAGE").body == "not yours\n")
        #expect(try second.next("MESSAGE").body == "not yours\n")
        #expect(Self.sends(second.takeRequests()).isEmpty)
        #expect(second.ended == nil)
    }

    @Test func sendsBeyondTheRateWaitInOrder() throws {
        let client = try StompHarness()
        try client.subscribe("a")
        var allowed = 2
        client.atOnce = { request in
            guard allowed == 0 else {
                allowed -= 1
                return nil
            }
            return .error(ref: request.ref, WireError(.rateLimited, "too fast"))
        }
        for number in 0..<5 { client.read("SEND\ndestination:/topic/a\nreceipt:\(number)\n\n\(number)\0") }
        var stored: [String?] = []
        for _ in 0..<5 {
            let requests = client.takeRequests()
            let taken = requests.prefix(2)
            stored += Self.sends(Array(taken)).map(\.text)
            for request in taken { Self.answer(request, client) }
            #expect(client.ended == nil)
            _ = client.takeRequests()
            allowed = 2
            client.passTime(.milliseconds(150))
        }
        #expect(stored == ["0", "1", "2", "3", "4"])
        for number in 0..<5 { #expect(try client.next("RECEIPT")["receipt-id"] == "\(number)") }
        // The queue is bounded.
        allowed = 0
        for _ in 0..<1_030 where client.ended == nil { client.read("SEND\ndestination:/topic/a\n\nx\0") }
        #expect(try client.next("ERROR")["message"] == "Too many messages")
    }

    @Test func keysMakeARepetitionHarmless() throws {
        let client = try StompHarness()
        try client.subscribe("a")
        client.read("SEND\ndestination:/topic/a\nmartlet-key:k\nmartlet-again:true\n\nx\0")
        let send = Self.sends(client.takeRequests())[0]
        #expect(send.key == "k")
        #expect(send.again == true)
        client.read("SEND\ndestination:/topic/a\nmartlet-key:~k\n\nx\0")
        #expect(try client.next("ERROR")["message"] == "Invalid header")
    }

    // MARK: transactions

    @Test func aTransactionIsSentInOrderAtCOMMIT() throws {
        let client = try StompHarness()
        try client.subscribe("a")
        client.read("BEGIN\ntransaction:t\nreceipt:b\n\n\0")
        #expect(try client.next("RECEIPT")["receipt-id"] == "b")
        for number in 0..<3 { client.read("SEND\ndestination:/topic/a\ntransaction:t\n\n\(number)\0") }
        #expect(client.takeRequests().isEmpty)
        client.read("COMMIT\ntransaction:t\nreceipt:c\n\n\0")
        let requests = client.takeRequests()
        let sends = Self.sends(requests)
        #expect(sends.map(\.text) == ["0", "1", "2"])
        #expect(Set(sends.map(\.key)).count == 3)
        #expect(sends.allSatisfy { $0.key?.hasPrefix("tx-") == true })
        for request in requests {
            #expect(client.isQuiet)
            Self.answer(request, client)
        }
        #expect(try client.next("RECEIPT")["receipt-id"] == "c")
        // The name may be used again, for other messages.
        client.read(
            "BEGIN\ntransaction:t\n\n\0SEND\ndestination:/topic/a\ntransaction:t\n\n0\0COMMIT\ntransaction:t\n\n\0")
        let again = Self.sends(client.takeRequests())
        #expect(again.count == 1)
        #expect(!sends.map(\.key).contains(again[0].key))
    }

    @Test func aCOMMITWithAKeyCanBeRepeated() throws {
        var keys: [[String?]] = []
        for _ in 0..<2 {
            let client = try StompHarness()
            try client.subscribe("a")
            client.read("BEGIN\ntransaction:t\n\n\0")
            for number in 0..<2 { client.read("SEND\ndestination:/topic/a\ntransaction:t\n\n\(number)\0") }
            client.read("COMMIT\ntransaction:t\nmartlet-key:order-1\nmartlet-again:true\n\n\0")
            let sends = Self.sends(client.takeRequests())
            #expect(sends.allSatisfy { $0.again == true })
            keys.append(sends.map(\.key))
        }
        #expect(keys == [["order-1:0", "order-1:1"], ["order-1:0", "order-1:1"]])
    }

    @Test func abortAndTheEndDropATransaction() throws {
        let client = try StompHarness()
        try client.subscribe("a")
        client.read(
            "BEGIN\ntransaction:t\n\n\0SEND\ndestination:/topic/a\ntransaction:t\n\nx\0ABORT\ntransaction:t\n\n\0")
        #expect(client.takeRequests().isEmpty)
        client.read("COMMIT\ntransaction:t\n\n\0")
        #expect(try client.next("ERROR")["message"] == "Bad transaction")
        let many = try StompHarness()
        for number in 0..<17 { many.read("BEGIN\ntransaction:\(number)\n\n\0") }
        #expect(try many.next("ERROR")["message"] == "Too many transactions")
    }

    // MARK: DISCONNECT

    @Test func disconnectIsAnsweredBehindWhatWasSent() throws {
        let client = try StompHarness()
        try client.subscribe("a")
        client.read("SEND\ndestination:/topic/a\nreceipt:1\n\nx\0DISCONNECT\nreceipt:2\n\n\0SEND\n\n\0")
        #expect(client.isQuiet)
        #expect(!client.saidGoodbye)
        Self.answer(client.takeRequests()[0], client)
        #expect(try client.next("RECEIPT")["receipt-id"] == "1")
        #expect(try client.next("RECEIPT")["receipt-id"] == "2")
        #expect(client.saidGoodbye)
        let quick = try StompHarness()
        quick.read("DISCONNECT\n\n\0")
        #expect(quick.saidGoodbye)
    }

    // MARK: ACK

    @Test func messagesCarryWhatAnACKNeeds() throws {
        for version in [StompVersion.v12, .v11, .v10] {
            for mode in ["client", "client-individual"] {
                let client = try StompHarness(version)
                try client.subscribe("a", id: "s", "ack:\(mode)\n")
                let room = try StompHarness.room("a")
                client.broadcast(.message(room: room, try client.message(1, "x"), showKey: false))
                let message = try client.next("MESSAGE")
                let id = try #require(message["message-id"])
                switch version {
                case .v12: client.read("ACK\nid:\(message["ack"] ?? "")\nreceipt:r\n\n\0")
                case .v11: client.read("ACK\nmessage-id:\(id)\nsubscription:s\nreceipt:r\n\n\0")
                case .v10: client.read("ACK\nmessage-id:\(id)\nreceipt:r\n\n\0")
                }
                #expect(try client.next("RECEIPT")["receipt-id"] == "r")
                if version > .v10 {
                    client.read("NACK\nid:1~7-1\nmessage-id:7-1\nsubscription:s\nreceipt:n\n\n\0")
                    #expect(try client.next("RECEIPT")["receipt-id"] == "n")
                }
                client.read("ACK\nid:1~7-9\nmessage-id:7-9\nsubscription:s\n\n\0")
                #expect(try client.next("ERROR")["message"] == "Invalid header")
            }
        }
    }

    @Test func messagesWaitForAcknowledgementsAndAreReadFromTheLogLater() throws {
        let client = try StompHarness()
        try client.subscribe("a", id: "s", "ack:client-individual\nprefetch-count:2\n")
        let room = try StompHarness.room("a")
        for seq in 1...5 as ClosedRange<UInt64> {
            client.broadcast(.message(room: room, try client.message(seq, "\(seq)"), showKey: false))
        }
        let acks = [try client.next("MESSAGE"), try client.next("MESSAGE")].compactMap { $0["ack"] }
        #expect(acks.count == 2)
        #expect(client.isQuiet)
        client.read("ACK\nid:\(acks[0])\n\n\0")
        var requests = client.takeRequests()
        #expect(
            requests.map(\.body) == [
                .history(room: room, query: HistoryQuery(anchor: .after(Position(epoch: 7, seq: 2)), limit: 1))
            ])
        let newest = Position(epoch: 7, seq: 5)
        client.give(
            .history(
                ref: requests[0].ref, room: room,
                HistoryPage(messages: [try client.message(3, "3")], newest: newest, hasOlder: true, hasNewer: true)))
        #expect(try client.next("MESSAGE").body == "3")
        client.read("ACK\nid:\(acks[1])\n\n\0ACK\nid:1~7-3\n\n\0")
        requests = client.takeRequests()
        #expect(requests.count == 1)
        client.give(
            .history(
                ref: requests[0].ref, room: room,
                HistoryPage(messages: [try client.message(4, "4")], newest: newest, hasOlder: true, hasNewer: true)))
        #expect(try client.next("MESSAGE").body == "4")
        requests = client.takeRequests()
        #expect(requests.count == 1)
        client.give(
            .history(
                ref: requests[0].ref, room: room,
                HistoryPage(messages: [try client.message(5, "5")], newest: newest, hasOlder: true, hasNewer: false)))
        #expect(try client.next("MESSAGE").body == "5")
        client.read("ACK\nid:1~7-4\n\n\0ACK\nid:1~7-5\n\n\0")
        // It has caught up, so messages come as they are sent.
        client.broadcast(.message(room: room, try client.message(6, "6"), showKey: false))
        #expect(try client.next("MESSAGE").body == "6")
    }

    // MARK: heart-beats

    @Test func heartBeatsGoBothWays() throws {
        let client = try StompHarness(connect: nil)
        client.read("CONNECT\naccept-version:1.2\nlogin:ana\nheart-beat:4000,2000\n\n\0")
        try client.welcome()
        #expect(try client.next("CONNECTED")["heart-beat"] == "2000,4000")
        _ = client.takeBytes()
        var beats = 0
        for _ in 0..<40 {
            client.passTime(.milliseconds(500))
            beats += client.takeBytes().count
            client.read("\n")
        }
        #expect((9...14).contains(beats))
        #expect(client.ended == nil)
        // Nothing comes from the client any more.
        client.passTime(.milliseconds(5_000))
        client.passTime(.milliseconds(7_000))
        #expect(client.ended != nil)
        #expect(try client.next("ERROR")["message"] == "No heart-beat")
    }

    @Test(arguments: [("0,0", "0,0"), ("10,10", "1000,1000"), ("0,5000", "5000,0"), ("5000,0", "0,5000")])
    func theHeaderOfHeartBeats(asked: String, answered: String) throws {
        let client = try StompHarness(connect: nil)
        client.read("CONNECT\naccept-version:1.1\nheart-beat:\(asked)\n\n\0")
        try client.welcome()
        #expect(try client.next("CONNECTED")["heart-beat"] == answered)
    }

    @Test(arguments: ["x", "1", "1,2,3", "-1,0", "1.5,2"])
    func badHeadersOfHeartBeats(text: String) throws {
        let client = try StompHarness(connect: nil)
        client.read("CONNECT\naccept-version:1.1\nheart-beat:\(text)\n\n\0")
        #expect(try client.next("ERROR")["message"] == "Invalid header")
    }

    // MARK: wild frames

    /// Random frames in a random order, against a node that answers at random: no trap, and bounded state.
    @Test(arguments: [11, 12, 13] as [UInt64])
    func wildSessions(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let commands = [
            "SEND", "SUBSCRIBE", "UNSUBSCRIBE", "ACK", "NACK", "BEGIN", "COMMIT", "ABORT", "DISCONNECT", "SEND", "SEND",
            "SUBSCRIBE",
        ]
        let headers = [
            "destination:/topic/a", "destination:/topic/b", "destination:/sub/chat/room/a", "id:1", "id:2",
            "id:1~7-1", "transaction:t", "receipt:r", "ack:client", "ack:client-individual", "prefetch-count:1",
            "x-stream-offset:first", "x-stream-offset:last", "martlet-after:7-1", "subscription:1", "message-id:7-1",
            "content-type:application/json", "destination:/user/queue/errors", "x:y",
        ]
        let bodies = ["", "hi", "{\"roomId\":\"a\",\"message\":\"x\"}", "{\"a\":1}"]
        for _ in 0..<300 {
            let client = try StompHarness([.v10, .v11, .v12][random.below(3)])
            var seq: UInt64 = 1
            for _ in 0..<40 where client.ended == nil && !client.saidGoodbye {
                var frame = commands[random.below(commands.count)] + "\n"
                for _ in 0..<(2 + random.below(3)) { frame += headers[random.below(headers.count)] + "\n" }
                if random.below(3) > 0 { frame += "destination:/topic/a\nid:\(random.below(4))\n" }
                client.read(frame + "\n" + bodies[random.below(bodies.count)] + "\0")
                for request in client.takeRequests() where random.below(5) > 0 {
                    let event: ServerEvent
                    switch request.body {
                    case .join(let room, let after, _):
                        event =
                            random.below(9) == 0
                            ? .error(ref: request.ref, WireError(.forbidden, "no"))
                            : .joined(
                                Joined(
                                    ref: request.ref, room: room, position: Position(epoch: 7, seq: seq),
                                    messages: [try client.message(seq, "x")], members: nil, count: 1,
                                    resumption: after == nil ? .fresh : .complete))
                    case .leave(let room): event = .left(ref: request.ref, room: room)
                    case .send(let send):
                        seq += 1
                        event = .sent(
                            ref: request.ref, room: send.room, position: Position(epoch: 7, seq: seq), at: 0,
                            repeated: false)
                    case .history(let room, _):
                        event = .history(
                            ref: request.ref, room: room,
                            HistoryPage(
                                messages: [try client.message(seq, "x")], newest: nil, hasOlder: false,
                                hasNewer: random.below(2) == 0))
                    case .signal, .roster, .ping, .moderate, .conversation, .amend, .inbox, .token: continue
                    }
                    client.give(event)
                }
                seq += 1
                client.broadcast(
                    .message(room: try StompHarness.room("a"), try client.message(seq, "live"), showKey: false))
                client.passTime(.milliseconds(random.below(300)))
            }
            // Whatever was said is a sequence of frames.
            while !client.isQuiet { _ = try client.nextFrame() }
        }
    }
}
