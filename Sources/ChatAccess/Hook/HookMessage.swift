import ChatCore
import ChatJSON

/// What a hook is told about a message, and what its answer means. The headers are those of ``StandardWebhook``.
public enum HookMessage {
    /// The most characters of a reason that its sender is told.
    public static let maxReason = 200

    /// The body: `type`, `room`, `user`, `at` and `text`, `data` and `key`, if the message has them.
    public static func body(_ content: MessageContent, in room: RoomName) -> [UInt8] {
        var bytes = ByteWriter()
        bytes.appendText("{\"type\":\"message\",\"room\":")
        bytes.appendJSON(room.text)
        bytes.appendText(",\"user\":")
        bytes.appendJSON(content.user.text)
        bytes.appendText(",\"at\":")
        bytes.appendJSON(content.at)
        if let text = content.text {
            bytes.appendText(",\"text\":")
            bytes.appendJSON(text)
        }
        if let data = content.data {
            bytes.appendText(",\"data\":")
            bytes.appendRaw(data)
        }
        if let key = content.key {
            bytes.appendText(",\"key\":")
            bytes.appendJSON(key)
        }
        bytes.append(UInt8(ascii: "}"))
        return bytes.array
    }

    /// The headers with which the body is sent. `now`: in milliseconds since 1970.
    public static func fields(
        id: String, now: UInt64, body: [UInt8], secret: HookSecret
    ) -> [(name: String, value: String)] {
        StandardWebhook.fields(id: id, now: now, body: body, secrets: [secret])
    }

    /// What an answer with status 200 or 204 says: nothing or `{"action":"allow"}`, `{"action":"refuse","reason":…}`,
    /// or `{"action":"replace","text":…}`. Throws what is wrong with it. `maxBytes`: of the text.
    public static func decision(_ answer: [UInt8], maxBytes: Int) throws(HookClient.Failure) -> HookDecision {
        if answer.isEmpty { return .allow }
        func bad(_ problem: String) -> HookClient.Failure {
            HookClient.Failure(trouble: .badAnswer, description: problem)
        }
        guard let members = (try? JSONValue(parsing: answer))?.object else {
            throw bad("the answer is not a JSON object")
        }
        switch members["action"]?.string {
        case "allow": return .allow
        case "refuse": return .refuse(reason: reason(members["reason"]?.string ?? ""))
        case "replace":
            guard let text = members["text"]?.string else { throw bad("replace without a text") }
            guard !text.isEmpty, text.utf8.count <= maxBytes else {
                throw bad("the text must have 1 to \(maxBytes) bytes")
            }
            return .replace(text: text)
        default: throw bad("action must be allow, refuse or replace")
        }
    }

    /// Without control characters, and not longer than a sender wants to read.
    private static func reason(_ text: String) -> String {
        let seen = text.unicodeScalars.map { $0.value < 0x20 || (0x7F...0x9F).contains($0.value) ? " " : $0 }
        return String(String(String.UnicodeScalarView(seen)).prefix(maxReason))
    }
}

/// The secret that signs what a hook is sent.
public struct HookSecret: Hashable, Sendable {
    let bytes: [UInt8]

    /// `whsec_` and base64, as Standard Webhooks write secrets, or any text, which counts as its bytes. Nil if it has
    /// less than 24 bytes.
    public init?(_ text: String) {
        let prefix = "whsec_"
        if text.hasPrefix(prefix) {
            guard let bytes = Base64.decodePadded(Array(text.utf8.dropFirst(prefix.utf8.count))) else { return nil }
            self.bytes = bytes
        } else {
            bytes = Array(text.utf8)
        }
        guard bytes.count >= 24 else { return nil }
    }

    /// Any text, which counts as its bytes, for services that write secrets in a form of their own. Nil if it has less
    /// than 16 bytes.
    public init?(plain text: String) {
        bytes = Array(text.utf8)
        guard bytes.count >= 16 else { return nil }
    }
}
