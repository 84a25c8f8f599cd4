import ChatCore

/// Which partitions a relay holds, and which it asks for. Event in, action out; time is an argument. Pure.
///
/// Relays share the partitions evenly: each takes up to its share, and gives back what is above it. A lease that is not
/// renewed ends by itself, and another relay takes it. A lease counts from the moment at which it was asked for, so
/// this relay believes in it no longer than Redis does.
struct LeaseBook {
    struct Lease: Hashable, Sendable {
        let partition: EventPartition
        /// Every write on behalf of the partition carries it; Redis refuses the one of an older holder.
        let token: UInt64
    }

    enum Action: Hashable, Sendable {
        /// Ask for the lease, or renew it. → ``answered(_:_:askedAt:)``
        case ask(EventPartition)
        /// Give the lease back. Nothing is written on behalf of the partition any more.
        case giveBack(EventPartition)
    }

    /// Redis' answer to a question for a lease.
    enum Answer: Hashable, Sendable {
        case held(token: UInt64)
        /// Another relay has it, for so long.
        case taken(for: Duration)
    }

    private struct Held {
        var token: UInt64
        var until: Moment
    }

    /// For how long a lease is asked.
    let life: Duration
    private var held: [EventPartition: Held] = [:]
    /// When the leases of others end, unless they renew them.
    private var taken: [EventPartition: Moment] = [:]
    /// The first partition that is asked for, so that relays which start together do not ask for the same ones.
    private let start: Int

    /// `start`: any number, another one for each relay.
    init(life: Duration, start: Int) {
        self.life = life
        self.start = start
    }

    /// The leases that have not ended, by partition.
    func current(now: Moment) -> [Lease] {
        held.filter { $0.value.until > now }.map { Lease(partition: $0.key, token: $0.value.token) }
            .sorted { $0.partition < $1.partition }
    }

    /// To be called several times in the life of a lease. `relays`: how many are registered, this one included.
    mutating func tick(now: Moment, relays: Int) -> [Action] {
        for (partition, lease) in held where lease.until <= now { held[partition] = nil }
        let share = (EventPartition.count + max(1, relays) - 1) / max(1, relays)
        var actions: [Action] = []
        let kept = held.keys.sorted()
        for partition in kept.prefix(share) { actions.append(.ask(partition)) }
        for partition in kept.dropFirst(share) {
            held[partition] = nil
            actions.append(.giveBack(partition))
        }
        actions += wanted(now: now, without: kept).prefix(share - min(share, kept.count)).map { .ask($0) }
        return actions
    }

    /// The partitions that nobody is known to hold. First those about which it was asked least lately: a partition
    /// without a holder must not be passed over for ever because others renew theirs.
    private func wanted(now: Moment, without kept: [EventPartition]) -> [EventPartition] {
        let all = EventPartition.all.indices.map { index in
            EventPartition.all[(index + abs(start % EventPartition.count)) % EventPartition.count]
        }
        return all.filter { !kept.contains($0) && taken[$0].map { $0 <= now } ?? true }.enumerated()
            .map { (place: $0.offset, partition: $0.element, since: taken[$0.element]?.nanoseconds ?? 0) }
            .sorted { ($0.since, $0.place) < ($1.since, $1.place) }.map(\.partition)
    }

    /// `askedAt`: when the question was sent.
    mutating func answered(_ partition: EventPartition, _ answer: Answer, askedAt: Moment) {
        switch answer {
        case .held(let token):
            held[partition] = Held(token: token, until: askedAt + life)
            taken[partition] = nil
        case .taken(let left):
            held[partition] = nil
            taken[partition] = askedAt + left
        }
    }

    /// Redis has refused a write: another relay has the partition.
    mutating func fenced(_ lease: Lease) {
        guard held[lease.partition]?.token == lease.token else { return }
        held[lease.partition] = nil
    }

    /// All leases, as the relay ends.
    mutating func giveBackAll() -> [Action] {
        let all = held.keys.sorted()
        held = [:]
        return all.map { .giveBack($0) }
    }
}
