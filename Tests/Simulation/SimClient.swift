import ChatCore
import ChatHub

/// One client program: one device of one user. It remembers the messages that it showed, and those that it sent until
/// they are answered. It reconnects with its last position, and repeats unanswered sends with the same key.
final class SimClient {
    struct Send {
        var key: String
        var keyed: Bool
        var text: String
        var since: Position?
        var extra: MessageExtra?
        /// How often it was sent.
        var tries: Int
        /// The ref of the attempt that waits for its answer.
        var waiting: Int?
    }

    struct Acknowledged {
        var position: Position
        var key: String
        var text: String
    }

    struct Room {
        var isWanted = false
        var isLive = false
        var isJoining = false
        /// The ref of the pending join: an answer to an earlier one, before a `leave`, may still arrive.
        var joinRef: Ref?
        /// The last position that was shown, which is sent as `after`.
        var last: Position?
        /// The seq that must come next.
        var next: UInt64?
        /// All messages that were shown since the last reset.
        var shown: [Message] = []
        var sends: [Send] = []
        /// Sends that were answered with a position, and not voided by a reset since.
        var acknowledged: [Acknowledged] = []
        /// The users who are present, according to what the client was told.
        var roster: Set<UserID> = []
        /// Sends that were answered before the client was shown them, as it was behind: its position does not cover
        /// them.
        var ahead: [Acknowledged] = []
        /// What its messages have become, by position.
        var seen: [Position: SimSeen] = [:]
        /// Amendments of earlier messages may have been missed with a gap.
        var foldsFrom: UInt64 = 0
        /// Up to where others have read, according to what the client was told; and the user, as it was answered.
        var reads: [UserID: Position] = [:]
        var readTo: Position?
    }

    let index: Int
    let user: UserID
    let device: DeviceName
    var rooms: [Room]
    /// Its current session, and the node of that session.
    var session: (node: Int, id: SessionID)?
    /// Counts connections: frames of an older one are discarded.
    var connection = 0
    var nextKey = 0
    var nextRef = 0
    /// The delay of frames to the client (a slow session).
    var lag: UInt64 = 0
    var lastFrame: UInt64 = 0
    /// Keys that were sent on this connection.
    var resent: Set<String> = []
    var firstTries: [Int: [(ref: Int, position: Position?)]] = [:]

    init(index: Int, user: UserID, device: DeviceName, rooms: Int) {
        self.index = index
        self.user = user
        self.device = device
        self.rooms = Array(repeating: Room(), count: rooms)
    }
}

extension SimWorld {
    func connect(_ client: SimClient, slot: Int) {
        guard client.session == nil else { return }
        guard let index = slots[slot] ?? slots.compactMap({ $0 }).first, nodes[index].isAlive else {
            return reconnect(client, after: 200 * millisecond)
        }
        let node = nodes[index]
        client.connection = nextConnection
        nextConnection += 1
        client.lag = random.oneIn(4) ? random.below(30 * millisecond) : 0
        client.firstTries = [:]
        client.resent = []
        let outlet = SimSession(world: self, node: node, client: client, limits: SimPlan.limits)
        let identity = SessionIdentity(user: client.user, device: client.device)
        let id = node.sessions.open(identity, rate: UserRate(UserRate.Rules(SimPlan.limits)), outlet: outlet)
        outlet.id = id
        node.outlets[id] = outlet
        client.session = (index, id)
        log("client\(client.index) (\(client.user)) connects to \(node.id) as session \(id.raw)")
        for room in client.rooms.indices where client.rooms[room].isWanted { join(client, room) }
    }

    func reconnect(_ client: SimClient, after wait: UInt64) {
        agenda.add(.clientConnect(client: client.index, connection: client.connection), at: now + wait)
    }

    /// The connection is lost. `deaf`: the newest frames did not arrive either.
    func lost(_ client: SimClient, deaf: UInt64) {
        client.session = nil
        client.connection = nextConnection
        nextConnection += 1
        for room in client.rooms.indices {
            client.rooms[room].isLive = false
            client.rooms[room].isJoining = false
            for place in client.rooms[room].sends.indices { client.rooms[room].sends[place].waiting = nil }
            // A send without a key cannot be repeated.
            client.rooms[room].sends.removeAll { !$0.keyed }
        }
        log("client\(client.index) is disconnected")
        reconnect(client, after: random.below(random.oneIn(3) ? second : 50 * millisecond))
    }

    func disconnect(_ client: SimClient, deaf: UInt64, lag: UInt64) {
        guard let (index, id) = client.session else { return }
        lost(client, deaf: deaf)
        agenda.add(.sessionLost(node: index, id), at: now + lag)
    }

    func closeSession(_ node: SimNode, _ id: SessionID) {
        node.outlets.removeValue(forKey: id)?.closed()
        _ = node.sessions.close(id)
    }

    // MARK: what a client asks

    func wantRoom(_ client: SimClient, _ room: Int) {
        client.rooms[room].isWanted = true
        if !client.rooms[room].isLive, !client.rooms[room].isJoining { join(client, room) }
    }

    func join(_ client: SimClient, _ room: Int) {
        guard let (node, id) = running(client), client.rooms[room].isWanted, !client.rooms[room].isLive,
            !client.rooms[room].isJoining
        else { return }
        client.rooms[room].isJoining = true
        client.nextRef += 1
        let ref = Ref.string("\(room) \(client.nextRef)")
        client.rooms[room].joinRef = ref
        let after = client.rooms[room].last
        log("client\(client.index) joins room\(room) after \(after?.description ?? "nothing"), \(inside(node, room))")
        let join = ClientRequest.Body.join(room: roomNames[room], after: after, history: random.below(10))
        node.outlets[id]?.received(ClientRequest(ref: ref, body: join))
    }

    /// The client's session on a running node. A stopped node gets input later, so nothing is sent to it now.
    private func running(_ client: SimClient) -> (SimNode, SessionID)? {
        guard let (index, id) = client.session, nodes[index].isAlive else { return nil }
        guard nodes[index].stoppedUntil <= now else {
            agenda.add(
                .clientRejoin(client: client.index, connection: client.connection, room: 0),
                at: nodes[index].stoppedUntil + 1)
            for room in client.rooms.indices.dropFirst() {
                agenda.add(
                    .clientRejoin(client: client.index, connection: client.connection, room: room),
                    at: nodes[index].stoppedUntil + 1)
            }
            return nil
        }
        return (nodes[index], id)
    }

    private func inside(_ node: SimNode, _ room: Int) -> String {
        guard keepsTrace else { return "" }
        return node.rooms.inspect(roomNames[room]) { machine in
            let links = machine.epochs.chain.links.map { "\($0.epoch)-\($0.base)" }
            let position = machine.position?.description ?? "nothing"
            let history = machine.epochs.chain.history
            return "\(machine.phaseName) at \(position) of \(machine.epochs.newest), \(links) since \(history)"
        } ?? ""
    }

    func leaveRoom(_ client: SimClient, _ room: Int) {
        guard client.rooms[room].isWanted, client.rooms[room].sends.isEmpty, let (node, id) = running(client) else {
            return
        }
        client.rooms[room].isWanted = false
        client.rooms[room].isLive = false
        client.rooms[room].isJoining = false
        log("client\(client.index) leaves room\(room)")
        node.outlets[id]?.received(ClientRequest(ref: .string("leave"), body: .leave(room: roomNames[room])))
    }

    func say(_ client: SimClient, _ room: Int, keyed: Bool, extra: MessageExtra? = nil) {
        guard client.rooms[room].isLive, let (node, _) = client.session, nodes[node].isAlive else { return }
        client.nextKey += 1
        let key = "k\(client.index).\(client.nextKey)"
        client.rooms[room].sends.append(
            SimClient.Send(
                key: key, keyed: keyed, text: key, since: client.rooms[room].last, extra: extra, tries: 0, waiting: nil)
        )
        sendOut(client, room, key)
    }

    func resend(_ client: SimClient, _ room: Int, _ key: String) {
        guard client.rooms[room].isLive else { return }  // the next join repeats it
        sendOut(client, room, key)
    }

    private func sendOut(_ client: SimClient, _ room: Int, _ key: String) {
        guard let place = client.rooms[room].sends.firstIndex(where: { $0.key == key }),
            let (index, id) = client.session,
            nodes[index].isAlive
        else { return }
        let node = nodes[index]
        let isStopped = node.stoppedUntil > now
        guard !isStopped || client.nextRef % 2 == 0 else {
            agenda.add(
                .clientResend(client: client.index, connection: client.connection, room: room, key: key),
                at: node.stoppedUntil + 1)
            return
        }
        guard client.rooms[room].sends[place].waiting == nil else { return }
        client.nextRef += 1
        let ref = client.nextRef
        client.rooms[room].sends[place].waiting = ref
        client.rooms[room].sends[place].tries += 1
        let send = client.rooms[room].sends[place]
        // Simple clients do not mark a send as a repetition: a client that returned with a position, or has just
        // connected, is assumed to repeat (race 3).
        let isFresh = client.resent.insert(send.key).inserted
        let again: Bool? =
            send.tries > 1
            ? (isFresh && plan.historyLength >= 1_000 && random.oneIn(3) ? nil : true) : (random.oneIn(2) ? false : nil)
        if send.tries == 1 { client.firstTries[room, default: []].append((ref, nil)) }
        let request = SendRequest(
            room: roomNames[room], text: send.text, key: send.keyed ? send.key : nil, again: send.keyed ? again : nil,
            since: again == nil ? nil : send.since, extra: send.extra)
        log("client\(client.index) says \(send.key)\(send.keyed ? "" : " (no key)")\(send.tries > 1 ? " again" : "")")
        let sent = ClientRequest(ref: .number("\(ref)"), body: .send(request))
        if isStopped {
            agenda.add(.said(node: index, id, sent), at: now)
        } else {
            node.outlets[id]?.received(sent)
        }
    }

    // MARK: what a client is told

    func toClient(_ session: SimSession, _ event: ServerEvent) {
        let client = clients[session.client]
        if case .reset(let room, let reset) = event, plan.faults == .lostTail {
            fail("\(session.node.id) resets \(room) to \(reset.position) though it knew what Redis lost")
        }
        guard client.connection == session.connection else { return }
        if client.lag == 0 { return received(client, event) }
        client.lastFrame = max(client.lastFrame, now + client.lag)
        agenda.add(.frame(client: client.index, connection: client.connection, event), at: client.lastFrame)
    }

    func received(_ client: SimClient, _ event: ServerEvent) {
        switch event {
        case .joined(let joined):
            receivedReceipts(client, joined)
            receivedJoined(client, index(of: joined.room), joined)
        case .inbox(let event): received(client, event)
        case .message(let name, let message, _): receivedMessage(client, index(of: name), message)
        case .gap(let name, let gap): receivedGap(client, index(of: name), gap)
        case .reset(let name, let reset):
            log("client\(client.index) is reset to \(reset.position)")
            receivedReset(client, index(of: name), reset)
        case .sent(let ref, let name, let position, _, let repeated):
            answered(client, index(of: name), ref, .success(position), repeated: repeated)
        case .error(let ref, let error): receivedError(client, ref, error)
        case .presence(let name, let joined, let left, let count):
            receivedPresence(client, index(of: name), joined, left, count)
        case .removed(let name, let removal): receivedRemoval(client, index(of: name), removal)
        case .welcome, .left, .signal, .draining, .history, .roster, .pong, .renewed, .expiring, .moderated,
            .conversation, .amended, .rules, .sanction, .participants:
            break
        }
    }

    func index(of room: RoomName) -> Int { roomNames.firstIndex(of: room) ?? 0 }

    /// The client asks again and again whether it may return.
    private func receivedRemoval(_ client: SimClient, _ room: Int, _ removal: Removal) {
        log("client\(client.index) is made to leave room\(room): \(removal.reason)")
        if !plan.faults.contains(.moderation) { fail("client\(client.index) is made to leave room\(room)") }
        client.rooms[room].isLive = false
        client.rooms[room].isJoining = false
        agenda.add(
            .clientRejoin(client: client.index, connection: client.connection, room: room), at: now + 300 * millisecond)
    }

    private func receivedError(_ client: SimClient, _ ref: Ref?, _ error: WireError) {
        for room in client.rooms.indices {
            if client.rooms[room].sends.contains(where: { $0.waiting.map { Ref.number("\($0)") } == ref }) {
                return answered(client, room, ref, .failure(error), repeated: false)
            }
        }
        guard case .string? = ref else { return fail("client\(client.index) gets an answer to nothing: \(error)") }
        guard let room = client.rooms.firstIndex(where: { $0.joinRef == ref && $0.isJoining }) else { return }
        log("client\(client.index) cannot join room\(room): \(error.message)")
        client.rooms[room].isLive = false
        client.rooms[room].isJoining = false
        agenda.add(
            .clientRejoin(client: client.index, connection: client.connection, room: room), at: now + 300 * millisecond)
    }

    private func answered(
        _ client: SimClient, _ room: Int, _ ref: Ref?, _ result: Result<Position, WireError>, repeated: Bool
    ) {
        guard
            let place = client.rooms[room].sends.firstIndex(where: { $0.waiting.map { Ref.number("\($0)") } == ref }),
            let number = client.rooms[room].sends[place].waiting
        else {
            return fail(
                "client\(client.index) gets a second answer, or one to nothing: \(String(describing: ref)) \(result)")
        }
        let send = client.rooms[room].sends[place]
        switch result {
        case .success(let position):
            log("client\(client.index) is told \(send.key) = \(position)\(repeated ? " (repeated)" : "")")
            client.rooms[room].sends.remove(at: place)
            let acknowledged = SimClient.Acknowledged(position: position, key: send.key, text: send.text)
            if let last = client.rooms[room].last, position <= last {
                client.rooms[room].acknowledged.append(acknowledged)
            } else {
                client.rooms[room].ahead.append(acknowledged)
            }
            checkAcknowledged(client, room, send, position)
            if send.tries == 1, !repeated { checkOrder(client, room, number, position) }
        case .failure(let error):
            log("client\(client.index) is told \(send.key) failed: \(error.code)")
            client.rooms[room].sends[place].waiting = nil
            if error.code.retry, send.keyed {
                agenda.add(
                    .clientResend(client: client.index, connection: client.connection, room: room, key: send.key),
                    at: now + 300 * millisecond)
            } else {
                client.rooms[room].sends.remove(at: place)
            }
        }
    }
}
