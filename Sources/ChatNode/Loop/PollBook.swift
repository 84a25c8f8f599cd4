import ChatCore
import ChatGateway
import NIOConcurrencyHelpers

/// Bounds the requests that wait for messages without a session: of one node, and of one user or address.
final class PollBook: Sendable {
    /// Who waits.
    enum Key: Hashable {
        case user(UserID)
        case address(PeerAddress)
    }

    private struct State {
        var total = 0
        var byKey: [Key: Int] = [:]
    }

    private let state = NIOLockedValueBox(State())
    private let limits: Limits

    init(limits: Limits) {
        self.limits = limits
    }

    /// Counts one more request until ``leave(_:)``. Returns the limit that does not allow it; then it is not counted.
    func enter(_ key: Key?) -> LimitLabel? {
        state.withLockedValue { state in
            guard state.total < limits.pollsPerNode else { return .pollsPerNode }
            if let key {
                let count = state.byKey[key] ?? 0
                guard count < limits.pollsPerUser else { return .pollsPerUser }
                state.byKey[key] = count + 1
            }
            state.total += 1
            return nil
        }
    }

    func leave(_ key: Key?) {
        state.withLockedValue { state in
            state.total -= 1
            guard let key, let count = state.byKey[key] else { return }
            state.byKey[key] = count > 1 ? count - 1 : nil
        }
    }
}
