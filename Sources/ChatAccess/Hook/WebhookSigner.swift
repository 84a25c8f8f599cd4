import ChatJSON

/// What signs a delivery: a secret that the receiver has, too (`v1`), or a private key of which the receiver has the
/// public one (`v1a`).
public enum WebhookSigner: Sendable {
    case secret(HookSecret)
    case key(WebhookKey)

    /// In the form of the header `webhook-signature`; nil if libcrypto cannot sign, which no message causes.
    func signature(of message: [UInt8]) -> String? {
        switch self {
        case .secret(let secret):
            let code = message.withUnsafeBytes { SecretMAC.code(for: $0, secret: secret.bytes, .sha256) }
            return "v1,\(Base64.encodePadded(code))"
        case .key(let key):
            return key.signature(of: message).map { "v1a,\(Base64.encodePadded($0))" }
        }
    }
}

/// An Ed25519 key pair (RFC 8032), as Standard Webhooks write one: `whsk_` and base64 for the private key, `whpk_` and
/// base64 for the public one.
public struct WebhookKey: Sendable {
    private static let prefix = "whsk_"
    private static let seedBytes = 32
    /// PrivateKeyInfo of Ed25519 before the seed (RFC 8410 §7).
    private static let head: [UInt8] = [0x30, 46, 0x02, 1, 0, 0x30, 5, 0x06, 3, 0x2B, 0x65, 0x70, 0x04, 34, 0x04, 32]

    private let key: PrivateKey
    private let seed: [UInt8]

    /// `seed`: 32 bytes; nil if it has another length.
    init?(seed: [UInt8]) {
        guard seed.count == Self.seedBytes, let key = try? PrivateKey(pkcs8: Self.head + seed) else { return nil }
        self.key = key
        self.seed = seed
    }

    /// `whsk_` and the base64 of the seed, or of the seed and the public key, as some libraries have it.
    public init?(_ text: String) {
        guard text.hasPrefix(Self.prefix),
            let bytes = Base64.decodePadded(Array(text.utf8.dropFirst(Self.prefix.utf8.count))),
            bytes.count == Self.seedBytes || bytes.count == 2 * Self.seedBytes
        else { return nil }
        self.init(seed: Array(bytes.prefix(Self.seedBytes)))
    }

    /// What the receiver verifies with.
    public var publicText: String { "whpk_" + Base64.encodePadded(Array(key.publicKey.suffix(Self.seedBytes))) }

    func signature(of message: [UInt8]) -> [UInt8]? { try? key.signature(of: message) }
}
