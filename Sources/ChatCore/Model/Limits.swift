/// Every bound that a client can run into (promise 9). Each is a setting, has a numbered ``WireError`` or ``CloseReason``, and
/// a metric.
public struct Limits: Hashable, Sendable {
    /// Bytes of one WebSocket message from a client, fragments joined.
    public var frameBytes = 65_536
    /// Rooms that one session may be in.
    public var roomsPerSession = 100
    /// Sessions on one node.
    public var sessionsPerNode = 100_000
    /// Sessions of one user on one node.
    public var sessionsPerUser = 64
    /// Requests (of any type) a second that one session may make in the long run…
    public var requestsPerSecond = 100
    /// …and how many at once after a quiet time.
    public var requestBurst = 400
    /// Requests a second that all sessions of one user on one node may make together; nil: four times those of one session.
    /// As many at once, in proportion, as one session may.
    public var requestsPerSecondPerUser: Int?
    /// Work in microseconds (``RequestCost``) that one user may cost one node in a second, and an address that asks over HTTP…
    public var costPerSecond = 100_000
    /// …and how much at once after a quiet time.
    public var costBurst = 200_000
    /// Bytes that one user may say in rooms of one node in a second…
    public var userBytesPerSecond = 262_144
    /// …and how many at once after a quiet time.
    public var userBytesBurst = 4 * 1_048_576
    /// WebSocket handshakes a second that one node takes, and as many at once.
    public var handshakesPerSecond = 4_000
    /// Bytes of a request's head (of a handshake's too): its first line and all fields.
    public var headBytes = 16_384
    /// Fields in a request's head.
    public var headFields = 100
    /// Connections that are no sessions (handshakes, HTTP) from one address; an IPv6 address counts as its /64.
    public var connectionsPerAddress = 256
    /// Bytes a second that such connections from one address may bring, and four times as many at once.
    public var bytesPerSecondPerAddress = 1_048_576
    /// Connections of all kinds on one node; nil: 10,000 more than sessions, for HTTP and handshakes.
    public var connections: Int?
    /// Joins a second that one node takes, and as many at once.
    public var joinsPerSecond = 10_000
    /// Bytes waiting to be written to one session before it is closed as slow.
    public var outboundBytes = 1_048_576
    /// Sends of one session that wait for their answer.
    public var waitingSendsPerSession = 256
    /// Sends of all local sessions of a room that wait for their answer.
    public var waitingSendsPerRoom = 4_096
    /// How long a send may wait for its answer before it fails as `unavailable`.
    public var sendWait: Duration = .seconds(15)
    /// Messages in one `history` answer.
    public var historyPage = 100
    /// Bytes of messages in one `history` answer: a quarter of what may wait for a session, so that a few pages at once do not make
    /// it slow. A page of at least one message, however long.
    public var historyPageBytes: Int { max(frameBytes, outboundBytes / 4) }
    /// Members in one `roster` answer.
    public var rosterPage = 500
    /// Up to this many members a `joined` holds the roster and changes name people; above it, counts only.
    public var rosterInline = 200
    /// Frames that cannot be read (bad JSON, binary, too large…) that a session may send in a minute before it is closed.
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

    /// ``costPerSecond`` and ``costBurst``, of nanoseconds of work.
    public var costRate: CostRate {
        let most = 1_000_000_000
        return CostRate(
            perSecond: max(1, min(costPerSecond, most)) * 1_000, burst: max(0, min(costBurst, most)) * 1_000)
    }

    /// The answer to who has said too much of late.
    public var tooManyBytes: WireError {
        let (most, burst) = (userBytesPerSecond, userBytesBurst)
        return WireError(.rateLimited, "the user says more than \(most) bytes a second (\(burst) at once)")
    }

    /// The answer to who has cost too much of late.
    public var tooDear: WireError {
        let (most, burst) = (costPerSecond, costBurst)
        return WireError(.rateLimited, "that costs the node more than \(most) microseconds a second (\(burst) at once)")
    }
}
