import ChatJSON

/// What Standard Webhooks 1.0 says about a delivery: its headers, and how they are signed and verified
/// (https://github.com/standard-webhooks/standard-webhooks, "Signature scheme").
///
/// The headers are `webhook-id`, `webhook-timestamp` (seconds since 1970) and `webhook-signature`: for each secret that
/// is valid, `v1,` and the HMAC-SHA256 of `<id>.<timestamp>.<body>` in base64, or `v1a,` and its Ed25519 signature,
/// with spaces between them. The receiver refuses timestamps that are too old, so that nobody can send it again what
/// was sent once.
public enum StandardWebhook {
    /// How far a timestamp may be from the receiver's clock, in seconds, in both directions.
    public static let tolerance: UInt64 = 300

    /// The headers of a delivery. `now`: in milliseconds since 1970. `secrets`: several during a rotation.
    public static func fields(
        id: String, now: UInt64, body: [UInt8], secrets: [HookSecret]
    ) -> [(name: String, value: String)] {
        fields(id: id, now: now, body: body, signers: secrets.map { .secret($0) })
    }

    /// The headers of a delivery. `now`: in milliseconds since 1970. `signers`: several during a rotation.
    public static func fields(
        id: String, now: UInt64, body: [UInt8], signers: [WebhookSigner]
    ) -> [(name: String, value: String)] {
        let time = String(now / 1_000)
        let message = Array("\(id).\(time).".utf8) + body
        let signatures = signers.compactMap { $0.signature(of: message) }
        return [
            ("webhook-id", id), ("webhook-timestamp", time),
            ("webhook-signature", signatures.joined(separator: " ")),
        ]
    }

    /// Whether one of the signatures is that of one of the secrets. The time that it takes does not depend on how much
    /// of a signature is right. `now`: in seconds since 1970.
    public static func isValid(
        id: String, timestamp: String, signatures: String, body: [UInt8], secrets: [HookSecret], now: UInt64
    ) -> Bool {
        guard !id.isEmpty, let time = UInt64(timestamp), max(time, now) - min(time, now) <= tolerance else {
            return false
        }
        let message = Array("\(id).\(timestamp).".utf8) + body
        var isValid = false
        // The spec knows no bound; nobody rotates so many secrets at once.
        for signature in signatures.split(separator: " ").prefix(10) where signature.hasPrefix("v1,") {
            guard let code = Base64.decodePadded(Array(signature.utf8.dropFirst(3))) else { continue }
            for secret in secrets {
                let matches = message.withUnsafeBytes {
                    SecretMAC.isValid(code, for: $0, secret: secret.bytes, .sha256)
                }
                isValid = matches || isValid
            }
        }
        return isValid
    }

    /// The secret of an endpoint, derived from the operator's key: so none is stored anywhere. Each generation has
    /// another one. In the form of Standard Webhooks, `whsec_` and base64.
    public static func derivedSecret(of endpoint: String, generation: Int, key: HookSecret) -> String {
        let name = Array("martlet webhook \(endpoint) \(generation)".utf8)
        let code = name.withUnsafeBytes { SecretMAC.code(for: $0, secret: key.bytes, .sha256) }
        return "whsec_" + Base64.encodePadded(code)
    }

    /// The key pair of an endpoint that wants `v1a`, derived in the same way.
    public static func derivedKey(of endpoint: String, generation: Int, key: HookSecret) -> WebhookKey? {
        let name = Array("martlet webhook key \(endpoint) \(generation)".utf8)
        return WebhookKey(seed: name.withUnsafeBytes { SecretMAC.code(for: $0, secret: key.bytes, .sha256) })
    }
}
