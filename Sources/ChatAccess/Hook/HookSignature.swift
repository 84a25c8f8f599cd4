import ChatJSON

/// How a service signs what it delivers, and which field names the delivery. Each rule is from the service's own
/// documents.
public enum HookSignature: String, Hashable, Sendable, CaseIterable {
    /// Standard Webhooks 1.0: `webhook-id`, `webhook-timestamp`, `webhook-signature`.
    case standard
    /// `X-Hub-Signature-256: sha256=<hex>` over the body; `X-GitHub-Delivery`. GitHub signs no time, so a delivery can
    /// be sent again by whoever has it; it takes effect once all the same, as long as its ID is known.
    case github
    /// `Stripe-Signature: t=<seconds>,v1=<hex>,…` over `<t>.<body>`; the ID is that of the event.
    case stripe
    /// `X-Slack-Signature: v0=<hex>` over `v0:<X-Slack-Request-Timestamp>:<body>`; the ID is `event_id`.
    case slack

    /// A secret as the service writes it; nil if it is too short, or cannot be read.
    public func secret(_ text: String) -> HookSecret? {
        self == .standard ? HookSecret(text) : HookSecret(plain: text)
    }

    /// The ID of a delivery that is signed with one of the secrets; nil if it is not, or if its time is more than five
    /// minutes from the clock. The ID is empty if it is in the body. `field`: by name in lower case. `now`: in
    /// milliseconds since 1970. The time that it takes does not depend on how much of a signature is right.
    public func delivery(
        field: (String) -> String?, body: [UInt8], secrets: [HookSecret], now: UInt64
    ) -> String? {
        let clock = now / 1_000
        switch self {
        case .standard:
            guard let id = field("webhook-id"), let time = field("webhook-timestamp"),
                let signatures = field("webhook-signature")
            else { return nil }
            let isValid = StandardWebhook.isValid(
                id: id, timestamp: time, signatures: signatures, body: body, secrets: secrets, now: clock)
            return isValid ? id : nil
        case .github:
            guard let id = field("x-github-delivery"), !id.isEmpty, let signature = field("x-hub-signature-256"),
                signature.hasPrefix("sha256="), Self.isCode(signature.dropFirst(7), of: body, secrets)
            else { return nil }
            return id
        case .stripe:
            let parts = (field("stripe-signature") ?? "").split(separator: ",").prefix(20)
            guard let time = parts.first(where: { $0.hasPrefix("t=") })?.dropFirst(2), Self.isNow(time, clock) else {
                return nil
            }
            let message = Array("\(time).".utf8) + body
            // Several while a secret is rotated.
            let isValid = parts.filter { $0.hasPrefix("v1=") }
                .map { Self.isCode($0.dropFirst(3), of: message, secrets) }.contains(true)
            return isValid ? "" : nil
        case .slack:
            guard let time = field("x-slack-request-timestamp"), Self.isNow(time[...], clock),
                let signature = field("x-slack-signature"), signature.hasPrefix("v0="),
                Self.isCode(signature.dropFirst(3), of: Array("v0:\(time):".utf8) + body, secrets)
            else { return nil }
            return ""
        }
    }

    /// The code of a message in hexadecimal digits, as the service would send it.
    package func code(for message: [UInt8], _ secret: HookSecret) -> String {
        message.withUnsafeBytes { SecretMAC.code(for: $0, secret: secret.bytes, .sha256) }
            .map { byte in
                let digits = String(byte, radix: 16)
                return digits.utf8.count == 1 ? "0" + digits : digits
            }.joined()
    }

    private static func isNow(_ seconds: Substring, _ clock: UInt64) -> Bool {
        guard let time = UInt64(seconds) else { return false }
        return max(time, clock) - min(time, clock) <= StandardWebhook.tolerance
    }

    private static func isCode(_ hex: Substring, of message: [UInt8], _ secrets: [HookSecret]) -> Bool {
        guard let code = bytes(hex) else { return false }
        return message.withUnsafeBytes { message in
            secrets.map { SecretMAC.isValid(code, for: message, secret: $0.bytes, .sha256) }.contains(true)
        }
    }

    /// The bytes that hexadecimal digits stand for.
    private static func bytes(_ hex: Substring) -> [UInt8]? {
        let digits = hex.utf8.compactMap { hexDigit($0).map { UInt8($0) } }
        guard digits.count == hex.utf8.count, digits.count.isMultiple(of: 2) else { return nil }
        return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
    }
}

extension HookSignature {
    /// 40 hexadecimal digits that identify a text: the first half of its SHA-256.
    public static func digest(of text: String) -> String { String(APIKeys.hash(of: text).prefix(40)) }
}
