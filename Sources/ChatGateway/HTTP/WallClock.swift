import CLinux

/// The clock on the wall.
package enum WallClock {
    /// Milliseconds since 1970 (UTC).
    package static var milliseconds: UInt64 { wall_clock_milliseconds() }
}
