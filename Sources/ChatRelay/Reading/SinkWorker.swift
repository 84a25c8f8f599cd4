import ChatCore
import ChatRedis
import Logging
import RedisSchema
import Synchronization

/// Feeds one sink: reads what is due, hands it over, and moves the cursors. A sink that fails or hangs holds up itself
/// alone, as each has a worker and queues of its own.
///
/// A round handles a bounded number of rooms and bytes of all partitions that the relay holds, so its memory does not
/// depend on how far the sink is behind.
actor SinkWorker {
    /// Bounds of a round.
    private static let roomsAtOnce = 128
    private static let roomsOfPartition = 64
    private static let page = "200:131072"
    /// How often a worker that has nothing to do looks whether rooms were queued, which costs Redis nothing.
    private static let idle: Duration = .milliseconds(25)
    /// How often it asks Redis all the same: for rooms that are due later, and that another relay has queued.
    private static let longestIdle: Duration = .seconds(1)
    /// When a room whose keys cannot be read is tried again, in ms.
    private static let brokenRoomDelay = 60_000
    /// When a room that is being closed is looked at again, in ms.
    private static let closingDelay = 500

    private let sink: any EventSink
    private let redis: RelayRedis
    private let keys: RedisKeys
    private let holder: LeaseHolder
    private let clock: RelayClock
    private let logger: Logger
    private let queued: QueuedRooms
    private var failures = 0
    private var isSilent = Set<String>()

    init(
        _ sink: any EventSink, redis: RelayRedis, keys: RedisKeys, holder: LeaseHolder, queued: QueuedRooms,
        clock: RelayClock, logger: Logger
    ) {
        self.queued = queued
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
            let seen = queued.count
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

    private func waitForRooms(since seen: UInt64) async {
        let end = ContinuousClock.now + Self.longestIdle
        while queued.count == seen, ContinuousClock.now < end, !Task.isCancelled {
            try? await Task.sleep(for: Self.idle)
        }
    }

    /// A room that is due for the sink.
    private struct Due {
        let lease: LeaseBook.Lease
        let room: RoomName
        /// As Redis has it: whoever queues the room again changes it.
        let score: String
    }

    private struct Outcome {
        let due: Due
        /// When it is due again, in ms; nil: everything was read.
        var delay: Int?
        var position: Position?
    }

    /// Returns whether anything was due.
    func round() async throws -> Bool {
        let due = try await dueRooms()
        guard !due.isEmpty else { return false }
        let isWhole = await holder.sinks[sink.name] ?? false
        var outcomes: [Outcome] = []
        var batches: [EventBatch] = []
        var closing: [RoomName] = []
        let now = clock.wall
        for (due, reply) in zip(due, try await redis.ask(due.map { pageCommand($0) })) {
            guard let parts = reply.array, parts.count == 4, let place = parts[0].string else {
                sayBroken(due.room, reply.error ?? "no page")
                outcomes.append(Outcome(due: due, delay: Self.brokenRoomDelay))
                continue
            }
            let feed = RoomFeed(of: due.room, after: Position(place), parts[1].messages, isWhole: isWhole)
            let isClosing = parts[3].integer == 1 && parts[2].integer != 1 && sink.closer != nil
            outcomes.append(
                Outcome(
                    due: due, delay: parts[2].integer == 1 ? 0 : isClosing ? Self.closingDelay : nil,
                    position: feed.position))
            if isClosing { closing.append(due.room) }
            let events = feed.events.filter { sink.filter.accepts($0) }
            guard !events.isEmpty else { continue }
            if batches.last?.lease != due.lease { batches.append(EventBatch(lease: due.lease, now: now)) }
            batches[batches.count - 1].rooms.append(EventBatch.Room(room: due.room, events: events))
        }
        let receipt = batches.isEmpty ? SinkReceipt() : try await sink.accept(batches)
        for lease in receipt.lost { await holder.fenced(lease) }
        outcomes = outcomes.compactMap { outcome in
            guard !receipt.lost.contains(outcome.due.lease) else { return nil }
            guard let partial = receipt.partial[outcome.due.room] else { return outcome }
            return Outcome(
                due: outcome.due, delay: max(1, Int(clamping: partial.delay.wholeMilliseconds)),
                position: partial.upTo)
        }
        try await settle(outcomes)
        // A room that cannot be deleted yet is due again after a moment.
        for room in closing {
            if try await sink.closer?.close(room) ?? false {
                logger.info("a room was closed", metadata: ["room": "\(room)", "sink": "\(sink.name)"])
            }
        }
        return true
    }

    private func dueRooms() async throws -> [Due] {
        let leases = await holder.leases
        let commands = leases.map { lease in
            let tag = lease.partition.keyTag
            return [
                "FCALL", "martlet_due", "2", keys.key(.lease, ofPartition: tag), keys.due(sink.name, ofPartition: tag),
                String(lease.token), String(Self.roomsOfPartition),
            ]
        }
        var due: [Due] = []
        for (lease, reply) in zip(leases, try await redis.ask(commands)) {
            if let text = reply.error {
                guard text.hasPrefix("FENCED") else { throw RelayTrouble("redis refuses: \(text)") }
                await holder.fenced(lease)
                continue
            }
            let flat = reply.array ?? []
            for place in stride(from: 0, to: flat.count - 1, by: 2) {
                guard due.count < Self.roomsAtOnce else { break }
                guard let name = flat[place].string, let score = flat[place + 1].string,
                    let room = try? RoomName(stored: name)
                else { continue }
                due.append(Due(lease: lease, room: room, score: score))
            }
        }
        return due
    }

    private func pageCommand(_ due: Due) -> [String] {
        [
            "FCALL", "martlet_page", "2", keys.key(.log, of: due.room.text), keys.key(.cursors, of: due.room.text),
            sink.name, Self.page,
        ]
    }

    /// Moves the cursors first: a room that left the queue before that would not be read again after a crash.
    private func settle(_ outcomes: [Outcome]) async throws {
        let moved = outcomes.filter { $0.position != nil }
        let commands = moved.map { outcome in
            let room = outcome.due.room.text
            return [
                "FCALL", "martlet_cursor", "2", keys.key(.log, of: room), keys.key(.cursors, of: room), sink.name,
                String(outcome.due.lease.token), outcome.position?.description ?? "",
            ]
        }
        var fenced: Set<LeaseBook.Lease> = []
        var unmoved: Set<RoomName> = []
        for (outcome, reply) in zip(moved, try await redis.ask(commands)) {
            guard let text = reply.error else { continue }
            if text.hasPrefix("FENCED") {
                fenced.insert(outcome.due.lease)
            } else {
                sayBroken(outcome.due.room, text)
                unmoved.insert(outcome.due.room)
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
                keys.due(sink.name, ofPartition: tag), String(lease.token),
            ] + list
        }
        _ = try await redis.ask(done)
    }

    // MARK: Troubles

    /// Returns for how long the sink is left alone.
    private func failed(_ error: any Error) -> Duration {
        if Task.isCancelled { return .zero }
        failures += 1
        if failures == 1 {
            logger.warning(
                "a sink does not accept events; they are given to it again",
                metadata: ["sink": "\(sink.name)", "error": "\(error)"])
        }
        if let pause = (error as? RelayTrouble)?.pause { return max(.milliseconds(10), pause) }
        return min(.milliseconds(100) * (1 << min(failures, 6)), .seconds(5))
    }

    private func recovered() {
        if failures > 0 {
            logger.notice("a sink accepts events again", metadata: ["sink": "\(sink.name)", "count": "\(failures)"])
        }
        failures = 0
    }

    private func sayBroken(_ room: RoomName, _ text: String) {
        guard isSilent.count < 1_000, isSilent.insert(room.text).inserted else { return }
        logger.warning(
            "a room cannot be read for a sink; it is tried again every minute (see martlet doctor)",
            metadata: ["sink": "\(sink.name)", "room": "\(room)", "error": "\(text)"])
    }
}

/// How many rooms the relay has queued for its sinks since it started, so that idle workers need not ask Redis.
final class QueuedRooms: Sendable {
    private let all = Atomic<UInt64>(0)

    var count: UInt64 { all.load(ordering: .relaxed) }

    func add(_ count: Int) { all.add(UInt64(max(0, count)), ordering: .relaxed) }
}
