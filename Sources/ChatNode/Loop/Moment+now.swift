import ChatCore
import NIOCore

extension Moment {
    /// The clock of event loops, which never goes back.
    static var now: Moment { Moment(nanoseconds: NIODeadline.now().uptimeNanoseconds) }
}

extension Duration {
    /// Whole nanoseconds, rounded up, so that a timer never fires before its moment.
    var nanosecondsRoundedUp: Int64 {
        let parts = components
        let (seconds, overflow) = parts.seconds.multipliedReportingOverflow(by: 1_000_000_000)
        guard !overflow else { return parts.seconds < 0 ? .min : .max }
        return seconds &+ (parts.attoseconds + 999_999_999) / 1_000_000_000
    }
}
