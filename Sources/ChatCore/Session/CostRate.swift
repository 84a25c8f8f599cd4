/// A ``CellRate`` of amounts, such as nanoseconds of work or bytes: a rate per second in the long run, and a burst
/// after a quiet time. Its state is one number as well: the moment at which everything that was taken is paid for.
///
/// An amount need not be known in advance: a user who is not in debt may do something of any size, and then has to wait
/// until it is paid for. So the most that one user can do at once is `burst` and one more operation, and in the long
/// run `perSecond`, whatever the operations cost.
public struct CostRate: Hashable, Sendable {
    /// The time in which one unit is paid for, in 1/1,024 ns.
    private let price: UInt64
    private let tolerance: UInt64

    /// The debt beyond ``mostPatience`` bursts is limited to what is paid in this time, so that one expensive request
    /// does not shut anybody out for good.
    public static let longestDebt: UInt64 = 60_000_000_000
    private static let mostPatience: UInt64 = 16

    /// Allows `perSecond` in the long run, and `burst` at once after a quiet time.
    public init(perSecond: Int, burst: Int) {
        price = max(1, 1_024_000_000_000 / UInt64(max(1, perSecond)))
        tolerance = Self.time(UInt64(max(0, burst)), price)
    }

    private static func time(_ amount: UInt64, _ price: UInt64) -> UInt64 {
        let (product, overflow) = amount.multipliedReportingOverflow(by: price)
        return overflow ? .max >> 10 : product >> 10
    }

    /// The new state after taking `amount` at `now`; nil if too much was taken already. `patience`: how many bursts may
    /// have been taken before, at most 16; `.max`: any amount. A new rate's state is 0.
    public func take(_ state: UInt64, _ amount: UInt64, patience: UInt64 = 1, now: Moment) -> UInt64? {
        isInDebt(state, patience: patience, now: now) ? nil : charge(state, amount, now: now)
    }

    /// The new state after something that was done without asking.
    public func charge(_ state: UInt64, _ amount: UInt64, now: Moment) -> UInt64 {
        let (most, overflow) = now.nanoseconds.addingReportingOverflow(
            tolerance &* Self.mostPatience &+ Self.longestDebt)
        let paid = max(state, now.nanoseconds)
        let (next, overflows) = paid.addingReportingOverflow(Self.time(amount, price))
        return overflows ? (overflow ? .max : most) : min(next, overflow ? .max : most)
    }

    /// Whether too much was taken already. See ``take(_:_:patience:now:)``.
    public func isInDebt(_ state: UInt64, patience: UInt64 = 1, now: Moment) -> Bool {
        guard state > now.nanoseconds, patience < .max else { return false }
        return state - now.nanoseconds > tolerance &* max(1, min(patience, Self.mostPatience))
    }

    /// The time until something may be taken again.
    public func debt(_ state: UInt64, now: Moment) -> Duration {
        guard isInDebt(state, now: now) else { return .zero }
        return .nanoseconds(Int64(clamping: state - now.nanoseconds - tolerance))
    }
}
