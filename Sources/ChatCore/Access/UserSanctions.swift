/// What was imposed on users in all rooms, by commands that every node applies (``NodeCommand``). What is imposed on a
/// user in one room is in that room's ``RoomModeration``.
public struct UserSanctions: Sendable, Equatable {
    /// The most sanctions that are remembered. Beyond it those that end first are forgotten, so that memory is bounded;
    /// a node that has to do so logs it.
    public static let most = 100_000

    private var bans: [UserID: Sanction] = [:]
    private var mutes: [UserID: Sanction] = [:]

    public init() {}

    public var count: Int { bans.count + mutes.count }

    /// Adds a sanction, in place of one of the same kind. `now`: in milliseconds since 1970. Returns false if another
    /// one had to be forgotten for it.
    public mutating func impose(_ kind: Sanction.Kind, on user: UserID, _ sanction: Sanction, now: UInt64) -> Bool {
        lift(kind, from: user)
        guard sanction.isInForce(at: now) else { return true }
        var isWhole = true
        if count >= Self.most {
            forget(now: now)
            if count >= Self.most {
                forgetFirstToEnd()
                isWhole = false
            }
        }
        if kind == .ban { bans[user] = sanction } else { mutes[user] = sanction }
        return isWhole
    }

    public mutating func lift(_ kind: Sanction.Kind, from user: UserID) {
        if kind == .ban { bans[user] = nil } else { mutes[user] = nil }
    }

    /// Forgets the sanctions that have ended.
    public mutating func forget(now: UInt64) {
        if bans.contains(where: { !$0.value.isInForce(at: now) }) { bans = bans.filter { $0.value.isInForce(at: now) } }
        if mutes.contains(where: { !$0.value.isInForce(at: now) }) {
            mutes = mutes.filter { $0.value.isInForce(at: now) }
        }
    }

    private mutating func forgetFirstToEnd() {
        func first(_ sanctions: [UserID: Sanction]) -> (key: UserID, end: UInt64)? {
            sanctions.map { ($0.key, $0.value.until ?? .max) }.min { $0.1 < $1.1 }
        }
        let (ban, mute) = (first(bans), first(mutes))
        if let ban, ban.end <= mute?.end ?? .max {
            bans[ban.key] = nil
        } else if let mute {
            mutes[mute.key] = nil
        }
    }

    /// The user's sanction of that kind, if it is in force. `now`: in milliseconds since 1970.
    public func sanction(_ kind: Sanction.Kind, of user: UserID, now: UInt64) -> Sanction? {
        guard let found = (kind == .ban ? bans : mutes)[user], found.isInForce(at: now) else { return nil }
        return found
    }

    /// Why the user may not have a session, read or send anything here; nil if the user may.
    public func refusalOfPresence(of user: UserID, now: UInt64) -> WireError? {
        guard !bans.isEmpty, let ban = sanction(.ban, of: user, now: now) else { return nil }
        return .sanctioned(.banned, "you are banned from this service", ban, now: now)
    }

    /// Why the user may not send messages in any room; nil if the user may.
    public func refusalOfSending(by user: UserID, now: UInt64) -> WireError? {
        guard count > 0 else { return nil }
        if let error = refusalOfPresence(of: user, now: now) { return error }
        guard let mute = sanction(.mute, of: user, now: now) else { return nil }
        return .sanctioned(.muted, "you may not send messages in any room", mute, now: now)
    }
}
