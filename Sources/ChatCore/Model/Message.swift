/// What somebody says, before it has a position.
///
/// At least one of `text` and `data` is there. Stored in the room's log as the fields `user`, `at`, `text`, `data`, `key`.
///
/// A reference inside, to what never changes: it is handed on a few dozen times on its way from the sender to the members. Setting a
/// part makes it another one.
public struct MessageContent: Sendable {
    private final class Parts: Sendable {
        let user: UserID
        let at: UInt64
        let text: String?
        let data: String?
        let key: String?

        init(_ user: UserID, _ at: UInt64, _ text: String?, _ data: String?, _ key: String?) {
            self.user = user
            self.at = at
            self.text = text
            self.data = data
            self.key = key
        }
    }

    private var parts: Parts

    /// Who says it.
    public var user: UserID { parts.user }
    /// When the node accepted it: milliseconds since 1970 (UTC).
    public var at: UInt64 {
        get { parts.at }
        set { parts = Parts(user, newValue, text, data, key) }
    }
    public var text: String? {
        get { parts.text }
        set { parts = Parts(user, at, newValue, data, key) }
    }
    /// Any JSON value, kept as the JSON text the client sent (validated by the codec, white space untouched).
    public var data: String? {
        get { parts.data }
        set { parts = Parts(user, at, text, newValue, key) }
    }
    /// The sender's idempotency key. Keys that begin with `~` are made by nodes, for sends that came without one, and are
    /// shown to nobody.
    public var key: String? {
        get { parts.key }
        set { parts = Parts(user, at, text, data, newValue) }
    }

    public init(user: UserID, at: UInt64, text: String? = nil, data: String? = nil, key: String? = nil) {
        parts = Parts(user, at, text, data, key)
    }

    /// The key as the sender chose it; nil if the node made it.
    public var clientKey: String? {
        guard let key, key.utf8.first != UInt8(ascii: "~") else { return nil }
        return key
    }

    /// Bytes of its fields and values in a log, as Redis' functions count them.
    public var storedBytes: Int {
        var digits = 1
        var rest = at / 10
        while rest > 0 {
            rest /= 10
            digits += 1
        }
        return 6 + user.text.utf8.count + digits + (text.map { 4 + $0.utf8.count } ?? 0)
            + (data.map { 4 + $0.utf8.count } ?? 0) + (key.map { 3 + $0.utf8.count } ?? 0)
    }

    /// About how many bytes this takes in memory: what bounded queues count.
    public var cost: Int {
        96 + user.text.utf8.count + (text?.utf8.count ?? 0) + (data?.utf8.count ?? 0) + (key?.utf8.count ?? 0)
    }
}

extension MessageContent: Hashable {
    public static func == (left: MessageContent, right: MessageContent) -> Bool {
        left.parts === right.parts
            || left.at == right.at && left.user == right.user && left.key == right.key && left.text == right.text
                && left.data == right.data
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(user)
        hasher.combine(at)
        hasher.combine(text)
        hasher.combine(data)
        hasher.combine(key)
    }
}

/// For failing tests; nothing that people say is logged.
extension MessageContent: CustomStringConvertible {
    public var description: String {
        "MessageContent(user: \(user), at: \(at), text: \(String(reflecting: text)), data: \(String(reflecting: data)), key: \(String(reflecting: key)))"
    }
}

/// A message: something said, at its position in the room's log.
public struct Message: Hashable, Sendable {
    public var position: Position
    public var content: MessageContent

    public init(position: Position, content: MessageContent) {
        self.position = position
        self.content = content
    }
}
