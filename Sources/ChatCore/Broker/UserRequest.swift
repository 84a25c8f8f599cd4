/// Changes or reads what belongs to a user: the index of rooms, whom the user blocks, and stars.
public struct UserRequest: Sendable, Equatable {
    public enum Operation: Sendable, Equatable {
        /// Writes down whether the user is a participant of the room (`since` is nil: not any more), unless a later
        /// version is written down. `partner`: who else is in that direct conversation. → `.indexed`
        case index(RoomName, ConversationKind, version: UInt64, since: UInt64?, partner: UserID?)
        /// Removes the room from the index if what is written down is of that version or an earlier one. → `.done`
        case drop(RoomName, version: UInt64)
        /// → `.changed`; `BrokerError.forbidden` at the limit
        case block(UserID)
        /// → `.changed`
        case unblock(UserID)
        /// Whether the user blocks that one, and in how many rooms the user is. → `.standing`
        case standing(UserID)
        /// A part of the index; the first one with a cursor of 0. → `.rooms`
        case rooms(cursor: UInt64, count: Int)
        /// → `.changed`; `BrokerError.forbidden` at the limit
        indirect case star(Star)
        /// → `.unstarred`
        case unstar(RoomName, Position)
        /// The stars that were given before that time, the newest first. → `.stars`
        case stars(before: UInt64?, PageBounds)
        /// Somebody stars a message of the user: written down before the star is. → `.done`
        case note(Starrer)
        /// → `.done`
        case strike([Starrer])
        /// Who has starred messages of the user: those in that room (nil: in all rooms), or of that message alone, in
        /// the order of their text; those behind `after`. → `.starrers`
        case starrers(in: RoomName?, at: Position?, after: Starrer?, count: Int)
        /// From now on others may see when the user was last here, or may not any more; nil: only asks. → `.shown`
        case showLastSeen(Bool?)
        /// The user's last session on a node has ended at that time (ms since 1970). Written only if others may see
        /// it. → `.done`
        case left(at: UInt64)
        /// When the user was last here, for that one. → `.lastSeen`
        case lastSeen(by: UserID?)
        /// Deletes everything that belongs to the user. → `.done`
        case forget
        /// Whom the user blocks, at most 1,000 of them. → `.blocked`
        case blocked
    }

    public var user: UserID
    public var operation: Operation

    public init(_ operation: Operation, of user: UserID) {
        self.user = user
        self.operation = operation
    }
}

/// The answer to a ``UserRequest``.
public enum UserReply: Hashable, Sendable {
    case done
    case changed(Bool)
    /// Whether it was written, and whether the user blocks the partner.
    case indexed(isChanged: Bool, blocksPartner: Bool)
    case standing(rooms: Int, isBlocked: Bool)
    /// `cursor`: of the next part; 0 if this is the last one.
    case rooms([IndexedRoom], cursor: UInt64)
    case blocked([UserID])
    /// Whether others may see when the user was last here.
    case shown(Bool)
    /// In ms since 1970; nil if others may not see it, or that one is blocked, or nothing is known.
    case lastSeen(UInt64?)
    /// Whether there are earlier ones.
    case stars([Star], hasMore: Bool)
    /// `author`: of the message; nil if it was not starred.
    case unstarred(isChanged: Bool, author: UserID?)
    case starrers([Starrer], hasMore: Bool)
}

/// A room in the index of a user.
public struct IndexedRoom: Hashable, Sendable {
    public var room: RoomName
    public var kind: ConversationKind
    /// In milliseconds since 1970.
    public var since: UInt64
    /// Of the change of the room's participants that wrote it.
    public var version: UInt64

    public init(_ room: RoomName, kind: ConversationKind, since: UInt64, version: UInt64) {
        self.room = room
        self.kind = kind
        self.since = since
        self.version = version
    }
}
