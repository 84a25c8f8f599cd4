import CLinux

/// The system's wall clock.
package enum WallClock {
    /// Milliseconds since 1970 (UTC).
    package static var milliseconds: UInt64 { wall_clock_milliseconds() }
}
