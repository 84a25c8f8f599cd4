import ChatCore

/// Deadlines for one connection that is not a session: a request must be complete within `receiving` from its first
/// byte (so sending it slowly gains nothing), an answer within `answering`, and between requests the connection may be
/// idle for a while. Pure.
struct RequestClock {
    enum Activity: Equatable {
        case idle
        /// The first byte of a request has come, or is due because the connection is new; its end has not come.
        case receiving
        case answering
        case closing
    }

    struct Times: Hashable, Sendable {
        var receiving: Duration
        var answering: Duration
        var idle: Duration
        var closing: Duration
    }

    private let times: Times
    private(set) var activity = Activity.receiving
    private var end: Moment
    private var isNew = true

    init(times: Times, now: Moment) {
        self.times = times
        end = now + times.receiving
    }

    mutating func bytesCame(now: Moment) {
        if activity == .idle { change(to: .receiving, times.receiving, now) }
    }

    /// The routes have received a whole request. `longer`: how long it waits on purpose.
    mutating func answers(now: Moment, longer: Duration = .zero) {
        isNew = false
        change(to: .answering, times.answering + longer, now)
    }

    /// A part of a streamed answer was sent.
    mutating func answerGoesOn(now: Moment) {
        if activity == .answering { end = now + times.answering }
    }

    /// Everything that was received is processed.
    mutating func waits(isWithinRequest: Bool, now: Moment) {
        if isNew { return }
        if isWithinRequest {
            if activity != .receiving { change(to: .receiving, times.receiving, now) }
        } else if activity != .idle {
            change(to: .idle, times.idle, now)
        }
    }

    mutating func closes(now: Moment) { change(to: .closing, times.closing, now) }

    /// Limits the current activity to `time` from now.
    mutating func shorten(to time: Duration, now: Moment) { end = min(end, now + time) }

    /// The activity that exceeded its deadline; nil if there is none.
    func over(now: Moment) -> Activity? { now >= end ? activity : nil }

    private mutating func change(to activity: Activity, _ time: Duration, _ now: Moment) {
        self.activity = activity
        end = now + time
    }
}
