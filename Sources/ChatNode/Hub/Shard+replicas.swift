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
        guard settings.ackReplicas > 0, case .sent(_, let room, _, _, _) = event else {
            return post(.answer(session, event), to: session.loop)
        }
        hold(.session(session, event), in: room)
    }

    /// Whether enough replicas have everything that was answered for the room so far.
    func isReplicated(in room: RoomName) async -> Bool {
        if settings.ackReplicas == 0 { return true }
        return await withCheckedContinuation { continuation in
            run { [self] in hold(.request(continuation), in: room) }
        }
    }

    private func hold(_ held: HeldAnswer, in room: RoomName) {
        guard let server = commands.identity(of: room) else { return refuse(held) }
        switch gates[server, default: ReplicationGate(replicas: settings.ackReplicas)].hold(held) {
        case .wait: break
        case .gather:
            // All that this tick answers is asked for together.
            loop.assumeIsolated().execute { [self] in
                if let round = gates[server]?.tickEnded() { askReplicas(round, of: server) }
            }
        case .refuse: refuse(held)
        }
    }

    private func askReplicas(_ round: UInt64, of server: BrokerIdentity) {
        let began = now
        link.confirm(replicas: settings.ackReplicas, of: server, within: settings.ackDeadline) { [self] count in
            guard let answer = gates[server]?.answered(round: round, replicas: count) else { return }
            if !answer.confirmed.isEmpty { metrics.replication.recordNanoseconds((now - began).nanosecondsRoundedUp) }
            for held in answer.confirmed { release(held) }
            for held in answer.refused { refuse(held) }
            if let next = answer.asks { askReplicas(next, of: server) }
        }
    }

    /// Some servers are gone: what they were to confirm is refused.
    func refuseHeld() {
        for server in gates.keys where !commands.isReached(server) {
            for held in gates[server]?.connectionLost() ?? [] { refuse(held) }
        }
        // Each life of a server has an identity of its own.
        if gates.count > 64 { gates = gates.filter { commands.isReached($0.key) } }
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
