import FoundationEssentials

/// The clock on the wall.
enum WallClock {
    /// Milliseconds since 1970 (UTC).
    static var milliseconds: UInt64 {
        UInt64(max(0, Date().timeIntervalSince1970 * 1_000))
    }
}
