import ChatCore
import NIOCore

/// What the gateway needs of the node. ChatNode implements it; the gateway knows nothing of rooms' insides or Redis.
///
/// Calls about a session come on the event loop that accepted it, and so do the answers.
public protocol ChatService: AnyObject, Sendable {
    /// A client finished its handshake. Registers the session, or says why it may not be (node full, too many of the user).
    /// `outlet` is held until `sessionClosed`.
    func openSession(
        _ identity: SessionIdentity, outlet: any SessionOutlet, on loop: any EventLoop
    ) -> Result<SessionID, CloseReason>
    /// A request that passed the session's own limits. Its answer is a ``ServerEvent`` with `ref`, given to the outlet; for a
    /// `.signal` only a failure is answered.
    func perform(_ body: ClientRequest.Body, ref: Ref?, from session: SessionID, on loop: any EventLoop)
    /// The session's client said something long, whatever it was. How long it is not to be read from, because its user costs the node
    /// too much; zero: it may go on.
    func heard(bytes: Int, from session: SessionID, on loop: any EventLoop) -> Duration
    /// A session whose ``SessionOutlet/takesPage()`` was false may have a page now. Said once for each time, never from
    /// within a call to its outlet.
    func sessionDrained(_ session: SessionID, on loop: any EventLoop)
    /// The connection has gone: the session leaves its rooms.
    func sessionClosed(_ session: SessionID, on loop: any EventLoop)

    /// Ends the loop's ticks, for whoever is on it.
    func tick(of loop: any EventLoop) -> LoopTick

    // HTTP, from any task.
    func history(room: RoomName, query: HistoryQuery) async throws(WireError) -> HistoryPage
    /// Appends as somebody who is not in the room; with a key at most once.
    func say(room: RoomName, content: MessageContent) async throws(WireError) -> Said
    func roster(room: RoomName, cursor: String?) async throws(WireError) -> RosterPage
    /// Whether a message really goes round, and if not, why.
    func readiness() async -> Readiness
    /// Prometheus text exposition format 0.0.4.
    func metricsText() async -> String
}

extension ChatService {
    public func heard(bytes: Int, from session: SessionID, on loop: any EventLoop) -> Duration { .zero }
}

/// What became of something that was said over HTTP.
public struct Said: Sendable, Hashable {
    public var position: Position
    /// The key was known.
    public var repeated: Bool
    /// Nanoseconds of work (``RequestCost``), for whoever asked.
    public var cost: UInt64

    public init(position: Position, repeated: Bool, cost: UInt64 = 0) {
        self.position = position
        self.repeated = repeated
        self.cost = cost
    }
}

/// Why a node is not ready; empty reasons: it is.
public struct Readiness: Sendable, Hashable {
    public var reasons: [String]

    public init(reasons: [String]) {
        self.reasons = reasons
    }

    public var isReady: Bool { reasons.isEmpty }
}
