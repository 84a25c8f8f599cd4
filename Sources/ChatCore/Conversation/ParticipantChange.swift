/// What has changed about a user in who belongs to a room, as members of the room are told.
public struct ParticipantChange: Hashable, Sendable {
    public var user: UserID
    /// The user's role now; nil if the user does not belong to the room any more.
    public var role: ParticipantRole?
    /// The user did not belong to the room before.
    public var isNew: Bool

    public init(of user: UserID, to role: ParticipantRole?, isNew: Bool = false) {
        self.user = user
        self.role = role
        self.isNew = isNew
    }
}

/// What members of a room are told at once of who belongs to it.
public struct ParticipantChanges: Hashable, Sendable {
    /// The most that an event tells. A node that was away may have missed more.
    public static let most = 100

    /// By name.
    public var changes: [ParticipantChange]
    /// There were more than ``most``: whoever wants to know all asks for the participants.
    public var hasMore: Bool

    public init(_ changes: [ParticipantChange], hasMore: Bool = false) {
        self.changes = changes
        self.hasMore = hasMore
    }
}

extension RoomModeration {
    /// How participants and their roles differ from those before; nil if they do not.
    public func participantChanges(since before: RoomModeration?) -> ParticipantChanges? {
        let (old, new) = (before?.conversation?.participants ?? [:], conversation?.participants ?? [:])
        var changes = new.compactMap { user, participant in
            old[user]?.role == participant.role
                ? nil : ParticipantChange(of: user, to: participant.role, isNew: old[user] == nil)
        }
        for user in old.keys where new[user] == nil { changes.append(ParticipantChange(of: user, to: nil)) }
        guard !changes.isEmpty else { return nil }
        changes.sort { $0.user.text < $1.user.text }
        let most = ParticipantChanges.most
        return ParticipantChanges(Array(changes.prefix(most)), hasMore: changes.count > most)
    }
}
