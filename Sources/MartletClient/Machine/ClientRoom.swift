import ChatCore

/// The state of one room, across all connections of a client.
struct ClientRoom: Sendable {
    enum Phase: Equatable {
        /// No join has been sent on this connection. Can transition to: joining, gone.
        case out
        /// A join is unanswered. `ref`: the number of the request; nil if the URL of the connection asked. Can
        /// transition to: joined, out, leaving, gone.
        case joining(ref: UInt64?)
        /// Can transition to: out, leaving.
        case joined
        /// The room is to be left. `written`: the request has been sent. Can transition to: gone, out (the caller has
        /// joined again).
        case leaving(written: Bool)
        /// The room has been left for good. Can transition to: nothing.
        case gone
    }

    struct Waiter: Equatable {
        var id: UInt64
        var deadline: Moment
    }

    struct PendingSend: Equatable {
        var id: UInt64
        var request: SendRequest
        var deadline: Moment
        /// Sent on this connection, and not answered yet.
        var inFlight = false
        /// Whether an earlier attempt may have been stored.
        var maybeStored = false
    }

    var phase = Phase.out
    /// How many recent messages the first join asks for.
    var history: Int?
    /// The position of the newest message shown, or of the room when it was joined.
    var last: Position?
    var joined: JoinedRoom?
    /// The members; nil when the room is so large that the node sends only the count.
    var members: Set<UserID>?
    var count = 0
    var joinWaiters: [Waiter] = []
    var leaveWaiters: [Waiter] = []
    /// Whether the caller has joined again while the room was being left.
    var wantedAgain = false
    /// Unanswered sends in the order in which they were made.
    var sends: [PendingSend] = []
    /// When to send again after a temporary refusal, and the number of refusals in a row.
    var pausedUntil: Moment?
    var refusals = 0

    /// Applies a presence notice of the node. Returns the changes, or nil if there are none: a node may repeat what
    /// `joined` contained.
    mutating func presenceChanged(
        joined: [UserID], left: [UserID], count: Int
    ) -> (joined: [UserID], left: [UserID], count: Int)? {
        let before = self.count
        guard var known = members else {
            self.count = count
            return (joined, left, count)
        }
        let came = joined.filter { known.insert($0).inserted }
        let went = left.filter { known.remove($0) != nil }
        // Names that do not add up to the count are incomplete, so from here on only the count is known.
        members = known.count == count ? known : nil
        self.count = count
        return came.isEmpty && went.isEmpty && count == before ? nil : (came, went, count)
    }

    func nextDeadline(connected: Bool) -> Moment? {
        var next = sends.first?.deadline
        for waiter in joinWaiters { next = next.map { min($0, waiter.deadline) } ?? waiter.deadline }
        for waiter in leaveWaiters { next = next.map { min($0, waiter.deadline) } ?? waiter.deadline }
        if connected, let pausedUntil { next = next.map { min($0, pausedUntil) } ?? pausedUntil }
        return next
    }

    /// Returns the leave requests that are complete now, because a lost connection has left the room.
    mutating func connectionLost() -> [UInt64] {
        for index in sends.indices where sends[index].inFlight {
            sends[index].inFlight = false
            sends[index].maybeStored = true
        }
        pausedUntil = nil
        switch phase {
        case .out, .gone: return []
        case .joining, .joined:
            phase = .out
            return []
        case .leaving:
            phase = wantedAgain ? .out : .gone
            if wantedAgain { last = nil }
            wantedAgain = false
            defer { leaveWaiters = [] }
            return leaveWaiters.map(\.id)
        }
    }

    /// Waits after a temporary refusal, longer each time.
    mutating func pause(_ now: Moment) {
        pausedUntil = now + .milliseconds(50 << min(refusals, 6))
        refusals += 1
    }
}

/// A request for data: `history` or `roster`.
struct Lookup: Equatable, Sendable {
    var id: UInt64
    var body: ClientRequest.Body
    var deadline: Moment
    var written = false
    /// When to send again after a temporary refusal.
    var pausedUntil: Moment?
    /// Of a `watch`: the rooms that were not watched before.
    var added: [RoomName] = []
}

/// Keeps to a tenth below the request rate that the node allows, because requests that are sent evenly may arrive in
/// bursts.
struct RequestBucket: Sendable {
    /// Requests a second; 0 means no limit.
    private var rate = 0.0
    private var burst = 0.0
    private var tokens = 0.0
    private var updated = Moment(nanoseconds: 0)

    /// A new connection begins with a full bucket.
    mutating func reset(rate: Int, burst: Int, now: Moment) {
        self.rate = Double(rate) * 0.9
        self.burst = max(1, Double(burst) * 0.9)
        tokens = self.burst
        updated = now
    }

    mutating func take(_ now: Moment) -> Bool {
        guard rate > 0 else { return true }
        let passed = Double((now.nanoseconds > updated.nanoseconds ? now.nanoseconds - updated.nanoseconds : 0)) / 1e9
        tokens = min(burst, tokens + passed * rate)
        updated = max(now, updated)
        guard tokens >= 1 else { return false }
        tokens -= 1
        return true
    }

    /// When the next request may be sent; nil means now.
    var nextToken: Moment? {
        guard rate > 0, tokens < 1 else { return nil }
        return updated + .nanoseconds(Int64((1 - tokens) / rate * 1e9) + 1_000)
    }
}
