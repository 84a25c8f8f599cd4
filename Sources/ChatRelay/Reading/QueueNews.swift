import ChatCore
import Synchronization

/// In which partitions rooms were queued since the relay started, so that workers need not ask Redis where nothing is.
final class QueueNews: Sendable {
    /// How often rooms were queued in each partition, by its number.
    private let counts = Mutex([UInt64](repeating: 0, count: EventPartition.count))

    var now: Counts { counts.withLock { Counts(numbers: $0) } }

    func add(_ partition: EventPartition) { counts.withLock { $0[partition.number] &+= 1 } }

    /// A moment of it.
    struct Counts: Equatable {
        fileprivate let numbers: [UInt64]

        init(numbers: [UInt64]) { self.numbers = numbers }

        subscript(partition: EventPartition) -> UInt64 { numbers[partition.number] }
    }
}
