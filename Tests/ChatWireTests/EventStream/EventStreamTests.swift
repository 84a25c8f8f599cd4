import ChatCore
import ChatJSON
import Testing

@testable import ChatWire

/// What a stream says, as a client with the parser of the HTML standard understands it.
struct EventStreamTests {
    private let streams = EventStreams(limits: Limits())
    private let ana: UserID
    private let lobby: RoomName
    private let kitchen: RoomName

    init() throws {
        ana = try UserID("ana")
        lobby = try RoomName("lobby")
        kitchen = try RoomName("kitchen")
    }

    private func open(_ query: String, _ fields: String = "") throws -> (any ClientWriter, [ClientInput]) {
        let head = try RequestHead(Array("GET /api/events?\(query) HTTP/1.1\r\nHost: x\r\n\(fields)\r\n".utf8))
        let writer = try #require(streams.makeReader() as? any ClientWriter)
        var inputs: [ClientInput] = []
        writer.begin(head) { inputs.append($0) }
        return (writer, inputs)
    }

    private func message(
        _ seq: UInt64, _ text: String = "hi", data: String? = nil, user: String = "bo"
    ) throws -> Message {
        Message(
            position: Position(epoch: 17, seq: seq),
            content: MessageContent(user: try UserID(user), at: 0, text: text, data: data, key: "k\(seq)"))
    }

    private func joined(
        _ room: RoomName, _ messages: [Message], _ resumption: Resumption, position: UInt64 = 9
    ) -> ServerEvent {
        .joined(
            Joined(
                ref: .string(room.text), room: room, position: Position(epoch: 17, seq: position), messages: messages,
                members: [], count: 0, resumption: resumption))
    }

    /// What the connection is sent for an event: as the gateway would do it.
    private func bytes(_ event: ServerEvent, _ writer: any ClientWriter, isShared: Bool = true) -> [UInt8] {
        var own: [UInt8] = []
        guard isShared else {
            writer.write(event, viewer: ana) { bytes, _ in own += bytes }
            return own
        }
        var shared = ByteWriter()
        streams.encode(event, viewer: nil, into: &shared)
        switch writer.form(of: event) {
        case .whole: return shared.array
        case .prefixed(let prefix): return prefix.bytes + shared.array
        case .own: writer.write(event, viewer: ana) { bytes, _ in own += bytes }
        case .nothing: break
        }
        return own
    }

    @Test func joinsAllItsRoomsFromItsCursor() throws {
        let (_, inputs) = try open("room=lobby&room=kitchen&history=3&after=1-2,", "")
        let expected = [(lobby, Position(epoch: 1, seq: 2)), (kitchen, nil)].map { room, after in
            ClientInput.request(
                ClientRequest(ref: .string(room.text), body: .join(room: room, after: after, history: 3)))
        }
        #expect(inputs == expected)
    }

    @Test func aStreamWithOneRoomGetsTheSharedBytes() throws {
        let (writer, _) = try open("room=lobby")
        for event in [
            ServerEvent.message(room: lobby, try message(4), showKey: false),
            .presence(room: lobby, joined: [ana], left: [], count: 1),
            .gap(room: lobby, Gap(after: Position(epoch: 17, seq: 4), before: Position(epoch: 17, seq: 8))),
        ] {
            guard case .whole = writer.form(of: event) else {
                Issue.record("\(event) is not sent as it is")
                continue
            }
        }
        var parser = SSEParser()
        let text = bytes(.message(room: lobby, try message(4), showKey: false), writer)
        #expect(
            String(decoding: text, as: UTF8.self).hasPrefix("id: 17-4\nevent: message\ndata: {\"type\":\"message\""))
        let events = parser.feed(text)
        #expect(events.count == 1 && events[0].id == "17-4" && events[0].name == "message")
        #expect(try JSONValue(parsing: events[0].data)["text"]?.string == "hi")
    }

    @Test func everyIdOfSeveralRoomsIsTheWholeCursor() throws {
        let rooms = [lobby, kitchen]
        let (writer, _) = try open("room=lobby&room=kitchen&after=,16-5")
        var parser = SSEParser()
        var ids: [[Position?]] = []
        for (event, isShared) in [
            (joined(lobby, [try message(8), try message(9)], .fresh), false),
            (.message(room: kitchen, try message(6), showKey: false), true),
            (.presence(room: kitchen, joined: [], left: [], count: 3), true),
            (.message(room: lobby, try message(10), showKey: true), false),
            (.reset(room: kitchen, Reset(position: Position(epoch: 18, seq: 1), reason: .rewound)), true),
        ] {
            for event in parser.feed(bytes(event, writer, isShared: isShared)) {
                ids.append(try EventStreamCursor.read(event.id, rooms: rooms))
            }
        }
        let at = { (epoch: UInt64, seq: UInt64) in Position(epoch: epoch, seq: seq) as Position? }
        #expect(
            ids == [
                [at(17, 7), at(16, 5)], [at(17, 8), at(16, 5)], [at(17, 9), at(16, 5)], [at(17, 9), at(17, 6)],
                [at(17, 9), at(17, 6)], [at(17, 10), at(17, 6)], [at(17, 10), at(18, 1)],
            ])
    }

    @Test func whatWasMissedIsSentOneByOneBehindJoined() throws {
        let (writer, _) = try open("room=lobby&after=17-1")
        let messages = [try message(2), try message(3, user: "ana")]
        var parser = SSEParser()
        let events = parser.feed(bytes(joined(lobby, messages, .complete), writer, isShared: false))
        #expect(events.map(\.name) == ["joined", "message", "message"] && events.map(\.id) == ["", "17-2", "17-3"])
        let first = try JSONValue(parsing: events[0].data)
        #expect(first["following"]?.integer == 2 && first["messages"]?.array == [] && first["resumed"]?.bool == true)
        #expect(try JSONValue(parsing: events[1].data)["key"] == nil)
        #expect(try JSONValue(parsing: events[2].data)["key"]?.string == "k3")
    }

    @Test func aClientThatIsCutRightAfterJoinedMissesNothing() throws {
        let gap = Gap(after: Position(epoch: 17, seq: 1), before: Position(epoch: 17, seq: 5))
        let reset = Reset(position: Position(epoch: 17, seq: 9), reason: .rewound)
        for (messages, resumption, id) in [
            ([try message(7), try message(8)], Resumption.fresh, "17-6"), ([], .fresh, "17-9"),
            ([try message(5)], .gap(gap), "17-4"), ([], .gap(gap), "17-4"), ([try message(8)], .reset(reset), "17-7"),
            ([], .reset(reset), "17-9"), ([try message(2)], .complete, ""),
        ] {
            let (writer, _) = try open("room=lobby")
            var parser = SSEParser()
            let event = parser.feed(bytes(joined(lobby, messages, resumption), writer, isShared: false)).first
            #expect(event?.name == "joined" && event?.id == id, "\(resumption)")
        }
    }

    @Test func linesInDataStayOneEvent() throws {
        let (writer, _) = try open("room=lobby")
        var parser = SSEParser()
        let event = ServerEvent.message(
            room: lobby, try message(4, "a\nb\r\nc", data: "{\"a\":\r\n[1,\n2]}"), showKey: false)
        let seen = parser.feed(bytes(event, writer))
        #expect(seen.count == 1)
        let json = try JSONValue(parsing: seen[0].data)
        #expect(json["text"]?.string == "a\nb\r\nc" && json["data"]?["a"]?.array?.count == 2)
    }

    @Test func aQuietStreamGetsACommentAndABusyOneNone() throws {
        let (writer, _) = try open("room=lobby")
        let second = { (number: UInt64) in Moment(nanoseconds: number * 1_000_000_000) }
        #expect(writer.deadline == second(0))
        var said: [ClientInput] = []
        writer.timePassed(now: second(100), lastWritten: second(100)) { said.append($0) }
        #expect(said.isEmpty && writer.deadline == second(115))
        writer.timePassed(now: second(115), lastWritten: second(110)) { said.append($0) }
        #expect(said.isEmpty && writer.deadline == second(125))
        writer.timePassed(now: second(125), lastWritten: second(110)) { said.append($0) }
        #expect(said == [.say(Array(":\n\n".utf8), isText: true)] && writer.deadline == second(140))
    }

    @Test func aStreamThatLosesItsLastRoomEnds() throws {
        let (writer, _) = try open("room=lobby&room=kitchen")
        let banned = WireError(.banned, "join: a moderator has banned the user")
        var parser = SSEParser()
        let first = parser.feed(bytes(.error(ref: .string("lobby"), banned), writer, isShared: false))
        #expect(first.map(\.name) == ["failure"])
        var said: [ClientInput] = []
        writer.timePassed(now: Moment(nanoseconds: 1), lastWritten: Moment(nanoseconds: 1)) { said.append($0) }
        #expect(said.isEmpty)
        _ = bytes(.removed(room: kitchen, Removal(.banned)), writer, isShared: false)
        #expect(writer.deadline == Moment(nanoseconds: 0))
        writer.timePassed(now: Moment(nanoseconds: 2), lastWritten: Moment(nanoseconds: 2)) { said.append($0) }
        guard said.count == 2, case .say(let bytes, _) = said[0], case .goodbye = said[1] else {
            Issue.record("it does not end: \(said)")
            return
        }
        let last = parser.feed(bytes)
        #expect(last.map(\.name) == ["closed"] && parser.retry == EventStreams.retryNever)
    }

    @Test func aRoomThatCannotBeHadForNowMakesTheClientComeBack() throws {
        let (writer, _) = try open("room=lobby&room=kitchen")
        _ = bytes(.error(ref: .string("lobby"), WireError(.unavailable, "join")), writer, isShared: false)
        var parser = SSEParser()
        writer.timePassed(now: Moment(nanoseconds: 1), lastWritten: Moment(nanoseconds: 1)) { input in
            if case .say(let bytes, _) = input { _ = parser.feed(bytes) }
        }
        #expect(parser.retry == EventStreams.retry)
    }

    @Test func theEndSaysWhetherToComeBack() throws {
        for reason in CloseReason.allCases {
            var parser = SSEParser()
            let event = try #require(parser.feed(streams.farewell(reason).payload).first)
            let json = try JSONValue(parsing: event.data)
            #expect(event.name == "closed" && json["name"]?.string == reason.name)
            #expect(json["reconnect"]?.bool == reason.reconnect)
            #expect((parser.retry ?? 0) == (reason == .draining ? 250 : reason.reconnect ? 2_000 : 86_400_000))
        }
        var parser = SSEParser()
        let (writer, _) = try open("room=lobby")
        #expect(parser.feed(bytes(.draining(reconnectAfter: 7), writer, isShared: false)).map(\.name) == ["draining"])
        #expect(parser.retry == 250)
    }

    /// Random events of random rooms, cut into random pieces: the parser of the standard sees each event once, its JSON
    /// is that of `martlet.v1`, and the last `id` is the cursor of what was sent.
    @Test func anySequenceIsReadBack() throws {
        var random = SplitMix64(seed: 1_120)
        let codec = MartletV1Codec(limits: Limits())
        for _ in 0..<300 {
            let names = try (0..<(1 + random.next() % 4)).map { try RoomName("room \($0)") }
            let query = names.map { "room=" + percentEncoded($0.text) }.joined(separator: "&")
            let (writer, _) = try open(query)
            var reached: [Position?] = names.map { _ in nil }
            var sent: [UInt8] = []
            var expected: [String] = []
            for seq in 1...40 as ClosedRange<UInt64> {
                let place = Int(random.next() % UInt64(names.count))
                let bytesOfText = (0..<(random.next() % 20)).map { _ in UInt8(random.next() % 128) }
                let text = String(decoding: bytesOfText, as: UTF8.self)
                let event: ServerEvent
                switch random.next() % 4 {
                case 0: event = .presence(room: names[place], joined: [ana], left: [], count: 1)
                case 1: event = .signal(room: names[place], user: ana, name: "typing", data: "[1,\n2]")
                default:
                    let message = try message(seq, text)
                    reached[place] = message.position
                    event = .message(room: names[place], message, showKey: false)
                }
                sent += bytes(event, writer, isShared: random.next() & 1 == 0)
                var json = ByteWriter()
                codec.encode(event, into: &json)
                expected.append(String(decoding: json.array.map { $0 == 10 ? 32 : $0 }, as: UTF8.self))
            }
            var parser = SSEParser()
            var seen: [SSEParser.Event] = []
            while !sent.isEmpty {
                let piece = Int(random.next() % 64) + 1
                seen += parser.feed(Array(sent.prefix(piece)))
                sent.removeFirst(min(piece, sent.count))
            }
            #expect(seen.map(\.data) == expected)
            let last = try EventStreamCursor.read(parser.lastID, rooms: names)
            #expect(last == reached)
        }
    }
}

/// The parser of an event stream (HTML standard, §9.2.6), for text that ends its lines with LF.
struct SSEParser {
    struct Event {
        var name: String
        var data: String
        var id: String
    }

    private var line: [UInt8] = []
    private var name = ""
    private var data: [String] = []
    private(set) var lastID = ""
    private(set) var retry: Int?

    mutating func feed(_ bytes: [UInt8]) -> [Event] {
        var events: [Event] = []
        for byte in bytes {
            guard byte == 10 else {
                line.append(byte)
                continue
            }
            let text = String(decoding: line, as: UTF8.self)
            line = []
            guard !text.isEmpty else {
                if !data.isEmpty {
                    events.append(
                        Event(name: name.isEmpty ? "message" : name, data: data.joined(separator: "\n"), id: lastID))
                }
                (name, data) = ("", [])
                continue
            }
            let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            let value = parts.count > 1 ? (parts[1].hasPrefix(" ") ? String(parts[1].dropFirst()) : parts[1]) : ""
            switch parts[0] {
            case "event": name = value
            case "data": data.append(value)
            case "id": lastID = value
            case "retry": retry = Int(value)
            default: break
            }
        }
        return events
    }
}
