import ChatCore
import NIOCore

extension Moment {
    /// The clock of event loops, which never goes back.
    static var now: Moment { Moment(nanoseconds: NIODeadline.now().uptimeNanoseconds) }
}
