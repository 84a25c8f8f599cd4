import ChatCore
import ChatJSON
import ChatWire
import Testing

struct RequestDecodingTests {
    private let codec = MartletV1Codec(limits: Limits())

    private func request(_ text: String) throws -> ClientRequest {
        try codec.decode(Array(text.utf8)).get()
    }

    private func failure(_ bytes: [UInt8]) -> RequestFailure? {
        guard case .failure(let failure) = codec.decode(bytes) else { return nil }
        return failure
    }

    private func failure(_ text: String) -> RequestFailure? { failure(Array(text.utf8)) }

    @Test func everyRequestIsRead() throws {
        let lobby = try RoomName("lobby")
        let position = Position(epoch: 7, seq: 9)
        #expect(
            try request(#"{"type":"join","ref":1,"room":"lobby","after":"7-9","history":0}"#)
                == ClientRequest(ref: .number("1"), body: .join(room: lobby, after: position, history: 0)))
        #expect(try request(#"{"type":"leave","room":"lobby"}"#).body == .leave(room: lobby))
        #expect(
            try request(
                #"{"type":"send","room":"lobby","text":"hé","data":{"a": 1},"key":"k","again":true,"since":"7-9"}"#
            ).body
                == .send(
                    SendRequest(room: lobby, text: "hé", data: "{\"a\": 1}", key: "k", again: true, since: position)))
        #expect(
            try request(#"{"type":"send","room":"lobby","text":"","data":1}"#).body
                == .send(SendRequest(room: lobby, text: "", data: "1")))
        #expect(
            try request(#"{"type":"signal","room":"lobby","name":"typing","data":[]}"#).body
                == .signal(room: lobby, name: "typing", data: "[]"))
        #expect(
            try request(#"{"type":"history","room":"lobby","before":"7-9","limit":5}"#).body
                == .history(room: lobby, query: HistoryQuery(anchor: .before(position), limit: 5)))
        #expect(
            try request(#"{"type":"history","room":"lobby"}"#).body
                == .history(room: lobby, query: HistoryQuery(anchor: .newest, limit: 100)))
        #expect(
            try request(#"{"type":"roster","room":"lobby","cursor":"ana"}"#).body == .roster(room: lobby, cursor: "ana")
        )
        #expect(
            try request(
                #"{"type":"moderate","room":"lobby","operation":"mute","user":"bo","time":5,"reason":"spam","x":null}"#
            ).body == .moderate(room: lobby, .mute(try UserID("bo"), for: 5, reason: "spam")))
        #expect(
            try request(#"{"type":"moderate","room":"lobby","operation":"posting","value":"moderators"}"#).body
                == .moderate(room: lobby, .posting(.moderators)))
        #expect(
            try request(#"{"type":"send","room":"lobby","text":"x","thread":"7-9","mentions":["bo","bo"]}"#).body
                == .send(
                    SendRequest(
                        room: lobby, text: "x", extra: MessageExtra(thread: position, mentions: [try UserID("bo")]))))
        for (fields, operation) in [
            (#""edit","of":"7-9","text":"x","data":[1]"#, .edit(of: position, text: "x", data: "[1]")),
            (#""delete","of":"7-9""#, .delete(of: position)),
            (#""react","of":"7-9","reaction":"👍""#, .react(of: position, emoji: "👍")),
            (#""unreact","of":"7-9","reaction":"x""#, .unreact(of: position, emoji: "x")),
            (#""pin","of":"7-9""#, .pin(of: position)), (#""unpin","of":"7-9""#, .unpin(of: position)),
            (#""delete-user","user":"bo""#, .deleteUser(try UserID("bo"), from: nil)),
            (#""delete-range","of":"7-9","to":"7-10""#, .deleteRange(from: position, to: Position(epoch: 7, seq: 10))),
        ] as [(String, AmendRequest.Operation)] {
            #expect(
                try request(#"{"type":"amend","room":"lobby","key":"k","operation":\#(fields)}"#).body
                    == .amend(AmendRequest(room: lobby, operation, key: "k")))
        }
        #expect(try request(#"{"type":"ping","ref":"x"}"#) == ClientRequest(ref: .string("x"), body: .ping))
    }

    @Test func theOrderOfFieldsUnknownFieldsAndNullsDoNotMatter() throws {
        let text = #" {"room":"old","x":{"type":"nope"},"after":null,"r\u006fom":"lobby","ty\u0070e":"join"} "#
        #expect(try request(text).body == .join(room: try RoomName("lobby"), after: nil, history: nil))
    }

    @Test(arguments: ["1", "-2.50", "1e3", "12345678901234567890", "\"a\"", "\"\"", "\"\\u00e9\\\"\""])
    func aRefComesBackAsItCame(ref: String) throws {
        let request = try request("{\"type\":\"ping\",\"ref\":\(ref)}")
        var bytes = ByteWriter()
        codec.encode(.pong(ref: request.ref), into: &bytes)
        let expected = ref == "\"\\u00e9\\\"\"" ? "\"é\\\"\"" : ref
        #expect(String(decoding: bytes.array, as: UTF8.self) == "{\"type\":\"pong\",\"ref\":\(expected)}")
    }

    @Test func aRefHasAtMost64Bytes() throws {
        let fits = String(repeating: "a", count: 64)
        #expect(try request("{\"type\":\"ping\",\"ref\":\"\(fits)\"}").ref == .string(fits))
        for ref in [
            "\"\(fits)a\"", "\"" + String(repeating: "a", count: 100_000) + "\"", String(repeating: "1", count: 65),
        ] {
            let failure = failure("{\"type\":\"ping\",\"ref\":\(ref)}")
            #expect(failure?.ref == nil)
            #expect(failure?.error == WireError(.badField, "ref is longer than 64 bytes"))
        }
        let escaped = String(repeating: "\\ud83d\\ude00", count: 16)
        #expect(
            try request("{\"type\":\"ping\",\"ref\":\"\(escaped)\"}").ref == .string(String(repeating: "😀", count: 16)))
    }

    @Test(arguments: [
        (#"{"type":"join","ref":1}"#, WireError.Code.missingField, "room is missing"),
        (#"{"ref":1,"room":"a"}"#, .missingField, "type is missing"),
        (#"{"ref":1,"type":"send","room":"a"}"#, .missingField, "text and data are missing, one of them is needed"),
        (
            #"{"ref":1,"type":"send","room":"a","text":""}"#, .missingField,
            "text is empty and data is missing, one of them is needed"
        ),
        (#"{"ref":1,"type":"signal","room":"a"}"#, .missingField, "name is missing"),
        (#"{"ref":1,"type":7}"#, .badField, "type must be a string, it is a number"),
        (#"{"ref":1,"type":"join","room":["a"]}"#, .badField, "room must be a string, it is an array"),
        (#"{"ref":1,"type":"send","room":"a","text":{}}"#, .badField, "text must be a string, it is an object"),
        (
            #"{"ref":1,"type":"send","room":"a","text":"x","again":"yes"}"#, .badField,
            "again must be true or false, it is a string"
        ),
        (
            #"{"ref":1,"type":"send","room":"a","text":"x","again":true}"#, .missingField,
            "key is missing: without it nobody can tell what is sent again"
        ),
        (#"{"ref":1,"type":"send","room":"a","text":"x","key":""}"#, .badField, "key is empty"),
        (
            #"{"ref":1,"type":"send","room":"a","text":"x","key":"~a"}"#, .badField,
            "key begins with '~', which is for keys that nodes make"
        ),
        (#"{"ref":1,"type":"join","room":"a","after":7}"#, .badField, "after must be a string, it is a number"),
        (#"{"ref":1,"type":"amend","room":"a"}"#, .missingField, "operation is missing"),
        (#"{"ref":1,"type":"amend","room":"a","operation":"delete"}"#, .missingField, "of is missing"),
        (
            #"{"ref":1,"type":"amend","room":"a","operation":"edit","of":"1-1"}"#, .missingField,
            "text and data are missing, one of them is needed"
        ),
        (
            #"{"ref":1,"type":"amend","room":"a","operation":"react","of":"1-1","reaction":""}"#, .badField,
            "reaction is empty"
        ),
        (
            #"{"ref":1,"type":"send","room":"a","text":"x","mentions":"bo"}"#, .badField,
            "mentions must be an array of at most 50 names, it is a string"
        ),
        (
            #"{"ref":1,"type":"join","room":"a","after":"7"}"#, .badField,
            "after must be a position: two decimal numbers, <epoch>-<seq>"
        ),
        (
            #"{"ref":1,"type":"join","room":"a","after":"99999999999999999999-1"}"#, .badField,
            "after must be a position: two decimal numbers, <epoch>-<seq>"
        ),
        (
            #"{"ref":1,"type":"join","room":"a","history":-1}"#, .badField,
            "history must be a whole number from 0 to 100"
        ),
        (#"{"ref":1,"type":"history","room":"a","limit":0}"#, .badField, "limit must be a whole number from 1 to 100"),
        (
            #"{"ref":1,"type":"history","room":"a","limit":1.5}"#, .badField,
            "limit must be a whole number from 1 to 100"
        ),
        (
            #"{"ref":1,"type":"history","room":"a","limit":1e99999}"#, .badField,
            "limit must be a whole number from 1 to 100"
        ),
        (
            #"{"ref":1,"type":"history","room":"a","limit":"9"}"#, .badField,
            "limit must be a whole number from 1 to 100, it is a string"
        ),
        (
            #"{"ref":1,"type":"history","room":"a","before":"1-1","around":"1-1"}"#, .badField,
            "before and around are both there, at most one is allowed"
        ),
        (
            #"{"ref":1,"type":"history","room":"a","around":"1-1","time":1}"#, .badField,
            "around and time are both there, at most one is allowed"
        ),
        (
            #"{"ref":1,"type":"history","room":"a","time":-1}"#, .badField,
            "time must be a whole number from 0 to 9007199253740992"
        ),
        (#"{"ref":1,"type":"signal","room":"a","name":"\n"}"#, .badField, "name holds a control character"),
        (#"{"ref":1,"type":"join","room":""}"#, .badName, "room name is empty"),
        (#"{"ref":1,"type":"join","room":"a\u0000b"}"#, .badName, "room name holds the control character U+0000"),
        (
            #"{"ref":1,"type":"join","room":"{a}"}"#, .badName,
            "room name holds a brace, which Redis Cluster would read as a hash tag"
        ),
        (
            #"{"ref":1,"type":"shout"}"#, .unknownType,
            "type 'shout' is not known; "
                + "the types are join, leave, send, amend, signal, history, roster, moderate, conversation, "
                + "participants, star, unstar, stars, read, inbox, watch, unwatch, online, lastSeen, token and ping"
        ),
        (
            #"{"ref":1,"type":"a b\n"}"#, .unknownType,
            "type (4 bytes) is not known; "
                + "the types are join, leave, send, amend, signal, history, roster, moderate, conversation, "
                + "participants, star, unstar, stars, read, inbox, watch, unwatch, online, lastSeen, token and ping"
        ),
    ])
    func whatIsWrongIsNamedAndTheRefComesBack(text: String, code: WireError.Code, message: String) {
        #expect(failure(text) == RequestFailure(ref: .number("1"), error: WireError(code, message)))
    }

    @Test func aMillionCharacterRoomNameIsDescribedNotRepeated() {
        let name = String(repeating: "x", count: 1_000_000)
        let error = failure("{\"type\":\"join\",\"room\":\"\(name)\"}")?.error
        #expect(error == WireError(.badName, "room name is 1000000 bytes long, the limit is 128"))
    }

    @Test(arguments: [
        ("", "byte 0: expected '{'"), ("[]", "byte 0: expected '{'"), ("\"a\"", "byte 0: expected '{'"),
        ("{\"type\":\"ping\"", "byte 14: expected ',' or '}' in an object"),
        ("{\"type\":\"ping\"} x", "byte 16: text after the end of the JSON value"),
    ])
    func brokenJSONIsAnsweredWithTheByte(text: String, problem: String) {
        #expect(failure(text) == RequestFailure(ref: nil, error: WireError(.badFrame, "not a JSON object: \(problem)")))
    }

    @Test func theRefOfABrokenFrameComesBackIfItStoodBeforeTheBreak() {
        let broken = failure(#"{"ref":"r1","type":"send","text":"x}"#)
        #expect(broken?.ref == .string("r1"))
        #expect(broken?.error.code == .badFrame)
    }

    @Test func brokenUTF8IsAnsweredWithTheByte() {
        let error = failure(Array("{\"type\":\"".utf8) + [0xC3, 0x28] + Array("\"}".utf8))?.error
        #expect(error == WireError(.badFrame, "not a JSON object: byte 10: not UTF-8"))
    }

    @Test func randomDamageNeverTrapsAndNeverGivesBackABadName() {
        var generator = SplitMix64(seed: 42)
        let valid = Array(
            #"{"type":"send","ref":"r","room":"lobby","text":"hi","data":{"a":[1]},"key":"k","again":false,"since":"1-2"}"#
                .utf8)
        for _ in 0..<20_000 {
            var bytes = valid
            for _ in 0...(generator.next() % 3) {
                bytes[Int(generator.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: generator.next())
            }
            guard case .success(let request) = codec.decode(bytes), case .send(let send) = request.body else {
                continue
            }
            #expect(throws: Never.self) { try RoomName(send.room.text) }
            if let data = send.data { #expect(throws: Never.self) { try JSONValue(parsing: data) } }
        }
    }
}
