import ChatCore
import ChatRedis
import RedisSchema

/// One endpoint that is sent events as they come, several at once, of one room too.
///
/// An event that is not accepted waits in Redis, until it is tried again by the schedule; nothing waits for it. After
/// the last attempt it becomes a dead letter. If too many wait, the rooms of that partition do.
actor UnorderedWebhookSink: EventSink {
    /// Events that are sent at once.
    private static let mostAtOnce = 8
    /// How often Redis is asked for events that are to be tried again.
    private static let look: Duration = .milliseconds(500)
    /// When rooms are given again that had to wait.
    private static let wait: Duration = .seconds(1)

    nonisolated var name: String { sender.endpoint.sink }
    nonisolated let filter: EventFilter
    private let feed: SinkFeed
    private nonisolated let sender: WebhookSender
    private let common: WebhookSender.Common
    private var lastLook: Moment?

    /// Throws why nothing can be sent to the endpoint.
    init(_ endpoint: WebhookEndpoint, _ feed: SinkFeed, _ common: WebhookSender.Common) throws(RelayTrouble) {
        self.feed = feed
        self.common = common
        filter = endpoint.filter.since(endpoint.since)
        sender = try WebhookSender(endpoint, common)
    }

    /// An event of a room, with its place among what was given of it.
    private struct Work: Sendable {
        let lease: LeaseBook.Lease
        let room: RoomName
        let place: Int
        let letter: WebhookLetter
        /// The member of the sorted set that it is; nil for an event that was not tried yet.
        var member: String?
    }

    private func key(_ lease: LeaseBook.Lease) -> String {
        common.keys.later(feed.name, ofPartition: lease.partition.keyTag)
    }

    func accept(_ batches: [EventBatch]) async throws -> SinkReceipt {
        var receipt = SinkReceipt()
        var work: [Work] = []
        let waiting = try await common.redis.ask(batches.map { ["ZCARD", key($0.lease)] })
        for (batch, count) in zip(batches, waiting) {
            for room in batch.rooms {
                guard count.integer ?? 0 < common.deadLetters else {
                    receipt.partial[room.room] = SinkReceipt.Partial(upTo: nil, delay: Self.wait)
                    continue
                }
                for (place, event) in room.events.enumerated() {
                    let letter = WebhookLetter(event, now: common.clock.wall)
                    work.append(Work(lease: batch.lease, room: room.room, place: place, letter: letter))
                }
            }
        }
        var firsts: [RoomName: Int] = [:]
        for rest in try await deliver(work) {
            firsts[rest.room] = min(firsts[rest.room] ?? .max, rest.place)
        }
        for room in batches.lazy.flatMap(\.rooms) {
            guard let first = firsts[room.room] else { continue }
            receipt.partial[room.room] = SinkReceipt.Partial(upTo: room.position(before: first), delay: Self.wait)
        }
        return receipt
    }

    func attend(_ leases: [LeaseBook.Lease]) async throws {
        let now = common.clock.now
        guard lastLook.map({ now - $0 >= Self.look }) ?? true, await !sender.isLeftAlone else { return }
        lastLook = now
        let wall = String(common.clock.wall)
        let replies = try await common.redis.ask(
            leases.map { ["ZRANGE", key($0), "-inf", wall, "BYSCORE", "LIMIT", "0", String(Self.mostAtOnce)] })
        var work: [Work] = []
        var unreadable: [[String]] = []
        for (lease, reply) in zip(leases, replies) {
            for member in (reply.array ?? []).compactMap(\.string) {
                guard let letter = WebhookLetter(member), let room = try? RoomName(stored: letter.room) else {
                    unreadable.append(["ZREM", key(lease), member])
                    continue
                }
                work.append(Work(lease: lease, room: room, place: 0, letter: letter, member: member))
            }
        }
        if !unreadable.isEmpty { _ = try await common.redis.ask(unreadable) }
        _ = try await deliver(work)
    }

    /// Sends events. Returns those that were not tried, as the endpoint has failed too often.
    private func deliver(_ work: [Work]) async throws -> ArraySlice<Work> {
        try await sender.each(of: work, atOnce: Self.mostAtOnce) { try await self.deliver($0) }.rest
    }

    private func deliver(_ work: Work) async throws {
        var letter = work.letter
        var commands: [[String]] = []
        if case .failed(let problem, let retryAfter) = try await sender.send(letter) {
            letter.failures += 1
            if let pause = common.schedule.pause(
                afterFailures: letter.failures, random: .random(in: 0..<1), atLeast: retryAfter)
            {
                let due = common.clock.wall + UInt64(clamping: pause.wholeMilliseconds)
                commands.append(["ZADD", key(work.lease), String(due), letter.text])
            } else {
                try await sender.bury(letter, work.lease, problem)
            }
        }
        if let member = work.member { commands.append(["ZREM", key(work.lease), member]) }
        for reply in try await common.redis.ask(commands) {
            if let text = reply.error { throw RelayTrouble("redis refuses: \(text)") }
        }
    }
}
