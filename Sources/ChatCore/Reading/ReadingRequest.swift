/// What a node asks of the broker about what users have read (``BrokerRequest/reading(_:)``).
public enum ReadingRequest: Sendable, Equatable {
    /// The most users in one ``read(room:_:isBooked:)``.
    public static let mostReads = 200

    /// Participants of a room have read up to these positions. `isBooked`: a relay reads ``RoomBook/receipts``, which
    /// then has it too. → `.read`, with an outcome for each, in order
    case read(room: RoomName, [UserRead], isBooked: Bool)
    /// What the participants of a room have read. → `.receipts`
    case receipts(room: RoomName)
    /// The room as a line of the user's inbox. → `.head`
    case head(room: RoomName, of: UserID)
    /// The same with commands that only read, at a fifth of the cost, where these tell all of it. `kind`: of the room,
    /// as the user's index says. → `.brief`
    case brief(room: RoomName, of: UserID, ConversationKind)
    /// Some of who is in the room, as ``BrokerRequest/roster(room:cursor:)`` with commands that only read: without the
    /// position of presence, which nobody needs who does not follow it. → `.people`
    case people(room: RoomName, cursor: UInt64)
    /// How many nodes have a session of the user. → `.listeners`
    case listeners(of: UserID)

    /// Whose keys and channel the request is about.
    public var entity: Entity {
        switch self {
        case .read(let room, _, _), .receipts(let room), .head(let room, _), .brief(let room, _, _),
            .people(let room, _):
            .room(room)
        case .listeners(let user): .user(user)
        }
    }
}

/// A user has read a room up to a position.
public struct UserRead: Hashable, Sendable {
    public var user: UserID
    public var position: Position

    public init(_ user: UserID, _ position: Position) {
        self.user = user
        self.position = position
    }
}

/// The broker's answer to a ``ReadingRequest``.
public enum ReadingReply: Sendable, Equatable {
    case read([ReadOutcome])
    /// Nil if the room has no participants.
    case receipts(ReceiptsView?)
    /// Nil if the user is no participant.
    case head(RoomHead?)
    case brief(BriefHead)
    case people(RosterSnapshot)
    case listeners(Int)
}

/// What commands that only read tell of a room as a line of a user's inbox.
public enum BriefHead: Sendable, Hashable {
    /// `bytes`: of the message that was read for it.
    case head(RoomHead, bytes: Int)
    /// The user is no participant.
    case stranger
    /// The newest message was amended, nothing was said, or nothing was read: ``ReadingRequest/head(room:of:)`` tells.
    case unknown
}

/// What became of one position of a ``ReadingRequest/read(room:_:)``.
public struct ReadOutcome: Sendable, Hashable {
    /// Whether the position was taken, and if not, why.
    public enum Result: String, Sendable, Hashable, CaseIterable {
        /// It was taken.
        case read
        /// The user had read as far before.
        case known
        /// The position is none of this room's history: of another room, or of a branch that was lost.
        case lost
        /// The user is no participant.
        case stranger
    }

    public var result: Result
    /// What is stored now; nil if there is nothing.
    public var mark: ReadMark?
    /// The number of messages after it.
    public var unread: UInt64

    public init(_ result: Result, mark: ReadMark?, unread: UInt64) {
        self.result = result
        self.mark = mark
        self.unread = unread
    }
}

/// What the participants of a room have read, at one moment.
public struct ReceiptsView: Sendable, Equatable {
    /// The number of participants.
    public var count: Int
    public var tally: LogTally
    /// The number of entries that the log holds.
    public var kept: UInt64
    /// Who is missing has read nothing. Empty if the room has more participants than it is told what they have read.
    public var marks: [UserID: ReadMark]

    public init(count: Int, tally: LogTally, kept: UInt64, marks: [UserID: ReadMark]) {
        self.count = count
        self.tally = tally
        self.kept = kept
        self.marks = marks
    }
}

/// A room as a line of a participant's inbox, as the broker has it.
public struct RoomHead: Sendable, Hashable {
    public var kind: ConversationKind
    public var participant: Participant
    /// The position of the log's newest entry; nil if it has none.
    public var newest: Position?
    /// Up to where the user has read; nil: nothing.
    public var mark: ReadMark?
    public var unread: UInt64
    /// The newest message, as it reads now.
    public var last: MessagePreview?
    /// The other participant of a direct conversation.
    public var other: UserID?

    public init(
        kind: ConversationKind, participant: Participant, newest: Position?, mark: ReadMark?, unread: UInt64,
        last: MessagePreview?, other: UserID? = nil
    ) {
        self.kind = kind
        self.participant = participant
        self.newest = newest
        self.mark = mark
        self.unread = unread
        self.last = last
        self.other = other
    }
}

extension RoomHead {
    /// The room as its parts say. `message`: the newest message, as it reads now; nil if there is none among the newest
    /// entries. `kept`: the entries that the log still has. Nil if the user is no participant.
    package init?(
        of user: UserID, in conversation: Conversation, newest: Position?, _ tally: LogTally, kept: UInt64,
        readUpTo stored: ReadMark?, _ message: Message?
    ) {
        guard let participant = conversation.participants[user] else { return nil }
        var mark = stored
        // Who said it has read it, and nobody has to read what comes after it, as these are amendments.
        if let message, message.content.user == user, stored?.position.seq ?? 0 < message.position.seq {
            let later = tally.last - message.position.seq
            mark = ReadMark(message.position, amendments: tally.amendments - min(tally.amendments, later))
        }
        let others = conversation.kind == .direct ? conversation.participants.keys.filter { $0 != user } : []
        self.init(
            kind: conversation.kind, participant: participant, newest: newest, mark: mark,
            unread: tally.unread(after: mark, kept: kept), last: message.map { MessagePreview($0) },
            other: others.count == 1 ? others.first : nil)
    }
}
