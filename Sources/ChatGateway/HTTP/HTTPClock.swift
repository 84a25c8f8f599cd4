import ChatCore

/// How long one HTTP/1.1 connection has been at what it is doing: a request must be complete within `handshakeTimeout`
/// from its first byte (so dripping bytes gains nothing), an answer within `responseTimeout`, and between requests it
/// may idle for `idleTimeout`.
final class HTTPClock {
    private enum Activity {
        case idle
        /// A request's first byte has come, its end has not.
        case receiving
        case responding
    }

    private let options: GatewayOptions
    private var activity = Activity.idle
    private var since: Moment
    /// Requests that were read whole, minus answers that were written whole. Below zero when an answer was early.
    private var outstanding = 0
    /// Bytes came while an answer was being made: the next request has begun.
    private var isEarly = false

    init(options: GatewayOptions, now: Moment) {
        self.options = options
        since = now
    }

    func bytesCame(now: Moment) {
        switch activity {
        case .idle: change(to: .receiving, now)
        case .receiving: break
        case .responding: isEarly = true
        }
    }

    func requestEnded(now: Moment) {
        outstanding += 1
        isEarly = false
        if outstanding > 0 {
            if activity != .responding { change(to: .responding, now) }
        } else {
            change(to: .idle, now)
        }
    }

    func responseEnded(now: Moment) {
        outstanding -= 1
        guard outstanding == 0 else { return }
        change(to: isEarly ? .receiving : .idle, now)
        isEarly = false
    }

    func isOver(now: Moment) -> Bool {
        let limit =
            switch activity {
            case .idle: options.idleTimeout
            case .receiving: options.handshakeTimeout
            case .responding: options.responseTimeout
            }
        return now >= since + limit
    }

    private func change(to activity: Activity, _ now: Moment) {
        self.activity = activity
        since = now
    }
}
