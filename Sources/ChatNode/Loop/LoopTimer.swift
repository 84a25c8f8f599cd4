import ChatCore
import NIOCore

/// Wakes the rooms of one event loop at the earliest moment that any of them wants. Confined to the loop.
///
/// If the loop was held up, what Redis has said meanwhile is read first, before rooms are told that it did not answer.
final class LoopTimer {
    private let eventLoop: any EventLoop
    private let fire: () -> Void
    private var scheduled: (at: Moment, task: Scheduled<Void>)?

    /// A timer that fires so much too late was held up.
    private static let heldUp: Duration = .milliseconds(100)
    private static let forReading: Duration = .milliseconds(10)
    private static let mostPutOff = 3

    /// `fire`: called at a moment that was asked for, on the loop.
    init(_ eventLoop: any EventLoop, fire: @escaping () -> Void) {
        self.eventLoop = eventLoop
        self.fire = fire
    }

    /// Fires then, if nothing earlier was asked for.
    func wake(at next: Moment, now: Moment) {
        if let scheduled {
            guard next < scheduled.at else { return }
            scheduled.task.cancel()
        }
        schedule(next, due: max(next, now), now: now, putOff: 0)
    }

    /// `putOff`: how often it was put off already.
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
