/// The one place that decides whether a request may reach a room, for all protocols and for HTTP.
public enum AccessDecision {
    /// Why a bearer of the grant may not do that in the room; nil if it may. No grant means development mode, where
    /// everything is allowed.
    public static func refusal(of right: Rights, in room: RoomName, by grant: Grant?) -> WireError? {
        guard let grant else { return nil }
        return refusal(of: right, by: grant.rights(in: room))
    }

    /// Why a bearer of the grant may not ask for a user's conversations, or who is online; nil if it may read some
    /// room.
    public static func refusalOfReadingAnything(by grant: Grant?) -> WireError? {
        guard let grant, !grant.permissions.rules.contains(where: { $0.rights.contains(.read) }) else { return nil }
        return WireError(.forbidden, "the token gives no right to read in any room")
    }

    /// Why a bearer of the grant may not administer the chat; nil if it may.
    public static func refusalOfAdministration(by grant: Grant?) -> WireError? {
        guard let grant, !grant.permissions.roles.contains(Permissions.administrator) else { return nil }
        return WireError(.forbidden, "this is for servers whose key has the scope admin")
    }

    /// The same for rights that were evaluated before.
    public static func refusal(of right: Rights, by rights: Rights) -> WireError? {
        guard !rights.isSuperset(of: right) else { return nil }
        let missing = right.subtracting(rights).names.joined(separator: ", ")
        return WireError(.forbidden, "the token gives no right to \(missing) in this room")
    }
}

extension ClientRequest.Body {
    /// The room that the request concerns, and the right that it requires there; nil if it concerns none, or if it is
    /// allowed without a right, like leaving.
    public var requirement: (room: RoomName, right: Rights)? { requirement(of: nil) }

    /// The same for a request of that user, whose direct conversations are rooms too.
    public func requirement(of user: UserID?) -> (room: RoomName, right: Rights)? {
        switch self {
        case .join(let room, _, _), .history(let room, _), .roster(let room, _): (room, .read)
        case .send(let send): (send.room, .send)
        case .signal(let room, _, _): (room, .signal)
        case .moderate(let room, _): (room, .moderate)
        case .conversation(let order):
            order.right.isEmpty ? nil : order.room(of: user).map { (room: $0, right: order.right) }
        case .amend(let amend): (amend.room, amend.operation.requirement)
        case .inbox(.read(let room, _)): (room, .read)
        // Of several rooms, each is decided by itself.
        case .inbox(.list), .inbox(.watch), .inbox(.unwatch), .inbox(.online), .inbox(.showLastSeen): nil
        case .leave, .ping, .token: nil
        }
    }
}
