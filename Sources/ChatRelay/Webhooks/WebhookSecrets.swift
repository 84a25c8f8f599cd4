import ChatAccess
import ChatCore

/// What signs for endpoints: secrets, and key pairs.
struct WebhookSecrets: Sendable {
    /// The operator's key, from which the others are derived; nil if there is none.
    let key: HookSecret?

    /// What signs for the endpoint, the newest first; during a rotation also the one before.
    func of(_ endpoint: WebhookEndpoint, now: UInt64) -> [WebhookSigner] {
        let count = endpoint.previousUntil > now ? 2 : 1
        if !endpoint.secrets.isEmpty {
            return endpoint.secrets.prefix(count).compactMap { text in
                endpoint.isAsymmetric ? WebhookKey(text).map { .key($0) } : HookSecret(text).map { .secret($0) }
            }
        }
        guard let key else { return [] }
        return (0..<count).compactMap { back in
            let generation = endpoint.generation - back
            guard generation > 0 else { return nil }
            if endpoint.isAsymmetric {
                return StandardWebhook.derivedKey(of: endpoint.id, generation: generation, key: key).map { .key($0) }
            }
            return HookSecret(StandardWebhook.derivedSecret(of: endpoint.id, generation: generation, key: key))
                .map { .secret($0) }
        }
    }
}
