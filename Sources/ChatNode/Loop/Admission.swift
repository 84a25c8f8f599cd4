import ChatCore
import ChatHub
import NIOConcurrencyHelpers

/// Decides who may open a session on this node: there is a limit for the node and one for each user, and a node that
/// leaves admits nobody. It is asked once for each connection, never for a message, so a lock is cheap enough.
final class Admission: Sendable {
    private struct State {
        var total = 0
        var byUser: [UserID: Entry] = [:]
        var draining = false
        /// The rates of users without a session here: those who left, and those who use only HTTP.
        var visitors: [UserID: UserRate] = [:]
    }

    private struct Entry {
        var count = 0
        var rate: UserRate
    }

    /// The number of visitors whose rate is remembered.
    private static let maxVisitors = 10_000

    private let state = NIOLockedValueBox(State())
    private let limits: Limits
    private let rules: UserRate.Rules

    init(limits: Limits) {
        self.limits = limits
        rules = UserRate.Rules(limits)
    }

    /// Admits the user, who is counted until `leave`. Returns the rate that all sessions of the user share.
    func enter(_ user: UserID) -> Result<UserRate, CloseReason> {
        state.withLockedValue { state in
            if state.draining { return .failure(.draining) }
            if state.total >= limits.sessionsPerNode { return .failure(.nodeFull) }
            var entry = state.byUser[user] ?? Entry(rate: state.visitors[user] ?? UserRate(rules))
            if entry.count >= limits.sessionsPerUser { return .failure(.tooManySessions) }
            state.total += 1
            entry.count += 1
            state.byUser[user] = entry
            return .success(entry.rate)
        }
    }

    func leave(_ user: UserID) {
        state.withLockedValue { state in
            guard var entry = state.byUser[user] else { return }
            state.total -= 1
            entry.count -= 1
            state.byUser[user] = entry.count > 0 ? entry : nil
            // Otherwise reconnecting would reset the user's rate limit.
            if entry.count == 0 { Self.remember(entry.rate, of: user, &state) }
        }
    }

    /// The rate of a user who may have no session here.
    func rate(of user: UserID) -> UserRate {
        state.withLockedValue { state in
            if let rate = state.byUser[user]?.rate ?? state.visitors[user] { return rate }
            let rate = UserRate(rules)
            Self.remember(rate, of: user, &state)
            return rate
        }
    }

    private static func remember(_ rate: UserRate, of user: UserID, _ state: inout State) {
        // Forgetting all visitors at once resets their limits, but happens at most once for this number of new
        // visitors.
        if state.visitors.count >= maxVisitors { state.visitors = [:] }
        state.visitors[user] = rate
    }

    /// From now on nobody is admitted.
    func drain() {
        state.withLockedValue { $0.draining = true }
    }

    var total: Int { state.withLockedValue { $0.total } }
    var isDraining: Bool { state.withLockedValue { $0.draining } }
}
