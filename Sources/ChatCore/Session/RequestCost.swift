/// The cost of a request, in nanoseconds of a core: of the node or of Redis, whichever is greater. The estimates for
/// expensive requests are right within a factor of two, so that a user at the limit costs about what the limit says.
/// Reads from Redis count twice, because one Redis serves all nodes, and a user who is at the limit on two of them must
/// not cost it more than on one. Pure.
///
/// Measured with 100-byte and 60 kB messages on two cores of a shared virtual machine (Redis 7.0.15, release build,
/// including the kernel's work for the node's sockets). On a faster machine users may do a little less than the machine
/// could bear.
public enum RequestCost {
    /// A frame that is read, checked, carried out and answered.
    public static let request: UInt64 = 15_000
    /// A request that is refused because of a limit: it is read, parsed and answered, which costs more than
    /// ``request``, as the reads and writes of a client that is held back do not share a turn of the loop with others.
    public static let refusal: UInt64 = 100_000
    /// Each byte of a long frame, for reading and parsing it, whatever it contains.
    public static let byteRead: UInt64 = 5
    /// Each byte of it that is sent to a room, for storing and keeping it.
    public static let byteIn: UInt64 = 8
    /// A frame for one receiver, written to its own socket.
    public static let receiver: UInt64 = 9_000
    /// Each byte of it.
    public static let byteOut: UInt64 = 3
    /// Each byte of a page that is in memory: it is encoded for one session, and sent to it.
    public static let bytePaged: UInt64 = 6
    /// A room that the node is not in yet: SUBSCRIBE, `enter`, the roster, presence, and `leave` afterwards.
    public static let newRoom: UInt64 = 1_300_000
    /// A piece of a room's log that is read for a session which missed more than the node has in memory. The piece has
    /// as many bytes as one call reads.
    public static let missed: UInt64 = 1_400_000
    /// A join of a room that the node is in: presence in Redis, the roster and the newest messages for one session.
    public static let join: UInt64 = 80_000
    /// A read from Redis other than that of a whole room.
    public static let read: UInt64 = 120_000
    /// What a ``TimeSearch`` is assumed to cost before it begins: about thirteen messages, read one after the other.
    public static let timeSearch: UInt64 = 1_500_000
    /// Each message that it reads: a call of its own.
    public static let timeQuestion: UInt64 = 120_000
    /// Each message of a page, read from Redis, decoded and encoded.
    public static let entry: UInt64 = 6_000
    /// Each message of a page that is in memory, encoded.
    public static let entryKept: UInt64 = 1_000
    /// Each user of a roster that is read from Redis.
    public static let rosterEntry: UInt64 = 3_000
    /// Each user of a roster that is in memory: sorted, for a page.
    public static let rosterMember: UInt64 = 250
    /// Redis looks up a key in the index of a log: 60 to 90 µs, or 150 to 280 µs if the log's first message is long.
    public static let keyLookup: UInt64 = 550_000
    /// Redis reads a piece of a log into its index, once for each message (``BrokerError/again``): 390 µs for one
    /// message of 60 kB, 1.3 ms for 256 short ones.
    public static let indexed: UInt64 = 1_400_000
    /// A sanction among those of a room that is read.
    public static let sanction: UInt64 = 4_000
    /// A moderation: an epoch and an entry of the audit in Redis, and every node in the room reads the rules.
    public static let moderation: UInt64 = 2_000_000
    /// An amendment: Redis looks at the message and its state, and stores both.
    public static let amendment: UInt64 = 250_000
    /// Each byte of it: Redis writes it as JSON for the other nodes, stores it twice, and copies it a few times.
    public static let byteAmended: UInt64 = 25
    /// Each message that is erased with others: 85 µs of Redis, and afterwards its tombstone and the copies that users
    /// have starred are looked for.
    public static let erasure: UInt64 = 150_000
    /// The signature of a token is verified: 60 to 150 µs.
    public static let verification: UInt64 = 150_000
    /// A user is mentioned: a PUBLISH on the user's channel, and what the nodes of the user do with it.
    public static let mention: UInt64 = 12_000
    /// A user has read a room: a part of a call for all users of the room who read, and the news for others.
    public static let mark: UInt64 = 20_000
    /// A line of the inbox: 20 to 60 µs of Redis.
    public static let head: UInt64 = 130_000
    /// The same, if the newest message is not amended: five commands that read, 30 µs of Redis, and 80 µs of the node
    /// with its part of the answer.
    public static let briefHead: UInt64 = 90_000
    /// The same, as far as it is read from the node's memory.
    public static let heldHead: UInt64 = 10_000
    /// A room that is watched, apart from what comes to pass in it.
    public static let watch: UInt64 = 15_000
    /// Redis counts the listeners of a user's channel, and tells when a user was last here who has none: three
    /// commands.
    public static let online: UInt64 = 40_000
    /// Redis reads a starred message, or one that is to be, in its log, whether it is there or not: 400 µs if the log
    /// has long ones.
    public static let star: UInt64 = 800_000
    /// A change of the participants of a room: Redis reads and tells a hundred of them, and the node settles their
    /// indexes.
    public static let participants: UInt64 = 4_000_000
    /// An HTTP request, which often has a connection of its own.
    public static let httpRequest: UInt64 = 250_000
    /// Each byte of its body: the JSON is read as a tree.
    public static let byteBody: UInt64 = 25
    /// A refused HTTP request, which is read and answered all the same.
    public static let httpRefusal: UInt64 = 200_000
    /// A TLS handshake, without the request that follows.
    public static let tlsHandshake: UInt64 = 600_000
    /// The assumed number of receivers of a message in a room that this node is not in, as their number is unknown.
    public static let unknownReceivers = 100

    /// The part of the cost that is known when the request has been read. The cost of the data that it moves is added
    /// later.
    public static func before(_ body: ClientRequest.Body) -> UInt64 {
        switch body {
        case .join: request + join
        case .leave, .ping: request
        case .token: request + verification
        case .send(let send): request + UInt64(send.byteCount) * byteIn + mentions(send.extra)
        case .signal(_, let name, let data): request + UInt64(name.utf8.count + (data?.utf8.count ?? 0)) * byteIn
        case .history(_, let query): request + read + finding(query.anchor)
        case .roster: request + read
        case .moderate: request + moderation
        case .conversation(let order): request + cost(of: order)
        case .amend(let amend): amend.costBefore
        case .inbox(let inbox): request + before(inbox)
        }
    }

    /// The users whom a message mentions are told.
    public static func mentions(_ extra: MessageExtra?) -> UInt64 { times(extra?.mentions.count ?? 0, mention) }

    /// What a request about the user's conversations costs, without what is known only afterwards.
    private static func before(_ inbox: InboxRequest) -> UInt64 {
        switch inbox {
        case .read: mark
        case .list: read
        case .watch(let rooms), .unwatch(let rooms): times(rooms.count, watch)
        case .online(let users): times(users.count, online)
        case .showLastSeen: indexedUser
        }
    }

    /// The index of a user's rooms is read, and written.
    public static let indexedUser: UInt64 = 100_000

    /// What a client asks about conversations; of a list only that it is asked for.
    public static func cost(of order: ConversationOrder) -> UInt64 {
        if case .star = order { return star }
        return order.isRead ? read : participants &+ times(order.userCount, indexedUser)
    }

    /// What an answer about conversations took, beyond ``cost(of:)-(ConversationOrder)``.
    public static func cost(of answer: ConversationAnswer) -> UInt64 {
        switch answer {
        case .participants(_, let list, _): roster(list?.participants.count ?? 0, read: true)
        // The log of each message's room is read.
        case .stars(let stars, _): times(stars.count, star) &+ times(stars.reduce(0) { $0 + $1.cost }, byteOut)
        case .starred: indexedUser
        case .done, .blocked: 0
        }
    }

    /// A frame about a message of `bytes` bytes, sent to each of `receivers` sessions.
    public static func fanOut(bytes: Int, to receivers: Int) -> UInt64 {
        times(receivers, receiver &+ times(bytes, byteOut))
    }

    /// A page of these messages for one session. `read`: whether it is read from Redis.
    public static func page(_ messages: some Sequence<Message>, read: Bool) -> UInt64 {
        var cost: UInt64 = 0
        for message in messages {
            cost &+= (read ? entry : entryKept) &+ times(message.content.cost, read ? byteIn : bytePaged)
        }
        return cost
    }

    /// A page of history that was read for a client, with what it cost to find its place beyond what
    /// ``finding(_:)`` assumed.
    public static func page(_ page: HistoryPage, of query: HistoryQuery) -> UInt64 {
        let assumed = finding(query.anchor)
        return Self.page(page.messages, read: true) &+ max(assumed, page.searchCost) &- assumed
    }

    /// A message that a ``TimeSearch`` has read, or that it has found none.
    public static func timeQuestion(_ message: Message?) -> UInt64 {
        timeQuestion &+ times(message?.content.cost ?? 0, byteIn)
    }

    /// What it is assumed to cost to find the place of a page, apart from reading it.
    public static func finding(_ anchor: HistoryQuery.Anchor) -> UInt64 {
        if case .time = anchor { timeSearch } else { 0 }
    }

    /// A roster of `count` users, of which one page is sent. `read`: whether it is read from Redis.
    public static func roster(_ count: Int, read: Bool) -> UInt64 {
        times(count, read ? rosterEntry : rosterMember)
    }

    /// Reading a frame of that many bytes, whatever it contains.
    public static func read(bytes: Int) -> UInt64 { times(bytes, byteRead) }

    /// Reading that many messages from the log.
    public static func read(_ count: Int) -> UInt64 { times(count, entry) }

    private static func times(_ count: Int, _ cost: UInt64) -> UInt64 {
        let (product, overflow) = UInt64(max(0, count)).multipliedReportingOverflow(by: cost)
        return overflow ? .max / 4 : min(product, .max / 4)
    }
}

extension ClientRequest.Body {
    /// After how many bursts a user is refused this request. A client that reconnects joins all its rooms at once, and
    /// leaving is never refused.
    public var patience: UInt64 {
        switch self {
        case .join: 5
        case .leave: .max
        case .send, .signal, .history, .roster, .ping, .moderate, .conversation, .amend, .inbox, .token: 1
        }
    }
}

extension SendRequest {
    /// The number of bytes that count as sent to the room.
    public var byteCount: Int {
        (text?.utf8.count ?? 0) + (data?.utf8.count ?? 0) + (key?.utf8.count ?? 0) + (extra?.storedBytes ?? 0)
    }
}
