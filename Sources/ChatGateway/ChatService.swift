import ChatCore
import NIOCore

/// What the gateway needs from the node. ChatNode implements it; the gateway knows nothing of Redis or of how rooms
/// work.
///
/// Calls about a session are made on the event loop that accepted it, and are answered on that loop.
public protocol ChatService: AnyObject, Sendable {
    /// A client finished its handshake. Registers the session, or returns why it cannot be registered (the node is
    /// full, or the user has too many sessions). The service keeps `outlet` until `sessionClosed`.
    func openSession(
        _ identity: SessionIdentity, outlet: any SessionOutlet, on loop: any EventLoop
    ) -> Result<SessionID, CloseReason>
    /// A request that passed the session's own limits. The answer is a ``ServerEvent`` with `ref`, sent to the outlet;
    /// a `.signal` is answered only if it fails.
    func perform(_ body: ClientRequest.Body, ref: Ref?, from session: SessionID, on loop: any EventLoop)
    /// The client of this session sent a long frame of any type. Returns how long the session must not be read, because
    /// its user costs the node too much; zero means that it may go on.
    func heard(bytes: Int, from session: SessionID, on loop: any EventLoop) -> Duration
    /// A request of this session was refused because of a limit. Returns how long the session must not be read.
    func refused(_ session: SessionID, on loop: any EventLoop) -> Duration
    /// The session's client has sent a new token, and the authenticator has answered. The session is told by `renewed`,
    /// or by an error.
    func renew(
        _ session: SessionID, _ answer: Result<Identity, WireError>, ref: Ref?, on loop: any EventLoop)
    /// A session whose ``SessionOutlet/takesPage()`` was false can take a page now. Called once per such refusal, and
    /// never from within a call to its outlet.
    func sessionDrained(_ session: SessionID, on loop: any EventLoop)
    /// The connection is closed: the session leaves its rooms.
    func sessionClosed(_ session: SessionID, on loop: any EventLoop)

    /// The end-of-tick hook of the loop, for anything that runs on the loop.
    func tick(of loop: any EventLoop) -> LoopTick

    // HTTP, from any task.
    // `grant`: what the sender of the request may do; nil means everything. Throws `forbidden` if that does not include
    // the request.
    func history(room: RoomName, query: HistoryQuery, by grant: Grant?) async throws(WireError) -> HistoryPage
    /// Waits until there are messages after the position (nil: from now on), at most for `wait`. The reader is not
    /// present in the room. `address`: who counts if there is no user; nil for a trusted proxy. A task that is
    /// cancelled gets an answer without messages.
    func poll(
        room: RoomName, after: Position?, limit: Int, wait: Duration, by grant: Grant?, from address: PeerAddress?
    ) async throws(WireError) -> Arrivals
    /// Appends a message from a sender who is not in the room; with a key, at most once.
    func say(room: RoomName, content: MessageContent, by grant: Grant?) async throws(WireError) -> Said
    /// Changes an earlier message, or erases several, for a user who need not be in the room.
    func amend(_ request: AmendRequest, by user: UserID, grant: Grant?) async throws(WireError) -> Amended
    func roster(room: RoomName, cursor: String?, by grant: Grant?) async throws(WireError) -> RosterPage
    /// A user has read the room up to that position. Returns when it is stored.
    func read(room: RoomName, position: Position, user: UserID, by grant: Grant?) async throws(WireError) -> ReadOutcome
    /// The user's conversations that are not as the cursor says, newest first.
    func inbox(of user: UserID, limit: Int, cursor: InboxCursor, by grant: Grant?) async throws(WireError) -> InboxList
    /// Which of the users have a session, on whatever node, and when others were last here.
    func online(_ users: [UserID], by grant: Grant?) async throws(WireError) -> OnlineUsers
    /// Others may see when the user was last here, or may not any more; nil: only tells whether they may.
    func showLastSeen(_ isShown: Bool?, of user: UserID, by grant: Grant?) async throws(WireError) -> Bool
    /// Changes the rules or sanctions of a room. Once it returns, nothing that they forbid is stored any more. `by`:
    /// who orders it, for the audit.
    func moderate(
        room: RoomName, _ moderation: Moderation, by: String, grant: Grant?
    ) async throws(WireError) -> Moderated
    /// Who changed the rules and sanctions of a room, and who reported messages, newest first, for moderators.
    func audit(room: RoomName, before: Position?, limit: Int, by grant: Grant?) async throws(WireError) -> [AuditEntry]
    /// The rules of a room and the sanctions in force, for moderators.
    func moderation(room: RoomName, by grant: Grant?) async throws(WireError) -> RoomModeration
    /// Changes or reads who belongs to a room. `user`: who asks; nil: a server that names nobody, or nobody in
    /// development mode.
    func converse(
        _ order: ConversationOrder, by user: UserID?, grant: Grant?
    ) async throws(WireError) -> ConversationAnswer
    /// Erases a part of what is known of a user: memberships, read positions, blocks and stars.
    func erase(_ user: UserID) async throws(WireError) -> ErasureProgress
    /// Throws `forbidden`, and counts it, if the grant does not include the right; nil includes everything.
    func allow(_ right: Rights, in room: RoomName, by grant: Grant?) throws(WireError)
    /// Has all nodes apply a command within a second. `by`: who orders it. Returns the command's position.
    func command(_ command: NodeCommand, by: String) async throws(WireError) -> Position
    /// The sanctions in force that were imposed on the user in all rooms.
    func sanctions(of user: UserID) -> [Sanction.Kind: Sanction]
    /// Keeps a record for a while, for whatever node is asked for it.
    func keep(_ record: String, under secret: String, for life: Duration) async
    /// Returns a record that some node keeps, once; nil if there is none.
    func takeRecord(under secret: String) async -> String?
    /// Where another node can be reached, by its ID; nil if no such node is alive.
    func address(of node: String) async -> NodeAddress?
    /// Whether the node can deliver messages, and if not, why.
    func readiness() async -> Readiness
    /// Prometheus text exposition format 0.0.4.
    func metricsText() async -> String
}

extension ChatService {
    public func keep(_ record: String, under secret: String, for life: Duration) async {}

    public func takeRecord(under secret: String) async -> String? { nil }

    public func address(of node: String) async -> NodeAddress? { nil }

    public func heard(bytes: Int, from session: SessionID, on loop: any EventLoop) -> Duration { .zero }

    public func refused(_ session: SessionID, on loop: any EventLoop) -> Duration { .milliseconds(100) }
}

/// The outcome of a message that was posted over HTTP.
public struct Said: Sendable, Hashable {
    public var position: Position
    /// The key was known, so nothing was stored again.
    public var repeated: Bool
    /// The work it took, in nanoseconds (``RequestCost``), to be charged to the caller.
    public var cost: UInt64

    public init(position: Position, repeated: Bool, cost: UInt64 = 0) {
        self.position = position
        self.repeated = repeated
        self.cost = cost
    }
}

/// The outcome of an amendment over HTTP.
public struct Amended: Sendable, Hashable {
    public var reply: AmendReply
    /// The work it took, in nanoseconds (``RequestCost``), to be charged to the caller.
    public var cost: UInt64

    public init(_ reply: AmendReply, cost: UInt64 = 0) {
        self.reply = reply
        self.cost = cost
    }
}

/// A page of a user's inbox over HTTP.
public struct InboxList: Sendable, Hashable {
    public var page: InboxPage
    /// The work it took, in nanoseconds (``RequestCost``), to be charged to the caller.
    public var cost: UInt64

    public init(page: InboxPage, cost: UInt64 = 0) {
        self.page = page
        self.cost = cost
    }
}

/// The outcome of a moderation over HTTP.
public struct Moderated: Sendable, Hashable {
    public var reply: ModerationReply
    /// The work it took, in nanoseconds (``RequestCost``), to be charged to the caller.
    public var cost: UInt64

    public init(_ reply: ModerationReply, cost: UInt64 = 0) {
        self.reply = reply
        self.cost = cost
    }
}

/// Why a node is not ready. If `reasons` is empty, it is ready.
public struct Readiness: Sendable, Hashable {
    public var reasons: [String]
    /// What does not keep the node from serving, but an operator should know.
    public var warnings: [String]

    public init(reasons: [String], warnings: [String] = []) {
        self.reasons = reasons
        self.warnings = warnings
    }

    public var isReady: Bool { reasons.isEmpty }
}
