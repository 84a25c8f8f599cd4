import ChatCore

/// The heart-beats of one connection, in both directions: pure arithmetic over times that it is told.
///
/// The node offers what the client asks for, but not more often than once in ``shortest``. It sends a beat only when
/// nothing else was written; whatever comes from the client counts as its beat. The first deadline is set by
/// ``timePassed(now:lastWritten:)``, as a reader does not know the time when it reads.
struct StompHeartBeats: Sendable {
    /// In milliseconds: no timer of a connection is faster.
    static let shortest = 1_000
    private static let longest = 86_400_000

    /// What CONNECTED says, in milliseconds; 0 for none.
    private(set) var sends = 0
    private(set) var expects = 0
    private var wantsStart = false
    private var nextBeat: Moment?
    private var nextCheck: Moment?
    private var hasHeard = false

    /// Reads the header of CONNECT: how often the client can send, and wants to receive.
    static func read(_ text: String?) throws(StompFault) -> (sends: Int, wants: Int) {
        guard let text else { return (0, 0) }
        let parts = text.split(separator: ",", omittingEmptySubsequences: false).map { Int($0.trimmingBlanks) }
        guard parts.count == 2, let sends = parts[0], let wants = parts[1], sends >= 0, wants >= 0 else {
            throw StompFault("Invalid header", "heart-beat must be two numbers of milliseconds, as in 10000,10000\n")
        }
        return (min(sends, longest), min(wants, longest))
    }

    mutating func agree(on client: (sends: Int, wants: Int)) {
        sends = client.wants == 0 ? 0 : max(client.wants, Self.shortest)
        expects = client.sends == 0 ? 0 : max(client.sends, Self.shortest)
    }

    /// The session is open: times count from the next call of ``timePassed(now:lastWritten:)``.
    mutating func start() { wantsStart = sends > 0 || expects > 0 }

    /// Something came from the client.
    mutating func heard() { hasHeard = true }

    var deadline: Moment? {
        guard let nextBeat else { return nextCheck }
        return nextCheck.map { min($0, nextBeat) } ?? nextBeat
    }

    enum Action {
        case doNothing
        case beat
        /// Nothing was heard for that many milliseconds.
        case isDead(Int)
    }

    mutating func timePassed(now: Moment, lastWritten: Moment) -> Action {
        if wantsStart {
            wantsStart = false
            if sends > 0 { nextBeat = now + beatInterval }
            if expects > 0 { nextCheck = now + patience }
            hasHeard = false
        }
        if let due = nextCheck, due <= now {
            guard hasHeard else { return .isDead(expects * 3 / 2) }
            hasHeard = false
            nextCheck = now + patience
        }
        guard let due = nextBeat, due <= now else { return .doNothing }
        let quiet = now - lastWritten
        if quiet < beatInterval / 2 {
            nextBeat = lastWritten + beatInterval
            return .doNothing
        }
        nextBeat = now + beatInterval
        return .beat
    }

    /// A little more often than promised, for what a beat takes on its way.
    private var beatInterval: Duration { .milliseconds(sends * 3 / 4) }
    /// The specification asks for an error margin.
    private var patience: Duration { .milliseconds(expects * 3 / 2) }
}
