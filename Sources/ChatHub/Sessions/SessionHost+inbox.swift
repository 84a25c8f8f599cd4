import ChatCore

/// The requests of sessions about their users' conversations.
extension SessionHost {
    func perform(_ request: InboxRequest, ref: Ref?, _ session: LocalSession) {
        let (id, user) = (session.id, session.user)
        if let error = request.refusal(by: session.grant) {
            context.forbade(.read)
            return session.outlet.send(.error(ref: ref, error))
        }
        switch request {
        case .read(let room, let position):
            atHome(of: room) { $0.read(room, position, by: user, ref: ref, from: id) }
        case .list(let limit, let cursor): list(limit: limit, cursor: cursor, ref: ref, session)
        case .watch(let rooms): watch(rooms, ref: ref, session)
        case .unwatch(let rooms):
            for room in rooms where session.watched.remove(room) != nil { atHome(of: room) { $0.unwatch(room, id) } }
            session.outlet.send(.inbox(.watching(ref: ref, session.watched.sorted { $0.text < $1.text })))
        case .online(let users): findOnline(users, ref: ref, session)
        }
    }

    // MARK: watching

    private func watch(_ rooms: [RoomName], ref: Ref?, _ session: LocalSession) {
        for room in rooms {
            let rights = session.rooms[room]?.rights ?? session.grant?.rights(in: room) ?? .all
            guard let error = AccessDecision.refusal(of: .read, by: rights) else { continue }
            context.forbade(.read)
            return session.outlet.send(.error(ref: ref, error))
        }
        let most = settings.rooms.limits.roomsPerSession
        guard session.watched.union(rooms).count <= most else {
            let error = WireError(.tooManyRooms, "watch: a session may watch \(most) rooms")
            return session.outlet.send(.error(ref: ref, error))
        }
        let (id, user, rate) = (session.id, session.user, session.rate)
        for room in rooms where session.watched.insert(room).inserted {
            atHome(of: room) { $0.watch(room, id, user, rate) }
        }
        session.outlet.send(.inbox(.watching(ref: ref, session.watched.sorted { $0.text < $1.text })))
    }

    // MARK: who is online

    private func findOnline(_ users: [UserID], ref: Ref?, _ session: LocalSession) {
        let id = session.id
        OnlineCheck.begin(users, by: context) { [weak self] result in
            guard let session = self?.sessions[id] else { return }
            switch result {
            case .success(let online): session.outlet.send(.inbox(.online(ref: ref, online)))
            case .failure(let error): session.outlet.send(.error(ref: ref, error.wireError("online")))
            }
        }
    }

    // MARK: the inbox

    private func list(limit: Int, cursor: InboxCursor?, ref: Ref?, _ session: LocalSession) {
        guard !session.isListing else {
            return session.outlet.send(
                .error(ref: ref, WireError(.tooManyWaiting, "inbox: another request for the inbox is waiting")))
        }
        session.isListing = true
        let (id, rate, grant) = (session.id, session.rate, session.grant)
        let mayRead = { (room: RoomName) in AccessDecision.refusal(of: .read, in: room, by: grant) == nil }
        InboxReading.begin(of: session.user, by: context, paidBy: rate, mayRead: mayRead) { [weak self] result, _ in
            guard let self, let session = sessions[id] else { return }
            session.isListing = false
            switch result {
            case .success(let all):
                let page = InboxPage(of: all, known: cursor ?? InboxCursor(), limit: limit)
                session.outlet.send(.inbox(.page(ref: ref, page)))
            case .failure(let error): session.outlet.send(.error(ref: ref, error.wireError("inbox")))
            }
        }
    }
}

extension InboxRequest {
    /// Why the bearer of the grant may not ask for that; nil if nothing forbids it, or if each room decides.
    fileprivate func refusal(by grant: Grant?) -> WireError? {
        switch self {
        case .list, .online: AccessDecision.refusalOfReadingAnything(by: grant)
        case .read, .watch, .unwatch: nil
        }
    }
}

/// Asks the broker which users are online: each user's channel has a listener on each node with a session of the user.
public final class OnlineCheck {
    private let users: [UserID]
    private var online: Set<UserID> = []
    private var open: Int
    private var failure: BrokerError?
    private let then: (Result<[UserID], BrokerError>) -> Void

    private init(_ users: [UserID], _ then: @escaping (Result<[UserID], BrokerError>) -> Void) {
        self.users = users
        self.open = users.count
        self.then = then
    }

    /// `then` is called once, later, on the context's loop, with those who are online, in the order of `users`.
    public static func begin(
        _ users: [UserID], by context: any HostContext, _ then: @escaping (Result<[UserID], BrokerError>) -> Void
    ) {
        let check = OnlineCheck(users, then)
        for user in users {
            context.ask(.reading(.listeners(of: user))) { check.answered($0, of: user) }
        }
    }

    private func answered(_ result: Result<BrokerReply, BrokerError>, of user: UserID) {
        switch result {
        case .success(.reading(.listeners(let count))): if count > 0 { online.insert(user) }
        case .success: failure = .malformed("")
        case .failure(let error): failure = error
        }
        open -= 1
        guard open == 0 else { return }
        if let failure { return then(.failure(failure)) }
        var seen: Set<UserID> = []
        then(.success(users.filter { online.contains($0) && seen.insert($0).inserted }))
    }
}

/// Reads a user's conversations: first the user's index, then the head of each room, a part at a time, so that Redis
/// serves others in between. Each part is paid for when it is asked for; a user who owes something waits for the next
/// one, so that all devices of one user together read no faster than the user may.
public final class InboxReading {
    /// The most rooms; a user's index has no more, unless somebody else wrote it.
    static let mostRooms = 1_000
    /// The rooms whose heads are asked for at once.
    static let part = 10

    private let user: UserID
    private let context: any HostContext
    /// Nil: nobody pays.
    private let rate: UserRate?
    private let mayRead: (RoomName) -> Bool
    private let then: (Result<[InboxConversation], BrokerError>, UInt64) -> Void
    private var rooms: [IndexedRoom] = []
    private var names: Set<RoomName> = []
    private var next = 0
    private var open = 0
    private var found: [InboxConversation] = []
    private var cost: UInt64 = 0
    private var failure: BrokerError?

    private init(
        of user: UserID, by context: any HostContext, paidBy rate: UserRate?, mayRead: @escaping (RoomName) -> Bool,
        _ then: @escaping (Result<[InboxConversation], BrokerError>, UInt64) -> Void
    ) {
        self.user = user
        self.context = context
        self.rate = rate
        self.mayRead = mayRead
        self.then = then
    }

    /// `then` is called once, later, on the context's loop, with all conversations in any order and what reading them
    /// has cost, which `rate` has paid. `mayRead`: whether the reader may read the room.
    public static func begin(
        of user: UserID, by context: any HostContext, paidBy rate: UserRate?, mayRead: @escaping (RoomName) -> Bool,
        _ then: @escaping (Result<[InboxConversation], BrokerError>, UInt64) -> Void
    ) {
        InboxReading(of: user, by: context, paidBy: rate, mayRead: mayRead, then).readIndex(cursor: 0)
    }

    private func readIndex(cursor: UInt64) {
        context.ask(.user(UserRequest(.rooms(cursor: cursor, count: 250), of: user))) { [self] result in
            switch result {
            case .success(.user(.rooms(let part, let cursor))):
                // A part may name a room again that an earlier one has named.
                for room in part where rooms.count < Self.mostRooms && mayRead(room.room) {
                    if names.insert(room.room).inserted { rooms.append(room) }
                }
                if cursor != 0, rooms.count < Self.mostRooms { return readIndex(cursor: cursor) }
                readPart()
            case .success: then(.failure(.malformed("")), cost)
            case .failure(let error): then(.failure(error), cost)
            }
        }
    }

    private func readPart() {
        if let failure { return then(.failure(failure), cost) }
        let part = rooms[next..<min(rooms.count, next + Self.part)]
        guard !part.isEmpty else { return then(.success(found), cost) }
        let debt = rate?.debt(now: context.now) ?? .zero
        guard debt <= .zero else { return context.schedule(after: debt) { [self] in readPart() } }
        next = part.endIndex
        open = part.count
        let price = UInt64(part.count) * RequestCost.head
        cost += price
        rate?.charge(price, now: context.now)
        for room in part {
            context.ask(.reading(.head(room: room.room, of: user))) { [self] in answered($0, of: room) }
        }
    }

    private func answered(_ result: Result<BrokerReply, BrokerError>, of room: IndexedRoom) {
        switch result {
        case .success(.reading(.head(let head?))): found.append(InboxConversation(room: room.room, head: head))
        case .success(.reading(.head(nil))):
            // The user is no participant any more, or the room is gone: the index has not heard of it.
            context.ask(.user(UserRequest(.drop(room.room, version: room.version), of: user))) { _ in }
        case .success: failure = .malformed("")
        // A room that cannot be read does not hide the others.
        case .failure(.notStored(let text)) where text.hasPrefix("ERR martlet: ") || text.hasPrefix("WRONGTYPE"): break
        case .failure(let error): failure = error
        }
        open -= 1
        if open == 0 { readPart() }
    }
}
