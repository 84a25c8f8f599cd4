import ChatCore
import NIOCore

extension Moment {
    /// The monotonic clock of event loops.
    static var now: Moment { Moment(nanoseconds: NIODeadline.now().uptimeNanoseconds) }
}
