import Histogram

/// The result of one thread of a run. Results are added up.
struct BenchResult: Sendable {
    var rooms: [BenchRoomVerdict] = []
    var said: UInt64 = 0
    var acked: UInt64 = 0
    /// Sends in the measured time alone.
    var measuredSends: UInt64 = 0
    var measuredDeliveries: UInt64 = 0
    /// Nanoseconds from when a message was due to when it arrived, by whether sender and receiver are on the same node.
    var sameNode = BenchResult.nanoseconds
    var crossNode = BenchResult.nanoseconds
    /// From the beginning of a connection to its `joined`.
    var joining = BenchResult.nanoseconds
    /// How late the generator itself was.
    var lag = BenchResult.nanoseconds
    /// Nanoseconds of CPU time of the busiest thread, and of the time that it ran.
    var threadCPU: UInt64 = 0
    var threadTime: UInt64 = 0
    /// Nanoseconds of CPU time of all threads in the measured time.
    var generatorCPU: UInt64 = 0
    /// Unexpected events, and how often they occurred.
    var troubles: [String: UInt64] = [:]

    private static var nanoseconds: Histogram<UInt64> {
        Histogram(highestTrackableValue: 120_000_000_000, numberOfSignificantValueDigits: .two)
    }

    mutating func note(_ trouble: String, _ count: UInt64) {
        troubles[trouble, default: 0] += count
    }

    mutating func add(_ other: BenchResult) {
        rooms += other.rooms
        said += other.said
        acked += other.acked
        measuredSends += other.measuredSends
        measuredDeliveries += other.measuredDeliveries
        sameNode.add(other.sameNode)
        crossNode.add(other.crossNode)
        joining.add(other.joining)
        lag.add(other.lag)
        generatorCPU += other.generatorCPU
        if other.threadCPU > threadCPU { (threadCPU, threadTime) = (other.threadCPU, other.threadTime) }
        troubles.merge(other.troubles, uniquingKeysWith: +)
    }

    var missing: UInt64 { rooms.reduce(0) { $0 + $1.missing } }
    var repeated: UInt64 { rooms.reduce(0) { $0 + $1.repeated } }
    var swapped: UInt64 { rooms.reduce(0) { $0 + $1.swapped } }
    var roomsOutOfOrder: Int { rooms.count { !$0.isOneOrder } }
    /// Whether every message was acknowledged and delivered to every member once and in one order, and nothing
    /// unexpected happened.
    var isExact: Bool {
        missing == 0 && repeated == 0 && swapped == 0 && roomsOutOfOrder == 0 && acked == said && troubles.isEmpty
    }

    /// Why the figures may show the limit of the generator instead of the nodes; nil if they do not.
    var ownLimit: String? {
        let busy = threadTime > 0 ? Double(threadCPU) / Double(threadTime) : 0
        if busy > 0.8 {
            return
                "the generator was busy \(Int(busy * 100)) % of the time: raise --threads, or run it on another machine"
        }
        let late = lag.totalCount > 0 ? lag.valueAtPercentile(99) : 0
        if late > 5_000_000 {
            return "the generator was up to \(late / 1_000_000) ms late (p99): it did not get enough CPU time"
        }
        return nil
    }
}
