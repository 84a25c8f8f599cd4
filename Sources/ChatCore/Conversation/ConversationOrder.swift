/// What a client asks about conversations.
public enum ConversationOrder: Hashable, Sendable {
    /// The direct conversation with that user is begun, if it was not yet.
    case direct(UserID)
    /// A group is begun, whose owner is who asks.
    case create(RoomName, [UserID])
    case invite(RoomName, [UserID])
    /// Who asks does not belong to the room any more.
    case leave(RoomName)
    case remove(RoomName, UserID)
    case role(RoomName, UserID, ParticipantRole)
    case notify(RoomName, NotificationLevel)
    /// Who asks does not want to hear from that user directly.
    case block(UserID)
    case unblock(UserID)
    /// Whom who asks has blocked.
    case blocked
    /// Who belongs to the room.
    case participants(RoomName)
    /// Who asks keeps a copy of the message; or no longer.
    case star(RoomName, Position)
    case unstar(RoomName, Position)
    /// The stars of who asks that were given before `before`, the newest first.
    case stars(limit: Int, before: UInt64?)

    /// The room that it is about, if `user` asks; nil if it is about none, or about no possible one.
    public func room(of user: UserID?) -> RoomName? {
        switch self {
        case .direct(let other), .block(let other), .unblock(let other):
            user.flatMap { RoomName(directOf: $0, and: other) }
        case .create(let room, _), .invite(let room, _), .leave(let room), .remove(let room, _), .role(let room, _, _),
            .notify(let room, _), .participants(let room), .star(let room, _), .unstar(let room, _):
            room
        case .blocked, .stars: nil
        }
    }

    /// The right that it requires in its room; empty if everybody may ask. Who may do what in a conversation is decided
    /// by the roles of its participants.
    public var right: Rights {
        switch self {
        case .direct, .create: .send
        case .invite, .remove, .role, .notify, .participants, .star: .read
        case .leave, .block, .unblock, .blocked, .unstar, .stars: []
        }
    }

    /// Whether it leaves the room as it is.
    public var isRead: Bool {
        switch self {
        case .blocked, .participants, .star, .unstar, .stars: true
        case .direct, .create, .invite, .leave, .remove, .role, .notify, .block, .unblock: false
        }
    }

    /// Whether it is about no room, but about the user who asks.
    public var needsNoRoom: Bool {
        switch self {
        case .blocked, .stars: true
        case .direct, .create, .invite, .leave, .remove, .role, .notify, .block, .unblock, .participants, .star,
            .unstar:
            false
        }
    }

    /// Whether it reads what only those may read who may be in the room.
    public var readsRoom: Bool {
        switch self {
        case .participants, .star: true
        case .direct, .create, .invite, .leave, .remove, .role, .notify, .block, .unblock, .blocked, .unstar, .stars:
            false
        }
    }

    /// How many users it names.
    public var userCount: Int {
        switch self {
        case .create(_, let users), .invite(_, let users): users.count
        case .direct: 2
        case .leave, .remove, .role, .notify, .block, .unblock, .blocked, .participants, .star, .unstar, .stars: 1
        }
    }
}

/// A ``ConversationOrder`` as clients write it: the fields of a JSON object, or the words of a command.
public struct ConversationWords: Hashable, Sendable {
    public enum Operation: String, CaseIterable, Sendable {
        case direct, create, invite, leave, remove, role, notify, block, unblock, blocked
    }

    /// The name of an ``Operation``.
    public var operation: String
    public var room: String?
    public var user: String?
    public var users: [String]?
    /// For `create`: `group`, if it is there.
    public var kind: String?
    public var role: String?
    public var level: String?

    public init(_ operation: String, room: String? = nil, user: String? = nil, users: [String]? = nil) {
        self.operation = operation
        self.room = room
        self.user = user
        self.users = users
    }

    /// The words that say the same as the order, if it is an ``Operation``.
    public init(_ order: ConversationOrder) {
        switch order {
        case .direct(let user): self.init("direct", user: user.text)
        case .create(let room, let users): self.init("create", room: room.text, users: users.map(\.text))
        case .invite(let room, let users): self.init("invite", room: room.text, users: users.map(\.text))
        case .leave(let room): self.init("leave", room: room.text)
        case .remove(let room, let user): self.init("remove", room: room.text, user: user.text)
        case .role(let room, let user, let role):
            self.init("role", room: room.text, user: user.text)
            self.role = role.rawValue
        case .notify(let room, let level):
            self.init("notify", room: room.text)
            self.level = level.rawValue
        case .block(let user): self.init("block", user: user.text)
        case .unblock(let user): self.init("unblock", user: user.text)
        case .blocked: self.init("blocked")
        case .participants(let room): self.init("participants", room: room.text)
        case .star(let room, _): self.init("star", room: room.text)
        case .unstar(let room, _): self.init("unstar", room: room.text)
        case .stars: self.init("stars")
        }
    }

    /// The order that the words say. Throws `missingField`, `badField` or `badName`. Fields that the operation does not
    /// need are ignored.
    public func order() throws(WireError) -> ConversationOrder {
        guard let known = Operation(rawValue: operation) else {
            let all = Operation.allCases.map(\.rawValue).joined(separator: ", ")
            throw WireError(.badField, "operation is none of \(all)")
        }
        switch known {
        case .direct: return .direct(try needUser())
        case .create:
            if let kind, kind != ConversationKind.group.rawValue {
                throw WireError(.badField, "kind must be group; a direct conversation has an operation of its own")
            }
            return .create(try needRoom(), try needUsers(orNone: true))
        case .invite: return .invite(try needRoom(), try needUsers(orNone: false))
        case .leave: return .leave(try needRoom())
        case .remove: return .remove(try needRoom(), try needUser())
        case .role:
            guard let role else { throw WireError(.missingField, "role is missing") }
            guard let role = ParticipantRole(rawValue: role) else {
                throw WireError(.badField, "role must be member, moderator or owner")
            }
            return .role(try needRoom(), try needUser(), role)
        case .notify:
            guard let level else { throw WireError(.missingField, "level is missing") }
            guard let level = NotificationLevel(rawValue: level) else {
                throw WireError(.badField, "level must be all, mentions or none")
            }
            return .notify(try needRoom(), level)
        case .block: return .block(try needUser())
        case .unblock: return .unblock(try needUser())
        case .blocked: return .blocked
        }
    }

    private func needRoom() throws(WireError) -> RoomName {
        guard let room else { throw WireError(.missingField, "room is missing") }
        do throws(NameError) {
            return try RoomName(room)
        } catch {
            throw WireError(.badName, error.description)
        }
    }

    private func needUser() throws(WireError) -> UserID {
        guard let user else { throw WireError(.missingField, "user is missing") }
        return try Self.user(user)
    }

    private func needUsers(orNone: Bool) throws(WireError) -> [UserID] {
        guard let users else {
            if orNone { return [] }
            throw WireError(.missingField, "users is missing: a list of names")
        }
        guard users.count <= ConversationRequest.mostUsers else {
            throw WireError(.badField, "users has more than \(ConversationRequest.mostUsers) names")
        }
        var all: [UserID] = []
        for user in users { all.append(try Self.user(user)) }
        return all
    }

    private static func user(_ text: String) throws(WireError) -> UserID {
        do throws(NameError) {
            return try UserID(text)
        } catch {
            throw WireError(.badName, error.description)
        }
    }
}

/// The answer to a ``ConversationOrder``.
public enum ConversationAnswer: Hashable, Sendable {
    /// `kind`: nil if the room has no participants.
    case done(RoomName, ConversationKind?, isChanged: Bool)
    /// `viewer`: who asked, and is told the own notification level. Nil: the room has no participants.
    case participants(RoomName, ParticipantList?, viewer: UserID?)
    case blocked([UserID])
    case starred(RoomName, Position, Bool)
    /// `before`: of the next page; nil if this is the last one.
    case stars([Star], before: UInt64?)
}
