import ChatCore
import Testing

@testable import ChatAccess

/// The cache of verified tokens.
struct VerifiedTokensTests {
    private let now = Forge.now

    private func token(_ number: Int, exp: Int = Forge.seconds + 3_600) -> String {
        Forge.sign(claims: Forge.claims("\"jti\":\"t\(number)\"", exp: "\(exp)"))
    }

    @Test func aVerifiedTokenIsKnown() throws {
        let cache = VerifiedTokens()
        let verifier = TokenVerifier(try Forge().keys(), cache: cache)
        let token = token(1)
        #expect(verifier.known(token, now: now) == nil)
        let grant = try verifier.verify(token, now: now).get()
        #expect(verifier.known(token, now: now) === grant)
        #expect(try verifier.verify(token, now: now).get() === grant)
        #expect(cache.count == 1)
        cache.removeAll()
        #expect(verifier.known(token, now: now) == nil && cache.count == 0)
        #expect(TokenVerifier(try Forge().keys()).known(token, now: now) == nil)
    }

    /// What tokens allow is stored once, also for the session that brings a token for the first time.
    @Test func grantsShareWhatTheyAllow() throws {
        let verifier = TokenVerifier(try Forge().keys(), cache: VerifiedTokens())
        let grants = try (1...3).map { try verifier.verify(token($0), now: now).get() }
        #expect(Set(grants).count == 3, "three tokens")
        #expect(Set(grants.map { ObjectIdentifier($0.permissions) }).count == 1)
        #expect(grants[0].permissions === verifier.known(token(1), now: now)?.permissions)
    }

    @Test func aTokenIsKnownUntilItExpires() throws {
        let verifier = TokenVerifier(try Forge().keys(), cache: VerifiedTokens())
        let token = token(1, exp: Forge.seconds + 1)
        _ = try verifier.verify(token, now: now).get()
        #expect(verifier.known(token, now: now + 30_999) != nil)
        #expect(verifier.known(token, now: now + 31_000) == nil)
        guard case .failure(.expired) = verifier.verify(token, now: now + 31_000) else { throw TokenProblem.expired }
    }

    @Test func refusedTokensAreNotKept() throws {
        let cache = VerifiedTokens()
        let verifier = TokenVerifier(try Forge().keys(), cache: cache)
        for token in ["", "a.b.c", token(1, exp: 5), token(1) + "A", String(token(1).dropLast(2))] {
            guard case .failure = verifier.verify(token, now: now) else { throw TokenProblem.badSignature }
        }
        #expect(cache.count == 0)
    }

    @Test func theNumberOfEntriesIsBound() throws {
        let cache = VerifiedTokens(capacity: 10)
        let verifier = TokenVerifier(try Forge().keys(), cache: cache)
        for number in 0..<100 { _ = try verifier.verify(token(number), now: now).get() }
        #expect(cache.count == 10)
        #expect((0..<100).filter { verifier.known(token($0), now: now) != nil }.count == 10)
        #expect(verifier.known(token(99), now: now) != nil)
    }

    /// Entries that are of no use make room first.
    @Test func expiredEntriesMakeRoomFirst() throws {
        let cache = VerifiedTokens(capacity: 100)
        let verifier = TokenVerifier(try Forge().keys(), cache: cache)
        for number in 0..<90 { _ = try verifier.verify(token(number, exp: Forge.seconds + 1), now: now).get() }
        for number in 90..<100 { _ = try verifier.verify(token(number), now: now).get() }
        let later = now + 60_000
        for number in 100..<140 { _ = try verifier.verify(token(number), now: later).get() }
        #expect((90..<140).filter { verifier.known(token($0), now: later) != nil }.count >= 48)
        #expect(cache.count == 100)
    }

    /// A key that is gone, or a stricter rule, ends what was verified with it.
    @Test func otherKeysOrRulesVerifyAgain() throws {
        let cache = VerifiedTokens()
        let token = token(1)
        _ = try TokenVerifier(try Forge().keys(), cache: cache).verify(token, now: now).get()
        var keys = try Forge().keys()
        #expect(TokenVerifier(keys, cache: cache).known(token, now: now) != nil)
        try keys.add(pem: Fixtures.pem("rsa"))
        #expect(TokenVerifier(keys, cache: cache).known(token, now: now) == nil)
        var rules = TokenRules()
        rules.audience = "chat"
        let strict = TokenVerifier(try Forge().keys(), rules, cache: cache)
        #expect(strict.known(token, now: now) == nil)
        guard case .failure(.badAudience) = strict.verify(token, now: now) else { throw TokenProblem.badAudience }
        guard case .failure(.unknownKey) = TokenVerifier(TokenKeys(), cache: cache).verify(token, now: now) else {
            throw TokenProblem.unknownKey(nil)
        }
    }

    /// Keys that change all the time: what was verified under others is never taken for this, and memory stays bounded.
    @Test func everyVersionIsToldApart() throws {
        let cache = VerifiedTokens(capacity: 1_000)
        let grant = Grant(user: try UserID("ana"), permissions: Permissions(rules: []))
        let digests = (0..<300).map { SHA256Digest(of: "token \($0)") }
        for (number, digest) in digests.enumerated() {
            cache.insert(grant, for: digest, version: UInt64(number), until: now + 5_000, now: now)
            #expect(cache.grant(digest, version: UInt64(number), now: now) === grant)
            #expect(cache.grant(digest, version: UInt64(number) + 1, now: now) == nil)
            #expect(cache.grant(digests[number / 2], version: UInt64(number), now: now) == nil || number == 0)
        }
        #expect(cache.count <= 64)
    }

    @Test func manyThreads() async throws {
        let cache = VerifiedTokens(capacity: 50)
        let verifier = TokenVerifier(try Forge().keys(), cache: cache)
        let tokens = (0..<100).map { token($0) }
        let user = try UserID("ana")
        await withTaskGroup(of: Int.self) { group in
            for seed in 0..<8 {
                group.addTask {
                    var generator = SplitMix64(seed: UInt64(seed))
                    var right = 0
                    for _ in 0..<500 {
                        let token = tokens[Int.random(in: 0..<100, using: &generator)]
                        if case .success(let grant) = verifier.verify(token, now: Forge.now), grant.user == user {
                            right += 1
                        }
                    }
                    return right
                }
            }
            for await right in group { #expect(right == 500) }
        }
        #expect(cache.count == 50)
    }

    /// The same key on many threads at the same time.
    @Test func keysAreForManyThreads() async throws {
        var keys = TokenKeys()
        try keys.add(secret: Array(Fixtures.secret.utf8))
        for name in ["rsa", "p256", "p384", "p521", "ed25519"] { try keys.add(pem: Fixtures.pem(name)) }
        let verifier = TokenVerifier(keys)
        let tokens = Fixtures.tokens.filter { $0.keyID == nil }.map(\.text)
        await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    (0..<10).allSatisfy { _ in
                        tokens.allSatisfy { token in
                            let bad = String(token.dropLast(8)) + "AAAAAAAA"
                            guard case .success = verifier.verify(token, now: Fixtures.now),
                                case .failure(.badSignature) = verifier.verify(bad, now: Fixtures.now)
                            else { return false }
                            return true
                        }
                    }
                }
            }
            for await isRight in group { #expect(isRight) }
        }
    }
}
