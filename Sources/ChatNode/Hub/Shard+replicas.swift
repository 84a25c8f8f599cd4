import ChatCore
import NIOCore

/// What waits for replicas on one shard.
enum HeldAnswer {
    /// A session's `sent`.
    case session(SessionID, ServerEvent)
    /// A request from outside (HTTP).
    case request(CheckedContinuation<Bool, Never>)
}

/// Acknowledgements that wait for replicas.
extension Shard {
    /// Answers a session; a `sent` only when enough replicas have what was stored.
    func answer(_ session: SessionID, _ event: ServerEvent) {
        guard !gate.isOpen, case .sent = event else { return post(.answer(session, event), to: session.loop) }
        hold(.session(session, event))
    }

    /// Whether enough replicas have everything that was answered on this shard so far.
    func isReplicated() async -> Bool {
        if settings.ackReplicas == 0 { return true }
        return await withCheckedContinuation { continuation in
            run { [self] in hold(.request(continuation)) }
        }
    }

    private func hold(_ held: HeldAnswer) {
        switch gate.hold(held) {
        case .wait: break
        case .gather:
            // All that this tick answers is asked for together.
            loop.assumeIsolated().execute { [self] in
                if let round = gate.tickEnded() { askReplicas(round) }
            }
        case .refuse: refuse(held)
        }
    }

    private func askReplicas(_ round: UInt64) {
        let began = now
        link.confirm(replicas: gate.replicas, within: settings.ackDeadline) { [self] count in
            let answer = gate.answered(round: round, replicas: count)
            if !answer.confirmed.isEmpty { metrics.replication.recordNanoseconds((now - began).nanosecondsRoundedUp) }
            for held in answer.confirmed { release(held) }
            for held in answer.refused { refuse(held) }
            if let next = answer.asks { askReplicas(next) }
        }
    }

    /// The command connection is gone.
    func refuseHeld() {
        for held in gate.connectionLost() { refuse(held) }
    }

    private func release(_ held: HeldAnswer) {
        switch held {
        case .session(let session, let event): post(.answer(session, event), to: session.loop)
        case .request(let continuation): continuation.resume(returning: true)
        }
    }

    private func refuse(_ held: HeldAnswer) {
        metrics.notReplicated.increment()
        switch held {
        case .session(let session, .sent(let ref, _, let position, _, _)):
            let error = Self.notReplicated(position, replicas: settings.ackReplicas)
            post(.answer(session, .error(ref: ref, error)), to: session.loop)
        case .session: break
        case .request(let continuation): continuation.resume(returning: false)
        }
    }

    static func notReplicated(_ position: Position, replicas: Int) -> WireError {
        WireError(
            .notReplicated,
            "send: stored as \(position) and shown, but not \(replicas) replicas confirmed it in time; try again with "
                + "the same key")
    }
}
