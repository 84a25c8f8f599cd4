/// What somebody says, before it has a position.
///
/// At least one of `text` and `data` is there. Stored in the room's log as the fields `user`, `at`, `text`, `data`, `key`.
public struct MessageContent: Hashable, Sendable {
    /// Who says it.
    public var user: UserID
    /// When the node accepted it: milliseconds since 1970 (UTC).
    public var at: UInt64
    public var text: String?
    /// Any JSON value, kept as the JSON text the client sent (validated by the codec, white space untouched).
    public var data: String?
    /// The sender's idempotency key. Keys that begin with `~` are made by nodes, for sends that came without one, and are
    /// shown to nobody.
    public var key: String?

    public init(user: UserID, at: UInt64, text: String? = nil, data: String? = nil, key: String? = nil) {
        self.user = user
        self.at = at
        self.text = text
        self.data = data
        self.key = key
    }

    /// The key as the sender chose it; nil if the node made it.
    public var clientKey: String? {
        guard let key, key.utf8.first != UInt8(ascii: "~") else { return nil }
        return key
    }

    /// About how many bytes this takes in memory: what bounded queues count.
    public var cost: Int {
        96 + user.text.utf8.count + (text?.utf8.count ?? 0) + (data?.utf8.count ?? 0) + (key?.utf8.count ?? 0)
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
