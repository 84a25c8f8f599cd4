/// What a client asks about its user's conversations: what is read, what is new, who is online.
public enum InboxRequest: Hashable, Sendable {
    /// The most rooms of one ``watch(_:)``, and users of one ``online(_:)``.
    public static let mostNames = 100
    /// The most conversations of one page.
    public static let mostConversations = 100
    /// The longest cursor, in bytes: half as much again as that of a user with a thousand conversations.
    public static let maxCursorBytes = 12_288

    /// The user has read the room up to that position.
    case read(room: RoomName, position: Position)
    /// The conversations that are not as the cursor says, newest first; nil: all of them.
    case list(limit: Int, cursor: InboxCursor?)
    /// From now on the session is told what is new in these rooms, without being in them.
    case watch([RoomName])
    /// The session is not told of these rooms any more.
    case unwatch([RoomName])
    /// Which of these users have a session, on whatever node.
    case online([UserID])
    /// From now on others may see when the user was last here, or may not any more; nil: only asks.
    case showLastSeen(Bool?)

    /// The `type` of the request.
    public var name: String {
        switch self {
        case .read: "read"
        case .list: "inbox"
        case .watch: "watch"
        case .unwatch: "unwatch"
        case .online: "online"
        case .showLastSeen: "lastSeen"
        }
    }
}

/// What a session is told about its user's conversations.
public enum InboxEvent: Hashable, Sendable {
    /// What the user has read is stored.
    case read(ref: Ref?, room: RoomName, position: Position)
    indirect case page(ref: Ref?, InboxPage)
    case watching(ref: Ref?, [RoomName])
    /// Something is new in a room that the session watches.
    indirect case head(InboxHead)
    /// Participants of the room have read up to these positions.
    case receipts(room: RoomName, [UserID: Position])
    case online(ref: Ref?, OnlineUsers)
    /// Whether others may see when the user was last here.
    case lastSeen(ref: Ref?, isShown: Bool)
    /// News that reach all sessions of the user.
    indirect case notice(UserNotice)

    /// The request that it answers; nil if it answers none.
    public var ref: Ref? {
        switch self {
        case .read(let ref, _, _), .page(let ref, _), .watching(let ref, _), .online(let ref, _),
            .lastSeen(let ref, _):
            ref
        case .head, .receipts, .notice: nil
        }
    }

    /// Whether it answers a request.
    public var isAnswer: Bool {
        switch self {
        case .read, .page, .watching, .online, .lastSeen: true
        case .head, .receipts, .notice: false
        }
    }

    /// The same event, for the request with that `ref`.
    public func answering(_ ref: Ref?) -> InboxEvent {
        switch self {
        case .read(_, let room, let position): .read(ref: ref, room: room, position: position)
        case .page(_, let page): .page(ref: ref, page)
        case .watching(_, let rooms): .watching(ref: ref, rooms)
        case .online(_, let users): .online(ref: ref, users)
        case .lastSeen(_, let isShown): .lastSeen(ref: ref, isShown: isShown)
        case .head, .receipts, .notice: self
        }
    }
}

/// Which of some users are here, and when others were.
public struct OnlineUsers: Hashable, Sendable {
    /// Those who have a session on any node.
    public var online: [UserID]
    /// When others were last here, in milliseconds since 1970, as far as they let others see it.
    public var seen: [UserID: UInt64]

    public init(online: [UserID], seen: [UserID: UInt64] = [:]) {
        self.online = online
        self.seen = seen
    }
}

/// What is new in a room that a session watches.
public struct InboxHead: Hashable, Sendable {
    public var room: RoomName
    /// The newest message; nil if nothing was said.
    public var last: MessagePreview?
    /// What the session's user has not read; nil if the user is no participant.
    public var unread: UInt64?

    public init(room: RoomName, last: MessagePreview?, unread: UInt64?) {
        self.room = room
        self.last = last
        self.unread = unread
    }
}

/// A conversation in a user's inbox.
public struct InboxConversation: Hashable, Sendable {
    public var room: RoomName
    public var head: RoomHead

    public init(room: RoomName, head: RoomHead) {
        self.room = room
        self.head = head
    }

    /// By what the inbox is in order: when the newest message was said, or, if there is none, since when the user is a
    /// participant. Of conversations with the same time the names decide, so that the order is total.
    var age: (UInt64, String) { (max(head.last?.at ?? 0, head.participant.since), room.text) }
}

/// A page of a user's inbox.
public struct InboxPage: Hashable, Sendable {
    /// Newest first.
    public var conversations: [InboxConversation]
    /// What the client knows after this page.
    public var cursor: InboxCursor
    /// Whether there are more that the client does not know.
    public var hasMore: Bool

    public init(conversations: [InboxConversation], cursor: InboxCursor, hasMore: Bool) {
        self.conversations = conversations
        self.cursor = cursor
        self.hasMore = hasMore
    }

    /// The first page of what `known` does not have. `all`: all conversations as they are now, in any order.
    public init(of all: [InboxConversation], known: InboxCursor, limit: Int) {
        var kept: [UInt64] = []
        var new: [(conversation: InboxConversation, mark: UInt64)] = []
        for conversation in all {
            let mark = InboxCursor.mark(of: conversation)
            if known.holds(mark) { kept.append(mark) } else { new.append((conversation, mark)) }
        }
        new.sort { $0.conversation.age > $1.conversation.age }
        let page = new.prefix(max(1, limit))
        self.init(
            conversations: page.map(\.conversation), cursor: InboxCursor(marks: kept + page.map(\.mark)),
            hasMore: page.count < new.count)
    }
}
