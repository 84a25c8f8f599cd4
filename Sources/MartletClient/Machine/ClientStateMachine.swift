public import ChatCore

/// The rules of a client session across many connections: when to connect to which address, what to send again after a
/// loss, and which messages to show. The machine is pure: events go in, actions come out, the time is an argument and
/// randomness comes from the seed.
///
/// - The messages of a room are shown in the order of its log, each once. After a reconnect the room is joined with the
///   position of the last message shown, and the messages after it are shown.
/// - A send is written only in a room that has been joined on this connection. It keeps its key over all attempts; once
///   it may have been stored, every further attempt says `again`.
/// - Each request is completed exactly once.
///
/// After each call the caller carries out ``actions`` in order and empties it, and then arranges that
/// ``timerFired(now:)`` is called at ``nextDeadline``.
public struct ClientStateMachine: Sendable {
    /// Identifies a request in its answer.
    public typealias RequestID = UInt64

    public enum Action: Equatable, Sendable {
        /// Open a connection to the address with this index, with `?room=` if there is a room.
        case connect(address: Int, room: RoomName?)
        /// End the connection; no `connectionClosed` is expected for it.
        case disconnect
        case write(ClientRequest)
        case complete(RequestID, Result<Reply, ClientError>)
        case emit(ClientEvent)
    }

    /// The answer to a request.
    public enum Reply: Equatable, Sendable {
        case joined(JoinedRoom)
        case left
        case sent(Sent)
        case history(HistoryPage)
        case roster(RosterPage)
        case amended(AmendReply)
        case conversation(ConversationAnswer)
        case inbox(InboxEvent)
    }

    enum Connection: Equatable {
        /// Not started. Can transition to: connecting, closed.
        case idle
        /// Between two attempts. Can transition to: connecting, closed.
        case waiting(until: Moment)
        /// A connection is being opened; the node has not sent `welcome`. Can transition to: ready, waiting, closed.
        case connecting(deadline: Moment)
        /// `leaveAt`: the node is draining, and this session leaves it then. Can transition to: waiting, connecting,
        /// closed.
        case ready(Welcome, leaveAt: Moment?)
        /// Can transition to: nothing.
        case closed
    }

    let options: ClientOptions
    let addresses: Int
    /// Whether the URL of the next connection names its first room, so that a proxy can hash on it.
    let namesRoom: Bool
    let keyPrefix: String
    var random: SplitMix64

    public var actions: [Action] = []
    var connection = Connection.idle
    var address: Int
    /// The number of failed attempts since the last `welcome`.
    var failures = 0
    var silence = Silence()
    var bucket = RequestBucket()
    /// Whether a request waits because the rate limit is used up.
    var isStarved = false
    var nextSerial: UInt64 = 1

    var rooms: [RoomName: ClientRoom] = [:]
    /// The rooms in the order in which they were first joined.
    var roomOrder: [RoomName] = []
    /// The room that the URL of this connection named, until it is joined.
    var roomInURL: RoomName?
    /// Requests other than join and send, in the order in which they were made.
    var lookups: [Lookup] = []
    /// Up to where rooms were read.
    var reads: [RoomName: ReadProgress] = [:]
    /// The rooms whose heads are told.
    var watched: [RoomName] = []
    /// The room of each unanswered send.
    var roomOfSend: [RequestID: RoomName] = [:]

    /// `addresses`: the number of addresses, of which a random one is the first. `seed`: any random number.
    public init(addresses: Int, namesRoom: Bool = true, options: ClientOptions = ClientOptions(), seed: UInt64) {
        self.options = options
        self.addresses = max(1, addresses)
        self.namesRoom = namesRoom
        random = SplitMix64(seed: seed)
        keyPrefix = "c" + String(random.next(), radix: 36) + "-"
        address = Int(random.next() % UInt64(self.addresses))
    }

    public var isClosed: Bool { connection == .closed }

    /// The node's `welcome` on this connection; nil before it came.
    public var welcome: Welcome? {
        guard case .ready(let welcome, _) = connection else { return nil }
        return welcome
    }

    // MARK: The connection

    /// Starts connecting. Called once.
    public mutating func start(now: Moment) {
        guard connection == .idle else { return }
        connect(now)
    }

    /// Notes that bytes came from the node.
    public mutating func heard(now: Moment) {
        silence.heard(now)
    }

    /// Notes whether the socket is being read: a node cannot be heard while it is not.
    public mutating func readingChanged(_ reads: Bool, now: Moment) {
        silence.readingChanged(reads, now)
    }

    /// Handles a connection that could not be opened, or that ended by itself.
    public mutating func connectionClosed(_ reason: DisconnectReason, now: Moment) {
        switch connection {
        case .idle, .waiting, .closed: return
        case .connecting, .ready: break
        }
        connectionLost()
        if let rejection = Self.rejection(reason) {
            actions.append(.emit(.disconnected(reason, retryIn: nil)))
            shut(.rejected(rejection))
            return
        }
        let delay = backoff()
        failures += 1
        address = (address + 1) % addresses
        connection = .waiting(until: now + delay)
        actions.append(.emit(.disconnected(reason, retryIn: delay)))
    }

    /// Handles the passing of time; call it at ``nextDeadline``. Calling it earlier does nothing.
    public mutating func timerFired(now: Moment) {
        expire(now)
        switch connection {
        case .idle, .closed: return
        case .waiting(let until):
            if now >= until { connect(now) }
        case .connecting(let deadline):
            guard now >= deadline else { return }
            if let grace = Self.grace(due: deadline, now: now) {
                connection = .connecting(deadline: grace)
            } else {
                drop(.silent, now)
            }
        case .ready(_, let leaveAt):
            if let leaveAt, now >= leaveAt {
                move(now)
                return
            }
            switch silence.judge(isWaiting: isWaiting, now) {
            case .ask: actions.append(.write(ClientRequest(ref: nil, body: .ping)))
            case .leave: return drop(.silent, now)
            case .doNothing: break
            }
            pump(now)
        }
    }

    /// Whether an answer is outstanding, or a request that cannot be sent now.
    private var isWaiting: Bool {
        if !roomOfSend.isEmpty || !lookups.isEmpty { return true }
        return rooms.values.contains { room in
            switch room.phase {
            case .joining, .leaving(written: true): true
            case .out, .joined, .leaving(written: false), .gone: false
            }
        }
    }

    /// Closes the client: every waiting request fails as ``ClientError/closed``.
    public mutating func close() {
        guard connection != .closed else { return }
        let connected: Bool
        switch connection {
        case .connecting, .ready: connected = true
        case .idle, .waiting, .closed: connected = false
        }
        if connected {
            actions.append(.disconnect)
            actions.append(.emit(.disconnected(.closed, retryIn: nil)))
        }
        shut(.closed)
    }

    /// When ``timerFired(now:)`` must be called next; nil if only another event can change anything.
    public var nextDeadline: Moment? {
        var next: Moment?
        func consider(_ moment: Moment?) {
            guard let moment else { return }
            next = next.map { min($0, moment) } ?? moment
        }
        switch connection {
        case .idle: break
        case .closed: return nil
        case .waiting(let until): consider(until)
        case .connecting(let deadline): consider(deadline)
        case .ready(_, let leaveAt):
            consider(leaveAt)
            consider(silence.deadline(isWaiting: isWaiting))
            if isStarved { consider(bucket.nextToken) }
        }
        for lookup in lookups {
            consider(lookup.deadline)
            consider(lookup.pausedUntil)
        }
        for room in rooms.values { consider(room.nextDeadline(connected: welcome != nil)) }
        return next
    }

    /// Drops a connection that is not usable any more, as if it had failed.
    mutating func drop(_ reason: DisconnectReason, _ now: Moment) {
        actions.append(.disconnect)
        connectionClosed(reason, now: now)
    }

    /// Leaves a draining node for the next one without delay, because the node has spread its sessions already.
    private mutating func move(_ now: Moment) {
        actions.append(.disconnect)
        connectionLost()
        address = (address + 1) % addresses
        actions.append(.emit(.disconnected(.draining, retryIn: .zero)))
        connect(now)
    }

    private mutating func connect(_ now: Moment) {
        connection = .connecting(deadline: now + options.connectTimeout)
        silence.connecting(now)
        roomInURL = namesRoom ? roomOrder.first : nil
        actions.append(.connect(address: address, room: roomInURL))
    }

    /// A late timer shows that this process, not the node, was blocked. Bytes of the node may then still wait to be
    /// read, so it gets the same time again. Nil if the timer is on time.
    static func grace(due: Moment, now: Moment) -> Moment? {
        let late = now - due
        return late > .milliseconds(500) ? now + late : nil
    }

    private mutating func backoff() -> Duration {
        let ceiling = min(options.backoffCap, options.backoffBase * (1 << min(failures, 16)))
        return ceiling * Double.random(in: 0..<1, using: &random)
    }

    /// Prepares everything that was sent on the lost connection for the next one.
    private mutating func connectionLost() {
        roomInURL = nil
        for index in lookups.indices { lookups[index].written = false }
        for name in roomOrder {
            guard let done = rooms[name]?.connectionLost() else { continue }
            for id in done { actions.append(.complete(id, .success(.left))) }
            if rooms[name]?.phase == .gone { forget(name, .notJoined) }
        }
    }

    private mutating func shut(_ error: ClientError) {
        connection = .closed
        for lookup in lookups { actions.append(.complete(lookup.id, .failure(error))) }
        lookups = []
        for name in roomOrder { forget(name, error) }
    }

    /// The reason why reconnecting would not help, if there is one.
    private static func rejection(_ reason: DisconnectReason) -> String? {
        switch reason {
        case .status(let status):
            return [400, 401, 403, 404, 405, 426].contains(status) ? "the node answered HTTP \(status)" : nil
        case .closeFrame(let code, let text):
            guard let known = CloseReason(rawValue: code), !known.reconnect else { return nil }
            return text.isEmpty ? known.name : text
        case .unreachable, .lost, .silent, .unreadable, .draining, .closed:
            return nil
        }
    }
}
