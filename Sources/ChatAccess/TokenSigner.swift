import ChatJSON

/// Signs tokens, for development and tests: a chat's tokens are signed by whoever knows its users.
public struct TokenSigner: Sendable {
    private enum Material: Sendable, CustomStringConvertible, CustomReflectable {
        case secret([UInt8])
        case privateKey(PrivateKey)

        var description: String { "***" }
        var customMirror: Mirror { Mirror(self, children: [:]) }
    }

    public let algorithm: TokenAlgorithm
    private let material: Material
    private let keyID: String?

    /// Signs with a shared secret: HS256, HS384 or HS512.
    public init(secret: [UInt8], _ algorithm: TokenAlgorithm = .hs256, keyID: String? = nil) throws(KeyProblem) {
        var keys = TokenKeys()
        try keys.add(secret: secret)
        guard algorithm.keyKind == .secret else { throw KeyProblem("a secret does not sign \(algorithm)") }
        self.algorithm = algorithm
        material = .secret(secret)
        self.keyID = keyID
    }

    /// Signs with the private key in a PEM file (PKCS #8, no pass phrase): RS256, ES256, ES384, ES512 or EdDSA,
    /// whichever fits the key.
    public init(privatePEM: String, keyID: String? = nil) throws(KeyProblem) {
        let blocks = try PEM.blocks(privatePEM)
        guard let block = blocks.first, blocks.count == 1, block.label == "PRIVATE KEY" else {
            throw KeyProblem("expected one PEM block, -----BEGIN PRIVATE KEY-----")
        }
        let key = try PrivateKey(pkcs8: block.bytes)
        algorithm = key.algorithm
        material = .privateKey(key)
        self.keyID = keyID
    }

    /// The public key that verifies the tokens; nil for a secret.
    public var publicPEM: String? {
        guard case .privateKey(let key) = material else { return nil }
        return PEM.text("PUBLIC KEY", key.publicKey)
    }

    /// A token with these claims, as they are.
    public func sign(_ claims: [String: JSONValue]) throws(KeyProblem) -> String {
        var header: [String: JSONValue] = ["alg": .string(algorithm.rawValue), "typ": .string("JWT")]
        if let keyID { header["kid"] = .string(keyID) }
        let signed = [header, claims].map { Base64.encodeURL(Array(JSONValue.object($0).text.utf8)) }.joined(
            separator: ".")
        let message = Array(signed.utf8)
        let signature: [UInt8]
        switch material {
        case .secret(let secret):
            signature = message.withUnsafeBytes { SecretMAC.code(for: $0, secret: secret, algorithm.hash) }
        case .privateKey(let key):
            signature = try key.signature(of: message)
        }
        return signed + "." + Base64.encodeURL(signature)
    }
}
