import ChatCore

/// How long one connection that is no session has been at what it is doing: a request must be complete within `receiving` from its first
/// byte (so dripping bytes gains nothing), an answer within `answering`, and between requests it may idle. Pure.
struct RequestClock {
    enum Activity: Equatable {
        case idle
        /// A request's first byte has come, or is due because the connection is new; its end has not.
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

    /// The routes have a whole request.
    mutating func answers(now: Moment) {
        isNew = false
        change(to: .answering, times.answering, now)
    }

    /// A part of an answer that has no end has gone out.
    mutating func answerGoesOn(now: Moment) {
        if activity == .answering { end = now + times.answering }
    }

    /// Nothing more can be done with what has come.
    mutating func waits(isWithinRequest: Bool, now: Moment) {
        if isNew { return }
        if isWithinRequest {
            if activity != .receiving { change(to: .receiving, times.receiving, now) }
        } else if activity != .idle {
            change(to: .idle, times.idle, now)
        }
    }

    mutating func closes(now: Moment) { change(to: .closing, times.closing, now) }

    /// What is going on ends after `time` at the latest.
    mutating func shorten(to time: Duration, now: Moment) { end = min(end, now + time) }

    /// What takes too long; nil: nothing.
    func over(now: Moment) -> Activity? { now >= end ? activity : nil }

    private mutating func change(to activity: Activity, _ time: Duration, _ now: Moment) {
        self.activity = activity
        end = now + time
    }
}
