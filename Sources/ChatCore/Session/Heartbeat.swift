/// Determines whether the peer of a connection is still alive. A ping is sent when one side was silent for an interval;
/// a peer that sends nothing at all in the interval after a ping is dead.
public struct Heartbeat: Hashable, Sendable {
    public enum Action: Equatable, Sendable {
        case ping
        case isDead
        case doNothing
    }

    /// In nanoseconds: half the size of a `Duration`, because every session has one.
    private let interval: UInt64
    private var due: Moment
    private var heardSince = false
    private var spokeSince = false
    private var awaitsAnswer = false

    public init(interval: Duration, now: Moment) {
        let after = now + interval
        self.interval = after.nanoseconds - min(now.nanoseconds, after.nanoseconds)
        due = after
    }

    /// Something was received from the peer.
    public mutating func heard() { heardSince = true }

    /// Something was sent to the peer.
    public mutating func spoke() { spokeSince = true }

    /// Returns what to do. It acts once an interval, however often it is called.
    public mutating func timerFired(now: Moment) -> Action {
        guard now >= due else { return .doNothing }
        due = Moment(nanoseconds: now.nanoseconds &+ interval)
        let isQuiet = !(heardSince && spokeSince)
        let isDead = awaitsAnswer && !heardSince
        (heardSince, spokeSince, awaitsAnswer) = (false, false, isQuiet)
        if isDead { return .isDead }
        return isQuiet ? .ping : .doNothing
    }
}
