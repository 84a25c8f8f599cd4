import ChatCore
import ChatJSON
import Testing

@testable import ChatAccess

/// What is no signed token, and what is signed with something that is no signature.
struct TokenFormTests {
    private let forge = Forge()
    private let good = Forge.sign(claims: Forge.claims())

    @Test func aWellFormedTokenIsAccepted() throws {
        #expect(try forge.problem(good) == nil)
    }

    // MARK: Parts

    @Test(arguments: ["", ".", "..", "...", "a", "a.b", "a.b.", ".b.c", "a..c", "a.b.c.d", "a.b.c.d.e"])
    func otherNumbersOfPartsAreRefused(token: String) throws {
        #expect(try forge.problem(token)?.name == "malformed")
    }

    @Test func emptyPartsAreRefused() throws {
        let parts = good.split(separator: ".")
        for place in 0..<3 {
            var changed = parts
            changed[place] = ""
            #expect(try forge.problem(changed.joined(separator: ".")) == .malformed("an empty part"))
        }
    }

    @Test(arguments: ["=", "==", " ", "\n", "\u{0}", "é", "ß", "\u{200B}", "%20", "+", "/", "\t", "*", "\u{1F600}"])
    func otherCharactersThanThoseOfBase64URLAreRefused(text: String) throws {
        let parts = good.split(separator: ".").map(String.init)
        for place in 0..<3 {
            for inFront in [false, true] {
                var changed = parts
                changed[place] = inFront ? text + changed[place] : changed[place] + text
                #expect(try forge.problem(changed.joined(separator: "."))?.name == "malformed")
            }
        }
        #expect(try forge.problem("Bearer " + good)?.name == "malformed")
    }

    /// Bits that decode to nothing: the same bytes have one text only.
    @Test func base64IsCanonical() throws {
        #expect(Base64.decodeURL("AA") == [0] && Base64.decodeURL("AB") == nil && Base64.decodeURL("AP") == nil)
        #expect(Base64.decodeURL("AAA") == [0, 0] && Base64.decodeURL("AAB") == nil)
        #expect(Base64.decodeURL("A") == nil && Base64.decodeURL("AAAAA") == nil)
        #expect(Base64.decodeURL("-_-_") == [0xFB, 0xFF, 0xBF] && Base64.decodeURL("+/+/") == nil)
        // The signature of HS256 has 43 characters, of which the last holds two unused bits.
        let last = try #require(good.last)
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
        let value = try #require(alphabet.firstIndex(of: last))
        for other in 1..<4 {
            let token = String(good.dropLast()) + String(alphabet[value & ~3 | other])
            #expect(try forge.problem(token) == .malformed("signature, not base64url"))
        }
    }

    @Test func base64EncodesWhatItDecodes() {
        var generator = SplitMix64(seed: 1)
        for count in 0..<200 {
            let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
            #expect(Base64.decodeURL(Base64.encodeURL(bytes)) == bytes)
        }
    }

    @Test func longTokensAreRefusedUnread() throws {
        #expect(try forge.problem(String(repeating: "a", count: 8_193)) == .tooLong(limit: 8_192))
        let long = Forge.sign(claims: Forge.claims(#""more":"\#(String(repeating: "x", count: 1_000_000))""#))
        #expect(try forge.problem(long) == .tooLong(limit: 8_192))
        #expect(try forge.problem(String(repeating: ".", count: 1_000_000)) == .tooLong(limit: 8_192))
        var wide = forge
        wide.rules.maxBytes = 10_000_000
        #expect(try wide.problem(long) == nil)
        #expect(try wide.problem(String(repeating: ".", count: 1_000_000)) == .malformed("more than three parts"))
    }

    // MARK: JSON

    @Test(arguments: [
        "", "null", "1", "\"text\"", "[]", "{", "{\"sub\":\"ana\"", "{} {}", "{,}", "{\"exp\":01}", "{'sub':'ana'}",
        "{\"exp\":NaN}", "{\"exp\":Infinity}", "\u{FEFF}{}", "{\"a\":\"\\ud800\"}", "{}\u{0}", "// x\n{}",
    ])
    func headerAndClaimsAreJSONObjects(text: String) throws {
        guard !text.isEmpty else { return }
        #expect(try forge.problem(Forge.sign(claims: text))?.name == "malformed")
        #expect(try forge.problem(Forge.sign(header: text, claims: Forge.claims()))?.name == "malformed")
    }

    @Test func textThatIsNotUTF8IsRefused() throws {
        for bytes: [UInt8] in [[0xFF], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xE2, 0x82]] {
            let claims = Array(#"{"sub":"ana","exp":1900000000,"name":""#.utf8) + bytes + Array("\"}".utf8)
            #expect(
                try forge.problem(Forge.sign(header: Array(#"{"alg":"HS256"}"#.utf8), claims: claims))?.name
                    == "malformed")
        }
    }

    @Test(arguments: ["[", "{\"a\":"])
    func deepNestingIsRefused(opening: String) throws {
        var wide = forge
        wide.rules.maxBytes = 1_000_000
        let depth = 10_000
        for end in ["", "1" + String(repeating: opening == "[" ? "]" : "}", count: depth)] {
            let nested = String(repeating: opening, count: depth) + end
            #expect(try wide.problem(Forge.sign(claims: Forge.claims("\"deep\":\(nested)")))?.name == "malformed")
            #expect(try wide.problem(Forge.sign(header: nested, claims: Forge.claims()))?.name == "malformed")
        }
    }

    @Test(arguments: [
        #""sub":"ben""#, #""exp":4102444800"#, #""a":1,"a":1"#, #""\u0073ub":"ben""#, #""a":{"b":1,"b":2}"#,
        #""a":[{"b":1},{"b":2,"c":3,"b":4}]"#, #""martlet":{"rooms":{"a":["read"],"a":["send"]}}"#,
        #""martlet":{"deny":[],"deny":[]}"#,
    ])
    func membersOfTheSameNameAreRefused(more: String) throws {
        #expect(try forge.problem(claims: more)?.description.contains("same name") == true)
    }

    @Test func headerFieldsOfTheSameNameAreRefused() throws {
        #expect(try forge.problem(header: #"{"alg":"none","alg":"HS256"}"#)?.name == "malformed")
        #expect(try forge.problem(header: #"{"alg":"HS256","\u0061lg":"none"}"#)?.name == "malformed")
    }

    // MARK: Header

    @Test(arguments: [
        "none", "None", "NONE", "nOnE", "none ", "", "hs256", "Hs256", "HS256 ", " HS256", "HS1", "HS-256", "ES256K",
        "A128KW",
        "dir", "RSA-OAEP", "ES512\\u0000", "\\u0000", "EdDSA2", "eddsa", "SHA256", "RS1",
    ])
    func otherAlgorithmsAreRefused(name: String) throws {
        #expect(try forge.problem(header: "{\"alg\":\"\(name)\"}") == .badAlgorithm)
    }

    @Test(arguments: ["null", "1", "true", "[]", "[\"HS256\"]", "{}", "{\"alg\":\"HS256\"}"])
    func anAlgorithmIsAString(value: String) throws {
        #expect(try forge.problem(header: "{\"alg\":\(value)}") == .badAlgorithm)
        #expect(try forge.problem(header: "{}") == .badAlgorithm)
    }

    @Test func noneIsRefusedWithAnySignature() throws {
        let header = Base64.encodeURL(Array(#"{"alg":"none"}"#.utf8))
        let claims = Base64.encodeURL(Array(Forge.claims().utf8))
        #expect(try forge.problem("\(header).\(claims).") == .malformed("an empty part"))
        #expect(try forge.problem("\(header).\(claims).AA") == .badAlgorithm)
    }

    @Test func algorithmsThatAreNotAllowedAreRefused() throws {
        var strict = forge
        strict.rules.algorithms = [.es256]
        #expect(try strict.problem(good) == .badAlgorithm)
        strict.rules.algorithms = []
        #expect(try strict.problem(good) == .badAlgorithm)
    }

    @Test(arguments: ["JWT", "jwt", "Jwt", "at+jwt", "AT+JWT", "application/at+jwt", "application/jwt"])
    func typesOfTokens(type: String) throws {
        #expect(try forge.problem(header: "{\"alg\":\"HS256\",\"typ\":\"\(type)\"}") == nil)
        #expect(try forge.problem(header: #"{"alg":"HS256"}"#) == nil)
    }

    @Test(arguments: ["\"\"", "\"JWE\"", "\"JWT \"", "\"dpop+jwt\"", "\"logout+jwt\"", "null", "1", "[\"JWT\"]"])
    func otherTypesAreRefused(type: String) throws {
        #expect(try forge.problem(header: "{\"alg\":\"HS256\",\"typ\":\(type)}")?.subject == "typ")
    }

    @Test(arguments: ["[]", "[\"exp\"]", "[\"b64\"]", "null", "\"exp\""])
    func criticalExtensionsAreRefused(value: String) throws {
        #expect(try forge.problem(header: "{\"alg\":\"HS256\",\"crit\":\(value),\"b64\":false}")?.subject == "crit")
    }

    /// The signature is right, but the token names another key than the one that verifies it.
    @Test(arguments: [
        "", "a", "../../", "../../../../dev/null", "' OR 1=1 --", "\\u0000", "http://127.0.0.1/", "\\ud83d\\ude00",
        String(repeating: "k", count: 4_000),
    ])
    func unknownKeysAreRefused(id: String) throws {
        let token = Forge.sign(header: "{\"alg\":\"HS256\",\"kid\":\"\(id)\"}", claims: Forge.claims())
        var keys = TokenKeys()
        try keys.add(secret: Forge.secret, id: "ours")
        guard case .failure(let problem) = TokenVerifier(keys).verify(token, now: Forge.now) else {
            throw TokenProblem.unknownKey(nil)
        }
        #expect(problem.name == "unknownKey")
        #expect(problem.description == "the token names a key (kid) that is not known here")
        // A key that was configured without an ID verifies whatever it signed, and nothing else.
        #expect(try forge.problem(token) == nil)
        let other = TokenVerifier(try Forge().keys()).verify(String(token.dropLast(8)) + "AAAAAAAA", now: Forge.now)
        guard case .failure(.unknownKey) = other else { throw TokenProblem.unknownKey(nil) }
    }

    @Test(arguments: ["null", "1", "[\"a\"]", "{}", "true"])
    func aKeyIDIsAString(value: String) throws {
        #expect(try forge.problem(header: "{\"alg\":\"HS256\",\"kid\":\(value)}")?.subject == "kid")
    }

    /// A token that brings its own key, or the address of one.
    @Test func keysInTheHeaderAreIgnored() throws {
        let key = #"{"kty":"oct","k":"AAAA"}"#
        for field in ["\"jwk\":\(key)", "\"jku\":\"https://evil.example/\"", "\"x5u\":\"https://evil.example/\""] {
            let header = "{\"alg\":\"HS256\",\(field)}"
            #expect(try forge.problem(header: header) == nil)
            let signed =
                Base64.encodeURL(Array(header.utf8)) + "." + Base64.encodeURL(Array(Forge.claims().utf8))
            let token = signed + "." + Base64.encodeURL(Forge.mac(signed, [0, 0, 0]))
            #expect(try forge.problem(token) == .badSignature)
        }
    }

    /// Whatever a token holds, no sentence about it repeats it.
    @Test func noProblemQuotesTheToken() throws {
        let mark = "zQx9"
        let claims = [
            #""sub":"\u0001zQx9""#, #""device":"zQx9\u202e""#, #""jti":zQx9"#, #""iss":["zQx9"]"#, #""aud":{"zQx9":1}"#,
            #""zQx9":1,"zQx9":1"#, #""martlet":{"zQx9":1}"#, #""martlet":{"rooms":{"zQx9\u0000":["read"]}}"#,
            #""martlet":{"rooms":{"a":["zQx9"]}}"#, #""martlet":{"deny":["zQx9\u0000"]}"#, #""nbf":"zQx9""#,
            #""exp":zQx9"#,
        ]
        for more in claims {
            let problem = try #require(try forge.problem(claims: more))
            #expect(!"\(problem)".contains(mark), "\(problem)")
        }
        for field in [
            #""kid":["zQx9"]"#, #""alg":"zQx9""#, #""typ":"zQx9""#, #""crit":["zQx9"]"#, #""zQx9":1,"zQx9":1"#,
        ] {
            let problem = try #require(
                try forge.problem(header: "{\(field)\(field.contains("alg") ? "" : #","alg":"HS256""#)}"))
            #expect(!"\(problem)".contains(mark), "\(problem)")
        }
    }

    // MARK: Signature

    @Test func changedPartsAreRefused() throws {
        let parts = good.split(separator: ".").map(String.init)
        let other = Forge.sign(claims: Forge.claims(#""name":"Ana""#)).split(separator: ".").map(String.init)
        #expect(try forge.problem("\(parts[0]).\(other[1]).\(parts[2])") == .badSignature)
        #expect(try forge.problem("\(parts[0]).\(parts[1]).\(other[2])") == .badSignature)
    }

    @Test func signaturesOfOtherLengthsAreRefused() throws {
        let parts = good.split(separator: ".").map(String.init)
        let signature = try #require(Base64.decodeURL(parts[2]))
        for count in 1..<200 where count != signature.count {
            let other =
                count < signature.count
                ? Array(signature.prefix(count)) : signature + Array(repeating: 0, count: count - signature.count)
            #expect(try forge.problem("\(parts[0]).\(parts[1]).\(Base64.encodeURL(other))") == .badSignature)
        }
    }

    @Test func eachBitOfTheSignatureCounts() throws {
        let parts = good.split(separator: ".").map(String.init)
        let signature = try #require(Base64.decodeURL(parts[2]))
        for bit in 0..<signature.count * 8 {
            var changed = signature
            changed[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(try forge.problem("\(parts[0]).\(parts[1]).\(Base64.encodeURL(changed))") == .badSignature)
        }
    }
}
