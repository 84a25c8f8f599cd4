/// The rules and sanctions of a room at one moment. Constant: a change makes another object, so the room and its
/// answers share one, and a room that was never moderated has none.
public final class RoomModeration: Sendable {
    /// The most sanctions of one room, bans and mutes together. Those that have ended are dropped to make room for
    /// others.
    public static let mostSanctions = 1_000

    /// Identifies this state of the rules: the epoch that the change began. 0 if the room was never moderated.
    public let version: UInt64
    public let policy: RoomPolicy
    public let bans: [UserID: Sanction]
    public let mutes: [UserID: Sanction]
    /// Who belongs to the room; nil if nobody does, and nobody ever did.
    public let conversation: Conversation?

    public init(
        version: UInt64, policy: RoomPolicy = RoomPolicy(), bans: [UserID: Sanction] = [:],
        mutes: [UserID: Sanction] = [:], conversation: Conversation? = nil
    ) {
        self.conversation = conversation
        self.version = version
        self.policy = policy
        self.bans = bans
        self.mutes = mutes
    }

    /// A room that was never moderated.
    public static let none = RoomModeration(version: 0)

    public var sanctionCount: Int { bans.count + mutes.count }

    /// The same without the sanctions that have ended. `now`: in milliseconds since 1970.
    public func inForce(at now: UInt64) -> RoomModeration {
        RoomModeration(
            version: version, policy: policy, bans: bans.filter { $0.value.isInForce(at: now) },
            mutes: mutes.filter { $0.value.isInForce(at: now) }, conversation: conversation)
    }

    /// The user's ban, if it is in force. `now`: in milliseconds since 1970.
    public func ban(of user: UserID, now: UInt64) -> Sanction? { Self.inForce(bans, user, now) }

    /// The user's mute, if it is in force.
    public func mute(of user: UserID, now: UInt64) -> Sanction? { Self.inForce(mutes, user, now) }

    private static func inForce(_ sanctions: [UserID: Sanction], _ user: UserID, _ now: UInt64) -> Sanction? {
        guard !sanctions.isEmpty, let sanction = sanctions[user], sanction.isInForce(at: now) else { return nil }
        return sanction
    }

    // MARK: decisions

    /// Why the user may not be in the room; nil if nothing forbids it.
    public func refusal(ofJoinBy user: UserID, in room: RoomName, now: UInt64) -> WireError? {
        if let ban = ban(of: user, now: now) {
            return .sanctioned(.banned, "you are banned from this room", ban, now: now)
        }
        if policy.members == .nobody { return WireError(.forbidden, "join: this room is closed") }
        return isShutOut(user, of: room) ? ConversationRefusal.notParticipant.error : nil
    }

    /// Whether there may be somebody who may not be in the room.
    func mayShutOut(of room: RoomName) -> Bool {
        !bans.isEmpty || policy.members != .everybody || room.isDirect
    }

    /// Whether only participants may be in the room, and the user is none. The name of a direct conversation is enough
    /// for that: nobody may be in it before it was begun for the two.
    private func isShutOut(_ user: UserID, of room: RoomName) -> Bool {
        guard policy.members == .participants || room.isDirect else { return false }
        return conversation?.participants[user] == nil
    }

    /// The user's role, if the user belongs to the room.
    public func role(of user: UserID) -> ParticipantRole? { conversation?.participants[user]?.role }

    /// Why a message of the user may not be stored; nil if nothing forbids it.
    ///
    /// - Parameters:
    ///   - rights: The user's rights in the room. Who may moderate is bound by sanctions, but not by the room's rules.
    ///     Nor are the moderators and owners of a conversation by those that stop everybody else.
    ///   - now: In milliseconds since 1970, as all times.
    ///   - lastSend: When the user's last message in this room was sent.
    ///   - lastSame: When the user's last message with the same content was sent.
    public func refusal(
        ofSendBy user: UserID, in room: RoomName, with rights: Rights, now: UInt64, lastSend: UInt64? = nil,
        lastSame: UInt64? = nil
    ) -> WireError? {
        if let ban = ban(of: user, now: now) {
            return .sanctioned(.banned, "you are banned from this room", ban, now: now)
        }
        if let mute = mute(of: user, now: now) {
            return .sanctioned(.muted, "you may not send messages in this room", mute, now: now)
        }
        if policy.members == .nobody { return WireError(.frozen, "send: this room is closed") }
        guard !rights.contains(.moderate) else { return nil }
        if isShutOut(user, of: room) { return ConversationRefusal.notParticipant.error }
        if room.isDirect, conversation?.isBlocked(user) ?? false { return .blocked }
        if let role = role(of: user), role > .member { return nil }
        if policy.isFrozen { return WireError(.frozen, "send: this room is frozen") }
        if policy.posting == .moderators {
            return WireError(.notModerator, "send: only moderators may send messages in this room")
        }
        if let last = lastSend, let until = Self.end(of: policy.slowMode, since: last, now) {
            var error = WireError(
                .slowMode, "send: slow mode: one message in \(policy.slowMode) ms, the next one in \(until - now) ms")
            error.until = until
            return error
        }
        if let last = lastSame, let until = Self.end(of: policy.uniqueFor, since: last, now) {
            var error = WireError(.duplicate, "send: you said this less than \(policy.uniqueFor) ms ago")
            error.until = until
            return error
        }
        return nil
    }

    /// When the time since `last` will have passed; nil if it has. (A node whose clock is ahead may have sent the last
    /// one.)
    private static func end(of time: UInt64, since last: UInt64, _ now: UInt64) -> UInt64? {
        guard time > 0 else { return nil }
        let end = min(last, now) + time
        return end > now ? end : nil
    }
}

extension RoomModeration: Equatable {
    public static func == (left: RoomModeration, right: RoomModeration) -> Bool {
        left === right
            || (left.version == right.version && left.policy == right.policy && left.bans == right.bans
                && left.mutes == right.mutes && left.conversation == right.conversation)
    }
}

extension WireError {
    /// The error with which the broker refuses a message of a user who is in no room. Nil if the code is none of those.
    public static func forbidden(_ code: Code, until: UInt64? = nil, reason: String = "") -> WireError? {
        let text: String
        switch code {
        case .banned: text = "this user is banned from the room"
        case .muted: text = "this user may not send messages in the room"
        case .frozen: text = "the room is frozen"
        case .notModerator: text = "only moderators may send messages in the room"
        case .forbidden: return ConversationRefusal.notParticipant.error
        case .blocked: return .blocked
        default: return nil
        }
        var error = WireError(code, reason.isEmpty ? text : "\(text): \(reason)")
        error.until = until
        return error
    }

    /// The error for a message in a direct conversation to somebody who does not want to hear from its sender.
    package static let blocked = WireError(.blocked, "the other one does not accept messages from this user")

    static func sanctioned(_ code: Code, _ text: String, _ sanction: Sanction, now: UInt64) -> WireError {
        var message = text
        if let until = sanction.until { message += " for another \((until - min(now, until) + 999) / 1_000) s" }
        if !sanction.reason.isEmpty { message += ": \(sanction.reason)" }
        var error = WireError(code, message)
        error.until = sanction.until
        return error
    }
}

// MARK: changes

extension RoomModeration {
    /// What a moderation makes of these rules.
    package enum Change: Sendable {
        /// They are as wanted already.
        case nothing
        case refused(String)
        /// The rules with the version that was given.
        case changed(RoomModeration)
    }

    /// The state after the moderation. `version`: that of the new state.
    package func applying(_ moderation: Moderation, by: String, now: UInt64, version: UInt64) -> Change {
        if let problem = moderation.problem { return .refused(problem) }
        guard by.utf8.count <= UserID.maxBytes, !Moderation.hasControls(by) else {
            return .refused("who orders it must be at most 128 bytes without control characters")
        }
        var (policy, bans, mutes) = (self.policy, self.bans, self.mutes)
        switch moderation {
        case .impose(let kind, let user, let time, let reason):
            let until = time.map { min(now + $0, PositionBounds.largest) }
            let sanction = Sanction(until: until, reason: reason, by: by, at: now)
            let isNew = (kind == .ban ? bans : mutes)[user] == nil
            if isNew, bans.count + mutes.count >= Self.mostSanctions {
                bans = bans.filter { $0.value.isInForce(at: now) }
                mutes = mutes.filter { $0.value.isInForce(at: now) }
                guard bans.count + mutes.count < Self.mostSanctions else {
                    return .refused("the room has \(Self.mostSanctions) sanctions already")
                }
            }
            if kind == .ban { bans[user] = sanction } else { mutes[user] = sanction }
        case .kick(let user, let time, let reason):
            let until = min(now + time, PositionBounds.largest)
            if let ban = bans[user], ban.until.map({ $0 >= until }) ?? true { return .nothing }
            return applying(.ban(user, for: time, reason: reason), by: by, now: now, version: version)
        case .lift(.ban, let user): bans[user] = nil
        case .lift(.mute, let user): mutes[user] = nil
        case .slowMode(let time): policy.slowMode = time
        case .posting(let posting): policy.posting = posting
        case .freeze(let isFrozen): policy.isFrozen = isFrozen
        case .uniqueFor(let time): policy.uniqueFor = time
        case .members(let members): policy.members = members
        }
        let isImposed = if case .impose = moderation { true } else { false }
        guard isImposed || policy != self.policy || bans != self.bans || mutes != self.mutes else { return .nothing }
        return .changed(
            RoomModeration(version: version, policy: policy, bans: bans, mutes: mutes, conversation: conversation))
    }
}
