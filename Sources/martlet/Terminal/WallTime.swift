import Glibc

/// The clocks of this process.
enum WallTime {
    /// Ms since 1970.
    static var milliseconds: UInt64 {
        var time = timeval()
        gettimeofday(&time, nil)
        return UInt64(clamping: time.tv_sec) * 1_000 + UInt64(clamping: time.tv_usec) / 1_000
    }
}

extension Duration {
    var wholeNanoseconds: Int64 {
        let parts = components
        return parts.seconds &* 1_000_000_000 &+ parts.attoseconds / 1_000_000_000
    }
}

extension ContinuousClock.Instant {
    /// Since this process first asked.
    var sinceStart: Duration { self - Self.first }

    private static let first = ContinuousClock.now
}
