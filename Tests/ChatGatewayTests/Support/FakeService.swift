import ChatCore
import ChatGateway
import ChatWire
import NIOConcurrencyHelpers
import NIOCore

/// A chat in memory for tests of the gateway: one order for all, no broker, no presence.
final class FakeService: ChatService {
    private struct Member {
        var outlet: NIOLoopBound<any SessionOutlet>
        var user: UserID
        var device: DeviceName?
        var protocolID: ProtocolID
    }

    private struct State {
        var nextID: UInt64 = 1
        var members: [SessionID: Member] = [:]
        var rooms: [RoomName: [SessionID]] = [:]
        var logs: [RoomName: [Message]] = [:]
        var isReady = true
        var isHolding = false
        var held: [(NIOLoopBound<any SessionOutlet>, ServerEvent)] = []
        var performed: [ClientRequest.Body] = []
        var drained: [SessionID] = []
        var commands: [NodeCommand] = []
        var moderations: [Moderation] = []
        var addresses: [String: NodeAddress] = [:]
        var records: [String: String] = [:]
    }

    private let state = NIOLockedValueBox(State())
    let encoder: ProtocolRegistry
    let refusal: CloseReason?

    init(refusal: CloseReason? = nil, protocols: ProtocolRegistry = .standard(limits: Limits())) {
        self.refusal = refusal
        encoder = protocols
    }

    var sessions: Int { state.withLockedValue { $0.members.count } }
    var performed: [ClientRequest.Body] { state.withLockedValue { $0.performed } }
    var commands: [NodeCommand] { state.withLockedValue { $0.commands } }
    var moderations: [Moderation] { state.withLockedValue { $0.moderations } }
    /// Sessions that were told that they can take a page now.
    var drained: [SessionID] { state.withLockedValue { $0.drained } }
    func setReady(_ isReady: Bool) { state.withLockedValue { $0.isReady = isReady } }
    var records: Int { state.withLockedValue { $0.records.count } }
    func keep(_ record: String, under secret: String, for life: Duration) async {
        state.withLockedValue { $0.records[secret] = record }
    }
    func takeRecord(under secret: String) async -> String? {
        state.withLockedValue { $0.records.removeValue(forKey: secret) }
    }
    /// Another node, and where it can be reached.
    func know(_ node: String, at address: NodeAddress) { state.withLockedValue { $0.addresses[node] = address } }
    func address(of node: String) async -> NodeAddress? { state.withLockedValue { $0.addresses[node] } }
    func members(of room: RoomName) -> Int { state.withLockedValue { $0.rooms[room]?.count ?? 0 } }

    /// Sends are not answered until ``release()``.
    func hold() { state.withLockedValue { $0.isHolding = true } }

    func release() {
        let held = state.withLockedValue { state in
            state.isHolding = false
            defer { state.held = [] }
            return state.held
        }
        for (outlet, event) in held { outlet.eventLoop.execute { outlet.value.send(event) } }
    }

    func tick(of loop: any EventLoop) -> LoopTick { LoopTick(of: loop) }

    func openSession(
        _ identity: SessionIdentity, outlet: any SessionOutlet, on loop: any EventLoop
    ) -> Result<SessionID, CloseReason> {
        if let refusal { return .failure(refusal) }
        let protocolID = outlet.protocolID
        let bound = NIOLoopBound<any SessionOutlet>(outlet, eventLoop: loop)
        return .success(
            state.withLockedValue { state in
                let id = SessionID(raw: state.nextID)
                state.nextID += 1
                state.members[id] = Member(
                    outlet: bound, user: identity.user, device: identity.device, protocolID: protocolID)
                return id
            })
    }

    func renew(
        _ session: SessionID, _ answer: Result<Identity, WireError>, ref: Ref?, on loop: any EventLoop
    ) {
        guard let outlet = state.withLockedValue({ $0.members[session]?.outlet }) else { return }
        switch answer {
        case .success: outlet.value.send(.renewed(ref: ref, expiresIn: nil))
        case .failure(let error): outlet.value.send(.error(ref: ref, error))
        }
    }

    func sessionDrained(_ session: SessionID, on loop: any EventLoop) {
        state.withLockedValue { $0.drained.append(session) }
    }

    func sessionClosed(_ session: SessionID, on loop: any EventLoop) {
        state.withLockedValue { state in
            state.members[session] = nil
            for room in state.rooms.keys { state.rooms[room]?.removeAll { $0 == session } }
        }
    }

    func perform(_ body: ClientRequest.Body, ref: Ref?, from session: SessionID, on loop: any EventLoop) {
        guard let outlet = state.withLockedValue({ $0.members[session]?.outlet }) else { return }
        state.withLockedValue { $0.performed.append(body) }
        switch body {
        case .join(let room, _, _):
            let log = state.withLockedValue { state in
                state.rooms[room, default: []].removeAll { $0 == session }
                state.rooms[room, default: []].append(session)
                return state.logs[room] ?? []
            }
            outlet.value.send(
                .joined(
                    Joined(
                        ref: ref, room: room, position: log.last?.position ?? Position(epoch: 1, seq: 0), messages: log,
                        members: [], count: 0, resumption: .fresh)))
        case .leave(let room):
            state.withLockedValue { $0.rooms[room]?.removeAll { $0 == session } }
            outlet.value.send(.left(ref: ref, room: room))
        case .send(let send): append(send, ref, session, outlet)
        case .signal(let room, let name, let data):
            guard let user = state.withLockedValue({ $0.members[session]?.user }) else { return }
            deliver(.signal(room: room, user: user, name: name, data: data), to: room, except: session)
        case .history(let room, _): outlet.value.send(.history(ref: ref, room: room, page(room)))
        case .roster(let room, _):
            outlet.value.send(.roster(ref: ref, room: room, RosterPage(members: [], count: 0, cursor: nil)))
        case .ping: outlet.value.send(.pong(ref: ref))
        case .conversation(let order):
            guard let room = order.room(of: nil) else {
                return outlet.value.send(.conversation(ref: ref, .blocked([])))
            }
            outlet.value.send(.conversation(ref: ref, .done(room, .group, isChanged: true)))
        case .moderate, .amend, .inbox, .token: break
        }
    }

    private func append(
        _ send: SendRequest, _ ref: Ref?, _ session: SessionID, _ outlet: NIOLoopBound<any SessionOutlet>
    ) {
        guard let user = state.withLockedValue({ $0.members[session]?.user }) else { return }
        let message = store(
            send.room, MessageContent(user: user, at: 0, text: send.text, data: send.data, key: send.key))
        let sent = ServerEvent.sent(ref: ref, room: send.room, position: message.position, at: 0, repeated: false)
        let isHeld = state.withLockedValue { state in
            if state.isHolding { state.held.append((outlet, sent)) }
            return state.isHolding
        }
        if isHeld { return }
        outlet.value.send(sent)
        deliver(.message(room: send.room, message, showKey: false), to: send.room, except: nil)
    }

    private func store(_ room: RoomName, _ content: MessageContent) -> Message {
        state.withLockedValue { state in
            let message = Message(
                position: Position(epoch: 1, seq: UInt64((state.logs[room]?.count ?? 0) + 1)), content: content)
            state.logs[room, default: []].append(message)
            return message
        }
    }

    /// Encodes once, then hops once to each member's loop, as the node does.
    func deliver(_ event: ServerEvent, to room: RoomName, except: SessionID?) {
        let outlets = state.withLockedValue { state in
            (state.rooms[room] ?? []).filter { $0 != except }.compactMap { state.members[$0] }
        }
        var protocols = ProtocolCounts()
        for member in outlets { protocols.add(member.protocolID) }
        let frame = Frame(event, for: protocols, by: encoder)
        for outlet in outlets.map(\.outlet) {
            if outlet.eventLoop.inEventLoop {
                outlet.value.send(frame)
            } else {
                outlet.eventLoop.execute { outlet.value.send(frame) }
            }
        }
    }

    /// Asks the outlet of the only session, on its loop, whether it takes a page.
    func takesPage() async throws -> Bool {
        guard let outlet = state.withLockedValue({ $0.members.values.first?.outlet }) else { return false }
        return try await outlet.eventLoop.submit { outlet.value.takesPage() }.get()
    }

    /// Closes all sessions as an operator would.
    func closeSessions(_ reason: CloseReason) {
        for outlet in state.withLockedValue({ $0.members.values.map(\.outlet) }) {
            outlet.eventLoop.execute { outlet.value.close(reason) }
        }
    }

    private func page(_ room: RoomName) -> HistoryPage {
        let log = state.withLockedValue { $0.logs[room] ?? [] }
        return HistoryPage(messages: log, newest: log.last?.position, hasOlder: false, hasNewer: false)
    }

    func history(room: RoomName, query: HistoryQuery, by grant: Grant?) async throws(WireError) -> HistoryPage {
        page(room)
    }

    func poll(
        room: RoomName, after: Position?, limit: Int, wait: Duration, by grant: Grant?, from address: PeerAddress?
    ) async throws(WireError) -> Arrivals {
        Arrivals(page: page(room))
    }

    func say(room: RoomName, content: MessageContent, by grant: Grant?) async throws(WireError) -> Said {
        if let key = content.key,
            let known = state.withLockedValue({ $0.logs[room]?.first(where: { $0.content.key == key }) })
        {
            return Said(position: known.position, repeated: true)
        }
        let message = store(room, content)
        deliver(.message(room: room, message, showKey: false), to: room, except: nil)
        return Said(position: message.position, repeated: false)
    }

    func amend(_ request: AmendRequest, by user: UserID, grant: Grant?) async throws(WireError) -> Amended {
        Amended(AmendReply(Position(epoch: 1, seq: 9), .stored))
    }

    func roster(room: RoomName, cursor: String?, by grant: Grant?) async throws(WireError) -> RosterPage {
        if room.text == "away" { throw WireError(.unavailable, "Redis is away") }
        return RosterPage(members: [], count: 0, cursor: nil)
    }

    func read(
        room: RoomName, position: Position, user: UserID, by grant: Grant?
    ) async throws(WireError) -> ReadOutcome {
        ReadOutcome(.read, mark: ReadMark(position), unread: 0)
    }

    func inbox(
        of user: UserID, limit: Int, cursor: InboxCursor, by grant: Grant?
    ) async throws(WireError) -> InboxList {
        InboxList(page: InboxPage(of: [], known: cursor, limit: limit))
    }

    func online(_ users: [UserID], by grant: Grant?) async throws(WireError) -> OnlineUsers {
        OnlineUsers(online: users)
    }

    func showLastSeen(_ isShown: Bool?, of user: UserID, by grant: Grant?) async throws(WireError) -> Bool {
        isShown ?? false
    }

    /// The newest sanctions of the user, for ever.
    func sanctions(of user: UserID) -> [Sanction.Kind: Sanction] {
        commands.reduce(into: [:]) { result, command in
            switch command {
            case .impose(let kind, on: user, _, let reason): result[kind] = Sanction(reason: reason)
            case .lift(let kind, from: user): result[kind] = nil
            case .impose, .lift, .revoke: break
            }
        }
    }

    func moderate(
        room: RoomName, _ moderation: Moderation, by: String, grant: Grant?
    ) async throws(WireError) -> Moderated {
        state.withLockedValue { $0.moderations.append(moderation) }
        return Moderated(ModerationReply(version: 1, isChanged: true))
    }

    func audit(
        room: RoomName, before: Position?, limit: Int, by grant: Grant?
    ) async throws(WireError) -> [AuditEntry] {
        []
    }

    func moderation(room: RoomName, by grant: Grant?) async throws(WireError) -> RoomModeration { .none }

    func converse(
        _ order: ConversationOrder, by user: UserID?, grant: Grant?
    ) async throws(WireError) -> ConversationAnswer {
        if case .stars = order { return .stars([], before: nil) }
        guard let room = order.room(of: user) else { return .blocked([]) }
        if case .star(_, let position) = order { return .starred(room, position, true) }
        if case .unstar(_, let position) = order { return .starred(room, position, false) }
        if case .participants = order {
            let participants = user.map { [$0: Participant(role: .owner, since: 1)] } ?? [:]
            return .participants(
                room, ParticipantList(version: 1, kind: .group, participants: participants), viewer: user)
        }
        return .done(room, room.isDirect ? .direct : .group, isChanged: true)
    }

    func erase(_ user: UserID) async throws(WireError) -> ErasureProgress { ErasureProgress(rooms: 1, left: 0) }

    func allow(_ right: Rights, in room: RoomName, by grant: Grant?) throws(WireError) {
        if let error = AccessDecision.refusal(of: right, in: room, by: grant) { throw error }
    }

    func command(_ command: NodeCommand, by: String) async throws(WireError) -> Position {
        state.withLockedValue { $0.commands.append(command) }
        return Position(epoch: 1, seq: 0)
    }

    func readiness() async -> Readiness {
        Readiness(reasons: state.withLockedValue { $0.isReady } ? [] : ["redis: away"])
    }

    func metricsText() async -> String { "martlet_sessions \(sessions)\n" }
}
