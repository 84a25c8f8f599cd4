import ChatCore

/// Carries out what clients ask about conversations: the steps at the broker that follow one another, because a room
/// and its participants are in different slots.
///
/// The room is the truth. A change is in force when the room's function has answered; it notes in the room which users'
/// indexes have to be written (`pending`), these are written, and then the note is removed. Whoever finds such a note
/// later writes the indexes again, so that they agree in the end, whatever was lost in between. An index names the
/// version of the change that wrote it, so a late write does not undo a later one.
///
/// Not thread-safe: confined to its loop.
struct ConversationSteps {
    typealias Answer = (Result<ConversationAnswer, WireError>) -> Void

    unowned let context: any HostContext
    /// Rooms in the index of one user.
    let roomsPerUser: Int
    /// Bytes of one page of stars.
    let pageBytes: Int

    /// `user`: who asks; nil: a server that names nobody. `mayDoAll`: whatever the user's role.
    func carryOut(_ order: ConversationOrder, by user: UserID?, mayDoAll: Bool, _ answer: @escaping Answer) {
        switch order {
        case .direct(let other):
            guard let user, let room = RoomName(directOf: user, and: other) else {
                return answer(.failure(.nobodyElse))
            }
            begin(.direct(user, other), in: room, adding: [user, other], by: user, mayDoAll: mayDoAll, answer)
        case .create(let room, let users):
            let all = (user.map { [$0] } ?? []) + users
            begin(.create(users), in: room, adding: all, by: user, mayDoAll: mayDoAll, answer)
        case .invite(let room, let users):
            begin(.invite(users), in: room, adding: users, by: user, mayDoAll: mayDoAll, answer)
        case .leave(let room): change(.leave, in: room, by: user, mayDoAll: mayDoAll, answer)
        case .remove(let room, let other): change(.remove(other), in: room, by: user, mayDoAll: mayDoAll, answer)
        case .role(let room, let other, let role):
            change(.role(other, role), in: room, by: user, mayDoAll: mayDoAll, answer)
        case .notify(let room, let level): change(.notify(level), in: room, by: user, mayDoAll: false, answer)
        case .block(let other): block(other, true, by: user, answer)
        case .unblock(let other): block(other, false, by: user, answer)
        case .blocked: blocked(by: user, answer)
        case .participants(let room): participants(of: room, for: user, answer)
        case .star(let room, let position): star(position, in: room, by: user, answer)
        case .unstar(let room, let position): unstar(position, in: room, by: user, answer)
        case .stars(let limit, let before): stars(of: user, limit: limit, before: before, answer)
        }
    }

    // MARK: changes

    /// Adds users to a room, unless one of them is in as many as there may be, or blocks the other one of a direct
    /// conversation.
    private func begin(
        _ operation: ConversationRequest.Operation, in room: RoomName, adding users: [UserID], by user: UserID?,
        mayDoAll: Bool, _ answer: @escaping Answer
    ) {
        let list = ConversationRequest(.list, in: room, by: user)
        ask(.conversation(list), "conversation", \.participants, answer) { [self] known in
            if let known { compare(user, known, in: room) }
            let new = Set(users).filter { known?.participants[$0] == nil }.sorted { $0.text < $1.text }
            findOut(whether: new, mayCome: operation, by: user) { [self] refusal in
                if let refusal { return answer(.failure(refusal)) }
                change(operation, in: room, by: user, mayDoAll: mayDoAll, answer)
            }
        }
    }

    private func findOut(
        whether new: [UserID], mayCome operation: ConversationRequest.Operation, by user: UserID?,
        _ then: @escaping (WireError?) -> Void
    ) {
        guard !new.isEmpty else { return then(nil) }
        var waiting = new.count
        var refusal: WireError?
        var asked: [(UserID, UserID)] = []
        for one in new {
            if case .direct(let left, let right) = operation {
                asked.append((one, one == left ? right : left))
            } else {
                asked.append((one, user ?? one))
            }
        }
        let isDirect = if case .direct = operation { true } else { false }
        let roomsPerUser = roomsPerUser
        for (one, other) in asked {
            let standing = UserRequest(.standing(other), of: one)
            ask(.user(standing), "conversation", \.standing) { result in
                switch result {
                case .success(let standing):
                    if standing.rooms >= roomsPerUser {
                        refusal = refusal ?? .tooManyEntries
                    } else if isDirect, standing.isBlocked, one != user {
                        refusal = .blocked
                    }
                case .failure(let error): refusal = error
                }
                waiting -= 1
                if waiting == 0 { then(refusal) }
            }
        }
    }

    private func change(
        _ operation: ConversationRequest.Operation, in room: RoomName, by user: UserID?, mayDoAll: Bool,
        _ answer: @escaping Answer
    ) {
        let request = ConversationRequest(operation, in: room, by: user, mayDoAll: mayDoAll)
        ask(.conversation(request), "conversation", \.conversation, answer) { [self] reply in
            tell(reply, in: room, by: user)
            settle(reply.pending, in: room, reply.kind) {
                answer(.success(.done(room, reply.kind, isChanged: reply.isChanged)))
            }
        }
    }

    /// Tells all devices of the users that they were invited or removed. What is lost is found in the inbox.
    private func tell(_ reply: ConversationReply, in room: RoomName, by user: UserID?) {
        for (one, change) in reply.changes.sorted(by: { $0.key.text < $1.key.text }) {
            let notice: UserNotice
            switch change {
            case .added: notice = UserNotice(.invited, room, conversation: reply.kind, by: user?.text)
            case .removed: notice = UserNotice(.removed, room, by: user?.text)
            case .changed: continue
            }
            context.ask(.publish(on: .user(one), event: .notice(notice))) { _ in }
        }
    }

    // MARK: indexes

    /// Writes the indexes of users, and then notes in the room that they are written. What fails stays noted as
    /// pending.
    func settle(_ pending: [PendingIndex], in room: RoomName, _ kind: ConversationKind?, _ then: @escaping () -> Void) {
        guard !pending.isEmpty, let kind else { return then() }
        var (waiting, written, blocks) = (pending.count, [UserID: UInt64](), [(UserID, UserID)]())
        for one in pending {
            let partner = kind == .direct ? partner(of: one.user, in: room, pending) : nil
            let write = UserRequest.Operation.index(
                room, kind, version: one.version, since: one.since, partner: partner)
            context.ask(.user(UserRequest(write, of: one.user))) { [self] result in
                if case .success(.user(.indexed(_, let isBlocked))) = result {
                    written[one.user] = one.version
                    if isBlocked, let partner { blocks.append((one.user, partner)) }
                }
                waiting -= 1
                guard waiting == 0 else { return }
                settleBlocks(blocks, in: room) { [self] in
                    guard !written.isEmpty else { return then() }
                    let note = ConversationRequest(.indexed(written), in: room, by: nil)
                    context.ask(.conversation(note)) { _ in then() }
                }
            }
        }
    }

    /// Reads which indexes are pending, and writes them.
    func settle(_ room: RoomName) {
        context.ask(.conversation(ConversationRequest(.list, in: room, by: nil))) { [self] result in
            guard case .success(.participants(let list?)) = result else { return }
            settle(list.pending, in: room, list.kind) {}
        }
    }

    /// Writes the index of a participant who asks something of the room, unless it names the room already: a Cluster
    /// may have lost it after nobody noted it as pending any more.
    private func compare(_ user: UserID?, _ known: ParticipantList, in room: RoomName) {
        guard let user, let own = known.participants[user], !known.pending.contains(where: { $0.user == user }) else {
            return
        }
        // The version is that of any change since the user came: the index takes it if it knows none.
        let write = UserRequest.Operation.index(
            room, known.kind, version: own.since, since: own.since, partner: nil)
        context.ask(.user(UserRequest(write, of: user))) { _ in }
    }

    private func partner(of user: UserID, in room: RoomName, _ pending: [PendingIndex]) -> UserID? {
        room.directPartner(of: user) ?? pending.first { $0.user != user }?.user
    }

    // MARK: blocking

    private func block(_ other: UserID, _ blocks: Bool, by user: UserID?, _ answer: @escaping Answer) {
        guard let user, let room = RoomName(directOf: user, and: other) else { return answer(.failure(.nobodyElse)) }
        let request = UserRequest(blocks ? .block(other) : .unblock(other), of: user)
        ask(.user(request), "conversation", \.isChanged, answer) { [self] isChanged in
            settleBlock(of: user, on: other, in: room) { error in
                if let error { return answer(.failure(error.wireError("conversation"))) }
                answer(.success(.done(room, .direct, isChanged: isChanged)))
            }
        }
    }

    private func settleBlocks(_ blocks: [(UserID, UserID)], in room: RoomName, _ then: @escaping () -> Void) {
        guard let (user, other) = blocks.first else { return then() }
        settleBlock(of: user, on: other, in: room) { [self] _ in
            settleBlocks(Array(blocks.dropFirst()), in: room, then)
        }
    }

    /// How often the user's list is read until the room agrees with it.
    private static let mostTries = 4

    /// Tells the direct conversation whom the user blocks, so that it refuses that one's messages. The list of the user
    /// is the truth, and it may change meanwhile: so it is read again, after the room was told what it said.
    private func settleBlock(
        of user: UserID, on other: UserID, in room: RoomName, told: Bool? = nil, tries: Int = mostTries,
        _ then: @escaping (BrokerError?) -> Void
    ) {
        context.ask(.user(UserRequest(.standing(other), of: user))) { [self] result in
            guard case .success(.user(.standing(_, let isBlocked))) = result else {
                return then(result.failure ?? .malformed(""))
            }
            guard told != isBlocked, tries > 0 else { return then(nil) }
            let request = ConversationRequest(.block(isBlocked), in: room, by: user)
            context.ask(.conversation(request)) { [self] result in
                guard case .success = result else { return then(result.failure) }
                settleBlock(of: user, on: other, in: room, told: isBlocked, tries: tries - 1, then)
            }
        }
    }

    // MARK: reading

    private func blocked(by user: UserID?, _ answer: @escaping Answer) {
        guard let user else { return answer(.failure(.nobodyElse)) }
        ask(.user(UserRequest(.blocked, of: user)), "conversation", \.blocked, answer) { users in
            answer(.success(.blocked(users)))
        }
    }

    // MARK: participants

    private func participants(of room: RoomName, for user: UserID?, _ answer: @escaping Answer) {
        let request = ConversationRequest(.list, in: room, by: user)
        ask(.conversation(request), "participants", \.participants, answer) { [self] list in
            settle(list?.pending ?? [], in: room, list?.kind) {}
            if let list { compare(user, list, in: room) }
            answer(.success(.participants(room, list, viewer: user)))
        }
    }

    // MARK: the broker

    /// Asks the broker. `subject`: what its failure is told about.
    func ask<Part>(
        _ request: BrokerRequest, _ subject: String, _ part: @escaping (BrokerReply) -> Part?,
        _ then: @escaping (Result<Part, WireError>) -> Void
    ) {
        context.ask(request) { result in
            then(
                result.flatMap { reply in part(reply).map { .success($0) } ?? .failure(.malformed("")) }
                    .mapError { $0.wireError(subject) })
        }
    }

    /// Asks the broker; a failure is the answer to the client.
    func ask<Part, Value>(
        _ request: BrokerRequest, _ subject: String, _ part: @escaping (BrokerReply) -> Part?,
        _ answer: @escaping (Result<Value, WireError>) -> Void, _ then: @escaping (Part) -> Void
    ) {
        ask(request, subject, part) { result in
            switch result {
            case .success(let part): then(part)
            case .failure(let error): answer(.failure(error))
            }
        }
    }
}

/// The parts of replies that the steps need; nil in a reply to another request.
extension BrokerReply {
    var conversation: ConversationReply? { if case .conversation(let reply) = self { reply } else { nil } }
    var participants: ParticipantList?? { if case .participants(let list) = self { .some(list) } else { nil } }
    var history: HistoryPage? { if case .history(let page) = self { page } else { nil } }
    var isChanged: Bool? { if case .user(.changed(let isChanged)) = self { isChanged } else { nil } }
    fileprivate var blocked: [UserID]? { if case .user(.blocked(let users)) = self { users } else { nil } }
    var rooms: [IndexedRoom]? { if case .user(.rooms(let rooms, _)) = self { rooms } else { nil } }
    var standing: (rooms: Int, isBlocked: Bool)? {
        if case .user(.standing(let rooms, let isBlocked)) = self { (rooms, isBlocked) } else { nil }
    }
}

extension Result where Failure == BrokerError {
    fileprivate var failure: BrokerError? {
        if case .failure(let error) = self { error } else { nil }
    }
}

extension WireError {
    static let nobody = WireError(.badField, "the request must name who asks")
    static let nobodyElse = WireError(.badField, "user must name somebody else")
}
