import ChatCore

/// Reads a user's conversations: first the user's index, then the head of each room, a part at a time, so that Redis
/// serves others in between. What the node knows of rooms that it is in is not asked for. Each part is paid for when it
/// is asked for; a user who owes something waits for the next one, so that all devices of one user together read no
/// faster than the user may.
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
        let part = Array(rooms[next..<min(rooms.count, next + Self.part)])
        guard !part.isEmpty else { return then(.success(found), cost) }
        let debt = rate?.debt(now: context.now) ?? .zero
        guard debt <= .zero else { return context.schedule(after: debt) { [self] in readPart() } }
        next += part.count
        pay(part.count, RequestCost.heldHead)
        context.heads(of: part.map(\.room), for: user) { [self] held in
            var others: [IndexedRoom] = []
            for (room, head) in zip(part, held) {
                if let head {
                    found.append(InboxConversation(room: room.room, head: head))
                } else {
                    others.append(room)
                }
            }
            ask(others)
        }
    }

    private func ask(_ part: [IndexedRoom]) {
        guard !part.isEmpty else { return readPart() }
        open = part.count
        pay(part.count, RequestCost.briefHead)
        for room in part {
            context.ask(.reading(.brief(room: room.room, of: user, room.kind))) { [self] in answered($0, of: room) }
        }
    }

    /// Commands that only read did not tell it.
    private func askMore(of room: IndexedRoom) {
        pay(1, RequestCost.head)
        context.ask(.reading(.head(room: room.room, of: user))) { [self] in answered($0, of: room) }
    }

    private func pay(_ count: Int, _ each: UInt64) {
        let price = UInt64(count) * each
        cost += price
        rate?.charge(price, now: context.now)
    }

    private func answered(_ result: Result<BrokerReply, BrokerError>, of room: IndexedRoom) {
        switch result {
        case .success(.reading(.head(let head?))): found.append(InboxConversation(room: room.room, head: head))
        case .success(.reading(.brief(.head(let head, let bytes)))):
            found.append(InboxConversation(room: room.room, head: head))
            pay(bytes, RequestCost.byteOut)
        case .success(.reading(.brief(.unknown))): return askMore(of: room)
        case .success(.reading(.head(nil))), .success(.reading(.brief(.stranger))):
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
