/// A condition that lasts, as it is reported to the operator: when it begins, then at growing intervals while it lasts,
/// and when it ends.
public struct Condition: Sendable {
    public enum Action: Sendable, Equatable {
        case doNothing
        case began(String)
        /// It goes on: the current reason, and how long it has lasted.
        case lasts(String, Duration)
        case ended(Duration)
    }

    /// The condition is reported again after this time, and then after twice as long each time, up to ``longest``.
    static let firstPause: Duration = .seconds(5)
    static let longest: Duration = .seconds(300)

    private var since: Moment?
    private var saidAt: Moment?
    private var pause = Condition.firstPause

    public init() {}

    /// Whether it lasts.
    public var isOn: Bool { since != nil }

    /// Reports whether the condition holds: the reason if it does, nil if it does not.
    public mutating func isSo(_ reason: String?, now: Moment) -> Action {
        guard let reason else {
            guard let since else { return .doNothing }
            self = Condition()
            return .ended(now - since)
        }
        guard let since, let saidAt else {
            (self.since, self.saidAt) = (now, now)
            return .began(reason)
        }
        guard now - saidAt >= pause else { return .doNothing }
        self.saidAt = now
        pause = min(pause * 2, Self.longest)
        return .lasts(reason, now - since)
    }
}

/// One kind of event that may happen hundreds of times, as it is reported to the operator: one line for the first
/// events, then one line for each growing interval in which more happened.
public struct Recurrence: Sendable {
    /// Events within this time share the first line.
    static let gathering: Duration = .milliseconds(900)
    static let firstPause: Duration = .seconds(5)
    static let longest: Duration = .seconds(300)

    private var count = 0
    private var firstUnsaid: Moment?
    private var saidAt: Moment?
    private var pause = Recurrence.firstPause

    public init() {}

    /// Records an event. Returns true if it is the first one of those that the next line will report.
    public mutating func happened(now: Moment) -> Bool {
        count += 1
        guard firstUnsaid == nil else { return false }
        firstUnsaid = now
        return true
    }

    /// If a line is due: how often the event happened since the last line, and over what time. To be called about once
    /// a second.
    public mutating func due(now: Moment) -> (count: Int, over: Duration)? {
        guard let first = firstUnsaid else {
            // After a quiet time of two pauses the next event is reported like the first one.
            if let saidAt, now - saidAt >= pause * 2 { (self.saidAt, pause) = (nil, Self.firstPause) }
            return nil
        }
        if let saidAt {
            guard now - saidAt >= pause else { return nil }
            pause = min(pause * 2, Self.longest)
        } else {
            guard now - first >= Self.gathering else { return nil }
        }
        defer { (count, firstUnsaid, saidAt) = (0, nil, now) }
        return (count, now - first)
    }
}
