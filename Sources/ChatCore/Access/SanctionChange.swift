/// A sanction that a moderator imposed on a user of a room, or lifted, as members of the room are told.
public struct SanctionChange: Hashable, Sendable {
    public var kind: Sanction.Kind
    public var user: UserID
    /// The sanction that is in force now; nil if it was lifted.
    public var sanction: Sanction?

    public init(_ kind: Sanction.Kind, of user: UserID, _ sanction: Sanction?) {
        self.kind = kind
        self.user = user
        self.sanction = sanction
    }

    /// The operation that has this effect.
    public var operation: ModerationOrder.Operation {
        switch kind {
        case .ban: sanction == nil ? .unban : .ban
        case .mute: sanction == nil ? .unmute : .mute
        }
    }
}

extension RoomModeration {
    /// How the sanctions in force differ from those before: the newest first, then what was lifted, each by kind and
    /// name.
    public func sanctionChanges(since before: RoomModeration?, now: UInt64) -> [SanctionChange] {
        let before = before ?? .none
        let changes =
            Self.changes(.ban, before.bans, bans, now) + Self.changes(.mute, before.mutes, mutes, now)
        return changes.sorted { ($0.sanction?.at ?? 0, $1.user.text) > ($1.sanction?.at ?? 0, $0.user.text) }
    }

    private static func changes(
        _ kind: Sanction.Kind, _ before: [UserID: Sanction], _ after: [UserID: Sanction], _ now: UInt64
    ) -> [SanctionChange] {
        var changes: [SanctionChange] = []
        for (user, sanction) in after where sanction.isInForce(at: now) && before[user] != sanction {
            changes.append(SanctionChange(kind, of: user, sanction))
        }
        for (user, sanction) in before where sanction.isInForce(at: now) && !(after[user]?.isInForce(at: now) ?? false)
        {
            changes.append(SanctionChange(kind, of: user, nil))
        }
        return changes
    }
}
