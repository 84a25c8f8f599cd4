import ChatCore

/// What a moderator has forbidden in a room, told by the moderator's orders alone.
struct SimForbidden {
    /// By user, until when; nil: for ever.
    private var banned: [UserID: UInt64?] = [:]
    private var muted: [UserID: UInt64?] = [:]
    private var isFrozen = false
    private var isClosed = false

    mutating func note(_ moderation: Moderation, now: UInt64) {
        switch moderation {
        case .impose(.ban, let user, let time, _): banned[user] = .some(time.map { now + $0 })
        case .impose(.mute, let user, let time, _): muted[user] = .some(time.map { now + $0 })
        case .kick(let user, let time, _):
            let until = now + time
            if let known = banned[user], known.map({ $0 >= until }) ?? true { return }
            banned[user] = .some(until)
        case .lift(.ban, let user): banned[user] = nil
        case .lift(.mute, let user): muted[user] = nil
        case .freeze(let isFrozen): self.isFrozen = isFrozen
        case .posting(let posting): isClosed = posting == .moderators
        case .slowMode, .uniqueFor, .members: break
        }
    }

    /// Why the user may send nothing. Sanctions that end are judged by the node's clock, which may be wrong, so only
    /// those without an end count.
    func refusal(of user: UserID, now: UInt64) -> String? {
        if case .some(.none) = banned[user] { return "is banned" }
        if case .some(.none) = muted[user] { return "is muted" }
        if isFrozen { return "writes to a frozen room" }
        return isClosed ? "is no moderator" : nil
    }
}
