import ChatCore
import ChatHub
import NIOConcurrencyHelpers

/// What a node says of itself to Redis with each heartbeat, and whether Redis still knew it.
///
/// The node's heartbeats come from two sides: regularly from ``NodeLife``, and from each shard as the first command on each new
/// command connection. So no room can list a node that Redis has never heard of: such a node, dying young, would be looked for by
/// nobody.
final class NodePulse: Sendable {
    private struct State {
        var report: NodeReport
        /// Redis has heard of us; if it forgets, others may have swept us.
        var known = false
        /// The node has taken leave: whatever reconnects now must not register it again.
        var isOver = false
    }

    enum Verdict: Equatable {
        /// Redis did not take it.
        case failed
        case taken
        /// Redis took it, and knew nothing of us any more.
        case forgotten
    }

    /// One heartbeat on its way.
    struct Beat {
        let request: BrokerRequest
        /// Redis had heard of us when it was made. Two first heartbeats on two connections may be answered in either order, and
        /// the one that is news says nothing of what came before it.
        let wasKnown: Bool
    }

    private let lease: Duration
    private let state: NIOLockedValueBox<State>

    /// `lease`: how long Redis remembers a heartbeat.
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
            state.report.rooms = load.rooms
            state.report.messages = load.messages
            state.report.deliveries = load.deliveries
            state.report.draining = draining
        }
    }

    /// The node takes leave: there are no more heartbeats.
    func end() {
        state.withLockedValue { $0.isOver = true }
    }

    /// The heartbeat of this moment; nil after ``end()``. `clock`: ms since 1970.
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
