import ChatCore

/// How many files and sockets the process may have open, and how many of them are reserved. Descriptors that are opened
/// while the node is full, such as new connections to Redis, need the reserve.
///
/// The kernel assigns the lowest free number to each new descriptor. A connection whose number is `end` or above
/// therefore exceeds the budget, whatever holds the lower numbers, so nothing has to be counted.
public struct DescriptorBudget: Sendable, Hashable {
    /// RLIMIT_NOFILE.
    public var limit: Int
    /// For Redis, the log and anything that the system's libraries open.
    public var reserved: Int
    /// For connections to a full node: each is refused, or answered a health request, and closed.
    public var doorway: Int
    /// Whether this budget, rather than a setting, determines the maximum number of connections.
    public var boundsConnections: Bool

    public init(limit: Int, reserved: Int, doorway: Int, boundsConnections: Bool = false) {
        self.limit = limit
        self.reserved = reserved
        self.doorway = doorway
        self.boundsConnections = boundsConnections
    }

    /// Sessions and other lasting connections have descriptors below this.
    var end: Int { limit - reserved - doorway }
    /// Every connection has a descriptor below this.
    var doorwayEnd: Int { limit - reserved }
}

/// Decides when the next connections are taken from the kernel. Pure.
struct AcceptStateMachine {
    enum State: Equatable {
        /// → `full`
        case open
        /// Connections are accepted one by one and at a low rate, only to be refused. → `open`
        case full
    }

    struct Action: Equatable {
        enum Change: Equatable {
            case becameFull(reason: String)
            case becameOpen
        }

        /// Accept up to this many connections; 0 means none now, and to ask again after `wait`.
        var accept: Int
        var wait: Duration = .zero
        var change: Change?
    }

    struct Look: Equatable {
        /// The lowest free descriptor; nil if none is free or if it was not determined.
        var lowestFree: Int?
        /// Open now.
        var connections: Int
        /// The current RLIMIT_NOFILE; nil if it was not determined.
        var limit: Int?
    }

    /// Connections accepted in one tick. Ticks may be 5 ms apart while sessions are written to.
    static let atOnce = 256
    /// Connections accepted per second while the node is full.
    static let doorwayPerSecond = 50
    /// The minimum reserve if the limit was lowered while the process ran. If libdispatch, which runs Swift's tasks and
    /// opens files in /proc when they block, gets no descriptor, it ends the process.
    static let leastKept = 8
    /// How long to accept nothing after the kernel reported an error.
    static let pause: Duration = .milliseconds(250)

    private(set) var state = State.open
    private let budget: DescriptorBudget?
    private let maxConnections: Int
    private var rate: TokenBucket
    private var pausedUntil: Moment?

    init(budget: DescriptorBudget?, maxConnections: Int, now: Moment) {
        self.budget = budget
        self.maxConnections = maxConnections
        rate = TokenBucket(perSecond: Self.doorwayPerSecond, burst: 16, now: now)
    }

    /// The kernel has no descriptor or no memory for another connection.
    mutating func failed(now: Moment) {
        pausedUntil = now + Self.pause
    }

    /// Decides whether connections may be accepted now.
    mutating func asked(_ look: Look, now: Moment) -> Action {
        let change = update(look)
        if let pausedUntil, now < pausedUntil { return Action(accept: 0, wait: pausedUntil - now, change: change) }
        pausedUntil = nil
        switch state {
        case .open: return Action(accept: min(Self.atOnce, room(look)), change: change)
        case .full:
            if let bounds = bounds(look), (look.lowestFree ?? .max) >= bounds.doorwayEnd {
                return Action(accept: 0, wait: .milliseconds(50), change: change)
            }
            guard rate.take(now: now) else { return Action(accept: 0, wait: .milliseconds(10), change: change) }
            return Action(accept: 1, change: change)
        }
    }

    /// Updates whether the node is full, without deciding on connections.
    mutating func update(_ look: Look) -> Action.Change? {
        switch state {
        case .open:
            guard room(look) <= 0 else { return nil }
            state = .full
            return .becameFull(reason: reason(look))
        case .full:
            // Not at the first connection that closes, or the state would flap and be logged each time.
            guard room(look) > slack else { return nil }
            state = .open
            return .becameOpen
        }
    }

    private var slack: Int { min(64, (min(maxConnections, budget?.end ?? maxConnections)) / 16) }

    private func room(_ look: Look) -> Int {
        let byCount = maxConnections - look.connections
        guard let budget, let bounds = bounds(look) else { return byCount }
        return min(byCount, bounds.end - (look.lowestFree ?? budget.limit))
    }

    /// Lasting connections have descriptors below `end`, those of the doorway below `doorwayEnd`.
    private func bounds(_ look: Look) -> (end: Int, doorwayEnd: Int)? {
        guard let budget else { return nil }
        guard let limit = look.limit, limit < budget.limit else { return (budget.end, budget.doorwayEnd) }
        return (limit - budget.reserved - budget.doorway, limit - min(budget.reserved, Self.leastKept))
    }

    private func reason(_ look: Look) -> String {
        if let budget, budget.boundsConnections || look.connections < maxConnections {
            return
                "as many files and sockets are open as may be (\(budget.limit), some of them kept; \(look.connections) "
                + "connections)"
        }
        return "as many connections are open as may be (\(maxConnections))"
    }
}
