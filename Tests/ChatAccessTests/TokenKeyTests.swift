import ChatJSON
import Testing

@testable import ChatAccess

/// Which keys are taken, from PEM and key sets, and what is said about the others.
struct TokenKeyTests {
    private func problem(pem: String) -> String? {
        var keys = TokenKeys()
        do throws(KeyProblem) {
            try keys.add(pem: pem)
            return nil
        } catch {
            return error.description
        }
    }

    private func problem(jwk: [String: JSONValue]) throws -> String? {
        var skipped: [KeyProblem] = []
        let set = Fixtures.keySet([jwk, Fixtures.jwk("ed25519")])
        let keys = try TokenKeys(keySet: set, skipped: &skipped)
        #expect(keys.count + skipped.count == 2)
        return skipped.first?.description
    }

    // MARK: Secrets

    @Test func secretsHaveAtLeast32Bytes() throws {
        var keys = TokenKeys()
        #expect(throws: KeyProblem("the secret has 31 bytes, at least 32 are needed")) {
            try keys.add(secret: Array(repeating: 1, count: 31))
        }
        #expect(throws: KeyProblem.self) { try keys.add(secret: []) }
        try keys.add(secret: Array(repeating: 1, count: 32))
        try keys.add(secret: Array(repeating: 1, count: 10_000))
        #expect(keys.count == 2)
    }

    @Test func aPublicKeyIsNoSecret() {
        var keys = TokenKeys()
        for text in [Fixtures.pem("rsa"), Fixtures.certificate("rsa"), "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDc"] {
            #expect(throws: KeyProblem.self) { try keys.add(secret: Array(text.utf8)) }
        }
    }

    @Test func printingShowsNoSecret() throws {
        let secret = Array("SeCrEt of many and many more bytes".utf8)
        var keys = TokenKeys()
        try keys.add(secret: secret, id: "a")
        let bytes = secret.map { "\($0)" }.prefix(4).joined(separator: ", ")
        let signer = try TokenSigner(secret: secret)
        let apiKeys = try APIKeys("bot:" + String(repeating: "7b", count: 32) + ":read")
        for value: Any in [keys, TokenVerifier(keys, cache: VerifiedTokens()), signer, apiKeys] {
            var dumped = ""
            dump(value, to: &dumped)
            for text in ["\(value)", String(reflecting: value), dumped] {
                #expect(!text.contains(bytes) && !text.contains("SeCrEt") && !text.contains("\(0x7b7b_7b7b_7b7b_7b7b)"))
            }
        }
        #expect(keys.descriptions == ["shared secret, kid \"a\""])
    }

    // MARK: PEM

    @Test func severalKeysInOneFile() throws {
        var keys = TokenKeys()
        try keys.add(
            pem: "A comment.\n" + Fixtures.pem("rsa").replacing("\n", with: "\r\n") + "\n" + Fixtures.pem("p256")
                + Fixtures.certificate("ed25519") + Fixtures.certificate("rsa"))
        #expect(keys.descriptions == ["RSA, 2048 bits", "EC P-256", "Ed25519"])
    }

    @Test func weakAndHugeKeysAreRefused() {
        #expect(problem(pem: Fixtures.pem("rsa1024")) == "an RSA key of 1024 bits, 2048 to 8192 are accepted")
        #expect(problem(pem: Fixtures.pem("rsa8200")) == "an RSA key of 8200 bits, 2048 to 8192 are accepted")
    }

    @Test func otherCurvesAreRefused() {
        for name in ["secp256k1", "ed448"] {
            #expect(problem(pem: Fixtures.pem(name))?.contains("not supported") == true, "\(name)")
        }
    }

    @Test func privateKeysAreRefused() {
        #expect(problem(pem: Fixtures.signing("p256"))?.hasPrefix("a private key") == true)
        #expect(
            problem(pem: Fixtures.pem("rsa") + Fixtures.signing("p256"))?.hasPrefix("block 2: a private key") == true)
    }

    @Test func textThatIsNoKeyIsRefused() throws {
        let pem = Fixtures.pem("p256")
        let lines = pem.split(separator: "\n").map(String.init)
        for text in [
            "", "hello", "-----BEGIN PUBLIC KEY-----", "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", lines.dropLast().joined(separator: "\n"),
            "-----BEGIN PUBLIC KEY-----\n*\n-----END PUBLIC KEY-----", pem.replacing("END PUBLIC", with: "END PRIVATE"),
            pem.replacing("PUBLIC KEY", with: "CERTIFICATE"), pem.replacing("PUBLIC KEY", with: "RSA PUBLIC KEY"),
            Fixtures.certificate("rsa").replacing("CERTIFICATE", with: "PUBLIC KEY"),
            lines[0] + "\n" + lines[1].dropLast(4) + "\n" + lines[lines.count - 1],
        ] {
            #expect(problem(pem: text) != nil, "\(text)")
        }
    }

    /// Bytes behind the key, which another reader might read.
    @Test func moreThanAKeyIsRefused() throws {
        let blocks = try PEM.blocks(Fixtures.pem("p256"))
        let block = try #require(blocks.first)
        #expect((try? PublicKey(subjectPublicKeyInfo: block.bytes)) != nil)
        #expect((try? PublicKey(subjectPublicKeyInfo: block.bytes + [0])) == nil)
        for count in 0..<block.bytes.count {
            #expect((try? PublicKey(subjectPublicKeyInfo: Array(block.bytes.prefix(count)))) == nil)
        }
    }

    // MARK: Key sets

    @Test func aBrokenKeyDoesNotSpoilTheSet() throws {
        let other: [[String: JSONValue]] = [
            ["kty": .string("oct"), "k": .string("c2VjcmV0"), "kid": .string("shared")],
            ["kty": .string("AKP"), "alg": .string("ML-DSA-65"), "kid": .string("later")], [:],
            ["kid": .string("nothing\n")], Fixtures.jwk("rsa1024"), Fixtures.jwk("secp256k1"), Fixtures.privateJWK,
        ]
        var skipped: [KeyProblem] = []
        let set = Fixtures.keySet(other + [Fixtures.jwk("p256"), Fixtures.jwk("rsa")])
        let keys = try TokenKeys(keySet: set, skipped: &skipped)
        #expect(keys.descriptions == ["EC P-256, kid \"p256\"", "RSA, 2048 bits, kid \"rsa\""])
        #expect(
            skipped.map(\.description) == [
                "key 1, kid \"shared\": a shared secret (oct), which a key set would show to everybody",
                "key 2, kid \"later\": a kind of key (kty) that is not supported",
                "key 3: kty is missing, or not a string",
                "key 4, kid of 8 bytes: kty is missing, or not a string",
                "key 5, kid \"rsa1024\": an RSA key of 1024 bits, 2048 to 8192 are accepted",
                "key 6, kid \"secp256k1\": a curve (crv) that is not supported",
                "key 7, kid \"private\": a private key, which should be shown to nobody",
            ])
    }

    @Test(arguments: [
        ("use", JSONValue.string("enc")), ("use", .null), ("key_ops", .array([.string("encrypt")])),
        ("key_ops", .string("verify")), ("key_ops", .array([])), ("alg", .string("ECDH-ES")), ("alg", .string("RS256")),
        ("alg", .string("HS256")), ("alg", .string("none")), ("alg", .number("1")), ("kid", .number("1")),
        ("kid", .null), ("crv", .string("P-384")), ("crv", .string("secp256k1")), ("crv", .null),
        ("kty", .string("ec")), ("kty", .string("RSA")), ("kty", .array([])), ("x", .string("")),
        ("x", .string("AAAA")),
        ("x", .string("*")), ("x", .null), ("y", .string(String(repeating: "A", count: 43))), ("y", .number("5")),
        ("d", .string("AAAA")),
    ])
    func changedKeysAreSkipped(member: String, value: JSONValue) throws {
        var key = Fixtures.jwk("p256")
        #expect(try problem(jwk: key) == nil)
        key[member] = value
        #expect(try problem(jwk: key) != nil)
    }

    @Test(arguments: [
        ("use", JSONValue.string("sig")), ("key_ops", .array([.string("verify"), .string("sign")])),
        ("alg", .string("ES256")), ("kid", .string("")), ("more", .object([:])), ("x5c", .array([.string("AAAA")])),
    ])
    func otherMembersAreNoProblem(member: String, value: JSONValue) throws {
        var key = Fixtures.jwk("p256")
        key[member] = value
        #expect(try problem(jwk: key) == nil)
    }

    @Test func aPointIsOnItsCurve() throws {
        for name in ["p256", "p384", "p521"] {
            var key = Fixtures.jwk(name)
            let x = key["x"]
            key["x"] = key["y"]
            key["y"] = x
            #expect(try problem(jwk: key)?.contains("no public key") == true)
        }
    }

    @Test func numbersOfRSAKeysAreBound() throws {
        var key = Fixtures.jwk("rsa")
        let modulus = try #require(Base64.decodeURL(key["n"]?.string ?? ""))
        for exponent: [UInt8] in [[0], [1], [2], [4], [1, 0, 0], Array(repeating: 0xFF, count: 9), modulus] {
            key["e"] = .string(Base64.encodeURL(exponent))
            #expect(try problem(jwk: key) != nil, "\(exponent.count)")
        }
        key["e"] = .string("AQAB")
        key["n"] = .string(Base64.encodeURL(Array(modulus.dropLast(1)) + [modulus[255] & 0xFE]))
        #expect(try problem(jwk: key) != nil, "an even modulus")
        key["n"] = .string(Base64.encodeURL(Array(repeating: 0xFF, count: 100_000)))
        #expect(try problem(jwk: key)?.hasSuffix("an RSA key of 800000 bits, 2048 to 8192 are accepted") == true)
        // Zeros in front are not how RFC 7518 §6.3.1.1 writes numbers, but some issuers do.
        key["n"] = .string(Base64.encodeURL([0] + modulus))
        #expect(try problem(jwk: key) == nil)
    }

    @Test(arguments: [
        "", "[]", "null", "{}", "{\"keys\":{}}", "{\"keys\":null}", "{\"keys\":[]}", "{\"keys\":[1]}", "<html></html>",
        "{\"keys\":[],\"keys\":[]}", "{\"keys\":[{\"kty\":\"oct\"}]}", "{\"keys\":[",
    ])
    func whatIsNoKeySetIsRefused(text: String) {
        var skipped: [KeyProblem] = []
        #expect(throws: KeyProblem.self) { _ = try TokenKeys(keySet: Array(text.utf8), skipped: &skipped) }
    }

    @Test func thereIsALimitOfKeys() {
        var skipped: [KeyProblem] = []
        let keys = Array(repeating: Fixtures.jwk("ed25519"), count: 257)
        #expect(throws: KeyProblem("the key set has 257 keys, the limit is 256")) {
            _ = try TokenKeys(keySet: Fixtures.keySet(keys), skipped: &skipped)
        }
    }

    @Test func setsAreJoined() throws {
        var skipped: [KeyProblem] = []
        var keys = TokenKeys()
        try keys.add(pem: Fixtures.pem("rsa"))
        for _ in 0..<2 {
            keys.add(try TokenKeys(keySet: Fixtures.keySet([Fixtures.jwk("rsa")]), skipped: &skipped))
        }
        #expect(keys.descriptions == ["RSA, 2048 bits", "RSA, 2048 bits, kid \"rsa\""])
    }
}
