import Testing

@testable import ChatCore

/// Which grants a revocation concerns, and for how long.
@Suite struct RevocationsTests {
    private func grant(_ user: String, id: String? = nil, issuedAt: UInt64? = nil) throws -> Grant {
        Grant(user: try UserID(user), permissions: Permissions(rules: []), tokenID: id, issuedAt: issuedAt)
    }

    @Test func aTokenAUserOrEverybody() throws {
        var revocations = Revocations()
        #expect(!revocations.isRevoked(try grant("ana", id: "t1", issuedAt: 5)))
        _ = revocations.revoke(.token(id: "t1"), issuedBefore: .max, until: 100, now: 10)
        #expect(revocations.isRevoked(try grant("ana", id: "t1", issuedAt: 50)))
        #expect(!revocations.isRevoked(try grant("ana", id: "t2", issuedAt: 5)))
        #expect(!revocations.isRevoked(try grant("ana")))
        _ = revocations.revoke(.user(try UserID("bob")), issuedBefore: 20, until: 100, now: 10)
        #expect(revocations.isRevoked(try grant("bob", issuedAt: 19)))
        #expect(revocations.isRevoked(try grant("bob")), "a token that does not say when it was issued")
        #expect(!revocations.isRevoked(try grant("bob", issuedAt: 20)), "issued afterwards")
        _ = revocations.revoke(.everybody, issuedBefore: 15, until: 100, now: 10)
        #expect(revocations.isRevoked(try grant("eve", issuedAt: 14)))
        #expect(!revocations.isRevoked(try grant("eve", issuedAt: 15)))
    }

    @Test func ofTwoAboutOneSubjectBothCount() throws {
        var revocations = Revocations()
        let bob = Revocations.Subject.user(try UserID("bob"))
        _ = revocations.revoke(bob, issuedBefore: 50, until: 100, now: 10)
        _ = revocations.revoke(bob, issuedBefore: 20, until: 300, now: 10)
        #expect(revocations.isRevoked(try grant("bob", issuedAt: 49)))
        revocations.forget(now: 200)
        #expect(revocations.isRevoked(try grant("bob", issuedAt: 49)))
        revocations.forget(now: 300)
        #expect(!revocations.isRevoked(try grant("bob", issuedAt: 49)) && revocations.count == 0)
    }

    @Test func memoryIsBoundedAndTheEarliestToEndIsForgotten() throws {
        var revocations = Revocations()
        for number in 0..<Revocations.most {
            let isWhole = revocations.revoke(
                .token(id: "t\(number)"), issuedBefore: .max, until: UInt64(1_000 + number), now: 10)
            try #require(isWhole)
        }
        var isWhole = revocations.revoke(.token(id: "last"), issuedBefore: .max, until: 5_000_000, now: 10)
        #expect(!isWhole)
        #expect(revocations.count == Revocations.most)
        #expect(!revocations.isRevoked(try grant("ana", id: "t0")))
        #expect(revocations.isRevoked(try grant("ana", id: "t1")))
        #expect(revocations.isRevoked(try grant("ana", id: "last")))
        isWhole = revocations.revoke(.token(id: "over"), issuedBefore: .max, until: 9, now: 10)
        #expect(isWhole && revocations.count == Revocations.most, "it has ended already")
    }
}
