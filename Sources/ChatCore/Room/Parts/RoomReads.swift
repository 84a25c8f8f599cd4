/// When the room is read from the log, and what was asked. Part of ``RoomStateMachine``.
///
/// One view is at the broker at a time. While reads bring nothing new, the pause between them doubles up to a second.
struct RoomReads: Sendable {
    /// The seqs that were held, and the highest seq that anybody had told of, when the view was asked for.
    private(set) var heldAtView: Set<UInt64> = []
    private(set) var knownAtView: UInt64 = 0
    /// The next view, and when it may be asked for.
    private(set) var viewWanted: (reason: ViewReason, at: Moment)?
    private var viewPause = Self.shortestPause
    /// No view before that moment.
    @Packed private var nextView: Moment?
    /// When a room in which nothing happens is compared with the log.
    @Packed private(set) var quietViewAt: Moment?
    /// The serial of the read of messages from before our memory.
    @Packed private var olderInFlight: UInt64?
    /// A view is at the broker. (At the end, where it takes no padding.)
    private(set) var viewInFlight = false

    private static let shortestPause: Duration = .milliseconds(20)
    private static let longestPause: Duration = .seconds(1)

    init() {}

    // MARK: views

    /// Whether a view for that reason may be asked for now. If not, it is wanted as soon as it may.
    mutating func mayView(_ reason: ViewReason, now: Moment) -> Bool {
        if viewInFlight || (nextView.map { $0 > now } ?? false) {
            if viewWanted == nil { viewWanted = (reason, nextView ?? now) }
            return false
        }
        viewWanted = nil
        return true
    }

    /// A view is asked for. `held`: the seqs that are held now, `known`: the highest seq that anybody told of.
    mutating func viewBegan(held: Set<UInt64>, known: UInt64) {
        viewInFlight = true
        heldAtView = held
        knownAtView = known
    }

    mutating func viewEnded() { viewInFlight = false }

    /// The view was taken over. `isUseful`: it told something new; `hasMore`: the next page is read at once.
    mutating func viewMerged(isUseful: Bool, hasMore: Bool, now: Moment) {
        viewPause = isUseful ? Self.shortestPause : min(viewPause * 2, Self.longestPause)
        nextView = hasMore ? nil : now + viewPause
        if viewWanted?.reason == .hole || viewWanted?.reason == .quiet { viewWanted = nil }
        if let wanted = viewWanted { viewWanted = (wanted.reason, max(wanted.at, nextView ?? now)) }
    }

    /// The view had no answer that helps: it is asked for again later.
    mutating func viewFailed(now: Moment) {
        viewPause = min(viewPause * 2, Self.longestPause)
        nextView = now + viewPause
        viewWanted = (.hole, now + viewPause)
    }

    /// The reason of the view that was put off and is due now.
    mutating func takeWanted(now: Moment) -> ViewReason? {
        guard !viewInFlight, let wanted = viewWanted, wanted.at <= now else { return nil }
        viewWanted = nil
        return wanted.reason
    }

    /// Whether the comparison of a quiet room with the log is due now.
    mutating func takeQuietView(now: Moment) -> Bool {
        guard let due = quietViewAt, due <= now else { return false }
        quietViewAt = nil
        return true
    }

    /// The next comparison of a quiet room with the log is due after `interval` (a quarter less or more, by the room's
    /// `jitter`).
    ///
    /// Rooms share the moments at which they look: one turn of the loop, one write and one read serve all that are due.
    /// There are ten such moments a second, so that no burst of views (45 µs of Redis each) delays anybody.
    mutating func scheduleQuietView(in interval: Duration, jitter: Double, now: Moment) {
        let due = now + interval * (0.75 + jitter / 2)
        let grid: UInt64 = 100_000_000
        quietViewAt = interval < .seconds(1) ? due : Moment(nanoseconds: due.nanoseconds / grid * grid)
    }

    /// When the timer has to fire for a view; nil: not before the next event.
    var nextWake: Moment? {
        let wanted = viewInFlight ? nil : viewWanted?.at
        guard let wanted, let quiet = quietViewAt else { return wanted ?? quietViewAt }
        return min(wanted, quiet)
    }

    // MARK: messages from before our memory

    /// Whether such a read is at the broker.
    var isReadingOlder: Bool { olderInFlight != nil }

    mutating func olderBegan(serial: UInt64) { olderInFlight = serial }

    /// Whether the answer with that serial is the one that is waited for. It is not waited for any longer.
    mutating func takeOlder(serial: UInt64) -> Bool {
        guard olderInFlight == serial else { return false }
        olderInFlight = nil
        return true
    }

    /// The read failed: joins that need one ask again with the next view.
    mutating func olderFailed(now: Moment) {
        if viewWanted == nil { viewWanted = (.join, now + viewPause) }
    }

    // MARK: the room's life

    /// The room was entered, which read the log: all earlier wishes are met, and all earlier answers void.
    mutating func entered() {
        viewWanted = nil
        viewInFlight = false
        olderInFlight = nil
    }

    /// We no longer listen.
    mutating func forget() {
        entered()
        quietViewAt = nil
    }
}

// MARK: a room at rest

extension RoomReads {
    /// Nothing is read, and nothing has to be.
    var isIdle: Bool { !viewInFlight && viewWanted == nil && olderInFlight == nil }

    /// Nothing was put off. Ask after ``forgetWhatIsOver(now:)``.
    var isAtEase: Bool { nextView == nil }

    /// Forgets what has no effect any more while the room is idle.
    mutating func forgetWhatIsOver(now: Moment) {
        if let at = nextView, at <= now { nextView = nil }
        heldAtView = []
        knownAtView = 0
    }

    func pack(into packed: inout PackedBytesWriter) {
        let pause = viewPause.components
        packed.add(UInt64(clamping: pause.seconds * 1_000_000_000 + pause.attoseconds / 1_000_000_000))
        packed.add(quietViewAt)
    }

    init(_ packed: inout PackedBytesReader) {
        viewPause = .nanoseconds(Int64(clamping: packed.number()))
        quietViewAt = packed.moment()
    }
}

// MARK: invariants

extension RoomReads {
    /// Checked after each event in debug builds.
    func assertInvariants() {
        assert(viewPause >= Self.shortestPause && viewPause <= Self.longestPause, "the pause between views is bounded")
    }
}
