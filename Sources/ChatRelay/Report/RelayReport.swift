/// How a relay is doing, since it started.
public struct RelayReport: Hashable, Sendable {
    /// The partitions that it holds now.
    public var partitions: Int
    /// Whether its last question to Redis was answered.
    public var reachesRedis: Bool
    /// Whether it could read the webhook endpoints the last time. If not, what was known of them stays in force.
    public var followsEndpoints: Bool
    /// Of each sink, in the order of their names.
    public var sinks: [(name: String, counts: SinkCounts)] {
        counts.map { (name: $0.key, counts: $0.value) }.sorted { $0.name < $1.name }
    }

    private let counts: [String: SinkCounts]

    init(partitions: Int, reachesRedis: Bool, followsEndpoints: Bool, counts: [String: SinkCounts]) {
        self.partitions = partitions
        self.reachesRedis = reachesRedis
        self.followsEndpoints = followsEndpoints
        self.counts = counts
    }
}

/// What a sink was given.
public struct SinkCounts: Hashable, Sendable {
    /// Events that it has accepted; those that it was given again count again.
    public internal(set) var events: UInt64 = 0
    /// How often it did not accept what it was given.
    public internal(set) var failures: UInt64 = 0
    /// Whether it did not accept what it was given last.
    public internal(set) var isFailing = false
    /// The time from a message to its being accepted.
    public internal(set) var delays = DelayCounts()
}

/// A histogram of times, in the form of Prometheus.
public struct DelayCounts: Hashable, Sendable {
    /// Upper bounds, in ms.
    public static let bounds: [UInt64] = [
        50, 100, 200, 300, 400, 500, 750, 1_000, 2_500, 5_000, 10_000, 60_000, 600_000,
    ]

    /// How many times were at most as long as each of the bounds.
    public private(set) var upTo = [UInt64](repeating: 0, count: Self.bounds.count)
    public private(set) var count: UInt64 = 0
    /// In ms.
    public private(set) var sum: UInt64 = 0

    mutating func add(_ milliseconds: UInt64) {
        count += 1
        sum = sum.addingReportingOverflow(milliseconds).partialValue
        for index in Self.bounds.indices where milliseconds <= Self.bounds[index] { upTo[index] += 1 }
    }
}
