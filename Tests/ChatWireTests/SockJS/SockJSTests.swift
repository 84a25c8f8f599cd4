import ChatCore
import ChatJSON
import ChatWire
import Testing

@Suite struct SockJSTests {
    private final class Client {
        let shared = SockJS(StompProtocol(limits: Limits(), isTextOnly: true, random: StompHarness.numbers(from: 0)))
        let connection: any ClientWriter
        var said: [String] = []
        var requests: [ClientRequest] = []
        var hello: ClientHello?
        var ended: ProtocolFarewell?
        var saidGoodbye = false
        let me: UserID

        init() throws {
            guard let writer = shared.makeReader() as? any ClientWriter else { throw StompHarness.NoFrame("no writer") }
            connection = writer
            me = try UserID("ana")
            said.append(String(decoding: connection.greeting, as: UTF8.self))
        }

        func read(_ text: String) {
            connection.read(Array(text.utf8), isText: true) { take($0) }
            passTime(to: Moment(nanoseconds: 1))
        }

        func give(_ event: ServerEvent) {
            connection.write(event, viewer: me) { bytes, _ in said.append(String(decoding: bytes, as: UTF8.self)) }
        }

        func passTime(to now: Moment) {
            var rounds = 0
            while let deadline = connection.deadline, deadline <= now, rounds < 9 {
                connection.timePassed(now: now, lastWritten: now) { take($0) }
                rounds += 1
            }
        }

        private func take(_ input: ClientInput) {
            switch input {
            case .hello(let said): hello = said
            case .request(let request): requests.append(request)
            case .say(let bytes, _): said.append(String(decoding: bytes, as: UTF8.self))
            case .end(let farewell, _):
                said.append(String(decoding: farewell.payload, as: UTF8.self))
                ended = farewell
            case .goodbye: saidGoodbye = true
            case .failure, .restart: break
            }
        }

        func connect() throws {
            read(#"["CONNECT\naccept-version:1.2\n\n\u0000"]"#)
            give(
                .welcome(
                    Welcome(
                        session: "n-1", user: me, device: try DeviceName("d"), node: "n", heartbeat: 25,
                        limits: Limits())))
            passTime(to: Moment(nanoseconds: 1))
        }
    }

    @Test func messagesAreInAnArrayOfStrings() throws {
        let client = try Client()
        try client.connect()
        #expect(client.hello != nil)
        #expect(client.said[0] == "o")
        #expect(client.said[1].hasPrefix(#"a["CONNECTED\nserver:Martlet"#))
        #expect(client.said[1].hasSuffix(#"\n\n\u0000"]"#))
        // One string, several, none.
        client.read(#""SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\u0000""#)
        client.read("")
        client.read("[]")
        #expect(client.requests.count == 1)
        guard case .join(let room, _, _)? = client.requests.first?.body else {
            Issue.record("no join")
            return
        }
        client.give(
            .joined(
                Joined(
                    ref: client.requests[0].ref, room: room, position: Position(epoch: 7, seq: 0), messages: [],
                    members: nil, count: 1, resumption: .fresh)))
        let content = MessageContent(user: client.me, at: 0, text: "say \"hi\" 가")
        let event = ServerEvent.message(
            room: room, Message(position: Position(epoch: 7, seq: 1), content: content), showKey: false)
        guard case .prefixed(let prefix) = client.connection.form(of: event) else {
            Issue.record("not shared")
            return
        }
        var rest = ByteWriter()
        client.shared.encode(event, viewer: nil, into: &rest)
        let frame = prefix.bytes + rest.array
        #expect(frame.first == UInt8(ascii: "a"))
        let value = try JSONValue(parsing: Array(frame.dropFirst()))
        let text = value.array?.first?.string ?? ""
        #expect(text.hasPrefix("MESSAGE\nsubscription:1\ndestination:/topic/a\n"))
        #expect(text.hasSuffix("\n\nsay \"hi\" 가\0"))
    }

    @Test(arguments: ["[\"a", "{}", "[1]", "1", "null", "[\"a\"] x", "a", "[[\"a\"]]"])
    func whatIsNoArrayOfStringsEndsTheConnection(text: String) throws {
        let client = try Client()
        client.read(text)
        #expect(client.ended != nil)
        client.read(#"["CONNECT\n\n\u0000"]"#)
        #expect(client.hello == nil)
    }

    @Test func anErrorComesBeforeTheEnd() throws {
        let client = try Client()
        try client.connect()
        client.read(#"["NONSENSE\n\n\u0000"]"#)
        #expect(client.said[2].hasPrefix(#"a["ERROR\nmessage:Bad command"#))
        #expect(client.said[3].hasPrefix("c["))
        let drained = try Client()
        try drained.connect()
        let farewell = drained.connection.farewell(.draining)
        #expect(farewell.map { String(decoding: $0.payload, as: UTF8.self) } == #"c[4000,"draining"]"#)
    }

    @Test func theEndThatAClientAsksForIsToldToo() throws {
        let client = try Client()
        try client.connect()
        client.read(#"["DISCONNECT\nreceipt:r\n\n\u0000"]"#)
        #expect(client.said.suffix(2) == [#"a["RECEIPT\nreceipt-id:r\n\n\u0000"]"#, #"c[1000,"Normal closure"]"#])
        #expect(client.saidGoodbye)
    }

    @Test func aHeartBeatComesEvery25Seconds() throws {
        let client = try Client()
        try client.connect()
        let before = client.said.count
        for second in 0...100 as ClosedRange<UInt64> {
            client.passTime(to: Moment(nanoseconds: second * 1_000_000_000))
        }
        #expect(client.said.dropFirst(before) == ["h", "h", "h"] || client.said.count - before == 4)
    }
}
