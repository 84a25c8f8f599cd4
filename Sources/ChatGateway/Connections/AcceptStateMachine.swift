import ChatCore

/// How many files and sockets the process may have open, and what of them is kept from connections: what is opened when the node is full,
/// such as new connections to Redis, must find its place.
///
/// The kernel gives each new descriptor the lowest number that is free. So a connection whose number is `end` or more is one too many,
/// whoever has the others; nothing has to be counted.
public struct DescriptorBudget: Sendable, Hashable {
    /// RLIMIT_NOFILE.
    public var limit: Int
    /// For Redis, the log and whatever the system's libraries open.
    public var reserved: Int
    /// For connections to a full node: each is told so, or is asking how the node is, and goes.
    public var doorway: Int
    /// The number of connections that may be comes from here, not from a setting.
    public var boundsConnections: Bool

    public init(limit: Int, reserved: Int, doorway: Int, boundsConnections: Bool = false) {
        self.limit = limit
        self.reserved = reserved
        self.doorway = doorway
        self.boundsConnections = boundsConnections
    }

    /// Connections that stay have numbers below this.
    var end: Int { limit - reserved - doorway }
    /// No connection has a number from here on.
    var doorwayEnd: Int { limit - reserved }
}

/// Decides when the next connections are taken from the kernel. Pure.
struct AcceptStateMachine {
    enum State: Equatable {
        /// → `full`
        case open
        /// Connections are taken one by one and seldom, to be told so. → `open`
        case full
    }

    struct Action: Equatable {
        enum Change: Equatable {
            case becameFull(reason: String)
            case becameOpen
        }

        /// Take up to so many; 0: none now, ask again after `wait`.
        var accept: Int
        var wait: Duration = .zero
        var change: Change?
    }

    struct Look: Equatable {
        /// The lowest free descriptor; nil: none is free, or nobody looked.
        var lowestFree: Int?
        /// Open now.
        var connections: Int
        /// RLIMIT_NOFILE as it is now; nil: nobody looked.
        var limit: Int?
    }

    /// Connections taken in one tick, which may be 5 ms apart while sessions are written to.
    static let atOnce = 256
    /// While the node is full.
    static let doorwayPerSecond = 50
    /// What is kept free of a limit that was lowered while the process ran. Without a descriptor libdispatch, which runs Swift's tasks and
    /// looks into /proc when they block, ends the process.
    static let leastKept = 8
    /// How long nothing is taken after the kernel has said that it cannot.
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

    /// May connections be taken now?
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

    /// Whether the node is full, without asking for anything.
    mutating func update(_ look: Look) -> Action.Change? {
        switch state {
        case .open:
            guard room(look) <= 0 else { return nil }
            state = .full
            return .becameFull(reason: reason(look))
        case .full:
            // Not with each one that goes, or it would be told again and again.
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

    /// Connections that stay have numbers below `end`, those of the doorway below `doorwayEnd`.
    private func bounds(_ look: Look) -> (end: Int, doorwayEnd: Int)? {
        guard let budget else { return nil }
        guard let limit = look.limit, limit < budget.limit else { return (budget.end, budget.doorwayEnd) }
        return (limit - budget.reserved - budget.doorway, limit - min(budget.reserved, Self.leastKept))
    }

    private func reason(_ look: Look) -> String {
        if let budget, budget.boundsConnections || look.connections < maxConnections {
            return
                "as many files and sockets are open as may be (\(budget.limit), some of them kept; \(look.connections) connections)"
        }
        return "as many connections are open as may be (\(maxConnections))"
    }
}
