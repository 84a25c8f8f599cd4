/// Which tokens are revoked. A revocation counts until the last token that it concerns has expired; then it is
/// forgotten.
public struct Revocations: Sendable {
    /// Which tokens a revocation concerns.
    public enum Subject: Hashable, Sendable {
        case token(id: String)
        case user(UserID)
        /// All tokens of all users.
        case everybody
    }

    private struct Entry: Sendable {
        /// Tokens that were issued before this time are revoked, and those that do not say when they were issued.
        var issuedBefore: UInt64
        /// When the revocation is forgotten.
        var until: UInt64
    }

    /// The most revocations that are remembered. Beyond it those that end first are forgotten, so that memory is
    /// bounded; a node that has to do so logs it.
    public static let most = 100_000

    private var entries: [Subject: Entry] = [:]
    /// No revocation ends before this time.
    private var firstEnd = UInt64.max

    public init() {}

    public var count: Int { entries.count }

    /// Adds a revocation. Times are in milliseconds since 1970. Of two about the same subject both count. Returns false
    /// if another one had to be forgotten for it.
    public mutating func revoke(_ subject: Subject, issuedBefore: UInt64, until: UInt64, now: UInt64) -> Bool {
        guard until > now else { return true }
        var isWhole = true
        if entries[subject] == nil, entries.count >= Self.most {
            forget(now: now)
            if entries.count >= Self.most, let first = entries.min(by: { $0.value.until < $1.value.until }) {
                entries[first.key] = nil
                isWhole = false
            }
        }
        let before = entries[subject]
        entries[subject] = Entry(
            issuedBefore: max(issuedBefore, before?.issuedBefore ?? 0), until: max(until, before?.until ?? 0))
        firstEnd = min(firstEnd, until)
        return isWhole
    }

    /// Forgets the revocations that have ended. Looks at them only if one has.
    public mutating func forget(now: UInt64) {
        guard firstEnd <= now else { return }
        entries = entries.filter { $0.value.until > now }
        firstEnd = entries.values.lazy.map(\.until).min() ?? .max
    }

    /// Whether the grant's token is revoked.
    public func isRevoked(_ grant: Grant) -> Bool {
        guard !entries.isEmpty else { return false }
        if let id = grant.tokenID, entries[.token(id: id)] != nil { return true }
        let issued = grant.issuedAt ?? 0
        return [Subject.user(grant.user), .everybody].contains { entries[$0].map { issued < $0.issuedBefore } ?? false }
    }
}
