/// All limits that a client can reach (promise 9). Each is a setting, and has a numbered ``WireError`` or
/// ``CloseReason`` and a metric.
public struct Limits: Hashable, Sendable {
    /// Bytes of one WebSocket message from a client, with its fragments joined.
    public var frameBytes = 65_536
    /// Rooms that one session may be in.
    public var roomsPerSession = 100
    /// Sessions on one node.
    public var sessionsPerNode = 100_000
    /// Sessions of one user on one node.
    public var sessionsPerUser = 64
    /// Requests of any type that one session may make in a second, in the long run.
    public var requestsPerSecond = 100
    /// The same at once, after a quiet time.
    public var requestBurst = 400
    /// Requests a second that all sessions of one user on one node may make together; nil: four times those of one
    /// session. The burst is in proportion to that of one session.
    public var requestsPerSecondPerUser: Int?
    /// Work in microseconds (``RequestCost``) that one user, or one address that sends HTTP requests, may cost one node
    /// in a second, in the long run. As the costs are estimates, it is less than the tenth of a core that a user may
    /// really cost.
    public var costPerSecond = 80_000
    /// The same at once, after a quiet time.
    public var costBurst = 200_000
    /// Bytes that one user may send to rooms of one node in a second, in the long run.
    public var userBytesPerSecond = 262_144
    /// The same at once, after a quiet time.
    public var userBytesBurst = 4 * 1_048_576
    /// WebSocket handshakes that one node accepts in a second, and also at once.
    public var handshakesPerSecond = 4_000
    /// Bytes of an HTTP request's head, including that of a handshake: the first line and all fields.
    public var headBytes = 16_384
    /// Fields in a request's head.
    public var headFields = 100
    /// Connections that are not sessions (handshakes, HTTP) from one address; an IPv6 address counts as its /64.
    public var connectionsPerAddress = 256
    /// Bytes that such connections from one address may send in a second; four times as many at once.
    public var bytesPerSecondPerAddress = 1_048_576
    /// Handshakes and authentications of one address that may be refused in a minute, and also at once; an IPv6 address
    /// counts as its /64.
    public var failuresPerMinutePerAddress = 60
    /// Tickets that one user may take from one node in a minute, and also at once.
    public var ticketsPerMinutePerUser = 60
    /// HTTP requests that wait for messages (long polls) on one node.
    public var pollsPerNode = 20_000
    /// Those of one user on one node; and of one address, for requests without a user.
    public var pollsPerUser = 64
    /// How long such a request may wait.
    public var pollWait: Duration = .seconds(25)
    /// Connections of all kinds on one node; nil: 10,000 more than sessions, for HTTP and handshakes.
    public var connections: Int?
    /// Joins that one node accepts in a second, and also at once.
    public var joinsPerSecond = 10_000
    /// Bytes waiting to be written to one session before it is closed as slow.
    public var outboundBytes = 1_048_576
    /// Sends of one session that may wait for their answer.
    public var waitingSendsPerSession = 256
    /// Sends of all local sessions of a room that may wait for their answer.
    public var waitingSendsPerRoom = 4_096
    /// How long a send may wait for its answer before it fails as `unavailable`.
    public var sendWait: Duration = .seconds(15)
    /// Participants of one room.
    public var participants = 100
    /// Rooms to which one user may belong.
    public var conversationsPerUser = 1_000
    /// Messages in one `history` answer.
    public var historyPage = 100
    /// Bytes of messages in one `history` answer: a quarter of what may wait for a session, so that a few pages at once
    /// do not make the session slow. A page holds at least one message, however long.
    public var historyPageBytes: Int { max(frameBytes, outboundBytes / 4) }
    /// Members in one `roster` answer.
    public var rosterPage = 500
    /// Up to this many members, `joined` holds the roster and presence changes name people; above it, both hold counts
    /// only.
    public var rosterInline = 200
    /// Unreadable frames (bad JSON, binary, too large…) that a session may send in a minute before it is closed.
    public var badFramesPerMinute = 20

    public init() {}

    /// See ``connections``.
    public var allConnections: Int { connections ?? sessionsPerNode + 10_000 }

    /// See ``requestsPerSecondPerUser``.
    public var userRequestsPerSecond: Int {
        if let requestsPerSecondPerUser { return requestsPerSecondPerUser }
        let (product, overflow) = requestsPerSecond.multipliedReportingOverflow(by: 4)
        return overflow ? .max : product
    }

    public var userRequestBurst: Int {
        let burst = Double(requestBurst) * Double(userRequestsPerSecond) / Double(max(1, requestsPerSecond))
        return max(1, Int(min(burst, 1e12)))
    }

    /// ``costPerSecond`` and ``costBurst``, in nanoseconds of work.
    public var costRate: CostRate {
        let most = 1_000_000_000
        return CostRate(
            perSecond: max(1, min(costPerSecond, most)) * 1_000, burst: max(0, min(costBurst, most)) * 1_000)
    }

    /// The error for a user who has sent more bytes than the limit.
    public var tooManyBytes: WireError {
        let (most, burst) = (userBytesPerSecond, userBytesBurst)
        return WireError(.rateLimited, "the user sends more than \(most) bytes a second (\(burst) at once)")
    }

    /// The error for a user whose requests have cost more than the limit.
    public var tooDear: WireError {
        let (most, burst) = (costPerSecond, costBurst)
        return WireError(.rateLimited, "that costs the node more than \(most) microseconds a second (\(burst) at once)")
    }
}
