/// A change of a room's rules, or of the sanctions of one of its users.
public enum Moderation: Hashable, Sendable {
    /// `time`: how long the sanction lasts, in milliseconds; nil for ever. It replaces an earlier one of the same kind.
    case impose(Sanction.Kind, on: UserID, for: UInt64?, reason: String)
    case lift(Sanction.Kind, from: UserID)
    /// The user leaves the room and may not return within the time, in milliseconds: a ban that never shortens another.
    case kick(UserID, for: UInt64, reason: String)
    /// ``RoomPolicy/slowMode``.
    case slowMode(UInt64)
    case posting(RoomPolicy.Posting)
    /// ``RoomPolicy/isFrozen``.
    case freeze(Bool)
    /// ``RoomPolicy/uniqueFor``.
    case uniqueFor(UInt64)
    /// ``RoomPolicy/members``.
    case members(RoomPolicy.Members)

    public static func ban(_ user: UserID, for time: UInt64? = nil, reason: String = "") -> Moderation {
        .impose(.ban, on: user, for: time, reason: reason)
    }

    public static func mute(_ user: UserID, for time: UInt64? = nil, reason: String = "") -> Moderation {
        .impose(.mute, on: user, for: time, reason: reason)
    }

    public static func kick(_ user: UserID, reason: String = "") -> Moderation {
        .kick(user, for: kickTime, reason: reason)
    }

    /// How long who was kicked may not return, if nobody says otherwise.
    public static let kickTime: UInt64 = 60_000

    public static func unban(_ user: UserID) -> Moderation { .lift(.ban, from: user) }
    public static func unmute(_ user: UserID) -> Moderation { .lift(.mute, from: user) }

    /// Why the moderation is not accepted; nil if it is. The broker refuses the same.
    public var problem: String? {
        switch self {
        case .impose(_, _, let time, let reason): return Self.problem(time, reason)
        case .kick(_, let time, let reason): return Self.problem(time, reason)
        case .slowMode(let time), .uniqueFor(let time):
            return time <= RoomPolicy.longest ? nil : "the time is longer than a day"
        case .lift, .posting, .freeze, .members: return nil
        }
    }

    private static func problem(_ time: UInt64?, _ reason: String) -> String? {
        if let time, !PositionBounds.holds(time) || time == 0 { return "the time is no whole number below 2^53" }
        guard reason.utf8.count <= Sanction.maxReasonBytes else {
            return "the reason is longer than \(Sanction.maxReasonBytes) bytes"
        }
        return hasControls(reason) ? "the reason holds control characters" : nil
    }

    package static func hasControls(_ text: String) -> Bool { text.utf8.contains { $0 < 0x20 || $0 == 0x7F } }
}

/// The answer to a ``Moderation``.
public struct ModerationReply: Hashable, Sendable {
    /// The version of the rules that are in force now.
    public var version: UInt64
    /// False if the rules were as wanted before; then nothing was changed.
    public var isChanged: Bool

    public init(version: UInt64, isChanged: Bool) {
        self.version = version
        self.isChanged = isChanged
    }
}
