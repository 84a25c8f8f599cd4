import ChatGateway

extension NodeMetrics {
    /// Takes over the totals that the gateway's loops have counted since the start, each for itself and without locks.
    /// Called before the text is made.
    public func take(_ counters: GatewayCounters) {
        sessions.set(Int64(counters.sessions))
        for (name, count) in counters.sessionsByProtocol {
            registry.gauge(
                "martlet_protocol_sessions", help: "Sessions connected to this node, by the protocol of their clients.",
                labels: [("protocol", name)]
            ).set(Int64(count))
        }
        connections.set(Int64(counters.connections))
        outboundQueueBytes.set(Int64(counters.queuedBytes))
        kernelBytes.set(Int64(counters.kernelBytes))
        sessionsOpened.raise(to: counters.sessionsOpened)
        sessionsClosed.raise(to: counters.sessionsClosed)
        framesReceived.raise(to: Self.named(counters.framesReceived))
        framesSent.raise(to: counters.framesSent)
        bytesSent.raise(to: counters.bytesSent)
        deliveriesDropped.raise(to: Self.named(counters.framesDropped))
        connectionsRefused.raise(to: counters.connectionsRefused)
        connectionsTimedOut.raise(to: counters.connectionsTimedOut)
        refusals.raise(to: Self.named(counters.refusals))
        full.set(counters.isFull ? 1.0 : 0.0)
        timesFull.raise(to: counters.timesFull)
        acceptErrors.raise(to: counters.acceptErrors)
        if let expires = counters.certificateExpires {
            registry.gauge(
                "martlet_tls_certificate_expiry_seconds",
                help: "Time at which the TLS certificate in use expires, in seconds since 1970."
            ).set(expires)
        }
        limitRefusals[.frameBytes].raise(to: counters.badFrames["frameTooLarge"] ?? 0)
        limitRefusals[.outboundBytes].raise(to: counters.sessionsClosed["slow"] ?? 0)
        limitRefusals[.connections].raise(to: counters.connectionsRefused)
        limitRefusals.raise(to: Self.named(counters.limitRefusals))
        for (code, total) in counters.badFrames {
            registry.counter(
                "martlet_frames_bad_total", help: "Frames that could not be read, by the error that was answered.",
                labels: [("code", code)]
            ).raise(to: total)
        }
        for (status, total) in counters.handshakesRefused {
            registry.counter(
                "martlet_handshakes_refused_total",
                help: "Handshakes and requests answered with an HTTP error that ended their connection, by status.",
                labels: [("status", "\(status)")]
            ).raise(to: total)
        }
    }

    private static func named<Key: Hashable>(_ totals: [Key: UInt64]) -> [String: UInt64] {
        Dictionary(totals.map { ("\($0.key)", $0.value) }, uniquingKeysWith: +)
    }
}
