import Testing

@testable import ChatAccess

@Suite struct HookSignatureTests {
    private let now: UInt64 = 1_700_000_000_000

    private func secret(_ text: String, _ signature: HookSignature) throws -> HookSecret {
        try #require(signature.secret(text))
    }

    private func delivery(
        _ signature: HookSignature, _ fields: [String: String], _ body: String, _ secret: HookSecret, now: UInt64? = nil
    ) -> String? {
        signature.delivery(field: { fields[$0] }, body: Array(body.utf8), secrets: [secret], now: now ?? self.now)
    }

    /// The example of GitHub's documents, "Validating webhook deliveries".
    @Test func gitHub() throws {
        let secret = try secret("It's a Secret to Everybody", .github)
        let code = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        let fields = ["x-hub-signature-256": "sha256=\(code)", "x-github-delivery": "72d3162e"]
        #expect(delivery(.github, fields, "Hello, World!", secret) == "72d3162e")
        #expect(delivery(.github, fields, "Hello, World?", secret) == nil)
        for broken in ["", "sha1=\(code)", "sha256=\(code.dropLast())", "sha256=\(code)00", "sha256=zz"] {
            let fields = fields.merging(["x-hub-signature-256": broken]) { $1 }
            #expect(delivery(.github, fields, "Hello, World!", secret) == nil, "\(broken)")
        }
    }

    @Test func stripe() throws {
        let secret = try secret("whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH", .stripe)
        let time = now / 1_000
        let code = HookSignature.stripe.code(for: Array("\(time).{}".utf8), secret)
        #expect(delivery(.stripe, ["stripe-signature": "t=\(time),v1=\(code),v0=abc"], "{}", secret) == "")
        #expect(delivery(.stripe, ["stripe-signature": "t=\(time),v1=00,v1=\(code)"], "{}", secret) == "")
        #expect(delivery(.stripe, ["stripe-signature": "t=\(time),v0=\(code)"], "{}", secret) == nil)
        #expect(delivery(.stripe, ["stripe-signature": "t=\(time + 1),v1=\(code)"], "{}", secret) == nil)
        for distance: UInt64 in [301, 360] {
            let later = now + distance * 1_000
            #expect(delivery(.stripe, ["stripe-signature": "t=\(time),v1=\(code)"], "{}", secret, now: later) == nil)
        }
        // Stripe's secret counts as it is written, prefix and all.
        #expect(secret.bytes == Array("whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH".utf8))
    }

    /// The example of Slack's documents, "Verifying requests from Slack".
    @Test func slack() throws {
        let secret = try secret("8f742231b10e8888abcd99yyyzzz85a5", .slack)
        let body =
            "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&"
            + "channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&"
            + "response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F"
            + "96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
        let fields = [
            "x-slack-request-timestamp": "1531420618",
            "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
        ]
        let then: UInt64 = 1_531_420_618_000
        #expect(delivery(.slack, fields, body, secret, now: then) == "")
        #expect(delivery(.slack, fields, body, secret, now: then + 301_000) == nil)
        #expect(delivery(.slack, fields, body + "x", secret, now: then) == nil)
    }

    @Test func standard() throws {
        let secret = try secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", .standard)
        let body = Array("{}".utf8)
        let signed = StandardWebhook.fields(id: "m1", now: now, body: body, secrets: [secret])
        let fields = Dictionary(uniqueKeysWithValues: signed.map { ($0.name, $0.value) })
        #expect(delivery(.standard, fields, "{}", secret) == "m1")
        #expect(delivery(.standard, fields.filter { $0.key != "webhook-id" }, "{}", secret) == nil)
        #expect(delivery(.standard, fields, "{}", secret, now: now - 360_000) == nil)
    }
}
