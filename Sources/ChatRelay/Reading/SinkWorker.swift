import ChatCore
import ChatRedis
import Logging
import RedisSchema

/// Feeds a sink with one book of all rooms: reads what is due, hands it over, and moves the cursors. A sink that fails
/// or hangs holds up itself alone, as each feed has a worker and queues of its own.
///
/// A round handles a bounded number of rooms and bytes of all partitions that the relay holds, so its memory does not
/// depend on how far the sink is behind.
actor SinkWorker {
    /// Bounds of a round.
    private static let roomsAtOnce = 128
    private static let roomsOfPartition = 64
    /// How often a worker that has nothing to do looks whether rooms were queued, which costs Redis nothing.
    private static let idle: Duration = .milliseconds(25)
    /// When a room whose keys cannot be read is tried again, in ms.
    private static let brokenRoomDelay = 60_000
    /// When a room that is being closed is looked at again, in ms.
    private static let closingDelay = 500

    private let sink: any EventSink
    /// In keys and log lines.
    private let feedName: String
    private let redis: any RelayStore
    private let keys: RedisKeys
    private let holder: LeaseHolder
    private let clock: RelayClock
    private let logger: Logger
    private let news: QueueNews
    private let book: SinkBook
    private var turns = PartitionTurns()
    private let reader: any RoomReader
    private var failures = 0
    private var isSilent = Set<String>()

    init(
        _ sink: any EventSink, _ feed: SinkFeed, redis: any RelayStore, keys: RedisKeys, holder: LeaseHolder,
        news: QueueNews,
        book: SinkBook, clock: RelayClock, logger: Logger
    ) {
        self.news = news
        self.book = book
        reader =
            feed.book == .log
            ? LogReader(sink: sink.name, redis: redis, keys: keys) : RecordReader(feed, redis: redis, keys: keys)
        feedName = feed.name
        self.sink = sink
        self.redis = redis
        self.keys = keys
        self.holder = holder
        self.clock = clock
        self.logger = logger
    }

    /// Runs until the task is cancelled.
    func run() async {
        while !Task.isCancelled {
            let seen = news.now
            do {
                let isBusy = try await round()
                recovered()
                if !isBusy { await waitForRooms(since: seen) }
            } catch {
                let pause = failed(error)
                if pause > .zero { try? await Task.sleep(for: pause) }
            }
        }
    }

    private func waitForRooms(since seen: QueueNews.Counts) async {
        let end = ContinuousClock.now + PartitionTurns.longest
        while news.now == seen, ContinuousClock.now < end, !Task.isCancelled {
            try? await Task.sleep(for: Self.idle)
        }
    }

    private struct Outcome {
        let due: DueRoom
        /// When it is due again, in ms; nil: everything was read.
        var delay: Int?
        var position: Position?
    }

    /// What a round has read.
    private struct Harvest {
        var outcomes: [Outcome] = []
        var batches: [EventBatch] = []
        /// Rooms of which the sink has everything, once it has accepted the batches, and that are to be deleted.
        var closing: [RoomName] = []
    }

    /// Returns whether anything was due.
    func round() async throws -> Bool {
        try await sink.attend(await holder.leases)
        var (whole, due) = try await dueRooms()
        guard !due.isEmpty else { return false }
        let pages = try await reader.pages(due)
        if let next = due.dropFirst(pages.count).first {
            turns.cut(at: next.lease)
            let unread = Set(due.dropFirst(pages.count).map(\.lease))
            whole.removeAll { unread.contains($0) }
            due.removeLast(due.count - pages.count)
        }
        let harvest = harvest(due, pages, isWhole: await holder.feeds[feedName] ?? false)
        let receipt = harvest.batches.isEmpty ? SinkReceipt() : try await sink.accept(harvest.batches)
        for lease in receipt.lost { await holder.fenced(lease) }
        count(harvest.batches, receipt)
        let outcomes = harvest.outcomes.compactMap { outcome -> Outcome? in
            guard !receipt.lost.contains(outcome.due.lease) else { return nil }
            guard let partial = receipt.partial[outcome.due.room] else { return outcome }
            return Outcome(
                due: outcome.due, delay: max(1, Int(clamping: partial.delay.wholeMilliseconds)),
                position: partial.upTo)
        }
        try await settle(outcomes)
        for lease in whole where !outcomes.contains(where: { $0.due.lease == lease && $0.delay == 0 }) {
            turns.closed(lease)
        }
        // A room that cannot be deleted yet is due again after a moment.
        for room in harvest.closing {
            if try await sink.closer?.close(room) ?? false {
                await reader.forget(room)
                logger.info("a room was closed", metadata: ["room": "\(room)", "sink": "\(feedName)"])
            }
        }
        return true
    }

    /// From pages to events, and to what becomes of the rooms if the sink accepts them.
    private func harvest(_ due: [DueRoom], _ pages: [Result<RoomPage, RelayTrouble>], isWhole: Bool) -> Harvest {
        let now = clock.wall
        var harvest = Harvest()
        for (due, result) in zip(due, pages) {
            let page: RoomPage
            switch result {
            case .success(let read): page = read
            case .failure(let trouble):
                sayBroken(due.room.text, trouble.description)
                harvest.outcomes.append(Outcome(due: due, delay: Self.brokenRoomDelay))
                continue
            }
            let (all, position): ([RoomEvent], Position?)
            switch page.content {
            case .messages(let messages, let cursor):
                let feed = RoomFeed(of: due.room, after: cursor, messages, isWhole: isWhole)
                (all, position) = (feed.events, feed.position)
            case .events(let events, let upTo): (all, position) = (events, upTo)
            }
            let isClosing = page.isClosing && !page.hasMore && sink.closer != nil
            harvest.outcomes.append(
                Outcome(
                    due: due, delay: page.hasMore ? 0 : isClosing ? Self.closingDelay : nil, position: position))
            if isClosing { harvest.closing.append(due.room) }
            let events = all.filter { sink.filter.accepts($0) }
            guard !events.isEmpty else { continue }
            if harvest.batches.last?.lease != due.lease {
                harvest.batches.append(EventBatch(lease: due.lease, now: now))
            }
            harvest.batches[harvest.batches.count - 1].rooms.append(EventBatch.Room(room: due.room, events: events))
        }
        return harvest
    }

    private func count(_ batches: [EventBatch], _ receipt: SinkReceipt) {
        for room in batches.lazy.filter({ !receipt.lost.contains($0.lease) }).flatMap(\.rooms) {
            let accepted = room.events.filter { event in
                guard let partial = receipt.partial[room.room] else { return true }
                return partial.upTo.map { event.position <= $0 } ?? false
            }
            book.accepted(accepted, by: feedName, now: clock.wall)
        }
    }

    /// The rooms that are due, and the leases of which these are all.
    private func dueRooms() async throws -> (whole: [LeaseBook.Lease], due: [DueRoom]) {
        let asked = turns.next(await holder.leases, news.now, now: clock.now)
        var commands: [[String]] = []
        for lease in asked {
            commands.append([
                "ZRANGE", keys.due(feedName, ofPartition: lease.partition.keyTag), "-inf",
                String(await holder.redisClock(of: lease.partition)), "BYSCORE", "LIMIT", "0",
                String(Self.roomsOfPartition), "WITHSCORES",
            ])
        }
        var due: [DueRoom] = []
        var whole: [LeaseBook.Lease] = []
        var unreadable: [[String]] = []
        for (lease, reply) in zip(asked, try await redis.ask(commands)) {
            if let text = reply.error { throw RelayTrouble("redis refuses: \(text)") }
            let flat = reply.array ?? []
            var found: [DueRoom] = []
            for place in stride(from: 0, to: flat.count - 1, by: 2) {
                guard let name = flat[place].string, let score = flat[place + 1].string else { continue }
                guard let room = try? RoomName(stored: name) else {
                    sayBroken(name, "its name in the queue is no room's")
                    unreadable.append(["ZREM", keys.due(feedName, ofPartition: lease.partition.keyTag), name])
                    continue
                }
                found.append(DueRoom(lease: lease, room: room, score: score))
            }
            let taken = found.prefix(Self.roomsAtOnce - due.count)
            due += taken
            guard taken.count == found.count else {
                turns.cut(at: lease)
                break
            }
            guard flat.count < 2 * Self.roomsOfPartition else { continue }
            if found.isEmpty { turns.closed(lease) } else { whole.append(lease) }
        }
        _ = try await redis.ask(unreadable)
        return (whole, due)
    }

    /// Moves the cursors first: a room that left the queue before that would not be read again after a crash.
    private func settle(_ all: [Outcome]) async throws {
        // A relay that was frozen has lost its leases, and writes nothing.
        let held = Set(await holder.leases)
        let outcomes = all.filter { held.contains($0.due.lease) }
        let moves = outcomes.compactMap { outcome in outcome.position.map { (due: outcome.due, position: $0) } }
        var fenced: Set<LeaseBook.Lease> = []
        var unmoved: Set<RoomName> = []
        for (move, answer) in zip(moves, try await reader.move(moves, now: clock.now)) {
            switch answer {
            case .moved: break
            case .fenced: fenced.insert(move.due.lease)
            case .refused(let text):
                sayBroken(move.due.room.text, text)
                unmoved.insert(move.due.room)
            }
        }
        for lease in fenced { await holder.fenced(lease) }
        var lists: [LeaseBook.Lease: [String]] = [:]
        for outcome in outcomes where !fenced.contains(outcome.due.lease) {
            let delay = unmoved.contains(outcome.due.room) ? Self.brokenRoomDelay : outcome.delay
            lists[outcome.due.lease, default: []] += [
                outcome.due.room.text, outcome.due.score, delay.map { String($0) } ?? "",
            ]
        }
        let done = lists.map { lease, list in
            let tag = lease.partition.keyTag
            return [
                "FCALL", "martlet_done", "2", keys.key(.lease, ofPartition: tag),
                keys.due(feedName, ofPartition: tag), String(lease.token),
            ] + list
        }
        _ = try await redis.ask(done)
    }

    // MARK: Troubles

    /// Returns for how long the sink is left alone.
    private func failed(_ error: any Error) -> Duration {
        if Task.isCancelled { return .zero }
        failures += 1
        book.failed(feedName)
        if failures == 1 {
            logger.warning(
                "a sink does not accept events; they are given to it again",
                metadata: ["sink": "\(feedName)", "error": "\(error)"])
        }
        if let pause = (error as? RelayTrouble)?.pause { return max(.milliseconds(10), pause) }
        return min(.milliseconds(100) * (1 << min(failures, 6)), .seconds(5))
    }

    private func recovered() {
        if failures > 0 {
            book.recovered(feedName)
            logger.notice("a sink accepts events again", metadata: ["sink": "\(feedName)", "count": "\(failures)"])
        }
        failures = 0
    }

    private func sayBroken(_ room: String, _ text: String) {
        guard isSilent.count < 1_000, isSilent.insert(room).inserted else { return }
        logger.warning(
            "a room cannot be read for a sink; it is tried again every minute (see martlet doctor)",
            metadata: ["sink": "\(feedName)", "room": "\(room)", "error": "\(text)"])
    }
}
