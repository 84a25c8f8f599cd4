/// A client's request to change an earlier message, or to erase several.
public struct AmendRequest: Hashable, Sendable {
    /// The maximum number of bytes of a reaction.
    public static let maxReactionBytes = 64

    public enum Operation: Hashable, Sendable {
        /// The text and data of the message are replaced as a whole.
        case edit(of: Position, text: String?, data: String?)
        /// Erases the message and its edits. A tombstone remains.
        case delete(of: Position)
        case react(of: Position, emoji: String)
        case unreact(of: Position, emoji: String)
        case pin(of: Position)
        case unpin(of: Position)
        /// Erases the messages of a user, from that position on (nil: from the beginning of the log). A bounded number
        /// of them: the answer says where to go on.
        case deleteUser(UserID, from: Position?)
        /// Erases the messages from one position to another one, both included. Likewise bounded.
        case deleteRange(from: Position, to: Position)
        /// Asks moderators to look at the message: an entry of the room's audit.
        case report(of: Position, reason: String)
    }

    public var room: RoomName
    public var operation: Operation
    /// Like that of a send: done once for each user and key.
    public var key: String?

    public init(room: RoomName, _ operation: Operation, key: String? = nil) {
        self.room = room
        self.operation = operation
        self.key = key
    }

    /// The number of bytes that count as sent to the room.
    public var byteCount: Int {
        let content =
            switch operation {
            case .edit(_, let text, let data): (text?.utf8.count ?? 0) + (data?.utf8.count ?? 0)
            case .react(_, let emoji), .unreact(_, let emoji): emoji.utf8.count
            case .report(_, let reason): reason.utf8.count
            case .delete, .pin, .unpin, .deleteUser, .deleteRange: 0
            }
        return content + (key?.utf8.count ?? 0)
    }

    /// The part of ``RequestCost`` that is known when the request has been read.
    var costBefore: UInt64 {
        var cost = RequestCost.request &+ RequestCost.amendment &+ UInt64(byteCount) &* RequestCost.byteAmended
        if key != nil { cost &+= RequestCost.keyLookup }
        switch operation {
        case .edit, .react, .unreact, .pin, .unpin, .report: return cost
        // Afterwards the tombstone is read, for the copies that users have starred.
        case .delete: return cost &+ RequestCost.star
        case .deleteUser, .deleteRange: return cost &+ RequestCost.missed
        }
    }
}

extension AmendRequest.Operation {
    /// The name in requests and in the arguments of the function.
    public var name: String {
        switch self {
        case .edit: "edit"
        case .delete: "delete"
        case .react: "react"
        case .unreact: "unreact"
        case .pin: "pin"
        case .unpin: "unpin"
        case .deleteUser: "delete-user"
        case .deleteRange: "delete-range"
        case .report: "report"
        }
    }

    /// The position that it is about, or from which it begins.
    public var of: Position? {
        switch self {
        case .edit(let of, _, _), .delete(let of), .react(let of, _), .unreact(let of, _), .pin(let of), .unpin(let of),
            .deleteRange(let of, _), .report(let of, _):
            of
        case .deleteUser(_, let from): from
        }
    }

    /// The right that it requires. Who may change the messages of others is asked besides, when the author is known.
    public var requirement: Rights {
        switch self {
        case .edit, .delete: .amend
        case .react, .unreact: .send
        case .pin, .unpin: .amendAny
        case .deleteUser, .deleteRange: .moderate
        case .report: .read
        }
    }

    /// The words of an edit, which are looked at like those of a message.
    public var text: String? {
        get {
            guard case .edit(_, let text, _) = self else { return nil }
            return text
        }
        set {
            guard case .edit(let of, _, let data) = self else { return }
            self = .edit(of: of, text: newValue, data: data)
        }
    }
}

/// What the broker is asked to do: a request with its user and rights.
public struct AmendOrder: Hashable, Sendable {
    public var request: AmendRequest
    public var user: UserID
    /// The node's clock, ms since 1970.
    public var at: UInt64
    /// The time in which users may edit and delete their own messages, in milliseconds; 0: no bound.
    public var window: UInt64
    /// Whether the user may change the messages of others.
    public var mayAmendAny: Bool
    /// False for a user who may moderate the room, or a server: the rules do not bind them.
    public var obeysRules: Bool

    public init(
        _ request: AmendRequest, by user: UserID, at: UInt64, window: UInt64 = 0, mayAmendAny: Bool = false,
        obeysRules: Bool = true
    ) {
        self.request = request
        self.user = user
        self.at = at
        self.window = window
        self.mayAmendAny = mayAmendAny
        self.obeysRules = obeysRules
    }
}

/// The broker's answer to an ``AmendOrder``.
public struct AmendReply: Hashable, Sendable {
    public enum Outcome: Hashable, Sendable {
        case stored
        /// Its key was known: this is the first one's position.
        case repeated
        /// The message was as wanted already; the position is the log's last one.
        case unchanged
    }

    public var position: Position
    public var outcome: Outcome
    /// How many messages were erased, and where to go on (nil: there are no more), when several were to be erased.
    public var erased: Int?
    public var next: Position?

    public init(_ position: Position, _ outcome: Outcome, erased: Int? = nil, next: Position? = nil) {
        self.position = position
        self.outcome = outcome
        self.erased = erased
        self.next = next
    }
}
