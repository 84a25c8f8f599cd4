/// An entry of a room's audit: who changed its rules or sanctions, or reported a message.
public struct AuditEntry: Hashable, Sendable {
    /// Its ID in the stream; the epoch is the time of the broker, in milliseconds since 1970.
    public var position: Position
    /// An operation of moderation, or `report`.
    public var operation: String
    /// Whom it concerns; of a report the author of the message.
    public var user: String
    /// Of a report the position of the message.
    public var value: String
    public var reason: String
    public var by: String
    /// The version of the rules afterwards.
    public var version: UInt64

    public init(
        position: Position, operation: String, user: String, value: String, reason: String, by: String, version: UInt64
    ) {
        self.position = position
        self.operation = operation
        self.user = user
        self.value = value
        self.reason = reason
        self.by = by
        self.version = version
    }
}
