/// A ``CellRate`` of amounts: so much a second in the long run, be it nanoseconds of work or bytes, and so much at once after a quiet
/// time. Its whole state is one number as well: the moment at which all that was taken is paid for.
///
/// An amount need not be known before: whoever is not in debt may do something of any size, and has to wait until that is paid. So what
/// one can do at once is `burst` and one thing more, and in the long run it is `perSecond` whatever things cost.
public struct CostRate: Hashable, Sendable {
    /// Time that one unit takes to be paid, in 1/1,024 ns.
    private let price: UInt64
    private let tolerance: UInt64

    /// Of what was charged beyond ``mostPatience`` bursts no more is remembered than is paid in this time: nobody is shut out for good by
    /// one dear request.
    public static let longestDebt: UInt64 = 60_000_000_000
    private static let mostPatience: UInt64 = 16

    /// `perSecond` in the long run, `burst` at once after a quiet time.
    public init(perSecond: Int, burst: Int) {
        price = max(1, 1_024_000_000_000 / UInt64(max(1, perSecond)))
        tolerance = Self.time(UInt64(max(0, burst)), price)
    }

    private static func time(_ amount: UInt64, _ price: UInt64) -> UInt64 {
        let (product, overflow) = amount.multipliedReportingOverflow(by: price)
        return overflow ? .max >> 10 : product >> 10
    }

    /// The new state after taking `amount` at `now`; nil: too much was taken already. `patience`: how many bursts may have been taken
    /// before; at most 16; `.max`: any amount. A new rate's state is 0.
    public func take(_ state: UInt64, _ amount: UInt64, patience: UInt64 = 1, now: Moment) -> UInt64? {
        isInDebt(state, patience: patience, now: now) ? nil : charge(state, amount, now: now)
    }

    /// The new state after something that was done anyway.
    public func charge(_ state: UInt64, _ amount: UInt64, now: Moment) -> UInt64 {
        let (most, overflow) = now.nanoseconds.addingReportingOverflow(
            tolerance &* Self.mostPatience &+ Self.longestDebt)
        let paid = max(state, now.nanoseconds)
        let (next, overflows) = paid.addingReportingOverflow(Self.time(amount, price))
        return overflows ? (overflow ? .max : most) : min(next, overflow ? .max : most)
    }

    /// Whether there is nothing to take. See ``take(_:_:patience:now:)``.
    public func isInDebt(_ state: UInt64, patience: UInt64 = 1, now: Moment) -> Bool {
        guard state > now.nanoseconds, patience < .max else { return false }
        return state - now.nanoseconds > tolerance &* max(1, min(patience, Self.mostPatience))
    }

    /// After what time there is something to take again.
    public func debt(_ state: UInt64, now: Moment) -> Duration {
        guard isInDebt(state, now: now) else { return .zero }
        return .nanoseconds(Int64(clamping: state - now.nanoseconds - tolerance))
    }
}
