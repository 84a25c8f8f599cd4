/// Changes who belongs to a room, or reads it. One function of the broker decides who may do what, so that no two nodes
/// can exceed a limit or leave a group without an owner together.
public struct ConversationRequest: Sendable, Equatable {
    public enum Operation: Sendable, Equatable {
        /// Begins the direct conversation of these two, or adds who of them has left it.
        case direct(UserID, UserID)
        /// Begins a group with these participants. Its owner is who orders it, or else the first of them. From then on
        /// only participants may enter the room and send.
        case create([UserID])
        case invite([UserID])
        /// Who orders it leaves. If that is the last owner, the oldest moderator becomes the owner, or else the oldest
        /// member.
        case leave
        case remove(UserID)
        case role(UserID, ParticipantRole)
        case notify(NotificationLevel)
        /// Who orders it does not want to hear from the other one of this direct conversation; or does again.
        case block(Bool)
        /// The index of these users says what it has to as of these versions.
        case indexed([UserID: UInt64])
        /// → `.participants`
        case list
    }

    public var room: RoomName
    public var operation: Operation
    /// Who orders it; nil: nobody who could be a participant.
    public var by: UserID?
    /// Whether that is allowed whatever the role: ordered by a server or a moderator of all rooms.
    public var mayDoAll: Bool

    public init(_ operation: Operation, in room: RoomName, by: UserID?, mayDoAll: Bool = false) {
        self.room = room
        self.operation = operation
        self.by = by
        self.mayDoAll = mayDoAll
    }

    /// The most users that one request names.
    public static let mostUsers = 1_000
}

/// The answer to a change of who belongs to a room.
public struct ConversationReply: Hashable, Sendable {
    public enum Change: String, Hashable, Sendable, CaseIterable {
        case added, removed, changed
    }

    /// The version of the participants that is in force now; 0 if the room has none.
    public var version: UInt64
    /// False if everything was as wanted before; then nothing was changed.
    public var isChanged: Bool
    /// Nil if the room has no participants.
    public var kind: ConversationKind?
    /// What became of whom.
    public var changes: [UserID: Change]
    /// The users whose index of rooms has to be written, those of earlier changes included.
    public var pending: [PendingIndex]

    public init(
        version: UInt64, isChanged: Bool, kind: ConversationKind?, changes: [UserID: Change] = [:],
        pending: [PendingIndex] = []
    ) {
        self.version = version
        self.isChanged = isChanged
        self.kind = kind
        self.changes = changes
        self.pending = pending
    }
}

/// What the index of a user has to say of a room.
public struct PendingIndex: Hashable, Sendable {
    public var user: UserID
    /// Of the change that is to be written. What is written by a later change is not overwritten.
    public var version: UInt64
    /// Since when the user is a participant; nil: the user is none any more.
    public var since: UInt64?

    public init(_ user: UserID, version: UInt64, since: UInt64?) {
        self.user = user
        self.version = version
        self.since = since
    }
}

/// Why a change of who belongs to a room is refused. The words are those of the function in Redis.
public enum ConversationRefusal: String, Error, CaseIterable, Sendable {
    case notParticipant, notAllowed, noConversation, taken, full, isDirect, notDirect, absent, lastOwner

    public var error: WireError {
        switch self {
        case .notParticipant: WireError(.forbidden, "only participants of the conversation may do that")
        case .notAllowed: WireError(.forbidden, "your role in the conversation does not allow that")
        case .noConversation: WireError(.badField, "the room has no participants")
        case .taken: WireError(.forbidden, "the room is in use already")
        case .full: WireError(.tooManyParticipants, "the conversation has as many participants as there may be")
        case .isDirect: WireError(.badField, "a direct conversation has the two participants that its name says")
        case .notDirect: WireError(.badField, "this is no direct conversation of these two users")
        case .absent: WireError(.badField, "the user is no participant")
        case .lastOwner: WireError(.badField, "somebody else has to be an owner first")
        }
    }
}
