import ChatJSON
import Testing

@testable import ChatAccess

/// The signatures of Standard Webhooks 1.0, with the vector of its reference libraries
/// (standard-webhooks/standard-webhooks, libraries/python/tests).
@Suite struct StandardWebhookTests {
    private let text = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    private let id = "msg_p5jXN8AQM9LWM0D4loKWxJek"
    private let body = Array(#"{"test": 2432232314}"#.utf8)
    private let published = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    private let time: UInt64 = 1_614_265_330

    private var secret: HookSecret { get throws { try #require(HookSecret(text)) } }

    private func isValid(
        id: String? = nil, timestamp: String? = nil, signatures: String? = nil, body: [UInt8]? = nil, now: UInt64? = nil
    ) throws -> Bool {
        StandardWebhook.isValid(
            id: id ?? self.id, timestamp: timestamp ?? String(time), signatures: signatures ?? published,
            body: body ?? self.body, secrets: [try secret], now: now ?? time)
    }

    @Test func theSignatureIsThePublishedOne() throws {
        let fields = StandardWebhook.fields(id: id, now: time * 1_000 + 999, body: body, secrets: [try secret])
        #expect(fields.map(\.name) == ["webhook-id", "webhook-timestamp", "webhook-signature"])
        #expect(fields.map(\.value) == [id, String(time), published])
    }

    @Test func thePublishedSignatureIsValidAndNothingElseIs() throws {
        #expect(try isValid())
        #expect(try !isValid(id: "msg_other"))
        #expect(try !isValid(id: ""))
        #expect(try !isValid(timestamp: String(time + 1)))
        #expect(try !isValid(timestamp: "now"))
        #expect(try !isValid(body: body + [0x20]))
        for broken in [
            "", "v1", "v1,", "v2,\(published.dropFirst(3))", "v1,!!!", published.replacing("g0hM", with: "h0hM"),
        ] {
            #expect(try !isValid(signatures: broken), "\(broken)")
        }
    }

    @Test func oneOfSeveralSignaturesIsEnough() throws {
        #expect(try isValid(signatures: "v1,AAAA v1a,xxxx \(published)"))
        let other = try #require(HookSecret("another secret of at least 24 bytes"))
        let both = StandardWebhook.fields(id: id, now: time * 1_000, body: body, secrets: [other, try secret])
        #expect(try isValid(signatures: both[2].value))
    }

    @Test(arguments: [(-301, false), (-300, true), (300, true), (301, false)])
    func aTimestampMayBeFiveMinutesFromTheClock(distance: Int, isGood: Bool) throws {
        #expect(try isValid(now: UInt64(Int(time) + distance)) == isGood)
    }

    /// The first key of RFC 8032 §7.1.
    @Test func aKeyPairSigns() throws {
        let seed = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
        let known = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
        let key = try #require(WebhookKey("whsk_\(seed)"))
        #expect(key.publicText == "whpk_\(known)")
        let knownBytes = try #require(Base64.decodePadded(Array(known.utf8)))
        let both = try #require(Base64.decodePadded(Array(seed.utf8))) + knownBytes
        #expect(WebhookKey("whsk_\(Base64.encodePadded(both))")?.publicText == key.publicText)
        let fields = StandardWebhook.fields(id: id, now: time * 1_000, body: body, signers: [.key(key)])
        #expect(fields[2].value.hasPrefix("v1a,"))
        let signature = try #require(Base64.decodePadded(Array(fields[2].value.utf8.dropFirst(4))))
        let verifier = try PublicKey(ed25519: knownBytes)
        func isValid(_ message: String) -> Bool {
            Array(message.utf8).withUnsafeBytes { verifier.isValid(signature, for: $0, .edDSA) }
        }
        let message = "\(id).\(time)." + String(decoding: body, as: UTF8.self)
        #expect(isValid(message) && !isValid(message + " "))
        for broken in ["whsk_", "whsk_AAAA", "whsec_\(seed)", seed, "whsk_!!!"] { #expect(WebhookKey(broken) == nil) }
    }

    @Test func eachGenerationOfEachEndpointHasItsOwnKeyPair() throws {
        let key = try #require(HookSecret("an operator's key of more than 24 bytes"))
        let keys = [("a", 1), ("a", 2), ("b", 1), ("a", 1)].map {
            StandardWebhook.derivedKey(of: $0.0, generation: $0.1, key: key)?.publicText
        }
        #expect(Set(keys).count == 3 && !keys.contains(nil) && keys[0] == keys[3])
    }

    @Test func eachGenerationOfEachEndpointHasItsOwnSecret() throws {
        let key = try #require(HookSecret("an operator's key of more than 24 bytes"))
        let secrets = [("a", 1), ("a", 2), ("b", 1)].map {
            StandardWebhook.derivedSecret(of: $0.0, generation: $0.1, key: key)
        }
        #expect(Set(secrets).count == 3)
        #expect(secrets.allSatisfy { $0.hasPrefix("whsec_") && HookSecret($0) != nil })
        #expect(secrets[0] == StandardWebhook.derivedSecret(of: "a", generation: 1, key: key))
    }
}
