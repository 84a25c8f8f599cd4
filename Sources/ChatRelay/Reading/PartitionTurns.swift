import ChatCore

/// Which partitions a worker asks for rooms that are due, and in which order, so that none waits for ever behind others
/// that have much to do. Event in, action out; time is an argument. Pure.
struct PartitionTurns {
    /// How often a partition is asked in which nothing is known to be queued: for rooms that are due later, and for
    /// those that another relay has queued.
    static let longest: Duration = .seconds(1)

    private struct State {
        var news: UInt64
        var asked: Moment
        /// Rooms may be due that were not handled.
        var isOpen: Bool
    }

    /// Of leases that the relay holds. A partition that it gets anew has another lease.
    private var states: [LeaseBook.Lease: State] = [:]
    /// The partition that comes first in the next round, or the next one behind it.
    private var first = 0

    /// The leases to ask about now, in the order in which their rooms are taken. Each stays open until it is
    /// ``closed(_:)``.
    mutating func next(_ leases: [LeaseBook.Lease], _ news: QueueNews.Counts, now: Moment) -> [LeaseBook.Lease] {
        states = states.filter { leases.contains($0.key) }
        let split = leases.firstIndex { $0.partition.number >= first } ?? 0
        return (leases[split...] + leases[..<split]).filter { lease in
            let count = news[lease.partition]
            if let state = states[lease], !state.isOpen, state.news == count, now - state.asked < Self.longest {
                return false
            }
            states[lease] = State(news: count, asked: now, isOpen: true)
            return true
        }
    }

    /// The round had no place for the other rooms of this lease, nor for those of the leases behind it: the next round
    /// begins with it.
    mutating func cut(at lease: LeaseBook.Lease) { first = lease.partition.number }

    /// All rooms of the lease that were due have been handled.
    mutating func closed(_ lease: LeaseBook.Lease) { states[lease]?.isOpen = false }
}
