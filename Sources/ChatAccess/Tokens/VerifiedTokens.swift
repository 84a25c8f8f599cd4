import ChatCore
import NIOConcurrencyHelpers
import OrderedCollections

/// A bounded cache of the grants of verified tokens, by the SHA-256 of the token, so that no token stays in memory.
/// When it is full, an expired entry or a random one makes room: a bearer with many tokens cannot predict which.
/// Refused tokens are not kept, so nobody fills the cache with tokens that are none.
///
/// An entry takes 32 bytes, and what the arrays have to spare: with the grant it is the larger part of what a token
/// costs a session.
///
/// May be used from any thread; the lock is held for one look-up.
public final class VerifiedTokens: Sendable {
    private struct Entry {
        var grant: Grant
        /// Seconds since 1970 at which the token has to be verified again.
        var until: UInt32
        /// The index of the keys and rules under which it was verified in `versions`.
        var version: UInt32

        func isValid(at now: UInt64) -> Bool { now < UInt64(until) * 1_000 }
    }

    private struct State {
        /// In no particular order, so that one can be chosen at random.
        var entries: OrderedDictionary<SHA256Prefix, Entry> = [:]
        var versions: [UInt64] = []
        var generator: SplitMix64
        /// The permissions of the entries, so that equal ones are stored once.
        var permissions: Set<Permissions> = []

        /// The index of these keys and rules; nil if nothing was verified under them.
        func index(of version: UInt64) -> UInt32? { versions.firstIndex(of: version).map { UInt32($0) } }

        mutating func removeAll() {
            entries.removeAll()
            versions.removeAll()
        }
    }

    /// Entries among which an expired one is looked for.
    private static let samples = 8
    /// Keys and rules that are told apart; then all is verified anew.
    private static let mostVersions = 64

    /// Entries at most.
    public let capacity: Int
    private let state: NIOLockedValueBox<State>

    public init(capacity: Int = 10_000) {
        self.capacity = max(1, capacity)
        var system = SystemRandomNumberGenerator()
        state = NIOLockedValueBox(State(generator: SplitMix64(seed: system.next())))
    }

    /// The number of entries, including expired ones.
    public var count: Int { state.withLockedValue { $0.entries.count } }

    /// Removes all entries.
    public func removeAll() { state.withLockedValue { $0.removeAll() } }

    /// The grant of a token that was verified under these keys and rules and need not be verified again at `now`.
    func grant(_ token: SHA256Digest, version: UInt64, now: UInt64) -> Grant? {
        state.withLockedValue { state in
            guard let entry = state.entries[token.prefix], entry.version == state.index(of: version),
                entry.isValid(at: now)
            else { return nil }
            return entry.grant
        }
    }

    /// The grant with the permissions of an earlier one, if they are equal.
    func sharing(_ grant: Grant) -> Grant {
        let permissions = state.withLockedValue { state in
            // Forgetting all of them costs memory only.
            if state.permissions.count >= Self.mostPermissions { state.permissions = [] }
            return state.permissions.insert(grant.permissions).memberAfterInsert
        }
        guard permissions !== grant.permissions else { return grant }
        return Grant(
            user: grant.user, device: grant.device, permissions: permissions, tokenID: grant.tokenID,
            issuedAt: grant.issuedAt, expiresAt: grant.expiresAt)
    }

    private static let mostPermissions = 1_000

    func insert(_ grant: Grant, for token: SHA256Digest, version: UInt64, until: UInt64, now: UInt64) {
        state.withLockedValue { state in
            if state.index(of: version) == nil {
                if state.versions.count >= Self.mostVersions { state.removeAll() }
                state.versions.append(version)
            }
            let entry = Entry(
                grant: grant, until: UInt32(clamping: until / 1_000), version: state.index(of: version) ?? 0)
            guard entry.isValid(at: now) else { return }
            if state.entries.updateValue(entry, forKey: token.prefix) == nil, state.entries.count > capacity {
                makeRoom(&state, now: now)
            }
        }
    }

    /// Removes an entry that is of no use any more, if there is one among some random ones, or the last of these; but
    /// not the newest entry, which is at the end.
    private func makeRoom(_ state: inout State, now: UInt64) {
        let newest = state.entries.count - 1
        let version = state.entries.values[newest].version
        var place = 0
        for _ in 0..<Self.samples {
            place = Int.random(in: 0..<newest, using: &state.generator)
            let entry = state.entries.values[place]
            if !entry.isValid(at: now) || entry.version != version { break }
        }
        state.entries.swapAt(place, newest)
        state.entries.removeLast()
    }
}
