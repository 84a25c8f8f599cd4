import ChatCore
import ChatJSON
import Testing

@testable import ChatAccess

/// What a hook is told, how that is signed, and which answers are decisions.
@Suite struct HookMessageTests {
    private func content(_ text: String?, data: String? = nil, key: String? = nil) throws -> MessageContent {
        MessageContent(user: try UserID("ana \"x\""), at: 1_700_000_000_123, text: text, data: data, key: key)
    }

    @Test func theBodyHasWhatTheMessageHas() throws {
        let room = try RoomName("로비")
        let all = HookMessage.body(try content("a\n", data: #"{"a":[1,"b"]}"#, key: "k"), in: room)
        let members = try #require(try JSONValue(parsing: all).object)
        #expect(Set(members.keys) == ["type", "room", "user", "at", "text", "data", "key"])
        #expect(members["room"]?.string == "로비" && members["user"]?.string == "ana \"x\"")
        #expect(members["at"]?.integer == 1_700_000_000_123 && members["text"]?.string == "a\n")
        #expect(members["data"]?["a"]?.array?.last?.string == "b" && members["key"]?.string == "k")
        let few = try #require(try JSONValue(parsing: HookMessage.body(try content("a"), in: room)).object)
        #expect(Set(few.keys) == ["type", "room", "user", "at", "text"])
    }

    /// The example of the Standard Webhooks specification.
    @Test func theSignatureIsThatOfStandardWebhooks() throws {
        let secret = try #require(HookSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
        let fields = HookMessage.fields(
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek", now: 1_614_265_330_999, body: Array(#"{"test": 2432232314}"#.utf8),
            secret: secret)
        #expect(
            fields.map(\.value) == [
                "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            ])
    }

    @Test(arguments: [
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", true), ("whsec_MfKQ", false), ("whsec_!!!!", false), ("", false),
        ("twenty-three bytes long", false), ("twenty-four bytes of text", true),
    ])
    func aSecretHasEnoughBytes(text: String, isOne: Bool) {
        #expect((HookSecret(text) != nil) == isOne)
    }

    @Test func anAnswerIsADecisionOrWrong() throws {
        func decision(_ answer: String) throws -> HookDecision {
            try HookMessage.decision(Array(answer.utf8), maxBytes: 10)
        }
        #expect(try decision("") == .allow)
        #expect(try decision(#"{"action":"allow","more":1}"#) == .allow)
        #expect(try decision(#"{"action":"refuse"}"#) == .refuse(reason: ""))
        #expect(try decision(#"{"action":"refuse","reason":"a\nb"}"#) == .refuse(reason: "a b"))
        #expect(try decision(#"{"action":"refuse","reason":7}"#) == .refuse(reason: ""))
        let long = String(repeating: "가", count: 500)
        #expect(
            try decision(#"{"action":"refuse","reason":"\#(long)"}"#)
                == .refuse(reason: String(long.prefix(HookMessage.maxReason))))
        #expect(try decision(#"{"action":"replace","text":"0123456789"}"#) == .replace(text: "0123456789"))
        for answer in [
            "{", "[]", "\"allow\"", "{}", #"{"action":1}"#, #"{"action":"Allow"}"#, #"{"action":"replace"}"#,
            #"{"action":"replace","text":""}"#, #"{"action":"replace","text":"0123456789a"}"#,
            #"{"action":"replace","text":["a"]}"#,
        ] {
            let problem = #expect(throws: HookClient.Failure.self) { try decision(answer) }
            #expect(problem?.trouble == .badAnswer, "\(answer)")
        }
    }
}
