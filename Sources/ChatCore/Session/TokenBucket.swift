/// A rate limit: `burst` tokens at most, refilled at `perSecond`. Time is an argument.
public struct TokenBucket: Hashable, Sendable {
    private let perSecond: UInt64
    /// In billionths of a token, so that a nanosecond's refill is a whole number.
    private let capacity: UInt64
    private var level: UInt64
    private var filledAt: Moment

    public init(perSecond: Int, burst: Int, now: Moment) {
        self.perSecond = UInt64(clamping: max(0, min(perSecond, 1_000_000)))
        capacity = UInt64(clamping: max(1, min(burst, 1_000_000_000))) * 1_000_000_000
        level = capacity
        filledAt = now
    }

    /// Takes a token. Returns false if there is none.
    public mutating func take(now: Moment) -> Bool {
        if now > filledAt {
            // No more time counts than fills the bucket, so the product cannot overflow.
            let passed = min(now.nanoseconds - filledAt.nanoseconds, 2_000_000_000 * 1_000_000_000)
            let (gained, overflow) = passed.multipliedReportingOverflow(by: perSecond)
            level = overflow ? capacity : min(capacity, level + min(gained, capacity))
            filledAt = now
        }
        guard level >= 1_000_000_000 else { return false }
        level -= 1_000_000_000
        return true
    }
}
