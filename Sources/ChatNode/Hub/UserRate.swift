import ChatCore
import Synchronization

/// What one user may ask of this node, and what that may cost it, whatever loop the sessions are on. Any thread, without waiting.
final class UserRate: Sendable {
    /// What all users may; kept once.
    final class Rules: Sendable {
        let requests: CellRate
        /// Nanoseconds of work, see ``RequestCost``.
        let cost: CostRate
        /// Bytes said in rooms.
        let bytes: CostRate

        init(_ limits: Limits) {
            requests = CellRate(perSecond: limits.userRequestsPerSecond, burst: limits.userRequestBurst)
            cost = limits.costRate
            bytes = CostRate(perSecond: limits.userBytesPerSecond, burst: limits.userBytesBurst)
        }
    }

    private let rules: Rules
    private let taken = Atomic<UInt64>(0)
    private let spent = Atomic<UInt64>(0)
    private let said = Atomic<UInt64>(0)

    init(_ rules: Rules) {
        self.rules = rules
    }

    /// Takes one request; false: too many.
    func take(now: Moment) -> Bool {
        Self.change(taken) { rules.requests.take($0, now: now) }
    }

    /// Takes what a request costs; false: the user has cost too much already. See ``CostRate/take(_:_:patience:now:)``.
    func spend(_ cost: UInt64, patience: UInt64 = 1, now: Moment) -> Bool {
        Self.change(spent) { rules.cost.take($0, cost, patience: patience, now: now) }
    }

    /// Charges for what was done already.
    func charge(_ cost: UInt64, now: Moment) {
        _ = Self.change(spent) { rules.cost.charge($0, cost, now: now) }
    }

    /// How long it takes until the user may cost something again.
    func debt(now: Moment) -> Duration { rules.cost.debt(spent.load(ordering: .relaxed), now: now) }

    /// Takes bytes that are said in a room; false: too many.
    func say(_ bytes: Int, now: Moment) -> Bool {
        Self.change(said) { rules.bytes.take($0, UInt64(max(0, bytes)), now: now) }
    }

    private static func change(_ state: borrowing Atomic<UInt64>, _ rule: (UInt64) -> UInt64?) -> Bool {
        var before = state.load(ordering: .relaxed)
        while let after = rule(before) {
            let (done, found) = state.weakCompareExchange(expected: before, desired: after, ordering: .relaxed)
            if done { return true }
            before = found
        }
        return false
    }
}
