/// A ``Moderation`` as clients and operators write it: the fields of a JSON object, or the words of a command.
public struct ModerationOrder: Hashable, Sendable {
    /// The operations of `martlet_moderate`.
    public enum Operation: String, CaseIterable, Sendable {
        case ban, kick, mute, unban, unmute, slow, unique, posting, freeze, thaw, members
    }

    /// The name of an ``Operation``.
    public var operation: String
    /// For sanctions: the user.
    public var user: String?
    /// For `posting`: `open` or `moderators`. For `members`: `everybody`, `participants` or `nobody`.
    public var value: String?
    /// In milliseconds: how long a sanction lasts (none: for ever; a kick: ``Moderation/kickTime``), or the time of
    /// `slow` and `unique` (0: none).
    public var time: UInt64?
    public var reason: String?

    public init(
        _ operation: String, user: String? = nil, value: String? = nil, time: UInt64? = nil, reason: String? = nil
    ) {
        self.operation = operation
        self.user = user
        self.value = value
        self.time = time
        self.reason = reason
    }

    /// The order that says the same as the moderation.
    public init(_ moderation: Moderation) {
        switch moderation {
        case .impose(let kind, let user, let time, let reason):
            self.init(kind.rawValue, user: user.text, time: time, reason: reason)
        case .lift(let kind, let user): self.init("un" + kind.rawValue, user: user.text)
        case .kick(let user, let time, let reason):
            self.init("kick", user: user.text, time: time, reason: reason)
        case .slowMode(let time): self.init("slow", time: time)
        case .uniqueFor(let time): self.init("unique", time: time)
        case .posting(let posting): self.init("posting", value: posting.rawValue)
        case .members(let members): self.init("members", value: members.rawValue)
        case .freeze(let isFrozen): self.init(isFrozen ? "freeze" : "thaw")
        }
    }

    /// The order as a moderation that the broker accepts. Throws `missingField`, `badField` or `badName`. Fields that
    /// the operation does not need are ignored.
    public func moderation() throws(WireError) -> Moderation {
        guard let known = Operation(rawValue: operation) else {
            let all = Operation.allCases.map(\.rawValue).joined(separator: ", ")
            throw WireError(.badField, "operation is none of \(all)")
        }
        let moderation: Moderation
        switch known {
        case .ban: moderation = .ban(try needUser(), for: time, reason: reason ?? "")
        case .mute: moderation = .mute(try needUser(), for: time, reason: reason ?? "")
        case .kick: moderation = .kick(try needUser(), for: time ?? Moderation.kickTime, reason: reason ?? "")
        case .unban: moderation = .unban(try needUser())
        case .unmute: moderation = .unmute(try needUser())
        case .slow: moderation = .slowMode(try needTime())
        case .unique: moderation = .uniqueFor(try needTime())
        case .posting:
            guard let value else { throw WireError(.missingField, "value is missing") }
            guard let posting = RoomPolicy.Posting(rawValue: value) else {
                throw WireError(.badField, "value must be open or moderators")
            }
            moderation = .posting(posting)
        case .members:
            guard let value else { throw WireError(.missingField, "value is missing") }
            guard let members = RoomPolicy.Members(rawValue: value) else {
                throw WireError(.badField, "value must be everybody, participants or nobody")
            }
            moderation = .members(members)
        case .freeze: moderation = .freeze(true)
        case .thaw: moderation = .freeze(false)
        }
        if let problem = moderation.problem { throw WireError(.badField, problem) }
        return moderation
    }

    private func needUser() throws(WireError) -> UserID {
        guard let user else { throw WireError(.missingField, "user is missing") }
        do throws(NameError) {
            return try UserID(user)
        } catch {
            throw WireError(.badName, error.description)
        }
    }

    private func needTime() throws(WireError) -> UInt64 {
        guard let time else { throw WireError(.missingField, "time is missing: milliseconds, 0 for none") }
        return time
    }
}
