import ChatCore
import NIOCore

/// Wakes the rooms of one event loop at the earliest moment that any of them requested. Confined to the loop.
///
/// If the loop was held up, it first reads the answers that Redis has sent in the meantime, before rooms are told that
/// Redis did not answer.
final class LoopTimer {
    private let eventLoop: any EventLoop
    private let fire: () -> Void
    private var scheduled: (at: Moment, task: Scheduled<Void>)?

    /// If a timer fires this much too late, the loop was held up.
    private static let heldUp: Duration = .milliseconds(100)
    private static let forReading: Duration = .milliseconds(10)
    private static let mostPutOff = 3

    /// `fire`: called at a requested moment, on the loop.
    init(_ eventLoop: any EventLoop, fire: @escaping () -> Void) {
        self.eventLoop = eventLoop
        self.fire = fire
    }

    /// Fires at that moment, unless an earlier one was requested.
    func wake(at next: Moment, now: Moment) {
        if let scheduled {
            guard next < scheduled.at else { return }
            scheduled.task.cancel()
        }
        schedule(next, due: max(next, now), now: now, putOff: 0)
    }

    /// `putOff`: how often the timer was postponed already.
    private func schedule(_ next: Moment, due: Moment, now: Moment, putOff: Int) {
        let task = eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds((due - now).nanosecondsRoundedUp)) {
            [self] in
            let now = Moment.now
            guard now - due > Self.heldUp, putOff < Self.mostPutOff else {
                scheduled = nil
                return fire()
            }
            schedule(next, due: now + Self.forReading, now: now, putOff: putOff + 1)
        }
        scheduled = (next, task)
    }
}
