public import ChatAccess
public import ChatArchive
import ChatCore
public import ChatRedis
public import Logging
public import RedisSchema
import Synchronization

/// What a relay is told. The defaults of the numbers are those of the environment's variables, which the caller reads.
public struct RelaySettings: Sendable {
    /// Identifies the relay among all relays: a new one for each process.
    public var id: String
    public var keys: RedisKeys
    /// For how long a partition belongs to a relay that is not heard of.
    public var lease: Duration
    /// The time between two scans of all rooms.
    public var scan: Duration
    /// The event streams: whether there are any, and the most entries of one.
    public var hasStreams = true
    public var streamLength: Int
    public var streamFilter = EventFilter.everything
    /// Where messages are archived; nil: nowhere.
    public var archive: ArchiveAddress?
    /// How long after its last message the content of a room without nodes leaves Redis, once it is archived; nil:
    /// never.
    public var cold: Duration?
    public var webhooks: WebhookSettings

    public init(
        id: String, keys: RedisKeys, lease: Duration, scan: Duration, streamLength: Int, webhooks: WebhookSettings
    ) {
        self.id = id
        self.keys = keys
        self.lease = lease
        self.scan = scan
        self.streamLength = streamLength
        self.webhooks = webhooks
    }
}

/// How events are sent to webhook endpoints.
public struct WebhookSettings: Sendable {
    /// The operator's key, from which the secrets of endpoints are derived; nil: only endpoints with secrets of their
    /// own are sent anything.
    public var key: HookSecret?
    /// Hosts that may be on this machine or in a private network, and may be spoken to without TLS.
    public var allowedHosts: Set<String> = []
    /// The time for one delivery.
    public var timeout: Duration
    public var schedule: RetrySchedule
    /// The most dead letters of an endpoint in one of the 16 partitions; the oldest ones go.
    public var deadLetters: Int
    /// The most endpoints that there may be.
    public var mostEndpoints: Int
    /// A PEM file of the authorities that are trusted in place of the system's.
    public var authorityFile: String?

    public init(timeout: Duration, schedule: RetrySchedule, deadLetters: Int, mostEndpoints: Int) {
        self.deadLetters = deadLetters
        self.mostEndpoints = mostEndpoints
        self.timeout = timeout
        self.schedule = schedule
    }
}

/// A relay: reads the logs of rooms by cursors, and hands events to sinks. Nothing that it does delays the chat.
///
/// Several relays share the partitions. Each sink is given every event at least once, those of a room in order; see
/// [the page of this module](README.md).
public final class Relay: Sendable {
    private let settings: RelaySettings
    private let redis: RelayRedis
    private let holder: LeaseHolder
    private let crew: SinkCrew
    private let news = QueueNews()
    private let book = SinkBook()
    /// Whether the last question to Redis was answered.
    private let reachesRedis = Mutex(false)
    /// Whether the webhook endpoints could be read the last time.
    private let followsEndpoints = Mutex(false)
    private let sinks: [any EventSink]
    private let clock: RelayClock
    private let logger: Logger

    /// `find`: the present address of Redis. `wallClock`: ms since 1970. Throws if TLS cannot be set up.
    public init(
        _ settings: RelaySettings, logger: Logger, wallClock: @escaping @Sendable () -> UInt64,
        find: @escaping @Sendable () async throws -> RedisTarget
    ) throws {
        self.settings = settings
        self.logger = logger
        clock = RelayClock(wallClock: wallClock)
        let redis = RelayRedis(name: "martlet-relay", find: find)
        self.redis = redis
        var sinks: [any EventSink] = []
        if settings.hasStreams {
            sinks.append(
                StreamSink(
                    filter: settings.streamFilter, redis: redis, keys: settings.keys, length: settings.streamLength))
        }
        if let archive = settings.archive { sinks.append(ArchiveSink(archive, redis: redis, keys: settings.keys)) }
        let feeds = sinks.flatMap { sink in sink.filter.books.map { SinkFeed(sink.name, $0).name } }
        let holder = LeaseHolder(
            redis: redis, keys: settings.keys, id: settings.id, feeds: feeds, life: settings.lease,
            clock: clock, logger: logger)
        self.holder = holder
        self.sinks = sinks
        let webhooks = WebhookSender.Common(
            redis: redis, keys: settings.keys,
            client: try WebhookClient(
                allowedHosts: settings.webhooks.allowedHosts, timeout: settings.webhooks.timeout,
                authorityFile: settings.webhooks.authorityFile),
            secrets: WebhookSecrets(key: settings.webhooks.key), schedule: settings.webhooks.schedule,
            deadLetters: settings.webhooks.deadLetters, clock: clock)
        crew = SinkCrew(
            redis: redis, keys: settings.keys, holder: holder, news: news, book: book, clock: clock,
            webhooks: webhooks, logger: logger)
    }

    /// How it is doing now.
    public func report() async -> RelayReport {
        RelayReport(
            partitions: await holder.leases.count, reachesRedis: reachesRedis.withLock { $0 },
            followsEndpoints: followsEndpoints.withLock { $0 }, counts: book.counts)
    }

    /// Runs until the task is cancelled, and then gives its partitions back.
    public func run() async {
        await withTaskGroup(of: Void.self) { tasks in
            tasks.addTask { await self.holdForever() }
            tasks.addTask { await self.followForever() }
            tasks.addTask { await self.takeForever() }
            tasks.addTask { await self.scanForever() }
            if settings.hasStreams { tasks.addTask { await self.trimForever() } }
            for sink in sinks { await crew.start(sink) }
            await tasks.waitForAll()
            await crew.end()
        }
        // The task is cancelled, but what it holds has to be given back.
        await Task.detached { [holder, redis] in
            await holder.end()
            await redis.close()
        }.value
    }

    // MARK: Leases

    private func holdForever() async {
        var isWell = true
        while !Task.isCancelled {
            var pause = settings.lease / 3
            do throws(RelayTrouble) {
                try await holder.tick()
                if !isWell { logger.notice("the relay reaches redis again") }
                isWell = true
            } catch {
                if isWell { logger.warning("the relay does not reach redis", metadata: ["error": "\(error)"]) }
                isWell = false
                pause = min(pause, .milliseconds(500))
            }
            reachesRedis.withLock { $0 = isWell }
            try? await Task.sleep(for: pause)
        }
    }

    // MARK: Webhooks

    private static let followPause: Duration = .seconds(2)

    /// Apart from the leases: a worker that is to end may have to wait for an endpoint, for longer than a lease lives.
    private func followForever() async {
        let store = WebhookStore(keys: settings.keys)
        var problem: String?
        while !Task.isCancelled {
            do throws(RelayTrouble) {
                guard let reply = try await redis.ask([store.read]).first else { throw RelayTrouble("redis: no reply") }
                if let text = reply.error { throw RelayTrouble("redis refuses: \(text)") }
                try await crew.follow(store.endpoints(reply), unreadable: store.unreadable(reply))
                problem = nil
            } catch {
                if Task.isCancelled { return }
                if problem != error.description {
                    logger.warning(
                        "the webhook endpoints cannot be followed; what was known of them stays in force",
                        metadata: ["error": "\(error)"])
                }
                problem = error.description
            }
            followsEndpoints.withLock { $0 = problem == nil }
            try? await Task.sleep(for: Self.followPause)
        }
    }

    // MARK: Queues

    /// Hands the rooms that nodes have noted to the queues of the sinks.
    private func takeForever() async {
        let taker = RoomTaker(redis: redis, keys: settings.keys, holder: holder, news: news)
        var isWell = true
        while !Task.isCancelled {
            do throws(RelayTrouble) {
                let hasMore = try await taker.take()
                isWell = true
                if hasMore { continue }
            } catch {
                // Whoever cannot be reached is named elsewhere.
                if isWell { logger.warning("rooms cannot be queued for sinks", metadata: ["error": "\(error)"]) }
                isWell = false
            }
            try? await Task.sleep(for: RelayBeat.untilTaken(wall: clock.wall))
        }
    }

    // MARK: Scans

    /// Nodes look every two seconds whether there is a relay. What they have stored before they knew of the first one,
    /// and after the first scan, is found by a second one after this time.
    private static let untilNodesKnow: Duration = .seconds(5)

    /// The relay that holds the first partition scans for all: when it has got that partition, as nobody may have
    /// listened before, once more when all nodes know that there is a relay, when a sink is new, and from time to time.
    private func scanForever() async {
        var lastScan: Moment?
        var isFirst = true
        while !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(200))
            guard await holder.leases.first?.partition == .first else {
                (lastScan, isFirst) = (nil, true)
                continue
            }
            let feeds = await holder.feeds
            let pause = isFirst ? min(settings.scan, Self.untilNodesKnow) : settings.scan
            let isDue = lastScan.map { clock.now - $0 >= pause } ?? true
            guard isDue || feeds.values.contains(false), !feeds.isEmpty else { continue }
            do {
                var scan = RoomScan(redis: redis, keys: settings.keys, clock: clock)
                scan.cold = settings.archive == nil ? nil : settings.cold
                let (count, cold) = try await scan.run(for: feeds.keys.sorted())
                for (feed, isWhole) in feeds where !isWhole { try await holder.isWhole(feed) }
                isFirst = lastScan == nil
                lastScan = clock.now
                logger.info("all rooms were scanned", metadata: ["behind": "\(count)", "cold": "\(cold)"])
            } catch {
                if Task.isCancelled { return }
                logger.warning("the scan of all rooms failed; it begins again", metadata: ["error": "\(error)"])
                try? await Task.sleep(for: .seconds(2))
            }
        }
    }

    // MARK: Event streams

    private static let trimInterval: Duration = .seconds(5)

    private func trimForever() async {
        let trimmer = StreamTrimmer(redis: redis, keys: settings.keys, logger: logger)
        while !Task.isCancelled {
            try? await Task.sleep(for: Self.trimInterval)
            let leases = await holder.leases
            await trimmer.trim(leases.map(\.partition))
        }
    }
}
