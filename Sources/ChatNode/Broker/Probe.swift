import ChatCore

/// Proves that a message makes a full round: out through the command connection, back through the subscribe connection.
/// Each round subscribes to a channel of the node and unsubscribes again, so that between rounds `PUBSUB CHANNELS`
/// lists rooms only.
///
/// It also proves that a message could be stored, as Redis accepts PUBLISH while it refuses every write
/// (``BrokerRequest/tryStoring(_:)``).
struct Probe {
    enum State: Equatable {
        /// → `subscribing`
        case idle
        /// → `waiting`, `idle` (connection lost)
        case subscribing(since: Moment)
        /// → `idle`
        case waiting(since: Moment)
    }

    /// The time for which a proof is valid.
    static let validity: Duration = .seconds(5)
    /// The time after which a proof is renewed.
    static let renewal: Duration = .seconds(1)
    /// While a round takes longer than this, the last proof no longer counts.
    static let patience: Duration = .seconds(1)
    /// The minimum time between two test writes.
    static let writeInterval: Duration = .milliseconds(250)

    /// The node itself, in a slot of the part of the broker that is probed.
    let entity: Entity
    private let node: NodeID
    /// All loops of the node use the same channel, and each has its own session numbers.
    private let shard: UInt64
    private(set) var state = State.idle
    private(set) var proven: Moment?
    private var round: UInt64 = 0
    /// When the test write that is under way was requested, and the last one.
    private var writing: Moment?
    private var wroteLast: Moment?
    /// When the last accepted test write was requested.
    private var written: Moment?
    private var refusedWrite: String?
    private var refusedPublish: String?

    /// A probe for the part of the broker with that scope. Nil if the scope is empty.
    init?(node: NodeID, shard: Int, in scope: BrokerScope = .everything) {
        guard let slot = scope.slots.first else { return nil }
        self.node = node
        self.shard = UInt64(clamping: shard) & 0xFFFF
        self.entity = .node(node, slot)
    }

    /// The number of this round in the probe's signals.
    private var session: SessionID { SessionID(raw: shard << 48 | round & 0xFFFF_FFFF_FFFF) }

    /// Whether a round has to begin now.
    mutating func begin(now: Moment) -> Bool {
        switch state {
        case .idle:
            if let proven, now - proven < Self.renewal { return false }
        case .subscribing(let since), .waiting(let since):
            guard now - since > Self.validity else { return false }
        }
        state = .subscribing(since: now)
        return true
    }

    /// The event to publish, once the channel is subscribed.
    mutating func subscribed() -> ChannelEvent? {
        guard case .subscribing(let since) = state, let user = try? UserID("~probe") else { return nil }
        state = .waiting(since: since)
        round += 1
        return .signal(Signal(node: node, session: session, user: user, name: "probe"))
    }

    /// Returns true if the event is that of the present round.
    mutating func heard(_ event: ChannelEvent, now: Moment) -> Bool {
        guard case .waiting = state, case .signal(let signal) = event, signal.node == node, signal.session == session
        else {
            return false
        }
        state = .idle
        proven = now
        refusedPublish = nil
        return true
    }

    /// The message could not be sent, so none will come back. `refusal`: the error of Redis.
    mutating func failed(_ refusal: String? = nil) {
        state = .idle
        if let refusal {
            refusedPublish = refusal
            proven = nil
        }
    }

    /// Why Redis refuses to store or to publish, as its error says.
    var refusal: String? { refusedWrite ?? refusedPublish }

    // MARK: writes

    /// Whether a test write has to be requested now.
    mutating func beginWrite(now: Moment) -> Bool {
        if let writing, now - writing <= Self.validity { return false }
        if let wroteLast, now - wroteLast < Self.writeInterval { return false }
        writing = now
        wroteLast = now
        return true
    }

    /// The result of a test write.
    enum Write: Equatable {
        case taken
        case refused(String)
        case lost

        init(_ result: Result<BrokerReply, BrokerError>) {
            self =
                switch result {
                // With any of these answers Redis would have stored the message.
                case .success, .failure(.missing), .failure(.refused), .failure(.again), .failure(.forbidden): .taken
                case .failure(.notStored(let text)), .failure(.malformed(let text)): .refused(text)
                case .failure(.notConnected), .failure(.outcomeUnknown): .lost
                }
        }
    }

    /// When the write that was answered had been requested; nil if the connections were lost since then.
    mutating func answered(_ write: Write) -> Moment? {
        guard let asked = writing else { return nil }
        writing = nil
        switch write {
        case .taken:
            refusedWrite = nil
            written = asked
        case .refused(let text):
            refusedWrite = text
            written = nil
        case .lost: break
        }
        return asked
    }

    /// Whether Redis accepts writes.
    func canStore(now: Moment) -> Bool {
        if let writing, now - writing > Self.patience { return false }
        return refusedWrite == nil && (written.map { now - $0 < Self.validity } ?? false)
    }

    /// Whether the round has taken longer than Redis may take for any command: SUBSCRIBE and PUBLISH may have been
    /// answered, and no message came back.
    func isOverdue(now: Moment, deadline: Duration) -> Bool {
        began.map { now - $0 > deadline } ?? false
    }

    private var began: Moment? {
        switch state {
        case .idle: nil
        case .subscribing(let since), .waiting(let since): since
        }
    }

    /// A connection was lost, so the earlier proofs no longer count.
    mutating func reset() {
        state = .idle
        proven = nil
        writing = nil
        wroteLast = nil
        written = nil
        refusedWrite = nil
        refusedPublish = nil
    }

    func isFresh(now: Moment) -> Bool {
        if isOverdue(now: now, deadline: Self.patience) { return false }
        return proven.map { now - $0 < Self.validity } ?? false
    }
}
