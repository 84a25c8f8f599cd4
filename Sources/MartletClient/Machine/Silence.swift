import ChatCore

/// When a connection counts as dead, though its socket is open (a node or a proxy that is frozen): a node that says nothing after a
/// request, or for a heartbeat, is asked (`ping`), and left if it does not answer that either. Whatever it says shows that it is there.
struct Silence: Equatable, Sendable {
    enum Action: Equatable {
        case ask
        case leave
        case doNothing
    }

    /// How long a request may be without any word from the node, and then the ping: eight seconds, so that with the next
    /// connection what was asked is answered within ten.
    static let askAfter: Duration = .seconds(4)
    static let leaveAfter: Duration = .seconds(4)
    /// After this time a connection has shown that it works, and silence is no sign of a slow line.
    static let provenAfter: Duration = .seconds(60)
    /// A request of so many bytes gets a second more: a slow line is not a dead one.
    static let bytesPerSecond = 16_000

    private var heartbeat: Duration = .seconds(30)
    private var readyAt = Moment(nanoseconds: 0)
    private var heardAt = Moment(nanoseconds: 0)
    /// When the first request was made since the node was heard.
    private var askedAt: Moment?
    /// When a ping went out, if nothing was heard since.
    private var pingedAt: Moment?
    /// This process was late: what the node said meanwhile may still wait to be read until then.
    private var excusedUntil: Moment?
    /// What the longest request gets for its length.
    private var slack: Duration = .zero
    /// Connections in a row that were left for their silence. What seemed dead may only be slow (a long page over a bad line), so
    /// each gives the next one twice the time.
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

    /// When to judge; nil: not before something else happens.
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
