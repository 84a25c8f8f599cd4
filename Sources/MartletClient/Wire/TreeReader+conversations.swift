import ChatCore
import ChatJSON

/// Changes of messages, and what nodes tell of conversations.
extension TreeReader {
    // MARK: Messages

    /// What only few messages have; nil if this one has nothing of it.
    func extra() throws(FrameError) -> MessageExtra? {
        var state = MessageState()
        if let edited = tree["edited"] {
            state.version = UInt64(clamping: edited["version"]?.integer ?? 1)
            state.edited = try Self.deed(edited)
        }
        if let pinned = tree["pinned"], pinned != .null { state.pinned = try Self.deed(pinned) }
        for (emoji, reaction) in tree["reactions"]?.object ?? [:] {
            state.reactions[emoji] = try Self.reaction(reaction)
        }
        state.replies = UInt64(clamping: tree["replies"]?.integer ?? 0)
        state.lastReply = tree["lastReply"]?.string.flatMap { Position($0) }
        let deleted = try tree["deleted"].map { (value) throws(FrameError) in try Self.deed(value) }
        let extra = MessageExtra(
            thread: tree["thread"]?.string.flatMap { Position($0) }, mentions: try users("mentions"), deleted: deleted,
            state: state == MessageState() ? nil : state)
        return extra.isEmpty ? nil : extra
    }

    /// A `changed`: the amendment as an entry of the log. Nil for an operation that this client does not know.
    func change() throws(FrameError) -> Message? {
        guard let operation = Amendment.Operation(rawValue: try string("operation")) else { return nil }
        var amendment = Amendment(operation, of: try position("of"))
        var deleted: Deed?
        var text: String?
        var data: String?
        switch operation {
        case .edit:
            text = tree["text"]?.string
            data = tree["data"].flatMap { $0 == .null ? nil : $0.text }
            amendment.number = UInt64(clamping: tree["edited"]?["version"]?.integer ?? 1)
        case .delete:
            let targets = (tree["targets"]?.array ?? []).compactMap(\.string)
            if !targets.isEmpty { data = StringList.write(targets) }
        case .react, .unreact:
            guard let (emoji, value) = tree["reactions"]?.object?.first else { throw missing("reactions") }
            let reaction = try Self.reaction(value)
            text = emoji
            data = StringList.write(reaction.users.map(\.text))
            amendment.number = reaction.count
        case .pin, .unpin: break
        }
        if operation != .delete, let value = tree["deleted"] {
            // The message was deleted later, and what this change had made of it with it.
            deleted = try Self.deed(value)
            (text, data) = (nil, nil)
        }
        return Message(
            position: try position("position"),
            content: MessageContent(
                user: try user("user"), at: try time("at"), text: text, data: data, key: tree["key"]?.string,
                extra: MessageExtra(amendment: amendment, deleted: deleted)))
    }

    /// The changes that a page tells of earlier messages.
    func changes() throws(FrameError) -> [Message] {
        var changes: [Message] = []
        for value in tree["changes"]?.array ?? [] {
            if let change = try TreeReader(value).change() { changes.append(change) }
        }
        return changes
    }

    func amended() throws(FrameError) -> AmendReply {
        let outcome: AmendReply.Outcome =
            if tree["repeated"]?.bool == true { .repeated } else if tree["unchanged"]?.bool == true { .unchanged } else
            {
                .stored
            }
        return AmendReply(
            try position("position"), outcome, erased: tree["erased"]?.integer,
            next: tree["next"]?.string.flatMap { Position($0) })
    }

    private static func deed(_ value: JSONValue) throws(FrameError) -> Deed {
        guard let by = value["by"]?.string, let at = value["at"]?.string.flatMap(Timestamp.milliseconds) else {
            throw FrameError(problem: "'by' or 'at' is missing or of a wrong type")
        }
        return Deed(by: by, at: at)
    }

    private static func reaction(_ value: JSONValue) throws(FrameError) -> MessageState.Reaction {
        var users: [UserID] = []
        for name in value["users"]?.array ?? [] { users.append(try user(name)) }
        return MessageState.Reaction(count: UInt64(clamping: value["count"]?.integer ?? users.count), users: users)
    }

    // MARK: Conversations

    /// The answer to a request about a conversation.
    func conversation(type: String) throws(FrameError) -> ConversationAnswer {
        let kind = tree["kind"]?.string.flatMap { ConversationKind(rawValue: $0) }
        switch type {
        case "blocked": return .blocked(try users("users"))
        case "starred": return .starred(try room(), try position("position"), tree["starred"]?.bool ?? true)
        case "stars":
            var stars: [Star] = []
            for value in tree["stars"]?.array ?? [] { stars.append(try TreeReader(value).star()) }
            return .stars(stars, before: tree["cursor"]?.string.flatMap { UInt64($0) })
        case "participants":
            guard let kind else { return .participants(try room(), nil, viewer: nil) }
            var list = ParticipantList(version: 0, kind: kind, participants: [:])
            var viewer: UserID?
            for value in tree["participants"]?.array ?? [] {
                let user = try Self.user(value["user"] ?? .null)
                list.participants[user] = Self.participant(value, since: value["since"]?.string)
                if value["notify"] != nil { viewer = user }
                if let read = value["read"]?.string.flatMap({ Position($0) }) { list.reads[user] = ReadMark(read) }
            }
            return .participants(try room(), list, viewer: viewer)
        default: return .done(try room(), kind, isChanged: tree["changed"]?.bool ?? true)
        }
    }

    private func star() throws(FrameError) -> Star {
        Star(
            try room(), try position("position"), user: try user("user"), at: try time("at"),
            text: tree["text"]?.string,
            data: tree["data"].flatMap { $0 == .null ? nil : $0.text },
            starred: tree["starred"]?.string.flatMap(Timestamp.milliseconds) ?? 0)
    }

    private static func participant(_ value: JSONValue, since: String? = nil) -> Participant {
        Participant(
            role: value["role"]?.string.flatMap { ParticipantRole(rawValue: $0) } ?? .member,
            since: since.flatMap(Timestamp.milliseconds) ?? 0,
            notify: value["notify"]?.string.flatMap { NotificationLevel(rawValue: $0) } ?? .all)
    }

    /// What participants have read; nil if the room has none.
    /// Without the users whose role this client does not know.
    func participantChanges() throws(FrameError) -> ParticipantChanges {
        var changes: [ParticipantChange] = []
        for value in tree["changes"]?.array ?? [] {
            let role = value["role"]?.string.flatMap { ParticipantRole(rawValue: $0) }
            guard role != nil || value["left"]?.bool == true else { continue }
            let isNew = value["joined"]?.bool ?? false
            changes.append(ParticipantChange(of: try Self.user(value["user"] ?? .null), to: role, isNew: isNew))
        }
        return ParticipantChanges(changes, hasMore: tree["hasMore"]?.bool ?? false)
    }

    func receipts() throws(FrameError) -> JoinedReceipts? {
        let unread = tree["unread"]?.integer
        let reads = try reads()
        guard unread != nil || reads != nil else { return nil }
        let own = unread.map {
            JoinedReceipts.Own(read: tree["read"]?.string.flatMap { Position($0) }, unread: UInt64(clamping: $0))
        }
        return JoinedReceipts(reads: reads, own: own)
    }

    private func reads() throws(FrameError) -> [UserID: Position]? {
        guard let values = tree["reads"]?.object else { return nil }
        var reads: [UserID: Position] = [:]
        for (name, value) in values {
            if let position = value.string.flatMap({ Position($0) }) { reads[try Self.user(.string(name))] = position }
        }
        return reads
    }

    // MARK: The inbox

    func inbox(type: String) throws(FrameError) -> InboxEvent {
        switch type {
        case "read": return .read(ref: ref, room: try room(), position: try position("position"))
        case "inbox": return .page(ref: ref, try page())
        case "watching": return .watching(ref: ref, try rooms("rooms"))
        case "head":
            let last = tree["position"] == nil ? nil : try preview()
            return .head(InboxHead(room: try room(), last: last, unread: count("unread")))
        case "receipts": return .receipts(room: try room(), try reads() ?? [:])
        case "lastSeen": return .lastSeen(ref: ref, isShown: tree["shown"]?.bool ?? false)
        default: return .online(ref: ref, OnlineUsers(online: try users("online"), seen: try times("seen")))
        }
    }

    private func times(_ name: String) throws(FrameError) -> [UserID: UInt64] {
        var times: [UserID: UInt64] = [:]
        for (name, value) in tree[name]?.object ?? [:] {
            if let at = value.string.flatMap(Timestamp.milliseconds) { times[try Self.user(.string(name))] = at }
        }
        return times
    }

    /// News for the user; nil for a kind that this client does not know.
    func notice() throws(FrameError) -> UserNotice? {
        guard let kind = UserNotice.Kind(rawValue: try string("kind")) else { return nil }
        return UserNotice(
            kind, try room(), conversation: tree["conversation"]?.string.flatMap { ConversationKind(rawValue: $0) },
            by: tree["by"]?.string, position: tree["position"]?.string.flatMap { Position($0) },
            unread: count("unread"))
    }

    private func count(_ name: String) -> UInt64? { tree[name]?.integer.map { UInt64(clamping: $0) } }

    private func rooms(_ name: String) throws(FrameError) -> [RoomName] {
        var rooms: [RoomName] = []
        for value in tree[name]?.array ?? [] {
            do { rooms.append(try RoomName(stored: value.string ?? "")) } catch {
                throw FrameError(problem: "room: \(error)")
            }
        }
        return rooms
    }

    private func preview() throws(FrameError) -> MessagePreview {
        MessagePreview(
            position: try position("position"), user: try user("user"), at: try time("at"), text: tree["text"]?.string)
    }

    private func page() throws(FrameError) -> InboxPage {
        var conversations: [InboxConversation] = []
        for value in tree["conversations"]?.array ?? [] { conversations.append(try TreeReader(value).entry()) }
        return InboxPage(
            conversations: conversations, cursor: tree["cursor"]?.string.flatMap { InboxCursor($0) } ?? InboxCursor(),
            hasMore: tree["more"]?.bool ?? false)
    }

    private func entry() throws(FrameError) -> InboxConversation {
        let last = try tree["last"].flatMap { (value) throws(FrameError) -> MessagePreview? in
            value == .null ? nil : try TreeReader(value).preview()
        }
        let head = RoomHead(
            kind: tree["kind"]?.string.flatMap { ConversationKind(rawValue: $0) } ?? .group,
            participant: Self.participant(tree), newest: last?.position,
            mark: tree["read"]?.string.flatMap { Position($0) }.map { ReadMark($0) }, unread: count("unread") ?? 0,
            last: last, other: try users("users").first)
        return InboxConversation(room: try room(), head: head)
    }
}
