import ChatCore
import ChatJSON
import ChatWire
import Testing

@testable import martlet

struct BenchDialectTests {
    private let label = BenchLabel(stamp: 0x0123_4567_89AB_CDEF, node: 0x5A, room: 7, number: 0xABC)

    private func send(_ dialect: BenchDialect, size: Int = 40) -> [UInt8] {
        var send = BenchSend(dialect, room: "bench-7", size: size)
        send.write(label)
        return send.bytes
    }

    /// What a server finds in the frame after unmasking it.
    private func said(_ dialect: BenchDialect, size: Int = 40) -> String? {
        var decoder = WebSocketDecoder(options: .init(role: .server, maxMessageBytes: 100_000))
        var event: WebSocketDecoder.Event?
        send(dialect, size: size).withUnsafeBytes { bytes in
            var index = 0
            event = decoder.next(bytes, &index)
        }
        guard case .text(let payload) = event else { return nil }
        return String(decoding: payload, as: UTF8.self)
    }

    private func meaning(_ dialect: BenchDialect, _ text: String) -> BenchDialect.Meaning {
        Array(text.utf8).withUnsafeBytes { dialect.meaning($0, 0..<$0.count, size: 40) }
    }

    private func label(_ dialect: BenchDialect, _ text: String) -> BenchLabel? {
        Array(text.utf8).withUnsafeBytes { BenchLabel($0, at: dialect.textEnd($0, 0..<$0.count) - 40) }
    }

    private let text = "0123456789abcdef5a00000700000abcxxxxxxxx"

    /// A message of the generator, as a node reads and delivers it: the label is at the expected offset.
    @Test func aSendComesBackFromANodeAsAMessageWhoseLabelAndPositionAreRead() throws {
        let bytes = Array((said(.martlet) ?? "").utf8)
        guard case .success(let request) = MartletV1Codec(limits: Limits()).decode(bytes),
            case .send(let said) = request.body
        else {
            Issue.record("not a send: \(String(decoding: bytes, as: UTF8.self))")
            return
        }
        #expect(said.again == false && said.room.text == "bench-7" && said.text == text)
        let content = MessageContent(user: try UserID("ana"), at: 1_700_000_000_000, text: said.text)
        let message = Message(position: Position(epoch: 1_763_694_000_000, seq: 42), content: content)
        var answer = ByteWriter()
        MartletV1Codec(limits: Limits()).encode(.message(room: said.room, message, showKey: false), into: &answer)
        answer.withBytes { all in
            let room = BenchRoom(.martlet, number: 7, name: "bench-7", size: 40)
            #expect(BenchFrames.position(all, at: room.positionAt, before: all.count) == message.position)
            #expect(BenchDialect.martlet.meaning(all, 0..<all.count, size: 40) == .message)
            #expect(BenchLabel(all, at: BenchDialect.martlet.textEnd(all, 0..<all.count) - 40) == label)
            #expect(BenchLabel(all, at: all.count - 40) == nil, "elsewhere is none")
            #expect(BenchLabel(all, at: all.count) == nil)
        }
    }

    @Test func aSendSaysTheTextInEachServersWords() {
        #expect(said(.nchan) == text)
        #expect(said(.raw) == text)
        #expect(said(.socketIO) == #"42["say","\#(text)"]"#)
        #expect(said(.stomp) == "SEND\ndestination:/topic/bench-7\n\n\(text)\0")
    }

    @Test func framesOfEveryLengthAreWhole() {
        for size in [BenchLabel.size, 125, 126, 65_535, 65_536] { #expect(said(.raw, size: size)?.utf8.count == size) }
    }

    @Test func eachServersMessagesAreFoundAndTheirLabelsRead() {
        let frames: [(BenchDialect, String)] = [
            (.nchan, text), (.raw, text), (.socketIO, #"42["said","\#(text)"]"#),
            (.stomp, "MESSAGE\nsubscription:0\ncontent-length:40\n\n\(text)\0"),
            (.stomp, "MESSAGE\nsubscription:0\n\n\(text)\0\n"),
        ]
        for (dialect, frame) in frames {
            #expect(meaning(dialect, frame) == .message, "\(frame)")
            #expect(label(dialect, frame) == label, "\(frame)")
        }
    }

    @Test func whatIsNoMessageIsNotTakenForOne() {
        let frames: [(BenchDialect, String, BenchDialect.Meaning)] = [
            (.nchan, "queued messages: 1\r\nlast requested: 0 sec. ago\r\n", .other),
            (.socketIO, #"0{"sid":"x","pingInterval":25000}"#, .asks(.connect)),
            (.socketIO, #"40{"sid":"x"}"#, .asks(.join)), (.socketIO, #"42["joined"]"#, .joined),
            (.socketIO, "2", .asks(.pong)), (.socketIO, "41", .trouble), (.socketIO, #"44{"message":"no"}"#, .trouble),
            (.socketIO, "6", .other), (.socketIO, "4", .other), (.socketIO, "42[]", .other), (.socketIO, "", .other),
            (.stomp, "CONNECTED\nversion:1.2\n\n\0", .asks(.join)), (.stomp, "RECEIPT\nreceipt-id:1\n\n\0", .joined),
            (.stomp, "ERROR\nmessage:no\n\n\0", .trouble), (.stomp, "\n", .other), (.stomp, "", .other),
            (.martlet, #"{"type":"sent","ref":1}"#, .acked), (.martlet, #"{"type":"joined","ref":1}"#, .joined),
            (.martlet, #"{"type":"left","ref":1}"#, .left), (.martlet, #"{"type":"error","code":1}"#, .trouble),
            (.martlet, #"{"type":"gap","room":""}"#, .trouble), (.martlet, #"{"type":"reset","room":""}"#, .trouble),
            (.martlet, #"{"type":"draining"}"#, .trouble), (.martlet, #"{"type":"presence"}"#, .other),
            (.martlet, "", .other),
        ]
        for (dialect, frame, expected) in frames { #expect(meaning(dialect, frame) == expected, "\(frame)") }
    }

    @Test func aMessageIsPostedWhereItIsReceivedAsAnEvent() throws {
        let request = String(decoding: send(.events), as: UTF8.self)
        let end = try #require(request.firstRange(of: "\r\n\r\n"))
        let (head, body) = (request[..<end.lowerBound], Array(request[end.upperBound...].utf8))
        #expect(head.hasPrefix("POST /api/rooms/bench-7/messages HTTP/1.1\r\n"))
        #expect(head.hasSuffix("Content-Length: \(body.count)"))
        let posted = try body.withUnsafeBytes { bytes throws(WireError) in try PostedMessage(bytes) }
        #expect(posted.text == text)
    }

    @Test func anEventStreamIsReadEventByEvent() {
        let message = #"{"type":"message","room":"a","text":"x"}"#
        let stream =
            ": hello\n\nretry: 2000\nevent: joined\nid: 1-2\ndata: {\"type\":\"joined\"}\n\n"
            + "id: 1-3\ndata: \(message)\n\ndata: half"
        var found: [String] = []
        var index = 0
        Array(stream.utf8).withUnsafeBytes { bytes in
            while let event = BenchFrames.nextEvent(bytes, &index) {
                found.append(event.data.map { String(decoding: bytes[$0], as: UTF8.self) } ?? "-")
            }
        }
        #expect(found == ["-", #"{"type":"joined"}"#, message])
        #expect(index == stream.utf8.count - "data: half".utf8.count)
    }

    @Test func answersToPostsAreReadInPieces() throws {
        let room = BenchRoom(.events, number: 7, name: "bench-7", size: 40)
        let socket = try BenchSocket(BenchAddress("ws://127.0.0.1:9"), origin: 0)
        defer { socket.close() }
        let poster = BenchPoster(mark: 0, room: room, socket: socket)
        let answers =
            "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 429 Too Many\r\nContent-Length: 0\r\n\r\n"
        var statuses: [Int] = []
        for byte in answers.utf8 { withUnsafeBytes(of: byte) { poster.take($0) { statuses.append($0) } } }
        #expect(statuses == [201, 429])
    }

    @Test func troubleIsToldInTheServersWords() {
        func trouble(_ dialect: BenchDialect, _ text: String) -> String {
            Array(text.utf8).withUnsafeBytes { dialect.trouble($0, 0..<$0.count) }
        }
        #expect(trouble(.martlet, #"{"type":"error","code":201,"name":"rateLimited"}"#) == "error rateLimited")
        #expect(trouble(.martlet, #"{"type":"gap","room":"x"}"#) == "gap announced")
        #expect(trouble(.stomp, "ERROR\nmessage:Bad CONNECT\ncontent-type:text/plain\n\n\0") == "error Bad CONNECT")
        #expect(trouble(.stomp, "ERROR\n\n\0") == "error ?")
        #expect(trouble(.socketIO, #"44{"message":"no"}"#) == #"refused: 44{"message":"no"}"#)
    }

    /// How a room is joined: the frame after the upgrade, then one for each question of the server, until it says that
    /// the join is complete.
    @Test func everyServersWayIntoARoomIsSpelled() {
        #expect(BenchDialect.stomp.opening == .connect)
        #expect(BenchDialect.socketIO.opening == nil && BenchDialect.martlet.opening == nil)
        #expect(BenchDialect.allCases.filter(\.isJoinedOnceUpgraded) == [.nchan, .raw])
        #expect(BenchDialect.allCases.filter(\.acks) == [.martlet, .events])
        #expect(BenchDialect.allCases.filter(\.hasPositions) == [.martlet, .events])
        #expect(BenchDialect.socketIO.text(of: .connect, room: "a") == "40")
        #expect(BenchDialect.socketIO.text(of: .join, room: "a") == #"42["join","a"]"#)
        #expect(BenchDialect.socketIO.text(of: .pong, room: "a") == "3")
        #expect(BenchDialect.stomp.text(of: .connect, room: "a")?.hasPrefix("CONNECT\naccept-version:1.2\n") == true)
        #expect(
            BenchDialect.stomp.text(of: .join, room: "a")
                == "SUBSCRIBE\nid:0\ndestination:/topic/a\nreceipt:1\n\n\0")
        #expect(BenchDialect.martlet.text(of: .leave, room: "a") == #"{"type":"leave","ref":1,"room":"a"}"#)
        #expect(BenchDialect.nchan.text(of: .join, room: "a") == nil)
    }

    @Test func theTargetNamesTheRoomWhereTheServerWantsIt() {
        func target(_ dialect: BenchDialect, _ path: String = "") -> String {
            dialect.target(path: path, room: "lobby", user: "ana")
        }
        #expect(target(.martlet) == "/ws?user=ana&room=lobby")
        #expect(target(.martlet, "/chat") == "/chat?user=ana&room=lobby")
        #expect(target(.nchan) == "/room/lobby")
        #expect(target(.raw, "/r/") == "/r/lobby")
        #expect(target(.socketIO) == "/socket.io/?EIO=4&transport=websocket&user=ana&room=lobby")
        #expect(target(.stomp) == "/ws")
    }

    @Test func anAddressKeepsThePathThatPeopleWroteAndNoOther() throws {
        #expect(try BenchAddress("ws://127.0.0.1:1").path.isEmpty)
        #expect(try BenchAddress("ws://127.0.0.1:1/").path.isEmpty)
        #expect(try BenchAddress("ws://127.0.0.1:1/room/").path == "/room/")
    }
}

struct BenchRoomTests {
    private func room(_ said: Int, members: Int = 2) -> BenchRoom {
        let room = BenchRoom(.nchan, number: 3, name: "r", size: 40)
        for number in 0..<members {
            room.members.append(BenchMember(mark: number, room: room, number: number, node: 0))
        }
        for number in 0..<said { _ = room.say(stamp: UInt64(number), node: 0, countsPlaces: true) }
        return room
    }

    private func ledger(_ room: BenchRoom, _ numbers: [Int]) -> BenchLedger {
        var ledger = BenchLedger()
        for number in numbers {
            guard let seq = room.place(of: number) else { continue }
            ledger.saw(seq: seq, stamp: UInt64(number))
        }
        return ledger
    }

    /// No order is promised for messages sent at once through two nodes, only that all members see the same one.
    @Test func anOrderThatAllSeeIsExactWhateverItIs() {
        let room = room(4)
        let ledgers = [ledger(room, [2, 0, 1, 3]), ledger(room, [2, 0, 1, 3])]
        let verdict = BenchRoomVerdict(ledgers, stored: room.said)
        #expect(verdict.missing == 0 && verdict.repeated == 0 && verdict.swapped == 0 && verdict.isOneOrder)
        #expect(room.acked == 4, "shown to somebody")
    }

    @Test func whatMembersAreShownDifferentlyIsFound() {
        let room = room(4)
        let ledgers = [ledger(room, [0, 1, 2, 3]), ledger(room, [0, 2, 1, 3])]
        let verdict = BenchRoomVerdict(ledgers, stored: room.said)
        #expect(verdict.swapped == 1 && verdict.missing == 0 && !verdict.isOneOrder)
    }

    @Test func whatOneOrAllAreNotShownIsMissing() {
        let room = room(4)
        let ledgers = [ledger(room, [0, 1, 3]), ledger(room, [0, 3, 3])]
        let verdict = BenchRoomVerdict(ledgers, stored: room.said)
        // The third message was delivered to nobody, the second one to one member.
        #expect(verdict.missing == 3 && verdict.repeated == 1 && !verdict.isOneOrder)
        #expect(room.acked == 3)
        #expect(room.place(of: 4) == nil, "never said")
    }

    @Test func aClosedLoopGoesOnWithoutWhatIsLost() {
        let room = room(3)
        room.delivered = 2
        #expect(room.settled == 1)
        room.giveUp()
        #expect(room.settled == 3)
        room.delivered = 6
        room.giveUp()
        #expect(room.settled == 3, "what came after all is not counted twice")
    }
}
