public import ChatCore

/// The rules of a client session over many connections: when to connect where, what to ask again after a loss, what to show and
/// what to keep back. Pure: events in, actions out; the time comes as an argument, randomness from the seed.
///
/// - Of one room messages are shown in the order of its log, each once. After a reconnect the room is joined with the position of
///   the last one shown, and what comes is shown from there.
/// - A send is written only in a room that this connection has joined. It keeps its key over all tries; once it may have been
///   stored, every further try says `again`.
/// - Each request is completed exactly once.
///
/// After each call the caller carries out ``actions`` in order and empties it, then sees to it that ``timerFired(now:)`` is called
/// at ``nextDeadline``.
public struct ClientStateMachine: Sendable {
    /// What a request's answer is handed back under.
    public typealias RequestID = UInt64

    public enum Action: Equatable, Sendable {
        /// Open a connection to this of the client's addresses, with `?room=` if there is one.
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
    }

    enum Connection: Equatable {
        /// Not started. Can transition to: connecting, closed.
        case idle
        /// Between two tries. Can transition to: connecting, closed.
        case waiting(until: Moment)
        /// A connection is being made; the node has not said `welcome`. Can transition to: ready, waiting, closed.
        case connecting(deadline: Moment)
        /// `leaveAt`: the node drains, and this session goes then. Can transition to: waiting, connecting, closed.
        case ready(Welcome, leaveAt: Moment?)
        /// Can transition to: nothing.
        case closed
    }

    let options: ClientOptions
    let addresses: Int
    /// The next connection names its first room in the URL, so that a proxy can hash on it.
    let namesRoom: Bool
    let keyPrefix: String
    var random: SplitMix64

    public var actions: [Action] = []
    var connection = Connection.idle
    var address: Int
    /// Failed tries since the last `welcome`.
    var failures = 0
    var silence = Silence()
    var bucket = RequestBucket()
    /// Something could not be written because the bucket was empty.
    var isStarved = false
    var nextSerial: UInt64 = 1

    var rooms: [RoomName: ClientRoom] = [:]
    /// The rooms in the order in which they were first joined.
    var roomOrder: [RoomName] = []
    /// The room that the URL of this connection named and that is not joined yet.
    var roomInURL: RoomName?
    /// Requests other than join and send, in the order in which they were made.
    var lookups: [Lookup] = []
    /// Which room an unanswered send is in.
    var roomOfSend: [RequestID: RoomName] = [:]

    /// `addresses`: how many nodes there are to connect to; it begins with a random one of them. `seed`: any random number.
    public init(addresses: Int, namesRoom: Bool = true, options: ClientOptions = ClientOptions(), seed: UInt64) {
        self.options = options
        self.addresses = max(1, addresses)
        self.namesRoom = namesRoom
        random = SplitMix64(seed: seed)
        keyPrefix = "c" + String(random.next(), radix: 36) + "-"
        address = Int(random.next() % UInt64(self.addresses))
    }

    public var isClosed: Bool { connection == .closed }

    /// The node's `welcome` of this connection; nil while there is none.
    public var welcome: Welcome? {
        guard case .ready(let welcome, _) = connection else { return nil }
        return welcome
    }

    // MARK: The connection

    /// Begins. Called once.
    public mutating func start(now: Moment) {
        guard connection == .idle else { return }
        connect(now)
    }

    /// Bytes came from the node.
    public mutating func heard(now: Moment) {
        silence.heard(now)
    }

    /// The socket is read again, or not: nobody can be heard on one that is not read.
    public mutating func readingChanged(_ reads: Bool, now: Moment) {
        silence.readingChanged(reads, now)
    }

    /// The connection could not be made, or ended by itself.
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

    /// Time passed; call it at ``nextDeadline``. Calling it earlier does nothing.
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

    /// Whether an answer is to come, or something that cannot be asked now.
    private var isWaiting: Bool {
        if !roomOfSend.isEmpty || !lookups.isEmpty { return true }
        return rooms.values.contains { room in
            switch room.phase {
            case .joining, .leaving(written: true): true
            case .out, .joined, .leaving(written: false), .gone: false
            }
        }
    }

    /// Ends the client: every waiting request fails as ``ClientError/closed``.
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

    /// When ``timerFired(now:)`` must be called next; nil: not before something else happens.
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

    /// Drops a connection that is no good any more, as if it had failed.
    mutating func drop(_ reason: DisconnectReason, _ now: Moment) {
        actions.append(.disconnect)
        connectionClosed(reason, now: now)
    }

    /// Leaves a draining node for the next one, without delay: the node has spread its sessions already.
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

    /// A timer that goes off late says that this process is behind, not the node: then what the node said may still wait to be
    /// read, and gets as long again. Nil: the timer is on time.
    static func grace(due: Moment, now: Moment) -> Moment? {
        let late = now - due
        return late > .milliseconds(500) ? now + late : nil
    }

    private mutating func backoff() -> Duration {
        let ceiling = min(options.backoffCap, options.backoffBase * (1 << min(failures, 16)))
        return ceiling * Double.random(in: 0..<1, using: &random)
    }

    /// Everything that was asked on the lost connection is asked again on the next one.
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

    /// Why coming back would not help, if so.
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
