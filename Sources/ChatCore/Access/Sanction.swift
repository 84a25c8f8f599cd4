/// What a moderator imposed on one user in one room.
public struct Sanction: Hashable, Sendable {
    public enum Kind: String, Hashable, Sendable, CaseIterable {
        /// The user may neither be in the room nor send messages.
        case ban
        /// The user may be in the room, but not send messages.
        case mute
    }

    /// The maximum length of a reason, in bytes.
    public static let maxReasonBytes = 200

    /// When the sanction ends, in milliseconds since 1970; nil if it has no end.
    public var until: UInt64?
    /// Why it was imposed, for people; may be empty.
    public var reason: String
    /// Who imposed it, as they said themselves.
    public var by: String
    /// When it was imposed, in milliseconds since 1970.
    public var at: UInt64

    public init(until: UInt64? = nil, reason: String = "", by: String = "", at: UInt64 = 0) {
        self.until = until
        self.reason = reason
        self.by = by
        self.at = at
    }

    /// Whether the sanction is in force at that time, in milliseconds since 1970.
    public func isInForce(at now: UInt64) -> Bool { until.map { $0 > now } ?? true }
}
