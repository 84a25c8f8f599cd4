import ChatCore
import ChatJSON
import Testing

@testable import ChatAccess

/// Tokens of other implementations, of every algorithm, and every way to give their keys.
struct TokenAlgorithmTests {
    private func rules() -> TokenRules {
        var rules = TokenRules()
        rules.issuer = "https://issuer.example"
        rules.audience = "chat"
        return rules
    }

    /// All keys, without IDs.
    private func allKeys() throws -> TokenKeys {
        var keys = TokenKeys()
        try keys.add(secret: Array(Fixtures.secret.utf8))
        for name in ["rsa", "p256", "p384", "p521", "ed25519"] { try keys.add(pem: Fixtures.pem(name)) }
        return keys
    }

    private func problem(_ keys: TokenKeys, _ token: String) -> TokenProblem? {
        guard case .failure(let problem) = TokenVerifier(keys, rules()).verify(token, now: Fixtures.now) else {
            return nil
        }
        return problem
    }

    private func check(_ result: Result<Grant, TokenProblem>) throws {
        let grant = try result.get()
        #expect(grant.user == (try UserID("ana")))
        #expect(grant.device == (try DeviceName("phone")))
        #expect(grant.tokenID == "token-1" && grant.permissions.roles == ["helper"])
        #expect(grant.issuedAt == Fixtures.issuedAt && grant.expiresAt == Fixtures.expiresAt)
        #expect(grant.permissions.denied == [try RoomPattern("team:secret")])
        #expect(grant.permissions.rules.map(\.rights) == [[.read, .send], [.read], [.read, .send, .signal, .amend]])
    }

    @Test func thereAreTokensOfEachAlgorithm() {
        for maker in ["PyJWT", "joserfc"] {
            #expect(Fixtures.tokens.filter { $0.maker == maker }.map(\.algorithm) == TokenAlgorithm.allCases)
        }
    }

    @Test(arguments: Fixtures.tokens) func tokensOfOthersAreVerified(token: Fixtures.Token) throws {
        var keys = TokenKeys()
        if token.key == "secret" {
            try keys.add(secret: Array(Fixtures.secret.utf8), id: token.keyID)
        } else {
            try keys.add(pem: Fixtures.pem(token.key), id: token.keyID)
        }
        try check(TokenVerifier(keys, rules()).verify(token.text, now: Fixtures.now))
        // Among all others, which were configured without an ID.
        try check(TokenVerifier(try allKeys(), rules()).verify(token.text, now: Fixtures.now))
    }

    @Test(arguments: Fixtures.tokens) func keySetsVerifyThem(token: Fixtures.Token) throws {
        guard token.key != "secret" else { return }
        let set = Fixtures.keySet(["rsa", "p256", "p384", "p521", "ed25519"].map { Fixtures.jwk($0) })
        var skipped: [KeyProblem] = []
        let keys = try TokenKeys(keySet: set, skipped: &skipped)
        #expect(skipped == [] && keys.count == 5)
        try check(TokenVerifier(keys, rules()).verify(token.text, now: Fixtures.now))
    }

    @Test func ed25519HasTwoNames() throws {
        try check(TokenVerifier(try allKeys(), rules()).verify(Fixtures.newer, now: Fixtures.now))
    }

    @Test(arguments: ["rsa", "p256", "ed25519"]) func certificatesVerifyThem(key: String) throws {
        var keys = TokenKeys()
        try keys.add(pem: Fixtures.certificate(key))
        for token in Fixtures.tokens where token.key == key && token.keyID == nil {
            try check(TokenVerifier(keys, rules()).verify(token.text, now: Fixtures.now))
        }
    }

    /// Each token is refused without its key, whatever other keys there are.
    @Test(arguments: Fixtures.tokens) func otherKeysVerifyNothing(token: Fixtures.Token) throws {
        var keys = TokenKeys()
        for name in ["rsa", "p256", "p384", "p521", "ed25519"] where name != token.key {
            try keys.add(pem: Fixtures.pem(name))
        }
        #expect(problem(keys, token.text) == .unknownKey(token.keyID))
        guard token.key == "secret" else { return }
        try keys.add(secret: Array((Fixtures.secret + "x").utf8))
        #expect(problem(keys, token.text) == .badSignature)
    }

    @Test(arguments: Fixtures.tokens) func anotherAlgorithmOfTheSameKeyIsRefused(token: Fixtures.Token) throws {
        let parts = token.text.split(separator: ".").map(String.init)
        for algorithm in TokenAlgorithm.allCases where algorithm != token.algorithm {
            let header = Base64.encodeURL(Array("{\"alg\":\"\(algorithm)\"}".utf8))
            #expect(problem(try allKeys(), "\(header).\(parts[1]).\(parts[2])") == .badSignature)
        }
    }

    @Test(arguments: Fixtures.tokens) func signaturesOfOtherLengthsAreRefused(token: Fixtures.Token) throws {
        guard token.keyID == nil else { return }
        let keys = try allKeys()
        let parts = token.text.split(separator: ".").map(String.init)
        let signature = try #require(Base64.decodeURL(parts[2]))
        for cut in [1, 2, signature.count / 2, signature.count - 1] {
            for other in [
                Array(signature.dropLast(cut)), Array(signature.dropFirst(cut)),
                signature + Array(repeating: 0, count: cut), Array(repeating: 0, count: cut) + signature,
            ] {
                #expect(problem(keys, "\(parts[0]).\(parts[1]).\(Base64.encodeURL(other))") == .badSignature)
            }
        }
        // Numbers that verify anything where nobody looks (CVE-2022-21449), and the largest ones.
        for byte: UInt8 in [0, 0xFF] {
            let other = [UInt8](repeating: byte, count: signature.count)
            #expect(problem(keys, "\(parts[0]).\(parts[1]).\(Base64.encodeURL(other))") == .badSignature)
        }
    }

    @Test(arguments: [
        "ES256 in DER", "PS256 with a salt of 20 bytes", "HS256 by the PEM of the RSA key",
        "HS256 by the DER of the RSA key",
    ])
    func forgedTokensAreRefused(name: String) throws {
        let token = Fixtures.forged(name)
        #expect(!token.isEmpty)
        #expect(problem(try allKeys(), token) == .badSignature)
        // Without a secret, no key is one for an HMAC.
        var keys = TokenKeys()
        for name in ["rsa", "p256"] { try keys.add(pem: Fixtures.pem(name)) }
        #expect(problem(keys, token) == (name.hasPrefix("HS256") ? .unknownKey(nil) : .badSignature))
    }

    /// A key that names its algorithm verifies no other one, and a key ID of one kind is not for another.
    @Test func aKeyIsForItsAlgorithm() throws {
        var skipped: [KeyProblem] = []
        var key = Fixtures.jwk("rsa")
        key["alg"] = .string("RS256")
        let keys = try TokenKeys(keySet: Fixtures.keySet([key]), skipped: &skipped)
        #expect(problem(keys, Fixtures.token(.rs256, "joserfc")) == nil)
        #expect(problem(keys, Fixtures.token(.rs256)) == nil)
        #expect(problem(keys, Fixtures.token(.ps256, "joserfc")) == .badAlgorithm)
        #expect(problem(keys, Fixtures.token(.ps256)) == .unknownKey(nil))
        let header = Base64.encodeURL(Array(#"{"alg":"HS256","kid":"rsa"}"#.utf8))
        #expect(problem(keys, "\(header).e30.AAAA") == .badAlgorithm)
    }

    @Test func keysMayShareAnID() throws {
        var keys = TokenKeys()
        for name in ["p256", "rsa", "ed25519"] { try keys.add(pem: Fixtures.pem(name), id: "rsa") }
        try keys.add(pem: Fixtures.pem("rsa"), id: "rsa")
        #expect(keys.count == 3)
        #expect(problem(keys, Fixtures.token(.rs256, "joserfc")) == nil)
        #expect(problem(keys, Fixtures.token(.es256, "joserfc")) == .unknownKey("p256"))
    }

    /// Tokens without a key ID are tried with at most eight keys.
    @Test func onlyAFewKeysAreTried() throws {
        for count in [7, 8] {
            var keys = TokenKeys()
            for index in 0..<count { try keys.add(secret: Array("another secret of many bytes, no. \(index)".utf8)) }
            try keys.add(secret: Array(Fixtures.secret.utf8))
            #expect(problem(keys, Fixtures.token(.hs256)) == (count == 7 ? nil : .badSignature))
        }
    }

    @Test func aPreviousSecretEnds() throws {
        var keys = TokenKeys()
        try keys.add(secret: Forge.secret)
        try keys.add(secret: Array(Fixtures.secret.utf8), validUntil: Fixtures.now + 1_000)
        let cache = VerifiedTokens()
        for verifier in [TokenVerifier(keys), TokenVerifier(keys, cache: cache)] {
            let token = Fixtures.token(.hs256)
            try check(verifier.verify(token, now: Fixtures.now))
            guard case .failure(.badSignature) = verifier.verify(token, now: Fixtures.now + 1_000) else {
                throw TokenProblem.badSignature
            }
        }
        #expect(cache.count == 1)
    }

    @Test func withoutKeysNothingIsVerified() {
        for token in Fixtures.tokens { #expect(problem(TokenKeys(), token.text) == .unknownKey(token.keyID)) }
    }
}
