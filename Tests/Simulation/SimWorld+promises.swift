import ChatCore
import ChatHub

/// The guarantees, checked after each event and once the world has settled.
extension SimWorld {
    // MARK: what Redis took

    func note(_ answer: MemoryBroker.Answer, _ request: BrokerRequest) {
        switch (request, answer.result) {
        case (.append(let room, _, let content, _, _), .success(.appended(let position, _))),
            (.say(let room, let content, _), .success(.said(let position, _))):
            stored[servers[0].index(of: room)].insert(Message(position: position, content: content))
        case (.once(let once), .success(.once(let reply))):
            for (send, outcome) in zip(once.sends, reply.outcomes) {
                if case .stored(let position) = outcome {
                    stored[servers[0].index(of: once.room)].insert(Message(position: position, content: send.content))
                }
            }
        case (.amend(let order), .success(.amended(let reply))) where reply.outcome == .stored:
            for case .message(let message, _) in answer.events.map(\.event) {
                stored[servers[0].index(of: order.request.room)].insert(message)
            }
        default: break
        }
    }

    func truth(_ room: Int) -> [Message] { servers[primary].rooms[room].truth }

    // MARK: what a client sees

    private func checkStored(_ client: SimClient, _ room: Int, _ message: Message) {
        if !isStored(message, in: room) {
            fail(
                "client\(client.index) is shown \(message.position) \(message.content.text ?? "") in room\(room), "
                    + "which no log ever took"
            )
        }
    }

    func receivedMessage(_ client: SimClient, _ room: Int, _ message: Message) {
        guard client.rooms[room].isLive else { return }
        log("client\(client.index) sees \(message.position) \(message.content.text ?? "")")
        checkStored(client, room, message)
        if let next = client.rooms[room].next, message.position.seq != next {
            fail(
                "client\(client.index) in room\(room) is shown \(message.position) where seq \(next) comes next: "
                    + (message.position.seq < next ? "a repeat" : "a hole"))
        }
        if let last = client.rooms[room].last, message.position <= last {
            fail("client\(client.index) in room\(room) is shown \(message.position) after \(last): swapped")
        }
        client.rooms[room].shown.append(message)
        see(message, client, room)
        client.rooms[room].last = message.position
        client.rooms[room].next = message.position.seq + 1
        if let place = client.rooms[room].ahead.firstIndex(where: { $0.position == message.position }) {
            client.rooms[room].acknowledged.append(client.rooms[room].ahead.remove(at: place))
        }
    }

    func receivedGap(_ client: SimClient, _ room: Int, _ gap: Gap) {
        guard client.rooms[room].isLive else { return }
        log("client\(client.index) is told of a gap \(gap.after)..\(gap.before)")
        if let next = client.rooms[room].next, gap.after.seq + 1 != next || gap.before.seq <= next {
            fail(
                "client\(client.index) in room\(room) is told of the gap \(gap.after)..\(gap.before) where seq \(next) "
                    + "comes next"
            )
        }
        checkGap(client, room, gap)
        forgetUnverifiable(client, room)
        client.rooms[room].foldsFrom = gap.before.seq
        client.rooms[room].next = gap.before.seq
    }

    /// Messages that are announced as gone must be gone.
    private func checkGap(_ client: SimClient, _ room: Int, _ gap: Gap) {
        guard !hasLost else { return }
        let there = servers[primary].entries(room, now: wall(servers[primary].skew))
            .filter { $0.position.seq > gap.after.seq && $0.position.seq < gap.before.seq }
        if let first = there.first {
            fail(
                "client\(client.index) in room\(room) is told of the gap \(gap.after)..\(gap.before), but the log "
                    + "holds \(first.position)"
            )
        }
    }

    /// Once the log was trimmed past a position, its epochs are forgotten too, and nobody can tell whether it was on a
    /// branch that a failover lost. The client is told of the gap, and nothing else.
    private func forgetUnverifiable(_ client: SimClient, _ room: Int) {
        guard hasLost else { return }
        client.rooms[room].shown = []
        client.rooms[room].acknowledged = []
    }

    func receivedReset(_ client: SimClient, _ room: Int, _ reset: Reset) {
        guard client.rooms[room].isLive else { return }
        if !hasLost { fail("client\(client.index) in room\(room) is reset although Redis lost nothing") }
        client.rooms[room].shown = []
        client.rooms[room].seen = [:]
        client.rooms[room].foldsFrom = 0
        client.rooms[room].acknowledged = []
        client.firstTries[room] = []
        client.rooms[room].last = reset.position
        client.rooms[room].next = reset.position.seq + 1
    }

    func receivedJoined(_ client: SimClient, _ room: Int, _ joined: Joined) {
        guard client.rooms[room].isJoining, client.rooms[room].joinRef == joined.ref else { return }
        let after = client.rooms[room].last
        log(
            "client\(client.index) is in room\(room) at \(joined.position) with \(joined.messages.map(\.position)) "
                + "\(joined.resumption)"
        )
        client.rooms[room].isJoining = false
        client.rooms[room].isLive = true
        takeRoster(client, room, joined)
        var expected: UInt64?
        switch joined.resumption {
        case .fresh:
            if after != nil { fail("client\(client.index) asked to resume and is told nothing of it") }
        case .complete:
            expected = after.map { $0.seq + 1 }
        case .gap(let gap):
            if gap.after != after {
                fail("client\(client.index) resumed after \(String(describing: after)) and gets the gap \(gap)")
            }
            checkGap(client, room, gap)
            forgetUnverifiable(client, room)
            client.rooms[room].foldsFrom = gap.before.seq
            expected = gap.before.seq
        case .reset(let reset):
            checkReset(client, room)
            client.rooms[room].isLive = true
            receivedReset(client, room, reset)
        }
        for message in joined.messages {
            checkStored(client, room, message)
            if let seq = expected, message.position.seq != seq {
                fail("client\(client.index) joins room\(room) and gets \(message.position) where seq \(seq) comes next")
            }
            expected = message.position.seq + 1
            client.rooms[room].shown.append(message)
        }
        see(joined, client, room)
        if let seq = expected, seq != joined.position.seq + 1 {
            // The rest arrives as messages, page by page.
            guard let last = joined.messages.last, seq <= joined.position.seq else {
                return fail(
                    "client\(client.index) joins room\(room) at \(joined.position), but what it got ends before seq "
                        + "\(seq)"
                )
            }
            client.rooms[room].last = last.position
            client.rooms[room].next = seq
            return repeatSends(client, room)
        }
        client.rooms[room].last = joined.position
        client.rooms[room].next = joined.position.seq + 1
        repeatSends(client, room)
    }

    private func takeRoster(_ client: SimClient, _ room: Int, _ joined: Joined) {
        let names = (joined.members ?? []).map(\.user)
        client.rooms[room].roster = Set(names)
        if names.count != joined.count || Set(names).count != joined.count || !names.contains(client.user) {
            fail("client\(client.index) joins room\(room) and is told \(joined.count) are there: \(names)")
        }
    }

    /// Presence reports only changes, never that the client itself joined, and the count is that of the resulting
    /// roster.
    func receivedPresence(_ client: SimClient, _ room: Int, _ joined: [UserID], _ left: [UserID], _ count: Int) {
        guard client.rooms[room].isLive else { return }
        let before = client.rooms[room].roster
        let wrong = joined.filter { before.contains($0) || $0 == client.user } + left.filter { !before.contains($0) }
        client.rooms[room].roster = before.union(joined).subtracting(left)
        if !wrong.isEmpty || client.rooms[room].roster.count != count {
            fail(
                "client\(client.index) (\(client.user)) in room\(room) knows \(before.map(\.text).sorted()) and is "
                    + "told +\(joined) -\(left) =\(count)"
            )
        }
    }

    /// A client that returns is reset only if its messages are not in the log's history.
    private func checkReset(_ client: SimClient, _ room: Int) {
        if !hasLost {
            return fail("client\(client.index) comes back to room\(room) and is reset although Redis lost nothing")
        }
        guard !isVandalised, let last = client.rooms[room].shown.last, client.rooms[room].last == last.position,
            servers.filter(\.isAlive).count == 1,
            // Until its node notices (30 ms) and the frame arrives (as long again), the answer may come from an old
            // primary (seed 2102771).
            now > lastServerDeath + 100 * millisecond
        else { return }
        if truth(room).contains(last) {
            fail(
                "client\(client.index) comes back to room\(room) after \(last.position), which the log has, and is "
                    + "reset"
            )
        }
    }

    private func repeatSends(_ client: SimClient, _ room: Int) {
        for send in client.rooms[room].sends where send.waiting == nil { resend(client, room, send.key) }
    }

    func checkAcknowledged(_ client: SimClient, _ room: Int, _ send: SimClient.Send, _ position: Position) {
        if !stored[room].contains(where: { $0.position == position && $0.content.text == send.text }) {
            fail(
                "client\(client.index) is told that \(send.key) is at \(position) in room\(room), but the log never "
                    + "took it there"
            )
        }
    }

    /// Messages that one session sends for the first time keep their order (race 13), unless a log that refused the
    /// first one was repaired by hand before the second one arrived.
    func checkOrder(_ client: SimClient, _ room: Int, _ ref: Int, _ position: Position) {
        guard !moved.contains(room), var tries = client.firstTries[room],
            let place = tries.firstIndex(where: { $0.ref == ref })
        else {
            return
        }
        tries[place].position = position
        client.firstTries[room] = tries
        for (index, other) in tries.enumerated() {
            guard let there = other.position, index != place else { continue }
            if (index < place) != (there < position) {
                fail(
                    "client\(client.index) said two things in room\(room) that are stored swapped: \(there) and "
                        + "\(position)"
                )
            }
        }
    }

    // MARK: what a node holds

    func checkBounds(_ node: SimNode, _ room: RoomName) {
        node.rooms.inspectAwake(room) { machine in
            if machine.heldMessages > RoomStateMachine.heldLimit {
                fail("\(node.id) holds \(machine.heldMessages) messages back")
            }
            if machine.rememberedMessages > plan.historyLength {
                fail("\(node.id) remembers \(machine.rememberedMessages) messages")
            }
            if machine.openRequests > 32 { fail("\(node.id) has \(machine.openRequests) requests open in one room") }
            if machine.waitingSends > machine.settings.limits.waitingSendsPerRoom {
                fail("\(node.id) has \(machine.waitingSends) sends")
            }
        }
    }

    func checkOut(_ node: SimNode, _ room: Int) {
        if node.subscriptions.isUp,
            servers[node.subscriptions.server].subscribers[room].contains(where: { $0.node == node.index })
        {
            fail("\(node.id) gave room\(room) up and is still subscribed")
        }
    }

    // MARK: once everything is quiet

    func isSettled() -> Bool {
        for client in clients {
            for (index, room) in client.rooms.enumerated() where room.isWanted {
                guard room.isLive, room.sends.isEmpty, room.next == (end(index) ?? 0) + 1 else { return false }
            }
        }
        for node in nodes where node.isAlive {
            for name in roomNames {
                if node.rooms.inspect(name, { !$0.isLive || $0.waitingSends > 0 }) ?? false { return false }
            }
        }
        if hasUnstoredReads { return false }
        return rosterFault() == nil && registrationFault() == nil
    }

    private func end(_ room: Int) -> UInt64? { servers[primary].view(room, now: wall(servers[primary].skew))?.last }

    func checkSettled() {
        for client in clients {
            for (index, room) in client.rooms.enumerated() where room.isWanted { checkSettled(client, index, room) }
        }
        for node in nodes where node.isAlive {
            for name in roomNames {
                node.rooms.inspect(name) { machine in
                    guard !machine.isLive || machine.waitingSends > 0 else { return }
                    fail("\(node.id) is stuck in \(name): \(machine.phaseName), \(machine.waitingSends) sends wait")
                }
            }
        }
        for room in roomNames.indices {
            checkOnce(room)
            checkErased(room)
            checkOverlay(room)
        }
        if let fault = rosterFault() ?? registrationFault() { fail(fault) }
        if plan.faults.contains(.reading), violation == nil { checkReads() }
    }

    private func checkSettled(_ client: SimClient, _ index: Int, _ room: SimClient.Room) {
        let who = "client\(client.index) in room\(index)"
        guard room.isLive else { return fail("\(who) never got in") }
        if let send = room.sends.first { fail("\(who) has no answer to \(send.key)") }
        let end = end(index) ?? 0
        if room.next != end + 1 { fail("\(who) has seen up to \((room.next ?? 0)) - 1, the log ends at \(end)") }
        let truth = Dictionary(truth(index).map { ($0.position, $0.content) }) { first, _ in first }
        let from = servers[primary].rooms[index].truthFrom
        checkFolded(who, index, room)
        for message in room.shown
        where message.position.seq >= from && !Self.isSame(truth[message.position], message.content) {
            fail(
                "\(who) was shown \(message.position) \(message.content.text ?? ""), which is not in the log, and was "
                    + "not reset"
            )
        }
        for sent in room.acknowledged
        where sent.position.seq >= from && truth[sent.position]?.text != sent.text
            && truth[sent.position]?.deleted == nil
        {
            fail("\(who) was told that \(sent.key) is at \(sent.position), which is not in the log, and was not reset")
        }
    }

    private func checkOnce(_ room: Int) {
        var seen: [UserKey: Position] = [:]
        for message in truth(room) {
            guard let key = UserKey(message.content) else { continue }
            if let first = seen.updateValue(message.position, forKey: key) {
                fail("room\(room) holds \(key.key) of \(key.user) twice: \(first) and \(message.position)")
            }
        }
    }

    /// Rosters must be right, in Redis and on every node that holds the room.
    private func rosterFault() -> String? {
        for room in roomNames.indices {
            var expected: [UserID: Set<RosterSnapshot.Device>] = [:]
            for node in nodes where node.isAlive {
                for (id, session) in node.outlets where node.sessions.hasAsked(id, for: roomNames[room]) {
                    let client = clients[session.client]
                    expected[client.user, default: []].insert(.init(node: node.id, device: client.device))
                }
            }
            guard let members = wholeRoster(room) else { return "no roster" }
            if members != expected {
                return "the roster of room\(room) is \(names(members)), present are \(names(expected))"
            }
            for node in nodes where node.isAlive {
                guard let present = node.rooms.inspect(roomNames[room], { $0.present }), present != expected else {
                    continue
                }
                return
                    "\(node.id) takes \(names(present)) for present in room\(room), present are \(names(expected))"
            }
        }
        return nil
    }

    /// All parts of the roster in Redis.
    private func wholeRoster(_ room: Int) -> [UserID: Set<RosterSnapshot.Device>]? {
        var members: [UserID: Set<RosterSnapshot.Device>] = [:]
        var cursor: UInt64 = 0
        repeat {
            let request = BrokerRequest.roster(room: roomNames[room], cursor: cursor)
            guard
                case .success(.roster(let part)) = servers[primary].apply(
                    request, now: wall(servers[primary].skew), bugs: []
                ).result
            else { return nil }
            members.merge(part.members) { $1 }
            cursor = part.cursor
        } while cursor != 0
        return members
    }

    private func names(_ members: [UserID: Set<RosterSnapshot.Device>]) -> [String] {
        members.flatMap { user, devices in devices.map { "\(user)/\($0.device)@\($0.node)" } }.sorted()
    }

    /// A node is registered and subscribed exactly where it holds a room.
    private func registrationFault() -> String? {
        for room in roomNames.indices {
            let holding = Set(nodes.filter { $0.isAlive && $0.rooms.isInUse(roomNames[room]) }.map(\.id))
            let registered = Set((servers[primary].view(room, now: wall(servers[primary].skew))?.nodes ?? [:]).keys)
            if registered != holding { return "room\(room) lists \(registered.sorted()), held by \(holding.sorted())" }
            let subscribed = Set(servers[primary].subscribers[room].map { nodes[$0.node].id })
            if subscribed != holding {
                return "subscribed to room\(room) are \(subscribed.sorted()), held by \(holding.sorted())"
            }
        }
        return nil
    }

    // MARK: in words

    func describe(_ request: BrokerRequest) -> String {
        switch request {
        case .append(_, let epoch, let content, let others, _):
            "append \(content.text ?? "") at \(epoch)-*\(others.map { " and publish behind \($0.known)" } ?? "")"
        case .enter(let enter):
            "enter after \(enter.after?.description ?? "nothing") seen "
                + "\(enter.seen)\(enter.identityChanged ? ", other redis, tail \(enter.tail.map(\.position))" : "")"
        case .view(_, let after, _, _): "view after \(after?.description ?? "nothing")"
        case .leave(_, let node, let value, _, _): "leave \(node) \(value)"
        case .once(let once):
            "once at \(once.epoch) known \(once.knownFrom)-\(once.known) \(once.sends.map { $0.content.text ?? "" })"
        case .publish(_, let event): "publish \(describe(event))"
        case .presence(let change):
            "presence \(change.changes.map { "\($0.joined ? "+" : "-")\($0.user)/\($0.device)" })"
        case .say(_, let content, _): "say \(content.text ?? "")"
        case .moderate(_, let moderation, _): "moderate \(moderation)"
        case .audit: "audit"
        case .amend(let order): "amend \(order.request.operation) by \(order.user)"
        case .rules: "rules"
        case .roster: "roster"
        case .hold: "hold"
        case .release: "release"
        case .holders: "holders"
        case .history: "history"
        case .trim: "trim"
        case .heartbeat, .nodes, .rooms, .forget, .tryStoring, .memory, .ping, .command, .commands, .storeTicket,
            .takeTicket, .conversation, .user, .relay:
            "node business"
        case .reading: "reading"
        }
    }

    func describe(_ event: ChannelEvent) -> String {
        switch event {
        case .message(let message, let base):
            "message \(message.position) \(message.content.text ?? "") base \(base.map(String.init) ?? "-")"
        case .epoch(let epoch, let base, let nodes, let by, let rules):
            "epoch \(epoch) base \(base) by \(by), nodes \(nodes.keys.sorted()) rules \(rules)"
        case .gone(let node, let value, _, let last): "gone \(node) \(value) last \(last)"
        case .presence(let notice): "presence \(notice.after)..\(notice.position)"
        case .signal: "signal"
        case .reads(let marks): "reads of \(marks.keys.map(\.text).sorted())"
        case .notice(let notice): "notice \(notice.kind)"
        }
    }

    func describe(_ result: Result<BrokerReply, BrokerError>) -> String? {
        switch result {
        case .success(.view(let view)):
            "\(view.verdict) \(view.epoch)-\(view.last) base \(view.base) chain "
                + "\(view.chain.links.map { "\($0.epoch)-\($0.base)" }) nodes \(view.nodes.keys.sorted()) entries "
                + "\(view.entries.map(\.position))"
        case .success(.appended(let position, let isPublished)): "\(position)\(isPublished ? ", published" : "")"
        case .success(.once(let reply)): "\(reply.epoch) base \(reply.base) \(reply.outcomes)"
        case .success(.heartbeat), .success(.nodes): nil
        case .success(.done): "done"
        case .success(.left(let was)): "left \(was)"
        case .success(.leaving(let cursor)): "leaving, \(cursor) next"
        case .success(.bring(let from)): "bring from \(from)"
        case .success(.said(let position, _)): "\(position)"
        case .success(.presence(let reply)): "\(reply.position)"
        case .success(.roster(let roster)): "roster \(roster.position)"
        case .success(.amended(let reply)): "\(reply.position), \(reply.outcome)"
        case .success(.moderated(let reply)): "\(reply.version)\(reply.isChanged ? "" : ", as before")"
        case .success(.audit), .success(.history), .success(.rooms), .success(.someRooms), .success(.forgetting),
            .success(.holders),
            .success(.memory), .success(.commanded), .success(.commands), .success(.rules), .success(.ticket),
            .success(.conversation), .success(.participants), .success(.user), .success(.reading), .success(.relayed):
            "…"
        case .failure(let error): "\(error)"
        }
    }
}
