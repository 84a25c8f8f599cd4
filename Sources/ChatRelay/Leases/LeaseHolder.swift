import ChatCore
import ChatRedis
import Logging
import RedisSchema
import Synchronization

/// Carries out what ``LeaseBook`` decides: registers the relay, and keeps its leases.
actor LeaseHolder {
    private let redis: any RelayStore
    private let keys: RedisKeys
    private let id: String
    private let clock: RelayClock
    private let logger: Logger
    private var book: LeaseBook
    /// The feeds of this relay's sinks.
    private let ownFeeds: [String]
    /// All feeds that relays have, and of each whether it was given all rooms that there were when it was added.
    private(set) var feeds: [String: Bool] = [:]
    private var announced: [EventPartition] = []
    /// The clock of the Redis that has a partition, as it was in the answer to the last question, and when that was
    /// asked.
    private var clocks: [EventPartition: (redis: UInt64, asked: Moment)] = [:]

    init(
        redis: any RelayStore, keys: RedisKeys, id: String, feeds: [String], life: Duration, clock: RelayClock,
        logger: Logger
    ) {
        self.redis = redis
        self.keys = keys
        self.id = id
        ownFeeds = feeds
        self.clock = clock
        self.logger = logger
        book = LeaseBook(life: life, start: id.utf8.reduce(0) { ($0 &* 31 &+ Int($1)) & 0xFFFF })
    }

    /// The leases that this relay holds now.
    var leases: [LeaseBook.Lease] { book.current(now: clock.now) }

    /// The clock of the Redis that has the partition (ms since 1970), or a few ms later, so that what is due for Redis
    /// is due here, too.
    func redisClock(of partition: EventPartition) -> UInt64 {
        guard let last = clocks[partition] else { return clock.wall }
        return last.redis + UInt64(clamping: (clock.now - last.asked).wholeMilliseconds) + 1
    }

    /// How long nodes note rooms for relays after the last one was heard of.
    static let registrationLife: Duration = .seconds(86_400)

    private func key(_ key: EventKey) -> String { keys.key(key, ofPartition: EventPartition.first.keyTag) }

    /// Registers, renews the leases, and asks for those that are missing. To be called three times in the life of a
    /// lease.
    func tick() async throws(RelayTrouble) {
        let wall = clock.wall
        let recent = wall - min(wall, UInt64(book.life.wholeMilliseconds))
        var commands = [
            ["SET", key(.registered), id, "PX", String(Self.registrationLife.wholeMilliseconds)],
            ["ZADD", key(.relays), String(wall), id],
            ["ZREMRANGEBYSCORE", key(.relays), "-inf", "(\(recent)"],
            ["ZRANGE", key(.relays), "0", "-1"],
        ]
        for feed in ownFeeds { commands.append(["HSETNX", key(.sinks), feed, "new \(wall)"]) }
        commands.append(["HGETALL", key(.sinks)])
        let replies = try await redis.ask(commands)
        for reply in replies { if let text = reply.error { throw RelayTrouble("redis refuses: \(text)") } }
        let count = replies[3].array?.count ?? 1
        feeds = (replies.last?.pairs ?? [:]).mapValues { $0.string?.hasPrefix("whole") ?? false }
        try await carryOut(book.tick(now: clock.now, relays: count))
        sayChange()
    }

    /// Another relay has the partition.
    func fenced(_ lease: LeaseBook.Lease) {
        book.fenced(lease)
        sayChange()
    }

    /// Every room that there was when the feed was added has been queued for it.
    func isWhole(_ feed: String) async throws(RelayTrouble) {
        _ = try await redis.ask([["HSET", key(.sinks), feed, "whole \(clock.wall)"]])
        feeds[feed] = true
    }

    /// Gives everything back, so that other relays need not wait.
    func end() async {
        try? await carryOut(book.giveBackAll())
        _ = try? await redis.ask([["ZREM", key(.relays), id]])
    }

    private func carryOut(_ actions: [LeaseBook.Action]) async throws(RelayTrouble) {
        let asked = clock.now
        let commands = actions.map { action in
            let (partition, life): (EventPartition, Int64) =
                switch action {
                case .ask(let partition): (partition, book.life.wholeMilliseconds)
                case .giveBack(let partition): (partition, 0)
                }
            return [
                "FCALL", "martlet_lease", "2", keys.key(.lease, ofPartition: partition.keyTag),
                keys.key(.log, ofPartition: partition.keyTag), id, String(life),
            ]
        }
        for (action, reply) in zip(actions, try await redis.ask(commands)) {
            guard case .ask(let partition) = action else { continue }
            guard let parts = reply.array, parts.count == 4, let token = parts[0].integer, token >= 0,
                let left = parts[2].integer, let time = parts[3].integer, time >= 0
            else {
                logger.warning(
                    "a lease is not granted", metadata: ["partition": "\(partition)", "error": "\(reply.error ?? "")"])
                continue
            }
            clocks[partition] = (UInt64(time), asked)
            let answer: LeaseBook.Answer =
                token > 0 ? .held(token: UInt64(token)) : .taken(for: .milliseconds(max(0, left)))
            book.answered(partition, answer, askedAt: asked)
        }
    }

    private func sayChange() {
        let held = leases.map(\.partition)
        guard held != announced else { return }
        announced = held
        logger.info(
            "the relay's partitions have changed",
            metadata: ["partitions": "\(held.map(\.description).joined(separator: " "))", "count": "\(held.count)"])
    }
}

/// The relay's clocks.
struct RelayClock: Sendable {
    private let clock: @Sendable () -> Moment

    /// Monotonic.
    var now: Moment { clock() }

    /// ms since 1970.
    let wallClock: @Sendable () -> UInt64
    var wall: UInt64 { wallClock() }

    init(wallClock: @escaping @Sendable () -> UInt64) {
        let start = ContinuousClock.now
        self.init(
            clock: {
                Moment(nanoseconds: UInt64(max(0, (ContinuousClock.now - start).attoseconds / 1_000_000_000)) + 1)
            }, wallClock: wallClock)
    }

    init(clock: @escaping @Sendable () -> Moment, wallClock: @escaping @Sendable () -> UInt64) {
        self.clock = clock
        self.wallClock = wallClock
    }
}
