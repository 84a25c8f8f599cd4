public import ChatCore

/// Changes of messages, conversations and the inbox. A node that is older refuses these requests as
/// ``ClientError/refused(_:)`` with the name `unknownType`.
extension MartletClient {
    // MARK: Changes of messages

    /// Changes an earlier message, or erases several, and returns when that is stored. It is repeated under its key
    /// until it is answered, so it is done once.
    @discardableResult
    public func amend(_ request: AmendRequest) async throws(ClientError) -> AmendReply {
        let reply = try await ask { $0.amend(request, $1) }
        guard case .amended(let amended) = reply else { throw .rejected("the answer to an amendment was \(reply)") }
        return amended
    }

    /// Replaces the text and data of a message.
    @discardableResult
    public func edit(
        _ position: Position, in room: RoomName, to text: String?, data: String? = nil
    ) async throws(ClientError) -> AmendReply {
        try await amend(AmendRequest(room: room, .edit(of: position, text: text, data: data)))
    }

    /// Erases a message. Its place in the log remains, with who erased it.
    @discardableResult
    public func delete(_ position: Position, in room: RoomName) async throws(ClientError) -> AmendReply {
        try await amend(AmendRequest(room: room, .delete(of: position)))
    }

    /// Gives a reaction, or takes it back.
    @discardableResult
    public func react(
        _ emoji: String, to position: Position, in room: RoomName, takingBack: Bool = false
    ) async throws(ClientError) -> AmendReply {
        try await amend(
            AmendRequest(
                room: room, takingBack ? .unreact(of: position, emoji: emoji) : .react(of: position, emoji: emoji)))
    }

    // MARK: Conversations

    /// Begins, or finds, the direct conversation with that user; join the room that is returned.
    public func direct(with user: UserID) async throws(ClientError) -> RoomName {
        guard case .done(let room, _, _) = try await converse(.direct(user)) else {
            throw .rejected("the answer to the request was none")
        }
        return room
    }

    /// Who belongs to the room; nil if it has no participants.
    public func participants(of room: RoomName) async throws(ClientError) -> ParticipantList? {
        guard case .participants(_, let list, _) = try await converse(.participants(room)) else {
            throw .rejected("the answer to the request was none")
        }
        return list
    }

    /// Changes or reads who belongs to a conversation: groups, roles, invitations, blocked users.
    @discardableResult
    public func converse(_ order: ConversationOrder) async throws(ClientError) -> ConversationAnswer {
        let reply = try await ask { $0.converse(order, $1) }
        guard case .conversation(let answer) = reply else {
            throw .rejected("the answer to a request about a conversation was \(reply)")
        }
        return answer
    }

    // MARK: Stars

    /// Keeps a copy of a message for the user, or gives it up.
    public func star(_ position: Position, in room: RoomName, _ isStarred: Bool = true) async throws(ClientError) {
        try await converse(isStarred ? .star(room, position) : .unstar(room, position))
    }

    /// What the user has starred, newest first. `before`: of the page before.
    public func stars(limit: Int = 50, before: UInt64? = nil) async throws(ClientError) -> (
        stars: [Star], before: UInt64?
    ) {
        guard case .stars(let stars, let before) = try await converse(.stars(limit: limit, before: before)) else {
            throw .rejected("the answer to the request was none")
        }
        return (stars, before)
    }

    // MARK: What is read

    /// Notes that the user has read the room up to that position: told at most once a second, only forwards, and until
    /// a node has answered.
    public func read(_ room: RoomName, upTo position: Position) {
        onSession { $0.read(room, upTo: position) }
    }

    /// A page of the user's conversations, newest first. `cursor`: of an earlier page; then those that have changed
    /// since.
    public func inbox(limit: Int = 50, cursor: InboxCursor? = nil) async throws(ClientError) -> InboxPage {
        guard case .page(_, let page) = try await ask(.list(limit: limit, cursor: cursor)) else {
            throw .rejected("the answer to an inbox request was none")
        }
        return page
    }

    /// From now on ``ClientEvent/head(_:)`` tells what is new in these rooms (at most 100 in one call), over reconnects
    /// too, without joining them.
    public func watch(_ rooms: [RoomName]) async throws(ClientError) { _ = try await ask(.watch(rooms)) }

    /// Ends ``watch(_:)`` for these rooms.
    public func unwatch(_ rooms: [RoomName]) async throws(ClientError) { _ = try await ask(.unwatch(rooms)) }

    /// Which of these users (at most 100) have a session on any node.
    public func online(_ users: [UserID]) async throws(ClientError) -> [UserID] { try await lastSeen(users).online }

    /// Which of these users (at most 100) have a session on any node, and when the others were last here, if they let
    /// this user see it.
    public func lastSeen(_ users: [UserID]) async throws(ClientError) -> OnlineUsers {
        guard case .online(_, let online) = try await ask(.online(users)) else {
            throw .rejected("the answer to an online request was none")
        }
        return online
    }

    /// From now on others may see when the user was last here, or may not any more; nil: only asks. Returns whether
    /// they may; at first they may not.
    @discardableResult
    public func showLastSeen(_ isShown: Bool?) async throws(ClientError) -> Bool {
        guard case .lastSeen(_, let isShown) = try await ask(.showLastSeen(isShown)) else {
            throw .rejected("the answer to a lastSeen request was none")
        }
        return isShown
    }

    private func ask(_ request: InboxRequest) async throws(ClientError) -> InboxEvent {
        let reply = try await ask { $0.ask(request, $1) }
        guard case .inbox(let event) = reply else { throw .rejected("the answer to a request was \(reply)") }
        return event
    }
}

extension Message {
    /// This message as it is after a change of it (``ClientEvent/changed(_:_:)``); unchanged if the change is about
    /// another one.
    public func changed(by change: Message) -> Message {
        MessageFold.folded([self, change]).first ?? self
    }
}
