import ChatCore
import Synchronization

/// What one user may ask of this node, and what that may cost it, whatever loop the sessions are on. Any thread, without waiting.
public final class UserRate: Sendable {
    /// What all users may; kept once.
    public final class Rules: Sendable {
        let requests: CellRate
        /// Nanoseconds of work, see ``RequestCost``.
        let cost: CostRate
        /// Bytes said in rooms.
        let bytes: CostRate

        public init(_ limits: Limits) {
            requests = CellRate(perSecond: limits.userRequestsPerSecond, burst: limits.userRequestBurst)
            cost = limits.costRate
            bytes = CostRate(perSecond: limits.userBytesPerSecond, burst: limits.userBytesBurst)
        }
    }

    private let rules: Rules
    private let taken = Atomic<UInt64>(0)
    private let spent = Atomic<UInt64>(0)
    private let said = Atomic<UInt64>(0)

    public init(_ rules: Rules) {
        self.rules = rules
    }

    /// Takes one request; false: too many.
    public func take(now: Moment) -> Bool {
        Self.change(taken) { rules.requests.take($0, now: now) }
    }

    /// Takes what a request costs; false: the user has cost too much already. See ``CostRate/take(_:_:patience:now:)``.
    public func spend(_ cost: UInt64, patience: UInt64 = 1, now: Moment) -> Bool {
        Self.change(spent) { rules.cost.take($0, cost, patience: patience, now: now) }
    }

    /// Charges for what was done already.
    public func charge(_ cost: UInt64, now: Moment) {
        _ = Self.change(spent) { rules.cost.charge($0, cost, now: now) }
    }

    /// How long it takes until the user may cost something again.
    public func debt(now: Moment) -> Duration { rules.cost.debt(spent.load(ordering: .relaxed), now: now) }

    /// Takes bytes that are said in a room; false: too many.
    public func say(_ bytes: Int, now: Moment) -> Bool {
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
