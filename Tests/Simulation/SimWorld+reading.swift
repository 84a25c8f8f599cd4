import ChatCore
import ChatHub

/// What users have read: in schedules with ``SimPlan/Faults/reading`` every room is a conversation of all users, who
/// read on all their devices.
extension SimPlan {
    /// Clients read what they were shown, mostly soon after something was said.
    mutating func read() {
        var random = SimRandom(seed: seed ^ 0x5EAD)
        // A program without a node is no participant.
        moves.removeAll { if case .say = $0.move { true } else { false } }
        let sends = moves.filter { if case .send = $0.move { true } else { false } }
        for _ in 0..<10 + random.below(40) {
            var (at, room) = (random.below(end), random.below(rooms))
            if let send = random.pick(sends), case .send(_, let place, _, _) = send.move, !random.oneIn(4) {
                (at, room) = (send.at + random.below(second), place)
            }
            moves.append(Timed(at: min(at, end), move: .read(client: random.below(clients), room: room)))
        }
    }
}

extension SimWorld {
    private var users: [UserID] {
        var seen: Set<UserID> = []
        return clients.map(\.user).filter { seen.insert($0).inserted }
    }

    /// Makes every room a conversation of all users.
    func beginConversations() {
        for room in roomNames {
            let order = ConversationRequest(.create(users), in: room, by: nil, mayDoAll: true)
            _ = servers[0].apply(.conversation(order), now: wall(0), bugs: [])
        }
    }

    /// The client says that it has read what it was shown, or a part of that.
    func read(_ client: SimClient, _ room: Int) {
        guard client.rooms[room].isLive, let (index, id) = client.session, nodes[index].isAlive,
            nodes[index].stoppedUntil <= now,
            let position = random.oneIn(4) ? random.pick(client.rooms[room].shown)?.position : client.rooms[room].last,
            position.seq > 0
        else { return }
        log("client\(client.index) (\(client.user)) has read room\(room) up to \(position)")
        let request = ClientRequest.Body.inbox(.read(room: roomNames[room], position: position))
        nodes[index].outlets[id]?.received(ClientRequest(ref: .string("read"), body: request))
    }

    func received(_ client: SimClient, _ event: InboxEvent) {
        switch event {
        case .read(_, let name, let position):
            let room = index(of: name)
            log("client\(client.index) is told that \(position) in room\(room) is read")
            if position.seq > client.rooms[room].readTo?.seq ?? 0 { client.rooms[room].readTo = position }
        case .receipts(let name, let reads):
            let room = index(of: name)
            guard client.rooms[room].isLive else { return }
            for (user, position) in reads.sorted(by: { $0.key.text < $1.key.text }) {
                if let known = client.rooms[room].reads[user], known.seq > position.seq, !hasLost {
                    fail("client\(client.index) is told that \(user) has read up to \(position) after \(known)")
                }
                client.rooms[room].reads[user] = position
            }
        case .page, .watching, .head, .online, .lastSeen, .notice: break
        }
    }

    func receivedReceipts(_ client: SimClient, _ joined: Joined) {
        let room = index(of: joined.room)
        guard client.rooms[room].joinRef == joined.ref else { return }
        client.rooms[room].reads = joined.receipts?.reads ?? [:]
        guard plan.faults.contains(.reading) else { return }
        if joined.receipts?.own == nil {
            fail("client\(client.index) joins room\(room) and is not told what it has read")
        }
    }

    /// Whether all that was read is on its way no more.
    var hasUnstoredReads: Bool { nodes.contains { $0.isAlive && $0.rooms.hasUnstoredReads } }

    /// On no branch of the data a mark goes back.
    func checkMarks(_ server: Int) {
        for room in servers[server].rooms.indices {
            if let first = servers[server].rooms[room].regressions.first {
                return fail("redis\(server) in room\(room): \(first)")
            }
        }
    }

    /// Unread messages are what is in the log after the mark, and no answer to a client was wrong.
    func checkReads() {
        let clock = wall(servers[primary].skew)
        for room in roomNames.indices {
            let truth = servers[primary].rooms[room].truth
            let kept = servers[primary].entries(room, now: clock)
            let marks = servers[primary].marks(room)
            for user in users {
                let request = BrokerRequest.reading(.head(room: roomNames[room], of: user))
                let result = servers[primary].apply(request, now: clock, bugs: []).result
                guard case .success(.reading(.head(let head?))) = result else {
                    return fail("\(user) is no participant of room\(room) any more")
                }
                let said = truth.last?.content.user == user ? truth.last?.position.seq : nil
                let read = max(head.mark?.position.seq ?? 0, said ?? 0)
                let unread = read == 0 ? kept.count : truth.count { $0.position.seq > read }
                if read + 1 >= servers[primary].rooms[room].truthFrom, head.unread != UInt64(unread) {
                    fail(
                        "\(user) has read room\(room) up to \(read) and is told of \(head.unread) unread messages; "
                            + "there are \(unread)")
                }
                guard !hasLost else { continue }
                for node in nodes where node.isAlive {
                    guard let held = node.rooms.heads(of: [roomNames[room]], for: user)[0], held != head else {
                        continue
                    }
                    // What a user has said counts as read, also where nobody has stored that.
                    let mark = held.mark?.position.seq ?? 0
                    var expected = head
                    (expected.mark, expected.unread) = (held.mark, UInt64(truth.count { $0.position.seq > mark }))
                    if held != expected || mark < head.mark?.position.seq ?? 0 {
                        fail("\(node.id) has room\(room) for \(user) as \(held), Redis as \(head)")
                    }
                }
                for client in clients where client.user == user {
                    if let acked = client.rooms[room].readTo, acked.seq > marks[user]?.position.seq ?? 0 {
                        fail("\(user) was told that \(acked) in room\(room) is read, but it is not stored")
                    }
                }
                // Of a session that was lost before it was answered nobody takes note.
                let own =
                    clients.filter { $0.user == user }
                    .compactMap { $0.rooms[room].acknowledged.last?.position.seq }.max() ?? 0
                if plan.faults == .reading, own > marks[user]?.position.seq ?? 0 {
                    fail("\(user) has said \(own) in room\(room), but has not read it")
                }
            }
            checkReceipts(room, marks)
        }
    }

    /// What clients know of others is what is stored. (Who has said something has read it, and nobody is told.)
    private func checkReceipts(_ room: Int, _ marks: [UserID: ReadMark]) {
        guard !hasLost else { return }
        for client in clients where client.rooms[room].isLive {
            for (user, mark) in marks.sorted(by: { $0.key.text < $1.key.text }) {
                let said = servers[primary].rooms[room].truth.last { $0.content.user == user }?.position.seq ?? 0
                let known = max(client.rooms[room].reads[user]?.seq ?? 0, said)
                if known < mark.position.seq {
                    fail("client\(client.index) in room\(room) knows \(user) at \(known), who is at \(mark.position)")
                }
            }
        }
    }
}

extension SimRedis {
    /// The marks of the room's participants.
    mutating func marks(_ index: Int) -> [UserID: ReadMark] {
        var marks: [UserID: ReadMark] = [:]
        rooms[index].broker.spoil(names[index]) { marks = $0.readMarks }
        return marks
    }

    /// Notes marks that went back. Planted: Redis stores what it is told, whatever was there.
    mutating func checkMarks(
        before: [UserID: ReadMark], _ reads: [UserRead], _ index: Int, _ bugs: Set<PlantedBug>
    ) {
        if bugs.contains(.readsGoBack) {
            rooms[index].broker.spoil(names[index]) { room in
                for read in reads where room.readMarks[read.user] != nil {
                    room.readMarks[read.user] = ReadMark(read.position)
                }
            }
        }
        for (user, mark) in marks(index) {
            guard let old = before[user], old.position.seq > mark.position.seq else { continue }
            rooms[index].regressions.append("\(user) had read up to \(old.position), and now up to \(mark.position)")
        }
    }
}
