import ChatAccess
import ChatCore
import ChatGateway
import ChatJSON
import Testing

@testable import ChatNode

@Suite("Incoming hooks")
struct HookFileTests {
    private let secret = "It's a Secret to Everybody"

    private func file(_ more: String = "", signature: String = "github") throws -> HookFile {
        try HookFile(
            #"{"ci":{"signature":"\#(signature)","secret":"\#(secret)","room":"dev","user":"robot"\#(more)}}"#,
            maxBytes: 200)
    }

    /// A delivery as GitHub signs it. The vector of its documents is in ``HookSignatureTests``.
    private func take(_ file: HookFile, _ body: String, id: String? = "d1", name: String = "ci", sign: String? = nil)
        throws -> IncomingHookOutcome
    {
        let secret = try #require(HookSecret(plain: secret))
        let code = HookSignature.github.code(for: Array(body.utf8), secret)
        let fields = ["x-github-delivery": id, "x-hub-signature-256": sign ?? "sha256=" + code]
        return file.take(name, field: { fields[$0] ?? nil }, body: Array(body.utf8), now: 1_700_000_000_000)
    }

    @Test func aDeliveryBecomesAMessageByItsTemplate() throws {
        let file = try file(#","text":"{{ repo.name }}: {{commits.0.message}} by {{ who }}{{n}}""#)
        let body = #"{"repo":{"name":"martlet"},"commits":[{"message":"Fix\u0007 it"}],"n":3}"#
        guard case .message(let room, let content) = try take(file, body) else {
            Issue.record("no message")
            return
        }
        #expect(room.text == "dev" && content.user.text == "robot")
        #expect(content.text == "martlet: Fix it by 3")
        #expect(content.data == nil)
    }

    @Test func theSameDeliveryHasTheSameKeyAndAnotherHasAnother() throws {
        let file = try file(#","text":"{{a}}""#)
        func key(_ id: String) throws -> String? {
            guard case .message(_, let content) = try take(file, #"{"a":"x"}"#, id: id) else { return nil }
            return content.key
        }
        #expect(try key("d1") == key("d1"))
        #expect(try key("d1") != key("d2"))
        #expect(try (key("d1")?.utf8.count ?? 100) <= 64)
    }

    @Test func theWholeDeliveryMayBecomeData() throws {
        let file = try file(#","data":true"#)
        guard case .message(_, let content) = try take(file, #"{"a": 1}"#) else {
            Issue.record("no message")
            return
        }
        #expect(content.data == #"{"a":1}"# && content.text == nil)
    }

    @Test func whatIsNotSignedIsRefusedLikeAHookThatIsNotThere() throws {
        let file = try file(#","text":"{{a}}""#)
        #expect(try take(file, #"{"a":"x"}"#, name: "other") == .refused)
        #expect(try take(file, #"{"a":"x"}"#, sign: "sha256=00") == .refused)
        #expect(try take(file, #"{"a":"x"}"#, sign: "") == .refused)
        #expect(try take(file, #"{"a":"x"}"#, id: nil) == .refused)
    }

    @Test func whatCannotBeReadIsNamed() throws {
        let file = try file(#","text":"{{a}}","data":true"#)
        #expect(try take(file, "[1]") == .unreadable("the body must be a JSON object"))
        #expect(try take(file, "nonsense") == .unreadable("the body must be a JSON object"))
        let long = String(repeating: "x", count: 300)
        #expect(
            try take(file, #"{"a":"\#(long)"}"#) == .unreadable("the message would be longer than 200 bytes"))
        #expect(
            try take(file, #"{"a":1e999}"#) == .unreadable("the body holds JSON that not every reader takes"))
    }

    @Test func aDeliveryOfWhichNothingIsSaidIsIgnored() throws {
        #expect(try take(file(#","text":"new: {{missing}}""#), #"{"a":"x"}"#) == .ignored)
    }

    @Test(arguments: [
        "", "[]", #"{"a b":{}}"#, #"{"a":1}"#, #"{"a":{"signature":"md5"}}"#,
        #"{"a":{"signature":"github","room":"x","text":"y"}}"#,
        #"{"a":{"signature":"github","secret":"short","room":"x","text":"y"}}"#,
        #"{"a":{"signature":"github","secret":"a secret of 16 bytes","text":"y"}}"#,
        #"{"a":{"signature":"github","secret":"a secret of 16 bytes","room":"{x}","text":"y"}}"#,
        #"{"a":{"signature":"github","secret":"a secret of 16 bytes","room":"x"}}"#,
        #"{"a":{"signature":"github","secret":"a secret of 16 bytes","room":"x","text":"{{a"}}"#,
        #"{"a":{"signature":"github","secret":"a secret of 16 bytes","room":"x","text":"y","rom":1}}"#,
        #"{"a":{"signature":"standard","secret":"whsec_!!!","room":"x","text":"y"}}"#,
    ])
    func aFileThatCannotBeUsedIsRefused(text: String) {
        let error = #expect(throws: ConfigurationProblem.self) { try HookFile(text, maxBytes: 100) }
        #expect(error?.message.hasPrefix("MARTLET_HOOKS: ") == true)
        #expect(error?.message.contains("a secret of 16 bytes") == false, "no secret is shown")
    }
}
