import ChatCore
import Synchronization

/// Who may open a session on this node: a bound for the node, one for each user, nobody while it leaves. Asked once for each
/// connection, never for a message, so a lock is fair.
final class Admission: Sendable {
    private struct State {
        var total = 0
        var byUser: [UserID: Int] = [:]
        var draining = false
    }

    private let state = Mutex(State())
    private let limits: Limits

    init(limits: Limits) {
        self.limits = limits
    }

    /// Nil: admitted, and counted until `leave`.
    func enter(_ user: UserID) -> CloseReason? {
        state.withLock { state in
            if state.draining { return .draining }
            if state.total >= limits.sessionsPerNode { return .nodeFull }
            if state.byUser[user, default: 0] >= limits.sessionsPerUser { return .tooManySessions }
            state.total += 1
            state.byUser[user, default: 0] += 1
            return nil
        }
    }

    func leave(_ user: UserID) {
        state.withLock { state in
            guard let count = state.byUser[user] else { return }
            state.total -= 1
            state.byUser[user] = count > 1 ? count - 1 : nil
        }
    }

    /// From now on nobody is admitted.
    func drain() {
        state.withLock { $0.draining = true }
    }

    var total: Int { state.withLock { $0.total } }
    var isDraining: Bool { state.withLock { $0.draining } }
}
