import ChatCore
import ChatJSON
import Testing

@testable import ChatWire

/// The profile `martlet` has the requests and events of conversations under their names.
struct SocketIOConversationTests {
    private let crew: RoomName
    private let spoken: SocketIO
    private let reader: SocketIOReader
    private let user: UserID

    init() throws {
        crew = try RoomName("crew")
        user = try UserID("ana")
        let profile = try SocketIOProfile(Array((SocketIOProfile.shipped["martlet"] ?? "").utf8))
        spoken = SocketIO(profile, isMain: true, limits: Limits())
        reader = SocketIOReader(spoken, SocketHandshake(namespace: "/", id: "id", auth: nil))
    }

    private func inputs(_ packet: String) -> [ClientInput] {
        var machine = SocketStateMachine(limits: .init(), now: Moment(nanoseconds: 0))
        _ = machine.received(Array("0/".utf8), isText: true)
        _ = machine.connected("/")
        guard case .event(let event) = machine.received(Array(packet.utf8), isText: true) else { return [] }
        var inputs: [ClientInput] = []
        reader.prepare(event)
        reader.read(event.text, isText: true) { inputs.append($0) }
        return inputs
    }

    private func request(_ packet: String) -> ClientRequest? {
        for input in inputs(packet) { if case .request(let request) = input { return request } }
        return nil
    }

    private func sent(_ event: ServerEvent) -> [String] {
        var sent: [String] = []
        reader.write(event, viewer: user) { bytes, _ in sent.append(String(decoding: bytes, as: UTF8.self)) }
        return sent
    }

    private func shared(_ event: ServerEvent) -> String {
        var bytes = ByteWriter()
        spoken.encode(event, viewer: nil, into: &bytes)
        return String(decoding: bytes.array, as: UTF8.self)
    }

    @Test func requestsHaveTheFieldsOfMartletV1() throws {
        let of = Position(epoch: 7, seq: 3)
        #expect(
            request(#"2["amend",{"room":"crew","operation":"react","of":"7-3","reaction":"👍","key":"k"}]"#)?.body
                == .amend(AmendRequest(room: crew, .react(of: of, emoji: "👍"), key: "k")))
        #expect(
            request(#"2["conversation",{"operation":"direct","user":"bob"}]"#)?.body
                == .conversation(.direct(try UserID("bob"))))
        #expect(request(#"2["participants",{"room":"crew"}]"#)?.body == .conversation(.participants(crew)))
        #expect(
            request(#"2["read",{"room":"crew","position":"7-3"}]"#)?.body == .inbox(.read(room: crew, position: of)))
        #expect(request(#"2["inbox",{"limit":5}]"#)?.body == .inbox(.list(limit: 5, cursor: nil)))
        #expect(request(#"2["inbox"]"#)?.body == .inbox(.list(limit: 100, cursor: nil)))
        #expect(request(#"2["watch",{"rooms":["crew"]}]"#)?.body == .inbox(.watch([crew])))
        let extra = MessageExtra(thread: of, mentions: [try UserID("bob")])
        #expect(
            request(#"2["send",{"room":"crew","text":"hi","thread":"7-3","mentions":["bob"]}]"#)?.body
                == .send(SendRequest(room: crew, text: "hi", extra: extra)))
    }

    @Test func aClientCannotChooseAnotherRequest() {
        #expect(request(#"2["read",{"type":"leave","room":"crew","position":"7-3"}]"#)?.body.isRead == true)
        for packet in [
            #"2["read",{"room":"crew"}]"#, #"2["amend",7]"#,
            #"2["amend",{"room":"crew","operation":"sing","of":"7-3"}]"#,
            #"2["send",{"room":"crew","text":"hi","mentions":"bob"}]"#,
        ] {
            var failed = false
            for input in inputs(packet) { if case .failure = input { failed = true } }
            #expect(failed, "\(packet)")
        }
    }

    @Test func acknowledgementsAreTheAnswersOfMartletV1() throws {
        let amending = try #require(request(#"25["amend",{"room":"crew","operation":"pin","of":"7-3"}]"#))
        #expect(
            sent(.amended(ref: amending.ref, room: crew, AmendReply(Position(epoch: 7, seq: 4), .stored)))
                == [#"435[{"type":"amended","room":"crew","position":"7-4"}]"#])
        let beginning = try #require(request(#"26["conversation",{"operation":"direct","user":"bob"}]"#))
        #expect(
            sent(.conversation(ref: beginning.ref, .done(crew, .direct, isChanged: true)))
                == [#"436[{"type":"conversation","room":"crew","kind":"direct","changed":true}]"#])
        let reading = try #require(request(#"27["read",{"room":"crew","position":"7-3"}]"#))
        #expect(
            sent(.inbox(.read(ref: reading.ref, room: crew, position: Position(epoch: 7, seq: 3))))
                == [#"437[{"type":"read","room":"crew","position":"7-3"}]"#])
        // Who wanted no acknowledgement gets none.
        let quiet = try #require(request(#"2["read",{"room":"crew","position":"7-4"}]"#))
        #expect(sent(.inbox(.read(ref: quiet.ref, room: crew, position: Position(epoch: 7, seq: 4)))) == [])
    }

    @Test func changesReceiptsHeadsAndNoticesAreEvents() throws {
        let change = Message(
            position: Position(epoch: 7, seq: 5),
            content: MessageContent(
                user: try UserID("bob"), at: 0, text: "new",
                extra: MessageExtra(amendment: Amendment(.edit, of: Position(epoch: 7, seq: 3), number: 1))))
        let changed = ServerEvent.message(room: crew, change, showKey: false)
        guard case .whole = reader.form(of: changed) else {
            Issue.record("it is not shared")
            return
        }
        #expect(
            shared(changed)
                == #"42["changed",{"type":"changed","room":"crew","position":"7-5","of":"7-3","operation":"edit","user":"bob","at":"1970-01-01T00:00:00.000Z","text":"new","edited":{"version":1,"by":"bob","at":"1970-01-01T00:00:00.000Z"}},"crew~7-5"]"#
        )
        #expect(
            shared(.inbox(.receipts(room: crew, [try UserID("bob"): Position(epoch: 7, seq: 3)])))
                == #"42["receipts",{"type":"receipts","room":"crew","reads":{"bob":"7-3"}}]"#)
        #expect(
            sent(.inbox(.notice(UserNotice(.invited, crew, conversation: .group, by: "bob"))))
                == [#"42["notice",{"type":"notice","room":"crew","kind":"invited","conversation":"group","by":"bob"}]"#]
        )
        #expect(
            sent(.inbox(.head(InboxHead(room: crew, last: nil, unread: 2))))
                == [#"42["head",{"type":"head","room":"crew","unread":2}]"#])
    }

    @Test func messagesSayWhatBecameOfThem() throws {
        var state = MessageState()
        state.reactions["👍"] = MessageState.Reaction(count: 1, users: [user])
        state.replies = 2
        let message = Message(
            position: Position(epoch: 7, seq: 3),
            content: MessageContent(
                user: try UserID("bob"), at: 0, text: "hi",
                extra: MessageExtra(thread: Position(epoch: 7, seq: 1), mentions: [user], state: state)))
        #expect(
            shared(.message(room: crew, message, showKey: false))
                == #"42["message",{"room":"crew","position":"7-3","user":"bob","at":"1970-01-01T00:00:00.000Z","text":"hi","thread":"7-1","mentions":["ana"],"reactions":{"👍":{"count":1,"users":["ana"]}},"replies":2},"crew~7-3"]"#
        )
    }
}

extension ClientRequest.Body {
    fileprivate var isRead: Bool {
        if case .inbox(.read) = self { true } else { false }
    }
}
