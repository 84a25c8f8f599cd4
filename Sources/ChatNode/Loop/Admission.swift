import ChatCore
import ChatHub
import NIOConcurrencyHelpers

/// Who may open a session on this node: a bound for the node, one for each user, nobody while it leaves. Asked once for each
/// connection, never for a message, so a lock is fair.
final class Admission: Sendable {
    private struct State {
        var total = 0
        var byUser: [UserID: Entry] = [:]
        var draining = false
        /// Of those who left, or speak over HTTP without a session here.
        var visitors: [UserID: UserRate] = [:]
    }

    private struct Entry {
        var count = 0
        var rate: UserRate
    }

    /// Visitors whose rate is remembered.
    private static let maxVisitors = 10_000

    private let state = NIOLockedValueBox(State())
    private let limits: Limits
    private let rules: UserRate.Rules

    init(limits: Limits) {
        self.limits = limits
        rules = UserRate.Rules(limits)
    }

    /// Admitted, and counted until `leave`; with what the user may ask over all sessions.
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
            // Or coming back would be a way to a fresh budget.
            if entry.count == 0 { Self.remember(entry.rate, of: user, &state) }
        }
    }

    /// What a user may ask who may have no session here.
    func rate(of user: UserID) -> UserRate {
        state.withLockedValue { state in
            if let rate = state.byUser[user]?.rate ?? state.visitors[user] { return rate }
            let rate = UserRate(rules)
            Self.remember(rate, of: user, &state)
            return rate
        }
    }

    private static func remember(_ rate: UserRate, of user: UserID, _ state: inout State) {
        // Forgetting all of them at once lets each begin anew, which happens at most once in so many new visitors.
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
