/// Why a session was made to leave a room, and when it may return.
public struct Removal: Hashable, Sendable {
    public enum Reason: String, Hashable, Sendable, CaseIterable {
        /// Its rights no longer include reading the room.
        case forbidden
        /// A moderator sent its user out of the room.
        case kicked
        /// A moderator banned its user.
        case banned
        /// Its user is no participant of the conversation, or not any more.
        case removed
    }

    public var reason: Reason
    /// Until then the user may not join again, in milliseconds since 1970. Nil if no time is set.
    public var until: UInt64?
    /// What the moderator gave as the reason; may be empty.
    public var text: String

    public init(_ reason: Reason, until: UInt64? = nil, text: String = "") {
        self.reason = reason
        self.until = until
        self.text = text
    }
}
