import ChatCore
import NIOConcurrencyHelpers

/// A bounded cache of the grants of verified tokens, by the SHA-256 of the token, so that no token stays in memory.
/// When it is full, an expired entry or a random one makes room: a bearer with many tokens cannot predict which.
/// Refused tokens are not kept, so nobody fills the cache with tokens that are none.
///
/// May be used from any thread; the lock is held for one look-up.
public final class VerifiedTokens: Sendable {
    private struct Entry {
        var grant: Grant
        /// Milliseconds since 1970 at which the token has to be verified again.
        var until: UInt64
        /// The keys and rules under which it was verified.
        var version: UInt64
        /// Its index in `order`.
        var place: Int
    }

    private struct State {
        var entries: [SHA256Digest: Entry] = [:]
        /// The keys of `entries` in no particular order, to choose one at random.
        var order: [SHA256Digest] = []
        var generator: SplitMix64
        /// The permissions of the entries, so that equal ones are stored once.
        var permissions: Set<Permissions> = []
    }

    /// Entries among which an expired one is looked for.
    private static let samples = 8

    /// Entries at most.
    public let capacity: Int
    private let state: NIOLockedValueBox<State>

    public init(capacity: Int = 10_000) {
        self.capacity = max(1, capacity)
        var system = SystemRandomNumberGenerator()
        state = NIOLockedValueBox(State(generator: SplitMix64(seed: system.next())))
    }

    /// The number of entries, including expired ones.
    public var count: Int { state.withLockedValue { $0.order.count } }

    /// Removes all entries.
    public func removeAll() {
        state.withLockedValue { state in
            state.entries.removeAll()
            state.order.removeAll()
        }
    }

    /// The grant of a token that was verified under these keys and rules and need not be verified again at `now`.
    func grant(_ token: SHA256Digest, version: UInt64, now: UInt64) -> Grant? {
        state.withLockedValue { state in
            guard let entry = state.entries[token], entry.version == version, now < entry.until else { return nil }
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
        guard now < until else { return }
        state.withLockedValue { state in
            if let place = state.entries[token]?.place {
                state.entries[token] = Entry(grant: grant, until: until, version: version, place: place)
                return
            }
            var place = state.order.count
            if place >= capacity {
                place = Self.victim(&state, version: version, now: now)
                state.entries[state.order[place]] = nil
                state.order[place] = token
            } else {
                state.order.append(token)
            }
            state.entries[token] = Entry(grant: grant, until: until, version: version, place: place)
        }
    }

    /// The index of the entry that makes room: one that is of no use any more, if there is one among some random ones.
    private static func victim(_ state: inout State, version: UInt64, now: UInt64) -> Int {
        var place = 0
        for _ in 0..<samples {
            place = Int.random(in: 0..<state.order.count, using: &state.generator)
            guard let entry = state.entries[state.order[place]] else { continue }
            if entry.until <= now || entry.version != version { return place }
        }
        return place
    }
}
