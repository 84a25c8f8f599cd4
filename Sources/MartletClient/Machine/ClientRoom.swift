import ChatCore

/// What a client knows of one room, over all connections.
struct ClientRoom: Sendable {
    enum Phase: Equatable {
        /// This connection has not asked to join. Can transition to: joining, gone.
        case out
        /// `ref`: of the join; nil if the URL asked. Can transition to: joined, out, leaving, gone.
        case joining(ref: UInt64?)
        /// Can transition to: out, leaving.
        case joined
        /// The node was asked to leave, or will be as soon as it may be (`written`). Can transition to: gone, out (it is
        /// wanted again).
        case leaving(written: Bool)
        /// Nobody wants the room any more. Can transition to: nothing.
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
        /// Written on this connection, and not answered.
        var inFlight = false
        /// An earlier try may have been stored.
        var maybeStored = false
    }

    var phase = Phase.out
    /// How many recent messages the first join asks for.
    var history: Int?
    /// The newest message that was shown, or where the room stood when it was joined.
    var last: Position?
    var joined: JoinedRoom?
    /// Who is here; nil when the room is so large that the node tells only the count.
    var members: Set<UserID>?
    var count = 0
    var joinWaiters: [Waiter] = []
    var leaveWaiters: [Waiter] = []
    /// Somebody joined while the room was being left.
    var wantedAgain = false
    /// Unanswered sends in the order in which they were made.
    var sends: [PendingSend] = []
    /// After the node said "not now": when to ask again, and how often it said so in a row.
    var pausedUntil: Moment?
    var refusals = 0

    /// Takes over what the node says of who came and went. Returns what that changes; nil if nothing: a node may say again what
    /// `joined` said already.
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
        // Names that do not add up to the count are not all of them: from here on the count alone is known.
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

    /// Returns the leaves that are done now: a lost connection has left.
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

    /// The node said "not now": waits a while, longer each time.
    mutating func pause(_ now: Moment) {
        pausedUntil = now + .milliseconds(50 << min(refusals, 6))
        refusals += 1
    }
}

/// A request whose answer is data: `history` or `roster`.
struct Lookup: Equatable, Sendable {
    var id: UInt64
    var body: ClientRequest.Body
    var deadline: Moment
    var written = false
    /// The node said "not now": when to ask again.
    var pausedUntil: Moment?
}

/// Keeps to the request rate that the node allows, a tenth below it: what is sent evenly may arrive in heaps.
struct RequestBucket: Sendable {
    /// Requests a second; 0: no limit.
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

    /// When the next request may be sent; nil: now.
    var nextToken: Moment? {
        guard rate > 0, tokens < 1 else { return nil }
        return updated + .nanoseconds(Int64((1 - tokens) / rate * 1e9) + 1_000)
    }
}
