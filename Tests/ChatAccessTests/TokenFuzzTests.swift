import ChatCore
import TestSupport
import Testing

@testable import ChatAccess

/// Changed tokens are refused, whatever was changed, and nothing traps.
struct TokenFuzzTests {
    private func keys() throws -> TokenKeys {
        var keys = TokenKeys()
        try keys.add(secret: Array(Fixtures.secret.utf8))
        for name in ["rsa", "p256", "p384", "p521", "ed25519"] {
            try keys.add(pem: Fixtures.pem(name))
            try keys.add(pem: Fixtures.pem(name), id: name)
        }
        return keys
    }

    @Test func changedTokensAreNeverAccepted() throws {
        var generator = SplitMix64(seed: 2_026)
        let verifier = TokenVerifier(try keys())
        let originals = Fixtures.tokens.map { Array($0.text.utf8) }
        var names: Set<String> = []
        for round in 0..<20_000 {
            let original = originals[round % originals.count]
            var bytes = original
            for _ in 0...generator.below(3) { mutate(&bytes, originals, &generator) }
            let text = String(decoding: bytes, as: UTF8.self)
            guard Array(text.utf8) != original, !originals.contains(Array(text.utf8)) else { continue }
            switch verifier.verify(text, now: Fixtures.now) {
            case .success: Issue.record("accepted: \(text)")
            case .failure(let problem): names.insert(problem.name)
            }
        }
        #expect(names.isSuperset(of: ["malformed", "badAlgorithm", "unknownKey", "badSignature"]))
    }

    /// Correctly signed text that is claims or nearly so: it may be accepted, and must not trap.
    @Test func signedClaimsNeverTrap() throws {
        var generator = SplitMix64(seed: 7)
        var wild = WildData(seed: 8)
        let forge = Forge()
        let good = Forge.claims(
            #""nbf":1,"iat":2,"jti":"a","device":"b","aud":["c"],"martlet":{"rooms":{"d:*":["read"]},"deny":["e"],"roles":["f"]}"#
        )
        var accepted = 0
        for round in 0..<20_000 {
            var claims = Array(good.utf8)
            switch round % 3 {
            case 0:
                mutate(&claims, [claims], &generator)
            case 1:
                let names = ["exp", "nbf", "iat", "sub", "aud", "iss", "jti", "device", "name", "martlet"]
                claims = Array("{\"sub\":\"ana\",\"\(wild.pick(names))\":\(wild.json()),\"exp\":1900000000}".utf8)
            default:
                claims = Array(
                    "{\"sub\":\"ana\",\"exp\":1900000000,\"martlet\":{\"\(wild.pick(["rooms", "deny", "roles"]))\":\(wild.json())}}"
                        .utf8)
            }
            let header = Array(#"{"alg":"HS256"}"#.utf8)
            if try forge.problem(Forge.sign(header: header, claims: claims)) == nil { accepted += 1 }
        }
        #expect(accepted > 100 && accepted < 15_000)
    }

    @Test func mutatedKeySetsNeverTrap() throws {
        var generator = SplitMix64(seed: 11)
        let names = ["rsa", "p256", "p384", "p521", "ed25519"]
        let original = Fixtures.keySet(names.map { Fixtures.jwk($0) })
        for _ in 0..<5_000 {
            var bytes = original
            mutate(&bytes, [original], &generator)
            var skipped: [KeyProblem] = []
            _ = try? TokenKeys(keySet: bytes, skipped: &skipped)
        }
        for _ in 0..<2_000 {
            var keys = TokenKeys()
            var bytes = Array(Fixtures.pem(names[generator.below(names.count)]).utf8)
            mutate(&bytes, [bytes], &generator)
            _ = try? keys.add(pem: String(decoding: bytes, as: UTF8.self))
        }
    }

    /// Changes, removes, inserts, repeats or replaces some bytes.
    private func mutate(_ bytes: inout [UInt8], _ others: [[UInt8]], _ generator: inout SplitMix64) {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.={}[]\",:".utf8)
        func letter() -> UInt8 {
            generator.below(8) == 0 ? UInt8(generator.below(256)) : alphabet[generator.below(alphabet.count)]
        }
        guard !bytes.isEmpty else { return bytes.append(letter()) }
        let place = generator.below(bytes.count)
        switch generator.below(8) {
        case 0, 1, 2: bytes[place] = letter()
        case 3: bytes[place] ^= 1 << UInt8(generator.below(8))
        case 4: bytes.remove(at: place)
        case 5: bytes.insert(letter(), at: place)
        case 6: bytes.removeSubrange(place..<min(bytes.count, place + generator.below(40)))
        default:
            let other = others[generator.below(others.count)]
            let start = generator.below(other.count)
            let piece = other[start..<min(other.count, start + 1 + generator.below(300))]
            bytes.replaceSubrange(place..<min(bytes.count, place + piece.count), with: piece)
        }
    }
}
