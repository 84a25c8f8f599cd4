import ChatCore
import ChatGateway
import NIOCore
import Synchronization

/// A node without rooms: sessions may be open, and every request fails.
final class EchoService: ChatService {
    private let lastID = Atomic<UInt64>(0)
    private static let none = WireError(.notFound, "there are no rooms here")

    func openSession(
        _ identity: SessionIdentity, outlet: any SessionOutlet, on loop: any EventLoop
    ) -> Result<SessionID, CloseReason> {
        .success(SessionID(raw: lastID.add(1, ordering: .relaxed).newValue))
    }

    func perform(_ body: ClientRequest.Body, ref: Ref?, from session: SessionID, on loop: any EventLoop) {}

    func renew(
        _ session: SessionID, _ answer: Result<Identity, WireError>, ref: Ref?, on loop: any EventLoop
    ) {}

    func sessionDrained(_ session: SessionID, on loop: any EventLoop) {}

    func sessionClosed(_ session: SessionID, on loop: any EventLoop) {}

    func tick(of loop: any EventLoop) -> LoopTick { LoopTick(of: loop) }

    func history(room: RoomName, query: HistoryQuery, by grant: Grant?) async throws(WireError) -> HistoryPage {
        throw Self.none
    }

    func poll(
        room: RoomName, after: Position?, limit: Int, wait: Duration, by grant: Grant?, from address: PeerAddress?
    ) async throws(WireError) -> Arrivals {
        throw Self.none
    }

    func say(room: RoomName, content: MessageContent, by grant: Grant?) async throws(WireError) -> Said {
        throw Self.none
    }

    func amend(_ request: AmendRequest, by user: UserID, grant: Grant?) async throws(WireError) -> Amended {
        throw Self.none
    }

    func roster(room: RoomName, cursor: String?, by grant: Grant?) async throws(WireError) -> RosterPage {
        throw Self.none
    }

    func read(
        room: RoomName, position: Position, user: UserID, by grant: Grant?
    ) async throws(WireError) -> ReadOutcome { throw Self.none }

    func inbox(
        of user: UserID, limit: Int, cursor: InboxCursor, by grant: Grant?
    ) async throws(WireError) -> InboxList { throw Self.none }

    func online(_ users: [UserID], by grant: Grant?) async throws(WireError) -> OnlineUsers { throw Self.none }

    func showLastSeen(_ isShown: Bool?, of user: UserID, by grant: Grant?) async throws(WireError) -> Bool {
        throw Self.none
    }

    func moderate(
        room: RoomName, _ moderation: Moderation, by: String, grant: Grant?
    ) async throws(WireError) -> Moderated {
        throw Self.none
    }

    func audit(
        room: RoomName, before: Position?, limit: Int, by grant: Grant?
    ) async throws(WireError) -> [AuditEntry] {
        throw Self.none
    }

    func moderation(room: RoomName, by grant: Grant?) async throws(WireError) -> RoomModeration { throw Self.none }

    func converse(
        _ order: ConversationOrder, by user: UserID?, grant: Grant?
    ) async throws(WireError) -> ConversationAnswer { throw Self.none }

    func erase(_ user: UserID) async throws(WireError) -> ErasureProgress { throw Self.none }

    func allow(_ right: Rights, in room: RoomName, by grant: Grant?) throws(WireError) { throw Self.none }

    func command(_ command: NodeCommand, by: String) async throws(WireError) -> Position { throw Self.none }

    func sanctions(of user: UserID) -> [Sanction.Kind: Sanction] { [:] }

    func readiness() async -> Readiness { Readiness(reasons: []) }

    func metricsText() async -> String { "" }
}
