/// A key that verifies tokens. Printing it in any way shows no secret.
struct TokenKey: Sendable, CustomStringConvertible, CustomReflectable {
    enum Material: Sendable {
        case secret([UInt8])
        case publicKey(PublicKey)
    }

    let material: Material
    /// `kid` of the tokens that it verifies; nil if the key has no ID.
    let id: String?
    /// The only algorithm for which the key is meant, if its issuer has said so.
    let onlyAlgorithm: TokenAlgorithm?
    /// Milliseconds since 1970 at which the key ends to be valid; nil if it does not.
    let validUntil: UInt64?
    /// Differs from that of every other key.
    let identity: SHA256Digest

    init(
        _ material: Material, id: String? = nil, onlyAlgorithm: TokenAlgorithm? = nil, validUntil: UInt64? = nil
    ) {
        self.material = material
        self.id = id
        self.onlyAlgorithm = onlyAlgorithm
        self.validUntil = validUntil
        identity = Self.identity(material, id, onlyAlgorithm, validUntil)
    }

    var kind: KeyKind {
        switch material {
        case .secret: .secret
        case .publicKey(let key): key.kind
        }
    }

    func isValid(at now: UInt64) -> Bool { validUntil.map { now < $0 } ?? true }

    func fits(_ algorithm: TokenAlgorithm) -> Bool {
        algorithm.keyKind == kind && (onlyAlgorithm.map { $0 == algorithm } ?? true)
    }

    /// Whether the signature of the message is right. A key of another kind than the algorithm's verifies nothing.
    func verifies(_ signature: [UInt8], of message: UnsafeRawBufferPointer, _ algorithm: TokenAlgorithm) -> Bool {
        guard fits(algorithm) else { return false }
        switch material {
        case .secret(let secret):
            return SecretMAC.isValid(signature, for: message, secret: secret, algorithm.hash)
        case .publicKey(let key):
            return key.isValid(signature, for: message, algorithm)
        }
    }

    private static func identity(
        _ material: Material, _ id: String?, _ onlyAlgorithm: TokenAlgorithm?, _ validUntil: UInt64?
    ) -> SHA256Digest {
        let bytes: [UInt8]
        switch material {
        case .secret(let secret): bytes = [0] + secret
        case .publicKey(let key): bytes = [1] + key.encoded
        }
        let rest = "\(onlyAlgorithm?.rawValue ?? "") \(validUntil.map { "\($0)" } ?? "") \(id.map { "=" + $0 } ?? "")"
        return SHA256Digest(of: SHA256Digest(of: bytes).bytes + Array(rest.utf8))
    }

    /// For logs: the kind of key and its ID.
    var description: String {
        let kind =
            switch material {
            case .secret: "shared secret"
            case .publicKey(let key): key.description
            }
        return id.map { "\(kind), kid \(KeyName.shown($0))" } ?? kind
    }

    var customMirror: Mirror { Mirror(self, children: [:]) }
}

/// How a key ID is shown.
enum KeyName {
    /// The ID in quotes if it is short and holds nothing that would disturb a log.
    static func shown(_ id: String) -> String {
        guard id.utf8.count <= 64, id.utf8.allSatisfy({ (0x20..<0x7F).contains($0) && $0 != 0x22 }) else {
            return "of \(id.utf8.count) bytes"
        }
        return "\"\(id)\""
    }
}
