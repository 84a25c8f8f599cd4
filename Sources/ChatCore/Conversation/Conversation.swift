/// What kind of conversation a room with participants is.
public enum ConversationKind: String, Hashable, Sendable, CaseIterable {
    /// Two users, who are always the same two.
    case direct
    /// Users who were invited.
    case group
}

/// What a participant may do in a group. In a direct conversation both are members.
public enum ParticipantRole: String, Hashable, Sendable, CaseIterable, Comparable {
    case member
    /// Invites and removes members.
    case moderator
    /// Invites and removes anybody, and gives roles.
    case owner

    private var rank: Int {
        switch self {
        case .member: 1
        case .moderator: 2
        case .owner: 3
        }
    }

    public static func < (left: ParticipantRole, right: ParticipantRole) -> Bool { left.rank < right.rank }
}

/// Of which messages of a conversation a participant wants to be notified. Clients decide by it; the node only keeps
/// it.
public enum NotificationLevel: String, Hashable, Sendable, CaseIterable {
    case all, mentions, none
}

/// A user who belongs to a room, whether connected or not.
public struct Participant: Hashable, Sendable {
    public var role: ParticipantRole
    /// When the user became a participant, in milliseconds since 1970.
    public var since: UInt64
    public var notify: NotificationLevel
    /// In a direct conversation: the user does not want to hear from the other one, whose messages are refused.
    public var blocks: Bool

    public init(
        role: ParticipantRole = .member, since: UInt64 = 0, notify: NotificationLevel = .all, blocks: Bool = false
    ) {
        self.role = role
        self.since = since
        self.notify = notify
        self.blocks = blocks
    }
}

/// Who belongs to a room, as nodes know it with the room's rules (``RoomModeration/conversation``).
public struct Conversation: Hashable, Sendable {
    public var kind: ConversationKind
    public var participants: [UserID: Participant]
    /// The users in whose index of rooms the last change is perhaps not written yet: user → version of that change.
    public var pending: [UserID: UInt64]
    /// Up to where participants had read when this was read from the broker.
    public var reads: [UserID: ReadMark]
    /// The amendments of the room's life at that moment.
    public var amendments: UInt64

    public init(
        _ kind: ConversationKind, participants: [UserID: Participant] = [:], pending: [UserID: UInt64] = [:],
        reads: [UserID: ReadMark] = [:], amendments: UInt64 = 0
    ) {
        self.kind = kind
        self.participants = participants
        self.pending = pending
        self.reads = reads
        self.amendments = amendments
    }

    /// The same with what participants have read.
    func with(reads: [UserID: ReadMark], amendments: UInt64) -> Conversation {
        Conversation(kind, participants: participants, pending: pending, reads: reads, amendments: amendments)
    }

    /// The same with nobody but that user.
    func only(_ user: UserID) -> Conversation {
        Conversation(
            kind, participants: participants.filter { $0.key == user }, pending: pending.filter { $0.key == user },
            reads: reads.filter { $0.key == user }, amendments: amendments)
    }

    /// Whether somebody else in this direct conversation does not want to hear from the user.
    func isBlocked(_ user: UserID) -> Bool {
        kind == .direct && participants.contains { $0.key != user && $0.value.blocks }
    }
}

/// Up to where a participant has read.
public struct ReadMark: Hashable, Sendable {
    public var position: Position
    /// The number of amendments up to it.
    public var amendments: UInt64

    public init(_ position: Position, amendments: UInt64 = 0) {
        self.position = position
        self.amendments = amendments
    }

    /// `<epoch>-<seq>.<amendments>`; nil for anything else.
    public init?(_ text: some StringProtocol) {
        guard let dot = text.lastIndex(of: "."), let position = Position(String(text[..<dot])),
            position.isWithinBounds, let amendments = UInt64(text[text.index(after: dot)...]),
            PositionBounds.holds(amendments)
        else { return nil }
        self.init(position, amendments: amendments)
    }

    /// What ``init(_:)`` parses.
    public var text: String { "\(position).\(amendments)" }
}

/// Who belongs to a room, with what each has read: the answer to ``ConversationRequest/Operation/list``.
public struct ParticipantList: Hashable, Sendable {
    /// The version of the last change.
    public var version: UInt64
    public var kind: ConversationKind
    public var participants: [UserID: Participant]
    public var reads: [UserID: ReadMark]
    /// As in ``ConversationReply/pending``.
    public var pending: [PendingIndex]

    public init(
        version: UInt64, kind: ConversationKind, participants: [UserID: Participant], reads: [UserID: ReadMark] = [:],
        pending: [PendingIndex] = []
    ) {
        self.version = version
        self.kind = kind
        self.participants = participants
        self.reads = reads
        self.pending = pending
    }
}
