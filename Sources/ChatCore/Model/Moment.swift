/// A point on a node's monotonic clock. State machines take it as an argument and never read a clock themselves.
public struct Moment: Hashable, Sendable, Comparable {
    public var nanoseconds: UInt64

    public init(nanoseconds: UInt64) {
        self.nanoseconds = nanoseconds
    }

    public static func + (moment: Moment, duration: Duration) -> Moment {
        // `components` would divide twice, and far larger numbers.
        let nanoseconds = Int64(clamping: duration.attoseconds / 1_000_000_000)
        if nanoseconds < 0 {
            let back = UInt64(nanoseconds.magnitude)
            return Moment(nanoseconds: moment.nanoseconds > back ? moment.nanoseconds - back : 0)
        }
        return Moment(nanoseconds: moment.nanoseconds &+ UInt64(nanoseconds))
    }

    public static func - (left: Moment, right: Moment) -> Duration {
        left.nanoseconds >= right.nanoseconds
            ? .nanoseconds(Int64(clamping: left.nanoseconds - right.nanoseconds))
            : .zero - .nanoseconds(Int64(clamping: right.nanoseconds - left.nanoseconds))
    }

    public static func < (left: Moment, right: Moment) -> Bool { left.nanoseconds < right.nanoseconds }
}
