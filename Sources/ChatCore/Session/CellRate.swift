/// A rate limit whose whole state is one number, so that several threads can share it without a lock: the moment at
/// which everything taken so far would have been due (the "generic cell rate algorithm", ITU-T I.371). Time is an
/// argument.
public struct CellRate: Hashable, Sendable {
    private let interval: UInt64
    private let tolerance: UInt64

    /// Allows `perSecond` in the long run, and `burst` at once after a quiet time; both are at least 1.
    public init(perSecond: Int, burst: Int) {
        interval = max(1, 1_000_000_000 / UInt64(max(1, perSecond)))
        let (product, overflow) = interval.multipliedReportingOverflow(by: UInt64(max(1, burst) - 1))
        tolerance = overflow ? .max / 2 : min(product, .max / 2)
    }

    /// The new state after taking one at `now`; nil if the limit is reached. A new limit's state is 0.
    public func take(_ state: UInt64, now: Moment) -> UInt64? {
        if state > now.nanoseconds, state - now.nanoseconds > tolerance { return nil }
        let (next, overflow) = max(state, now.nanoseconds).addingReportingOverflow(interval)
        return overflow ? nil : next
    }
}
