import ChatCore
import ChatJSON
import ChatWire
import Testing

@testable import MartletClient

@Suite struct WireTests {
    private func read(_ json: String) -> Result<ServerFrame, FrameError> {
        Array(json.utf8).withUnsafeBytes { FrameReader.read($0) }
    }

    @Test func readsWhatTheCodecWrites() throws {
        let codec = MartletV1Codec(limits: Limits())
        let room = try RoomName("방 1")
        let user = try UserID("ana")
        let device = try DeviceName("phone")
        let position = Position(epoch: 17, seq: 4)
        let message = Message(
            position: position,
            content: MessageContent(user: user, at: 1_795_230_245_678, text: "a\"\\\n\u{1}é😀", data: "[1,{}]", key: "k")
        )
        let members = [RosterMember(user: user, devices: [device])]
        let events: [ServerEvent] = [
            .message(room: room, message, showKey: true),
            .joined(
                Joined(
                    ref: Ref(serial: 3), room: room, position: position, messages: [], members: members, count: 1,
                    resumption: .gap(Gap(after: Position(epoch: 1, seq: 1), before: position)))),
            .joined(
                Joined(
                    ref: nil, room: room, position: position, messages: [], members: nil, count: 999,
                    resumption: .reset(Reset(position: position, reason: .rewound)))),
            .left(ref: Ref(serial: 4), room: room),
            .sent(ref: Ref(serial: 5), room: room, position: position, at: 12, repeated: true),
            .presence(room: room, joined: [user], left: [], count: 5),
            .signal(room: room, user: user, name: "typing", data: nil),
            .gap(room: room, Gap(after: position, before: Position(epoch: 17, seq: 9))),
            .reset(room: room, Reset(position: position, reason: .rewound)),
            .draining(reconnectAfter: 1_234), .pong(ref: nil),
            .history(
                ref: Ref(serial: 6), room: room,
                HistoryPage(messages: [], newest: position, hasOlder: true, hasNewer: false)),
            .roster(ref: Ref(serial: 7), room: room, RosterPage(members: members, count: 1, cursor: "c")),
            .welcome(Welcome(session: "s", user: user, device: device, node: "n", heartbeat: 25, limits: Limits())),
        ]
        for event in events {
            var bytes = ByteWriter()
            codec.encode(event, into: &bytes)
            #expect(bytes.withBytes { FrameReader.read($0) } == .success(.event(event)))
        }
    }

    @Test func writesWhatTheCodecReads() throws {
        let codec = MartletV1Codec(limits: Limits())
        let room = try RoomName("a \"b\"")
        let position = Position(epoch: 1, seq: 2)
        let (ana, bob) = (try UserID("ana"), try UserID("bob"))
        let bodies: [ClientRequest.Body] = [
            .join(room: room, after: position, history: 5), .join(room: room, after: nil, history: nil),
            .leave(room: room),
            .send(SendRequest(room: room, text: "x\n😀", data: "{\"a\":1}", key: "k", again: true, since: position)),
            .send(SendRequest(room: room, text: "x", key: "k", again: false)),
            .send(SendRequest(room: room, text: "x", extra: MessageExtra(thread: position, mentions: [ana, bob]))),
            .signal(room: room, name: "typing", data: "1"),
            .history(room: room, query: HistoryQuery(anchor: .newest, limit: 3)),
            .history(room: room, query: HistoryQuery(anchor: .before(position), limit: 3)),
            .history(room: room, query: HistoryQuery(anchor: .after(position), limit: 3)),
            .history(room: room, query: HistoryQuery(anchor: .around(position), limit: 3)),
            .history(room: room, query: HistoryQuery(anchor: .time(1_795_230_114_073), limit: 3)),
            .roster(room: room, cursor: nil), .roster(room: room, cursor: "c"), .ping,
            .amend(AmendRequest(room: room, .edit(of: position, text: "x", data: "[1]"), key: "k")),
            .amend(AmendRequest(room: room, .delete(of: position))),
            .amend(AmendRequest(room: room, .unreact(of: position, emoji: "👍"))),
            .amend(AmendRequest(room: room, .deleteUser(bob, from: nil))),
            .amend(AmendRequest(room: room, .deleteRange(from: position, to: position))),
            .amend(AmendRequest(room: room, .report(of: position, reason: "spam"))),
            .conversation(.direct(bob)), .conversation(.create(room, [ana, bob])), .conversation(.leave(room)),
            .conversation(.remove(room, bob)), .conversation(.role(room, bob, .moderator)),
            .conversation(.notify(room, .mentions)), .conversation(.block(bob)), .conversation(.blocked),
            .conversation(.participants(room)), .conversation(.star(room, position)),
            .conversation(.unstar(room, position)), .conversation(.stars(limit: 5, before: 17)),
            .inbox(.read(room: room, position: position)), .inbox(.list(limit: 5, cursor: InboxCursor())),
            .inbox(.watch([room])), .inbox(.unwatch([room])), .inbox(.online([ana, bob])),
            .inbox(.showLastSeen(nil)), .inbox(.showLastSeen(false)),
        ]
        for body in bodies {
            let request = ClientRequest(ref: Ref(serial: 9), body: body)
            var bytes = ByteWriter()
            request.write(to: &bytes)
            #expect(try codec.decode(bytes.array).get() == request)
        }
    }

    @Test func aFaultKeepsCodesThatNobodyKnows() {
        let fault = ServerFault(code: 999, name: "new", message: "m", retry: true)
        let json = #"{"type":"error","ref":5,"code":999,"name":"new","message":"m","retry":true}"#
        #expect(read(json) == .success(.fault(ref: 5, fault)))
    }

    @Test func typesThatNobodyKnowsAreLeftAlone() {
        #expect(read(#"{"type":"poll","room":"x"}"#) == .success(.unknown("poll")))
    }

    @Test(arguments: [
        "", "[]", "{", #"{"type":1}"#, #"{"room":"x"}"#, #"{"type":"message","room":"x"}"#, #"{"type":"message"} x"#,
        #"{"type":"message","room":"x","position":"1","user":"u","at":"2026-11-21T03:04:05.678Z"}"#,
        #"{"type":"message","room":"x","position":"1-1","user":"","at":"2026-11-21T03:04:05.678Z"}"#,
        #"{"type":"sent","ref":1,"room":"x"}"#, #"{"type":"gap","room":"x","after":"1-1"}"#,
    ])
    func nonsenseIsAnErrorAndNeverACrash(json: String) {
        guard case .failure = read(json) else {
            Issue.record("\(json) was read")
            return
        }
    }

    @Test(arguments: [
        ("ws://h", "ws://h/ws"), ("ws://h:8080/", "ws://h:8080/ws"), ("wss://h/chat?x=1", "wss://h/chat?x=1"),
        ("ws://[::1]:9", "ws://[::1]:9/ws"), ("ws://h?x=1#f", "ws://h/ws?x=1"), ("wss://h:443", "wss://h/ws"),
    ])
    func addressesAreRead(text: String, result: String) throws {
        #expect(try ClientURL(text).description == result)
    }

    @Test(arguments: [
        "", "http://h", "ws://", "ws://:1", "ws://h:0", "ws://h:99999", "ws://h:x", "ws://a b", "ws://u@h", "ws://[::1",
    ])
    func addressesThatAreNoneSayWhy(text: String) {
        #expect(throws: ClientError.self) { try ClientURL(text) }
    }

    @Test func parametersAreEscaped() throws {
        let target = try ClientURL("ws://h/ws?a=1").target(adding: [("user", "a&b=안"), ("room", "x y")])
        #expect(target == "/ws?a=1&user=a%26b%3D%EC%95%88&room=x%20y")
    }
}
