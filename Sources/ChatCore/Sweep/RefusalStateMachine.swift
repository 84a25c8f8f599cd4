/// Tracks whether Redis refuses this node's writes although its connections stay up: since when, how often and with
/// which error; what to report about it, and whether the node may judge others meanwhile.
///
/// It is necessary because heartbeats expire while Redis refuses writes, just as they do while it is away, so that all
/// nodes look dead to the first one that looks when writes are accepted again. So a node in this state waits as long as
/// one whose connection was lost.
///
/// There is one for each node. A refusal ends when a write that was requested after it is accepted and nothing was
/// refused for a while (``quiet``): with several connections, a refusal may be received after the first accepted write.
public struct RefusalStateMachine: Sendable {
    /// A report to the operator.
    public struct Report: Sendable, Equatable {
        public var kind: RefusalKind
        /// The text of the last error from Redis.
        public var text: String
        /// The number of refusals since they began, and for how long they have lasted.
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
        /// Redis no longer refuses. Follows a `warn`.
        case ended(Report)
    }

    /// One warning for each kind in this time.
    public static let repeatAfter: Duration = .seconds(60)
    /// A refusal ends with an accepted write at the earliest this long after the last refusal.
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
    /// When the last warning of each kind was given.
    private var saidAt: [RefusalKind: Moment] = [:]
    /// Whether the node's last heartbeat was not accepted.
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

    /// A write that was requested at `asked` was accepted.
    public mutating func stored(asked: Moment, now: Moment, _ actions: inout [Action]) {
        guard !tallies.isEmpty else { return }
        for kind in RefusalKind.allCases {
            guard let tally = tallies[kind], tally.last <= asked, now - tally.last >= Self.quiet else { continue }
            tallies[kind] = nil
            if tally.isSaid { actions.append(.ended(report(kind, tally, now: tally.last))) }
        }
    }

    /// The node's own heartbeat was answered, or its answer was lost.
    public mutating func heartbeat(taken: Bool) { isUnheard = !taken }

    /// Whether nodes without a heartbeat may be considered dead: not while our own is not accepted either, nor while
    /// Redis refuses anything.
    public var mayJudge: Bool { !isUnheard && !isRefusing }

    /// Whether Redis refuses something that concerns more than one key.
    public var isRefusing: Bool { tallies.keys.contains { $0.isGeneral } }

    private func report(_ kind: RefusalKind, _ tally: Tally, now: Moment) -> Report {
        Report(kind: kind, text: tally.text, count: tally.count, lasted: now - tally.since)
    }
}
