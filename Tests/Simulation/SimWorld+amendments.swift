import ChatCore
import ChatHub

/// What a message has become, as a client sees it.
struct SimSeen: Equatable {
    var text: String?
    var version: UInt64 = 0
    var deletedBy: String?
    var pinnedBy: String?
    /// Who has reacted, by emoji.
    var reactions: [String: [UserID]] = [:]

    /// A message as a page or a frame shows it.
    init(_ content: MessageContent) {
        text = content.text
        deletedBy = content.deleted?.by
        guard let state = content.extra?.state else { return }
        version = state.version
        pinnedBy = state.pinned?.by
        reactions = state.reactions.mapValues(\.users)
    }

    /// A client is told of an amendment: it takes over the state that the amendment gives.
    mutating func change(_ entry: MessageContent) {
        guard let amendment = entry.amendment, deletedBy == nil else { return }
        if let deleted = entry.deleted {
            self = SimSeen(MessageContent(user: entry.user, at: 0, extra: MessageExtra(deleted: deleted)))
            return
        }
        switch amendment.operation {
        case .edit: (text, version) = (entry.text, amendment.number)
        case .delete:
            let deed = Deed(by: entry.user.text, at: entry.at)
            self = SimSeen(MessageContent(user: entry.user, at: 0, extra: MessageExtra(deleted: deed)))
        case .pin: pinnedBy = entry.user.text
        case .unpin: pinnedBy = nil
        case .react, .unreact:
            let reaction = entry.reaction
            reactions[entry.text ?? ""] = (reaction?.count ?? 0) > 0 ? reaction?.users : nil
        }
    }
}

/// Amendments: what clients do, and what must come of it.
extension SimWorld {
    // MARK: what clients do

    func amend(_ client: SimClient, _ room: Int) {
        guard let (index, id) = client.session, nodes[index].isAlive, nodes[index].stoppedUntil <= now,
            client.rooms[room].isLive, let target = random.pick(client.rooms[room].shown)
        else { return }
        let of = target.position
        client.nextKey += 1
        let key = "a\(client.index).\(client.nextKey)"
        let operation: AmendRequest.Operation =
            switch random.below(10) {
            case 0...3: .edit(of: of, text: key, data: nil)
            case 4, 5: .react(of: of, emoji: random.oneIn(2) ? "x" : "y")
            case 6: .unreact(of: of, emoji: random.oneIn(2) ? "x" : "y")
            case 7: random.oneIn(2) ? .pin(of: of) : .unpin(of: of)
            case 8: .delete(of: of)
            default:
                random.oneIn(3)
                    ? .deleteUser(target.content.user, from: random.oneIn(2) ? of : nil)
                    : .deleteRange(from: of, to: Position(epoch: of.epoch, seq: of.seq + UInt64(random.below(3))))
            }
        let request = AmendRequest(room: roomNames[room], operation, key: random.oneIn(2) ? key : nil)
        log("client\(client.index) amends: \(operation)")
        nodes[index].outlets[id]?.received(ClientRequest(ref: .string("amend \(key)"), body: .amend(request)))
    }

    func answerInThread(_ client: SimClient, _ room: Int) {
        guard let root = random.pick(client.rooms[room].shown) else { return }
        say(client, room, keyed: random.oneIn(2), extra: MessageExtra(thread: root.position))
    }

    // MARK: what a client sees

    func isStored(_ message: Message, in room: Int) -> Bool {
        if stored[room].contains(message) { return true }
        let content = message.content
        // A folded message, or a tombstone.
        guard content.deleted != nil || content.extra?.state != nil else { return false }
        return stored[room].contains {
            $0.position == message.position && $0.content.user == content.user && $0.content.at == content.at
                && $0.content.key == content.key
        }
    }

    /// Whether the client was shown what the log took, apart from what amendments made of it.
    static func isSame(_ truth: MessageContent?, _ shown: MessageContent) -> Bool {
        guard let truth else { return false }
        if truth == shown { return true }
        guard shown.deleted != nil || shown.extra?.state != nil || truth.deleted != nil else { return false }
        return truth.user == shown.user && truth.at == shown.at && truth.key == shown.key
    }

    func see(_ message: Message, _ client: SimClient, _ room: Int) {
        if message.content.amendment == nil { client.rooms[room].seen[message.position] = SimSeen(message.content) }
        // An erased amendment says that its message is deleted, but not by which later one.
        guard message.content.deleted == nil || message.content.amendment != nil else { return }
        for target in message.content.amended { client.rooms[room].seen[target]?.change(message.content) }
    }

    /// As codecs write it: amendments of messages in the page are left out, as they are folded into them, and the
    /// others count only for a client that came back.
    func see(_ joined: Joined, _ client: SimClient, _ room: Int) {
        guard let first = joined.messages.first?.position else { return }
        for message in joined.messages where message.content.amendment == nil { see(message, client, room) }
        switch joined.resumption {
        case .fresh, .reset: return
        case .complete, .gap:
            for entry in joined.messages where entry.content.amendment != nil {
                for target in entry.content.amended where target < first {
                    client.rooms[room].seen[target]?.change(entry.content)
                }
            }
        }
    }

    // MARK: what must come of it

    /// What the log's entries amount to, told without what amendments say of the state that they lead to.
    private func fold(_ entries: [Message]) -> [Position: SimSeen] {
        var folded: [Position: SimSeen] = [:]
        for entry in entries {
            let content = entry.content
            guard let amendment = content.amendment else {
                folded[entry.position] = SimSeen(content)
                continue
            }
            guard content.deleted == nil else { continue }
            for target in content.amended {
                guard var seen = folded[target], seen.deletedBy == nil else { continue }
                let emoji = content.text ?? ""
                switch amendment.operation {
                case .edit:
                    seen.text = content.text
                    seen.version += 1
                case .delete: seen.change(content)
                case .pin: seen.pinnedBy = content.user.text
                case .unpin: seen.pinnedBy = nil
                case .react: seen.reactions[emoji, default: []].append(content.user)
                case .unreact:
                    seen.reactions[emoji]?.removeAll { $0 == content.user }
                    if seen.reactions[emoji]?.isEmpty == true { seen.reactions[emoji] = nil }
                }
                folded[target] = seen
            }
        }
        return folded
    }

    /// Each client has of each message what an independent fold of the log says.
    func checkFolded(_ who: String, _ index: Int, _ room: SimClient.Room) {
        guard plan.faults.contains(.amendments) else { return }
        let expected = fold(truth(index))
        let from = max(servers[primary].rooms[index].truthFrom, room.foldsFrom)
        for (position, seen) in room.seen.sorted(by: { $0.key < $1.key }) where position.seq >= from {
            // That every message shown is in the log is another promise.
            guard let wanted = expected[position], wanted != seen else { continue }
            // Of an edit that was put back as a tombstone only the deletion is known.
            if wanted.deletedBy != nil, seen.deletedBy != nil { continue }
            fail("\(who) has \(position) as \(seen), the log says \(wanted)")
        }
    }

    /// What was deleted is in no log and in no node's memory, and nobody has amended it since.
    func checkErased(_ room: Int) {
        guard plan.faults.contains(.amendments) else { return }
        var deleted: Set<Position> = []
        for entry in truth(room) {
            if entry.content.deleted == nil, entry.content.amendment?.operation == .edit,
                entry.content.amended.contains(where: { deleted.contains($0) })
            {
                fail("room\(room) holds \(entry.position), an edit of a message that was deleted before")
            }
            deleted.formUnion(entry.content.erased)
        }
        func check(_ entries: [Message], _ holder: String) {
            for entry in entries where entry.content.deleted == nil {
                let isEdit = entry.content.amendment?.operation == .edit
                let target =
                    entry.content.amendment == nil ? entry.position : isEdit ? entry.content.amendment?.of : nil
                if let target, deleted.contains(target) {
                    fail("\(holder) still holds \(entry.content.text ?? "") at \(entry.position), which was deleted")
                }
            }
        }
        let server = servers[primary]
        check(servers[primary].entries(room, now: wall(server.skew)), "the log of room\(room)")
        for node in nodes where node.isAlive {
            node.rooms.inspect(roomNames[room]) { check($0.remembered, "\(node.id) in room\(room)") }
        }
    }

    /// The state that Redis keeps is that of the log, and it counts each amendment once.
    func checkOverlay(_ room: Int) {
        guard plan.faults.contains(.amendments), servers[primary].rooms[room].truthFrom == 0 else { return }
        let truth = truth(room)
        let expected = fold(truth)
        var query = HistoryQuery(anchor: .newest, limit: 10_000)
        query.isFolded = true
        let now = wall(servers[primary].skew)
        let request = BrokerRequest.history(room: roomNames[room], query: query)
        guard case .success(.history(let page)) = servers[primary].rooms[room].broker.apply(request, now: now).result
        else { return fail("no history of room\(room)") }
        for message in page.messages where message.content.amendment == nil {
            let seen = SimSeen(message.content)
            if let wanted = expected[message.position], wanted != seen {
                fail("Redis has \(message.position) of room\(room) as \(seen), the log says \(wanted)")
            }
            let replies = truth.filter {
                $0.content.extra?.thread == message.position && $0.content.amendment == nil
                    && expected[$0.position]?.deletedBy == nil
            }
            let count = message.content.extra?.state?.replies ?? 0
            if message.content.deleted == nil, count != UInt64(replies.count) {
                fail("Redis counts \(count) replies to \(message.position) of room\(room), there are \(replies.count)")
            }
        }
        var ops: UInt64 = 0
        servers[primary].rooms[room].broker.spoil(roomNames[room]) { ops = $0.ops }
        let count = truth.count { $0.content.amendment != nil }
        if ops != UInt64(count) { fail("room\(room) counts \(ops) amendments, there were \(count)") }
    }
}
