/// Something that lasts, as an operator is told of it: when it begins, then less and less often while it lasts, and when it ends.
public struct Condition: Sendable {
    public enum Action: Sendable, Equatable {
        case doNothing
        case began(String)
        /// It goes on; for how long it has, and why by now.
        case lasts(String, Duration)
        case ended(Duration)
    }

    /// After so long it is said again, then after twice as long, up to ``longest``.
    static let firstPause: Duration = .seconds(5)
    static let longest: Duration = .seconds(300)

    private var since: Moment?
    private var saidAt: Moment?
    private var pause = Condition.firstPause

    public init() {}

    /// Whether it lasts.
    public var isOn: Bool { since != nil }

    /// It is so for this reason, or not so (nil).
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

/// One kind of event that may come by the hundred, as an operator is told of it: a line for what came together, then one for each growing
/// interval in which more came.
public struct Recurrence: Sendable {
    /// What comes within this time is one line.
    static let gathering: Duration = .milliseconds(900)
    static let firstPause: Duration = .seconds(5)
    static let longest: Duration = .seconds(300)

    private var count = 0
    private var firstUnsaid: Moment?
    private var saidAt: Moment?
    private var pause = Recurrence.firstPause

    public init() {}

    /// It happened. True if it is the first of those that a line will be about.
    public mutating func happened(now: Moment) -> Bool {
        count += 1
        guard firstUnsaid == nil else { return false }
        firstUnsaid = now
        return true
    }

    /// How often it happened, if that is to be said now, and over what time. Asked every second or so.
    public mutating func due(now: Moment) -> (count: Int, over: Duration)? {
        guard let first = firstUnsaid else {
            // Quiet for as long as it would be silent about: the next time is news again.
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
