/// Durations as the whole numbers that protocols, timers and log lines need. All are clamped instead of trapping.
extension Duration {
    /// Milliseconds, rounded towards zero.
    package var wholeMilliseconds: Int64 { Int64(clamping: attoseconds / 1_000_000_000_000_000) }

    /// Nanoseconds, rounded towards zero.
    package var wholeNanoseconds: Int64 { Int64(clamping: attoseconds / 1_000_000_000) }

    /// Nanoseconds, rounded up, so that a timer never fires before its moment.
    package var nanosecondsRoundedUp: Int64 {
        let (whole, rest) = attoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
        return Int64(clamping: rest > 0 ? whole + 1 : whole)
    }

    /// Milliseconds for a Redis command: at least 1, as Redis refuses a TTL of 0, and at most 2^50.
    package var timeToLiveMilliseconds: UInt64 { UInt64(min(max(1, wholeMilliseconds), 1 << 50)) }
}
