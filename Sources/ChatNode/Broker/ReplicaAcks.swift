import ChatCore
import ChatHub
import NIOCore

/// An acknowledgement that waits for replicas.
enum HeldAnswer {
    /// A session's `sent`.
    case session(SessionID, ServerEvent)
    /// A request over HTTP.
    case request(CheckedContinuation<Bool, Never>)
}

/// Acknowledgements that wait for replicas (`MARTLET_ACK_REPLICAS`): one ``ReplicationGate`` for each server that
/// stored the acknowledged messages. Confined to its loop.
final class ReplicaAcks {
    private let link: any BrokerLink
    private unowned let rooms: RoomHost
    private unowned let context: LoopContext
    private var gates: [BrokerIdentity: ReplicationGate<HeldAnswer>] = [:]

    private var replicas: Int { context.settings.ackReplicas }

    init(link: any BrokerLink, rooms: RoomHost, context: LoopContext) {
        self.link = link
        self.rooms = rooms
        self.context = context
    }

    /// Answers when enough replicas have the stored message.
    func hold(_ held: HeldAnswer, in room: RoomName) {
        guard let server = rooms.commands.identity(of: room) else { return refuse(held) }
        switch gates[server, default: ReplicationGate(replicas: replicas)].hold(held) {
        case .wait: break
        case .gather:
            // One question covers all answers of this tick.
            context.eventLoop.assumeIsolated().execute { [self] in
                if let round = gates[server]?.tickEnded() { askReplicas(round, of: server) }
            }
        case .refuse: refuse(held)
        }
    }

    private func askReplicas(_ round: UInt64, of server: BrokerIdentity) {
        let began = context.now
        link.confirm(replicas: replicas, of: server, within: context.settings.ackDeadline) { [self] count in
            // The gate ignores a late answer to an old round.
            guard let answer = gates[server]?.answered(round: round, replicas: count) else { return }
            if !answer.confirmed.isEmpty {
                context.metrics.replication.recordNanoseconds((context.now - began).nanosecondsRoundedUp)
            }
            for held in answer.confirmed { release(held) }
            for held in answer.refused { refuse(held) }
            if let next = answer.asks { askReplicas(next, of: server) }
        }
    }

    /// Some servers are gone: the acknowledgements that they should have confirmed are refused.
    func serversWent() {
        for server in gates.keys where !rooms.commands.isReached(server) {
            for held in gates[server]?.connectionLost() ?? [] { refuse(held) }
        }
        // A server has a new identity after each restart, so gates of servers that are gone have to be removed.
        if gates.count > Self.mostGates { gates = gates.filter { rooms.commands.isReached($0.key) } }
    }

    private static let mostGates = 64

    private func release(_ held: HeldAnswer) {
        switch held {
        case .session(let session, let event): rooms.post(.answer(session, event), to: session.loop)
        case .request(let continuation): continuation.resume(returning: true)
        }
    }

    private func refuse(_ held: HeldAnswer) {
        context.metrics.notReplicated.increment()
        switch held {
        case .session(let session, .sent(let ref, _, let position, _, _)):
            let error = WireError.notReplicated(position, replicas: replicas)
            rooms.post(.answer(session, .error(ref: ref, error)), to: session.loop)
        case .session(let session, .amended(let ref, _, let reply)):
            let error = WireError.notReplicated(reply.position, replicas: replicas)
            rooms.post(.answer(session, .error(ref: ref, error)), to: session.loop)
        case .session: assertionFailure("only `sent` and `amended` wait for replicas")
        case .request(let continuation): continuation.resume(returning: false)
        }
    }
}

extension WireError {
    /// The error for a message that is stored at that position, but that too few replicas have confirmed.
    static func notReplicated(_ position: Position, replicas: Int) -> WireError {
        WireError(
            .notReplicated,
            "send: stored as \(position) and shown, but not \(replicas) replicas confirmed it in time; try again with "
                + "the same key")
    }
}
