/// What the bearers of tokens may do, apart from who they are. Tokens of one installation have few different ones, so
/// grants share them.
public final class Permissions: Sendable {
    /// Rights in all rooms that match a pattern.
    public struct Rule: Hashable, Sendable {
        public var pattern: RoomPattern
        public var rights: Rights

        public init(_ pattern: RoomPattern, _ rights: Rights) {
            self.pattern = pattern
            self.rights = rights
        }
    }

    /// The rights in a room are those of all rules that match it, in any order.
    public let rules: [Rule]
    /// The role of servers that administer the chat.
    public static let administrator = "administrator"

    /// In rooms that match one of these there are no rights, whatever the rules say.
    public let denied: [RoomPattern]
    public let roles: [String]
    /// Whether the bearer is a server, which may send messages in the name of any user.
    public let actsForOthers: Bool

    public init(rules: [Rule], denied: [RoomPattern] = [], roles: [String] = [], actsForOthers: Bool = false) {
        self.rules = rules
        self.denied = denied
        self.roles = roles
        self.actsForOthers = actsForOthers
    }

    /// The rights of a user in that room. Its cost is bounded by the number of patterns.
    public func rights(of user: UserID, in room: RoomName) -> Rights {
        if denied.contains(where: { $0.matches(room, user: user) }) { return [] }
        var rights: Rights = []
        for rule in rules where !rights.isSuperset(of: rule.rights) && rule.pattern.matches(room, user: user) {
            rights.formUnion(rule.rights)
        }
        return rights
    }
}

extension Permissions: Hashable {
    public static func == (left: Permissions, right: Permissions) -> Bool {
        left === right
            || (left.rules == right.rules && left.denied == right.denied && left.roles == right.roles
                && left.actsForOthers == right.actsForOthers)
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(rules)
        hasher.combine(denied)
    }
}

/// What a token, a key or a setting allows its bearer. Constant, and shared by all sessions that came with the same
/// token, so that a session costs one reference.
public final class Grant: Sendable {
    public let user: UserID
    /// The device for which the token was made; nil if it may be used on any.
    public let device: DeviceName?
    public let permissions: Permissions
    /// By which the token can be revoked.
    public let tokenID: String?
    /// When the token was issued and when it expires, in milliseconds since 1970; nil if the token does not say.
    public var issuedAt: UInt64? { issued == .max ? nil : issued }
    public var expiresAt: UInt64? { expires == .max ? nil : expires }
    /// ``issuedAt`` and ``expiresAt``, without the padding of optional numbers.
    private let issued: UInt64
    private let expires: UInt64

    public init(
        user: UserID, device: DeviceName? = nil, permissions: Permissions, tokenID: String? = nil,
        issuedAt: UInt64? = nil, expiresAt: UInt64? = nil
    ) {
        self.user = user
        self.device = device
        self.permissions = permissions
        self.tokenID = tokenID
        issued = issuedAt ?? .max
        expires = expiresAt.map { min($0, Self.latest) } ?? .max
    }

    /// Later times count as this one, so that sums of times cannot overflow.
    private static let latest: UInt64 = 1 << 53

    /// The rights in that room. Its cost is bounded by the number of patterns.
    public func rights(in room: RoomName) -> Rights { permissions.rights(of: user, in: room) }

    /// The seconds until the grant expires, counted from then; nil if it does not expire.
    public func expires(after milliseconds: UInt64) -> UInt64? {
        expiresAt.map { $0 > milliseconds ? ($0 - milliseconds) / 1_000 : 0 }
    }

    /// Whether the grant has expired, `grace` milliseconds after the time that the token states.
    public func isExpired(at milliseconds: UInt64, grace: UInt64 = 0) -> Bool {
        expiresAt.map { milliseconds >= $0 + min(grace, Self.latest) } ?? false
    }
}

extension Grant: Hashable {
    public static func == (left: Grant, right: Grant) -> Bool {
        left === right
            || (left.user == right.user && left.device == right.device && left.permissions == right.permissions
                && left.tokenID == right.tokenID && left.issuedAt == right.issuedAt
                && left.expiresAt == right.expiresAt)
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(user)
        hasher.combine(tokenID)
        hasher.combine(expiresAt)
    }
}
