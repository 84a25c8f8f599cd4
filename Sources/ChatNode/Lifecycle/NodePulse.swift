import ChatCore
import ChatHub
import NIOConcurrencyHelpers

/// What a node reports to Redis with each heartbeat, and whether Redis still knew the node.
///
/// Heartbeats come from two sides: periodically from ``NodeLife``, and from each shard as the first command on each new
/// command connection. So no room can list a node of which Redis has never had a heartbeat: if such a node died, no
/// other node would sweep it.
final class NodePulse: Sendable {
    private struct State {
        var report: NodeReport
        /// Whether Redis has had a heartbeat of this node. If Redis forgets the node, others may have swept it.
        var known = false
        /// Whether the node has left. A connection that comes up later must not register it again.
        var isOver = false
    }

    enum Verdict: Equatable {
        /// Redis did not accept the heartbeat.
        case failed
        case taken
        /// Redis accepted the heartbeat, but did not know the node any more.
        case forgotten
    }

    /// One heartbeat that is not answered yet.
    struct Beat {
        let request: BrokerRequest
        /// Whether Redis already knew the node when this heartbeat was made. Two first heartbeats on two connections
        /// may be answered in either order, and an answer to the first one ever says nothing about what was before.
        let wasKnown: Bool
    }

    private let lease: Duration
    private let state: NIOLockedValueBox<State>

    /// `lease`: how long Redis keeps a heartbeat.
    init(_ report: NodeReport, lease: Duration) {
        self.lease = lease
        state = NIOLockedValueBox(State(report: report))
    }

    var address: String {
        get { state.withLockedValue { $0.report.address } }
        set { state.withLockedValue { $0.report.address = newValue } }
    }

    func update(_ load: HubLoad, draining: Bool) {
        state.withLockedValue { state in
            state.report.sessions = load.sessions
            state.report.protocols = load.protocols
            state.report.rooms = load.rooms
            state.report.messages = load.messages
            state.report.deliveries = load.deliveries
            state.report.draining = draining
        }
    }

    /// Ends the heartbeats, as the node has left.
    func end() {
        state.withLockedValue { $0.isOver = true }
    }

    /// Makes the heartbeat to send now; nil after ``end()``. `clock`: milliseconds since 1970.
    func beat(clock: UInt64) -> Beat? {
        state.withLockedValue { state in
            guard !state.isOver else { return nil }
            state.report.clock = clock
            return Beat(request: .heartbeat(state.report, lease: lease), wasKnown: state.known)
        }
    }

    func answered(_ beat: Beat, _ result: Result<BrokerReply, BrokerError>) -> Verdict {
        guard case .success(.heartbeat(let remembered)) = result else { return .failed }
        state.withLockedValue { $0.known = true }
        return beat.wasKnown && !remembered ? .forgotten : .taken
    }
}
