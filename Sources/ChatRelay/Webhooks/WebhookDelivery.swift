import ChatAccess
import ChatCore
import ChatJSON

/// One delivery that a person orders, as a relay with the same settings would make it.
public enum WebhookDelivery {
    public struct Outcome: Sendable {
        public let isAccepted: Bool
        /// For a person.
        public let text: String
    }

    /// Sends an event of the type `webhook.test`, which shows whether an endpoint works. `now`: ms since 1970.
    public static func sendTest(to endpoint: WebhookEndpoint, _ settings: WebhookSettings, now: UInt64) async -> Outcome
    {
        let id = "test-\(endpoint.id)-\(now)"
        let event = JSONValue.object([
            "id": .string(id), "type": .string("webhook.test"), "timestamp": .string(Timestamp.text(now)),
            "data": .object(["endpoint": .string(endpoint.id)]),
        ])
        return await send(event.text, id: id, to: endpoint, settings, now: now)
    }

    /// Sends the JSON of an event. `now`: ms since 1970.
    public static func send(
        _ event: String, id: String, to endpoint: WebhookEndpoint, _ settings: WebhookSettings, now: UInt64
    ) async -> Outcome {
        let signers = WebhookSecrets(key: settings.key).of(endpoint, now: now)
        guard !signers.isEmpty else {
            return Outcome(isAccepted: false, text: "the endpoint has no secret: set MARTLET_WEBHOOKS_KEY")
        }
        let body = Array(event.utf8)
        do {
            let client = try WebhookClient(
                allowedHosts: settings.allowedHosts, timeout: settings.timeout,
                authorityFile: settings.authorityFile)
            let fields = StandardWebhook.fields(id: id, now: now, body: body, signers: signers)
            let answer = try await client.post(try WebhookURL(endpoint.url), fields, body)
            return Outcome(
                isAccepted: (200...299).contains(answer.status), text: "the endpoint answered \(answer.status)")
        } catch {
            return Outcome(isAccepted: false, text: "the endpoint was not reached: \(error)")
        }
    }
}
