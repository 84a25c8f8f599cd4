import ChatCore
import ChatJSON
import ChatWire
import Testing

struct EventEncodingTests {
    private let codec = MartletV1Codec(limits: Limits())
    private let at: UInt64 = 1_795_226_645_678

    private func text(_ event: ServerEvent, viewer: UserID? = nil) throws -> String {
        var bytes = ByteWriter()
        codec.encode(event, viewer: viewer, into: &bytes)
        let text = String(decoding: bytes.array, as: UTF8.self)
        let value = try JSONValue(parsing: text)
        #expect(value["type"]?.string != nil)
        #expect(text.hasPrefix("{\"type\":\""))
        return text
    }

    private func message(key: String?, data: String? = nil) throws -> Message {
        Message(
            position: Position(epoch: 17, seq: 3),
            content: MessageContent(user: try UserID("ana"), at: at, text: "hi \"you\"", data: data, key: key))
    }

    @Test func aMessageIsCompactWithTypeFirst() throws {
        let lobby = try RoomName("lobby")
        let plain = try message(key: "k1", data: "{ \"a\":1}")
        let body =
            #"{"type":"message","room":"lobby","position":"17-3","user":"ana","at":"2026-11-21T02:04:05.678Z","#
            + #""text":"hi \"you\"","data":{ "a":1}"#
        #expect(try text(.message(room: lobby, plain, showKey: false)) == body + "}")
        #expect(try text(.message(room: lobby, plain, showKey: true)) == body + #","key":"k1"}"#)
    }

    private func amendment(
        _ operation: Amendment.Operation, of seq: UInt64, text: String? = nil, data: String? = nil, number: UInt64 = 0,
        deleted: Deed? = nil
    ) throws -> Message {
        let change = Amendment(operation, of: Position(epoch: 17, seq: seq), number: number)
        return Message(
            position: Position(epoch: 17, seq: 9),
            content: MessageContent(
                user: try UserID("ana"), at: at, text: text, data: data,
                extra: MessageExtra(amendment: change, deleted: deleted)))
    }

    @Test func anAmendmentIsShownAsWhatItChanged() throws {
        let lobby = try RoomName("lobby")
        let time = "2026-11-21T02:04:05.678Z"
        func changed(_ operation: String, _ rest: String, of: String = "17-3") -> String {
            #"{"type":"changed","room":"lobby","position":"17-9","of":"\#(of)","operation":"\#(operation)","user":"ana","#
                + #""at":"\#(time)"\#(rest)}"#
        }
        func shown(_ message: Message) throws -> String { try text(.message(room: lobby, message, showKey: false)) }
        #expect(
            try shown(amendment(.edit, of: 3, text: "new", data: "[1]", number: 2))
                == changed("edit", #","text":"new","data":[1],"edited":{"version":2,"by":"ana","at":"\#(time)"}"#))
        #expect(
            try shown(amendment(.delete, of: 3)) == changed("delete", #","deleted":{"by":"ana","at":"\#(time)"}"#))
        #expect(
            try shown(amendment(.delete, of: 3, data: #"["17-3","17-4"]"#))
                == changed("delete", #","targets":["17-3","17-4"],"deleted":{"by":"ana","at":"\#(time)"}"#))
        #expect(
            try shown(amendment(.react, of: 3, text: "👍", data: #"["bo"]"#, number: 21))
                == changed("react", #","reactions":{"👍":{"count":21,"users":["bo"]}}"#))
        #expect(try shown(amendment(.unpin, of: 3)) == changed("unpin", #","pinned":null"#))
        #expect(
            try shown(amendment(.edit, of: 3, deleted: Deed(by: "mod", at: at)))
                == changed("edit", #","deleted":{"by":"mod","at":"\#(time)"}"#))
        #expect(
            try text(.amended(ref: .number("1"), room: lobby, AmendReply(Position(epoch: 17, seq: 9), .repeated)))
                == #"{"type":"amended","ref":1,"room":"lobby","position":"17-9","repeated":true}"#)
        let several = AmendReply(Position(epoch: 17, seq: 9), .stored, erased: 100, next: Position(epoch: 17, seq: 4))
        #expect(
            try text(.amended(ref: nil, room: lobby, several))
                == #"{"type":"amended","room":"lobby","position":"17-9","erased":100,"next":"17-4"}"#)
    }

    /// Pages hold folded messages; amendments of what the reader has already are listed beside them.
    @Test func pagesHoldFoldedMessages() throws {
        let lobby = try RoomName("lobby")
        var state = MessageState()
        state.version = 1
        state.edited = Deed(by: "ana", at: at)
        state.pinned = Deed(by: "bo", at: at)
        state.replies = 2
        var folded = try message(key: nil)
        folded.content.extra = MessageExtra(
            thread: Position(epoch: 17, seq: 1), mentions: [try UserID("bo")], state: state)
        let stone = Message(
            position: Position(epoch: 17, seq: 4), content: folded.content.tombstone(Deed(by: "mod", at: at)))
        let entries = [folded, stone, try amendment(.edit, of: 3, text: "x"), try amendment(.pin, of: 2)]
        let page = HistoryPage(messages: entries, newest: nil, hasOlder: false, hasNewer: false)
        let history = try JSONValue(parsing: try text(.history(ref: nil, room: lobby, page)))
        #expect(history["messages"]?.array?.count == 2 && history["changes"] == nil)
        #expect(history["first"]?.string == "17-3" && history["last"]?.string == "17-9")
        let first = try #require(history["messages"]?.array?.first)
        #expect(first["thread"]?.string == "17-1" && first["mentions"]?.array == [.string("bo")])
        #expect(first["edited"]?["version"]?.integer == 1 && first["pinned"]?["by"]?.string == "bo")
        #expect(first["replies"]?.integer == 2 && first["deleted"] == nil)
        let second = try #require(history["messages"]?.array?.last)
        #expect(second["deleted"]?["by"]?.string == "mod" && second["text"] == nil && second["user"]?.string == "ana")
        for (resumption, count) in [(Resumption.fresh, 0), (.complete, 1)] {
            let joined = Joined(
                ref: nil, room: lobby, position: Position(epoch: 17, seq: 9), messages: entries, members: nil, count: 1,
                resumption: resumption)
            let frame = try JSONValue(parsing: try text(.joined(joined)))
            #expect(frame["messages"]?.array?.count == 2)
            #expect((frame["changes"]?.array ?? []).map { $0["of"]?.string } == Array(repeating: "17-2", count: count))
        }
    }

    @Test func aKeyThatANodeMadeIsShownToNobody() throws {
        let made = try message(key: "~1")
        #expect(try !text(.message(room: RoomName("lobby"), made, showKey: true)).contains("key"))
    }

    /// A client whose `sent` was lost with its connection recognises its message by the key.
    @Test func listsShowTheirViewerTheKeysOfTheirOwnMessagesOnly() throws {
        let lobby = try RoomName("lobby")
        let messages = [try message(key: "k1"), try message(key: "~made")]
        let position = Position(epoch: 17, seq: 3)
        let joined = ServerEvent.joined(
            Joined(
                ref: nil, room: lobby, position: position, messages: messages, members: nil, count: 1,
                resumption: .complete))
        let page = HistoryPage(messages: messages, newest: position, hasOlder: false, hasNewer: false)
        for event in [joined, .history(ref: nil, room: lobby, page)] {
            let own = try JSONValue(parsing: try text(event, viewer: UserID("ana")))["messages"]?.array
            #expect(own?.map { $0["key"]?.string } == ["k1", nil])
            for other in [nil, try UserID("bo")] {
                let shown = try JSONValue(parsing: try text(event, viewer: other))["messages"]?.array
                #expect(shown?.map { $0["key"]?.string } == [nil, nil])
            }
        }
    }

    @Test func joinedTellsHowItResumed() throws {
        let position = Position(epoch: 17, seq: 3)
        var joined = Joined(
            ref: .string("j"), room: try RoomName("lobby"), position: position, messages: [try message(key: "k")],
            members: [RosterMember(user: try UserID("ana"), devices: [try DeviceName("phone")])], count: 1,
            resumption: .fresh)
        #expect(
            try text(.joined(joined))
                == #"{"type":"joined","ref":"j","room":"lobby","position":"17-3","messages":[{"position":"17-3","user":"ana","#
                + #""at":"2026-11-21T02:04:05.678Z","text":"hi \"you\""}],"roster":[{"user":"ana","devices":["phone"]}],"count":1}"#
        )
        joined.messages = []
        joined.members = nil
        joined.ref = nil
        joined.resumption = .complete
        #expect(
            try text(.joined(joined))
                == #"{"type":"joined","room":"lobby","position":"17-3","resumed":true,"messages":[],"count":1}"#)
        joined.resumption = .gap(Gap(after: Position(epoch: 1, seq: 1), before: position))
        #expect(try text(.joined(joined)).contains(#""resumed":false,"gap":{"after":"1-1","before":"17-3"},"#))
        joined.resumption = .reset(Reset(position: position, reason: .rewound))
        #expect(try text(.joined(joined)).contains(#""resumed":false,"reset":{"position":"17-3","reason":"rewound"},"#))
    }

    @Test func joinedTellsRulesAndRightsOnlyIfThereAreAny() throws {
        var joined = Joined(
            ref: nil, room: try RoomName("lobby"), position: Position(epoch: 17, seq: 3), messages: [], members: nil,
            count: 1, resumption: .fresh)
        #expect(try text(.joined(joined)).hasSuffix(#""count":1}"#))
        joined.rules = RoomPolicy(slowMode: 5_000, posting: .moderators)
        joined.mute = Sanction(until: at, reason: "spam")
        joined.rights = [.read, .moderate]
        #expect(
            try text(.joined(joined)).hasSuffix(
                #""count":1,"rules":{"slowMode":5000,"uniqueFor":0,"posting":"moderators","frozen":false},"#
                    + #""sanction":{"kind":"mute","until":"2026-11-21T02:04:05.678Z","reason":"spam"},"#
                    + #""rights":["read","moderate"]}"#))
    }

    @Test func whoBelongsToTheRoomIsTold() throws {
        let (lobby, ana, bo) = (try RoomName("lobby"), try UserID("ana"), try UserID("bo"))
        let changes = [
            ParticipantChange(of: ana, to: .member, isNew: true), ParticipantChange(of: bo, to: nil),
        ]
        let whole =
            #"{"type":"participantsChanged","room":"lobby","changes":[{"user":"ana","role":"member","joined":true},"#
            + #"{"user":"bo","left":true}]"#
        #expect(try text(.participants(room: lobby, ParticipantChanges(changes))) == whole + "}")
        #expect(
            try text(.participants(room: lobby, ParticipantChanges(changes, hasMore: true))) == whole
                + #","hasMore":true}"#)
    }

    @Test func moderationIsTold() throws {
        let (lobby, ana) = (try RoomName("lobby"), try UserID("ana"))
        #expect(
            try text(.moderated(ref: .number("3"), room: lobby, ModerationReply(version: 110, isChanged: true)))
                == #"{"type":"moderated","ref":3,"room":"lobby","version":"110","changed":true}"#)
        #expect(
            try text(.rules(room: lobby, version: 110, RoomPolicy(isFrozen: true)))
                == #"{"type":"rules","room":"lobby","version":"110","rules":{"slowMode":0,"uniqueFor":0,"#
                + #""posting":"open","frozen":true}}"#)
        let mute = SanctionChange(.mute, of: ana, Sanction(until: at, reason: "spam", by: "eve", at: 5))
        #expect(
            try text(.sanction(room: lobby, mute))
                == #"{"type":"sanction","room":"lobby","kind":"mute","user":"ana","until":"2026-11-21T02:04:05.678Z","#
                + #""reason":"spam"}"#)
        #expect(
            try text(.sanction(room: lobby, SanctionChange(.ban, of: ana, nil)))
                == #"{"type":"sanction","room":"lobby","kind":"unban","user":"ana"}"#)
        #expect(
            try text(.removed(room: lobby, Removal(.banned, until: at, text: "spam")))
                == #"{"type":"left","room":"lobby","reason":"banned","until":"2026-11-21T02:04:05.678Z","#
                + #""message":"spam"}"#
        )
    }

    @Test func everyOtherEventHasTheFieldsOfTheProtocol() throws {
        let lobby = try RoomName("lobby")
        let ana = try UserID("ana")
        let position = Position(epoch: 17, seq: 3)
        #expect(try text(.left(ref: .number("2"), room: lobby)) == #"{"type":"left","ref":2,"room":"lobby"}"#)
        #expect(
            try text(.sent(ref: nil, room: lobby, position: position, at: at, repeated: true))
                == #"{"type":"sent","room":"lobby","position":"17-3","at":"2026-11-21T02:04:05.678Z","repeated":true}"#)
        #expect(
            try text(.presence(room: lobby, joined: [ana], left: [], count: 2))
                == #"{"type":"presence","room":"lobby","joined":["ana"],"left":[],"count":2}"#)
        #expect(
            try text(.signal(room: lobby, user: ana, name: "typing", data: "1"))
                == #"{"type":"signal","room":"lobby","user":"ana","name":"typing","data":1}"#)
        #expect(
            try text(.gap(room: lobby, Gap(after: position, before: Position(epoch: 18, seq: 9))))
                == #"{"type":"gap","room":"lobby","after":"17-3","before":"18-9"}"#)
        #expect(
            try text(.reset(room: lobby, Reset(position: position, reason: .rewound)))
                == #"{"type":"reset","room":"lobby","position":"17-3","reason":"rewound"}"#)
        #expect(try text(.draining(reconnectAfter: 1500)) == #"{"type":"draining","reconnectAfter":1500}"#)
        let page = HistoryPage(messages: [], newest: position, hasOlder: true, hasNewer: false)
        #expect(
            try text(.history(ref: .number("1"), room: lobby, page))
                == #"{"type":"history","ref":1,"room":"lobby","messages":[],"newest":"17-3","older":true,"newer":false}"#
        )
        #expect(
            try text(.roster(ref: nil, room: lobby, RosterPage(members: [], count: 0, cursor: "ana")))
                == #"{"type":"roster","room":"lobby","roster":[],"count":0,"cursor":"ana"}"#)
        #expect(
            try text(.error(ref: .string("r"), WireError(.rateLimited, "slow \"down\"")))
                == #"{"type":"error","ref":"r","code":201,"name":"rateLimited","message":"slow \"down\"","retry":true}"#
        )
    }

    @Test func welcomeTellsTheLimits() throws {
        let welcome = Welcome(
            session: "n1-7", user: try UserID("ana"), device: try DeviceName("d"), node: "n1", heartbeat: 25,
            limits: Limits())
        let value = try JSONValue(parsing: try text(.welcome(welcome)))
        #expect(value["session"]?.string == "n1-7")
        #expect(value["heartbeat"]?.integer == 25)
        #expect(value["limits"]?["frameBytes"]?.integer == 65_536)
    }
}
