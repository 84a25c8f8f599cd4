import ChatCore
import ChatJSON
import Testing

@testable import ChatAccess

/// Tokens for development and tests.
struct TokenSignerTests {
    private let claims: [String: JSONValue] = [
        "sub": .string("ana"), "exp": .number("1900000000"),
        "martlet": .object(["rooms": .object(["lobby": .array([.string("read")])])]),
    ]

    private func check(_ token: String, _ keys: TokenKeys) throws {
        let grant = try TokenVerifier(keys).verify(token, now: Forge.now).get()
        #expect(grant.user == (try UserID("ana")) && grant.permissions.rules.map(\.rights) == [.read])
    }

    @Test(arguments: [TokenAlgorithm.hs256, .hs384, .hs512]) func aSecretSigns(algorithm: TokenAlgorithm) throws {
        let signer = try TokenSigner(secret: Forge.secret, algorithm)
        try check(try signer.sign(claims), try Forge().keys())
    }

    @Test(arguments: [
        ("rsa", TokenAlgorithm.rs256), ("p256", .es256), ("p384", .es384), ("p521", .es512), ("ed25519", .edDSA),
    ])
    func aPrivateKeySigns(name: String, algorithm: TokenAlgorithm) throws {
        let signer = try TokenSigner(privatePEM: Fixtures.signing(name), keyID: "dev")
        #expect(signer.algorithm == algorithm)
        var keys = TokenKeys()
        try keys.add(pem: try #require(signer.publicPEM), id: "dev")
        for _ in 0..<20 { try check(try signer.sign(claims), keys) }
    }

    @Test func otherKeysDoNotSign() {
        #expect(throws: KeyProblem.self) { _ = try TokenSigner(secret: [1, 2, 3]) }
        #expect(throws: KeyProblem.self) { _ = try TokenSigner(secret: Forge.secret, .es256) }
        #expect(throws: KeyProblem.self) { _ = try TokenSigner(privatePEM: Fixtures.pem("p256")) }
        #expect(throws: KeyProblem.self) { _ = try TokenSigner(privatePEM: "") }
    }
}
