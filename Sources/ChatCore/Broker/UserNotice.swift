/// News of a conversation, for all sessions of one user: what is published on the user's channel.
public struct UserNotice: Sendable, Hashable {
    public enum Kind: String, Sendable, Hashable, CaseIterable {
        /// Another device of the user has read: `position`, `unread`.
        case read
        /// Somebody made the user a participant: `conversation`, `by`.
        case invited
        /// The user is no participant any more: `by`.
        case removed
        /// A message names the user: `position`, `by`.
        case mentioned
    }

    public var kind: Kind
    public var room: RoomName
    /// The kind of the conversation to which the user was invited.
    public var conversation: ConversationKind?
    /// Who did it, as they said themselves.
    public var by: String?
    public var position: Position?
    /// How many messages the user has not read.
    public var unread: UInt64?

    public init(
        _ kind: Kind, _ room: RoomName, conversation: ConversationKind? = nil, by: String? = nil,
        position: Position? = nil, unread: UInt64? = nil
    ) {
        self.kind = kind
        self.room = room
        self.conversation = conversation
        self.by = by
        self.position = position
        self.unread = unread
    }
}
