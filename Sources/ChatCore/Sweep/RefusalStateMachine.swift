/// Knows whether Redis refuses what this node wants to store, although its connections stay: since when, how often, in
/// which way; what is to be said about it, and whether the node may judge others meanwhile.
///
/// What makes it necessary: while Redis refuses to store, heartbeats expire as they do while it is away, so that
/// everybody looks dead to whoever looks first when it stores again. A node in this state has the patience of one whose
/// connection was lost.
///
/// One for each node. A refusal ends when a write was taken that was asked for after it, and nothing was refused for a
/// while (``quiet``): on several connections a refusal may be heard after the first write that was taken.
public struct RefusalStateMachine: Sendable {
    /// What the operator is told.
    public struct Report: Sendable, Equatable {
        public var kind: RefusalKind
        /// Redis' own words, of the last one.
        public var text: String
        /// How many since they began, and for how long that has been.
        public var count: Int
        public var lasted: Duration

        public init(kind: RefusalKind, text: String, count: Int, lasted: Duration) {
            self.kind = kind
            self.text = text
            self.count = count
            self.lasted = lasted
        }
    }

    public enum Action: Sendable, Equatable {
        /// Redis refuses: at once for the first of its kind, then once in ``repeatAfter``.
        case warn(Report)
        /// It does not any more. Follows a `warn`.
        case ended(Report)
    }

    /// One warning for each kind in this time.
    public static let repeatAfter: Duration = .seconds(60)
    /// So long after the last refusal a write that was taken ends it.
    static let quiet: Duration = .milliseconds(1_500)

    private struct Tally {
        var text = ""
        var count = 0
        var since: Moment
        var last: Moment
        var isSaid = false
    }

    /// What is refused at present.
    private var tallies: [RefusalKind: Tally] = [:]
    /// When each kind was last warned of.
    private var saidAt: [RefusalKind: Moment] = [:]
    /// The node's own heartbeat was not taken the last time.
    private var isUnheard = false

    public init() {}

    /// Redis refused something.
    public mutating func refused(_ kind: RefusalKind, _ text: String, now: Moment, _ actions: inout [Action]) {
        var tally = tallies[kind] ?? Tally(since: now, last: now)
        tally.text = text
        tally.count += 1
        tally.last = now
        if saidAt[kind].map({ now - $0 >= Self.repeatAfter }) ?? true {
            saidAt[kind] = now
            tally.isSaid = true
            actions.append(.warn(report(kind, tally, now: now)))
        }
        tallies[kind] = tally
    }

    /// A write was taken that was asked for at `asked`.
    public mutating func stored(asked: Moment, now: Moment, _ actions: inout [Action]) {
        guard !tallies.isEmpty else { return }
        for kind in RefusalKind.allCases {
            guard let tally = tallies[kind], tally.last <= asked, now - tally.last >= Self.quiet else { continue }
            tallies[kind] = nil
            if tally.isSaid { actions.append(.ended(report(kind, tally, now: tally.last))) }
        }
    }

    /// The node's own heartbeat was answered, or lost.
    public mutating func heartbeat(taken: Bool) { isUnheard = !taken }

    /// Whether others without a heartbeat may be called dead: not while ours is not taken either, nor while Redis
    /// refuses anything.
    public var mayJudge: Bool { !isUnheard && !isRefusing }

    /// Whether Redis refuses in a way that is not about one key.
    public var isRefusing: Bool { tallies.keys.contains { $0.isGeneral } }

    private func report(_ kind: RefusalKind, _ tally: Tally, now: Moment) -> Report {
        Report(kind: kind, text: tally.text, count: tally.count, lasted: now - tally.since)
    }
}
