import ChatCore

/// Decides when a connection counts as dead although its socket is open, as with a frozen node or proxy. If the node
/// sends nothing after a request, or within a heartbeat interval, the client sends a `ping`, and gives the connection
/// up if that is not answered either. Any bytes from the node prove that it is alive.
struct Silence: Equatable, Sendable {
    enum Action: Equatable {
        case ask
        case leave
        case doNothing
    }

    /// How long a request may stay without any bytes from the node, and then the ping: eight seconds together, so that
    /// with the next connection the request is answered within ten.
    static let askAfter: Duration = .seconds(4)
    static let leaveAfter: Duration = .seconds(4)
    /// After this time a connection has proved that it works, and silence is no sign of a slow line.
    static let provenAfter: Duration = .seconds(60)
    /// A request of this many bytes gets one more second, because a slow line is not a dead one.
    static let bytesPerSecond = 16_000

    private var heartbeat: Duration = .seconds(30)
    private var readyAt = Moment(nanoseconds: 0)
    private var heardAt = Moment(nanoseconds: 0)
    /// The time of the first request since bytes came from the node.
    private var askedAt: Moment?
    /// The time of a ping that is not answered.
    private var pingedAt: Moment?
    /// Until then this process may still have to read bytes of the node, because it was blocked.
    private var excusedUntil: Moment?
    /// The additional time for the length of the longest request.
    private var slack: Duration = .zero
    /// The number of successive connections that were given up for silence. An apparently dead connection may only be
    /// slow (a long page over a bad line), so each of them doubles the time of the next one.
    private var losses = 0
    private var reads = true

    mutating func connecting(_ now: Moment) {
        heard(now)
        slack = .zero
    }

    mutating func welcomed(heartbeat: Duration, _ now: Moment) {
        self.heartbeat = max(.seconds(1), heartbeat)
        readyAt = now
        heard(now)
    }

    mutating func heard(_ now: Moment) {
        heardAt = now
        askedAt = nil
        pingedAt = nil
        excusedUntil = nil
    }

    mutating func readingChanged(_ reads: Bool, _ now: Moment) {
        self.reads = reads
        if reads { heard(now) }
    }

    mutating func asked(_ now: Moment, bytes: Int = 0) {
        if askedAt == nil { askedAt = now }
        guard bytes >= Self.bytesPerSecond / 8 else { return }
        slack = max(slack, .milliseconds(bytes / (Self.bytesPerSecond / 1_000)))
    }

    mutating func allAnswered() {
        slack = .zero
    }

    /// When to check again; nil if only another event can change anything.
    func deadline(isWaiting: Bool) -> Moment? {
        guard reads else { return nil }
        var due: Moment
        if let pingedAt {
            due = pingedAt + scaled(Self.leaveAfter, at: pingedAt)
        } else {
            due = heardAt + heartbeat
            if isWaiting {
                let since = askedAt ?? heardAt
                due = min(due, since + scaled(Self.askAfter, at: since) + slack)
            }
        }
        return excusedUntil.map { max(due, $0) } ?? due
    }

    mutating func judge(isWaiting: Bool, _ now: Moment) -> Action {
        guard let due = deadline(isWaiting: isWaiting), now >= due else { return .doNothing }
        if let grace = ClientStateMachine.grace(due: due, now: now) {
            excusedUntil = grace
            return .doNothing
        }
        guard let pingedAt else {
            self.pingedAt = now
            return .ask
        }
        losses = pingedAt - readyAt > Self.provenAfter ? 1 : losses + 1
        return .leave
    }

    private func scaled(_ time: Duration, at moment: Moment) -> Duration {
        guard losses > 0, moment - readyAt <= Self.provenAfter else { return time }
        return max(time, min(time * (1 << min(losses, 4)), heartbeat))
    }
}
