import ChatCore
import Synchronization

/// The rate limits of one user on this node, for requests and their cost, over the sessions on all loops. It can be
/// used on any thread and never waits.
public final class UserRate: Sendable {
    /// The limits, which are the same for all users and stored once.
    public final class Rules: Sendable {
        let requests: CellRate
        /// In nanoseconds of work, see ``RequestCost``.
        let cost: CostRate
        /// In bytes sent to rooms.
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

    /// Takes one request. Returns false if there were too many.
    public func take(now: Moment) -> Bool {
        Self.change(taken) { rules.requests.take($0, now: now) }
    }

    /// Takes the cost of a request. Returns false if the user has cost too much already. See
    /// ``CostRate/take(_:_:patience:now:)``.
    public func spend(_ cost: UInt64, patience: UInt64 = 1, now: Moment) -> Bool {
        Self.change(spent) { rules.cost.take($0, cost, patience: patience, now: now) }
    }

    /// Charges for work that was done already.
    public func charge(_ cost: UInt64, now: Moment) {
        _ = Self.change(spent) { rules.cost.charge($0, cost, now: now) }
    }

    /// The time until the user may make expensive requests again.
    public func debt(now: Moment) -> Duration { rules.cost.debt(spent.load(ordering: .relaxed), now: now) }

    /// Takes bytes that are sent to a room. Returns false if there were too many.
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
