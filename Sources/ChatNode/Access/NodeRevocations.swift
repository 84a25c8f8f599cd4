import ChatCore
import NIOConcurrencyHelpers

/// The revocations that this node knows, for all of its loops.
final class NodeRevocations: Sendable {
    private struct State {
        var revocations = Revocations()
        var isKnown = false
    }

    private let state = NIOLockedValueBox(State())

    /// Whether the stream of commands was read since the node started. Before, a revoked token cannot be told from
    /// another one, so none is accepted.
    var isKnown: Bool { state.withLockedValue { $0.isKnown } }

    func isRevoked(_ grant: Grant) -> Bool { state.withLockedValue { $0.revocations.isRevoked(grant) } }

    /// Changes them. Returns what the body returns.
    func update<Result>(_ body: (inout Revocations) -> Result) -> Result {
        state.withLockedValue { body(&$0.revocations) }
    }

    func hasRead() { state.withLockedValue { $0.isKnown = true } }
}
