import ChatCore
import ChatRedis
import RedisSchema

/// One endpoint that is sent events in the order of each room, several rooms at once.
///
/// An event that is not accepted is tried again by the schedule, and the later ones of its room wait for it; other
/// rooms do not. After the last attempt it becomes a dead letter, and the room goes on.
actor WebhookSink: EventSink {
    /// Rooms to which events are sent at once.
    private static let mostAtOnce = 8

    nonisolated var name: String { sender.endpoint.sink }
    nonisolated let filter: EventFilter
    /// What of the rooms it is given by this object; its attempts are counted apart from those of other feeds.
    private let feed: SinkFeed
    private nonisolated let sender: WebhookSender
    private let common: WebhookSender.Common

    /// Throws why nothing can be sent to the endpoint.
    init(_ endpoint: WebhookEndpoint, _ feed: SinkFeed, _ common: WebhookSender.Common) throws(RelayTrouble) {
        self.feed = feed
        self.common = common
        filter = endpoint.filter.since(endpoint.since)
        sender = try WebhookSender(endpoint, common)
    }

    func accept(_ batches: [EventBatch]) async throws -> SinkReceipt {
        let rooms = batches.flatMap { batch in batch.rooms.map { (batch.lease, $0) } }
        let tries = try await readTries(rooms)
        let work = zip(rooms, tries).map { Work(lease: $0.0, room: $0.1, tries: $1) }
        let (done, rest) = try await sender.each(of: work, atOnce: Self.mostAtOnce) { try await self.deliver($0) }
        var receipt = SinkReceipt()
        for one in done { receipt.partial[one.room] = one.partial }
        for work in rest { receipt.partial[work.room.room] = SinkReceipt.Partial(upTo: nil, delay: .seconds(1)) }
        return receipt
    }

    /// A room that the endpoint is to be sent.
    private struct Work: Sendable {
        let lease: LeaseBook.Lease
        let room: EventBatch.Room
        let tries: Tries
    }

    private struct Room: Sendable {
        let room: RoomName
        var partial: SinkReceipt.Partial?
    }

    /// What has been tried already: an event, and how often it was not accepted.
    private struct Tries: Sendable {
        var event = ""
        var failures = 0
    }

    private func deliver(_ work: Work) async throws -> Room {
        let (room, lease) = (work.room, work.lease)
        var tries = work.tries
        for (index, event) in room.events.enumerated() {
            if tries.event != event.id { tries = Tries(event: event.id) }
            let letter = WebhookLetter(event, now: common.clock.wall)
            guard case .failed(let problem, let retryAfter) = try await sender.send(letter) else { continue }
            tries.failures += 1
            if let pause = common.schedule.pause(
                afterFailures: tries.failures, random: .random(in: 0..<1), atLeast: retryAfter)
            {
                try await write(tries, room.room, lease)
                return Room(
                    room: room.room, partial: SinkReceipt.Partial(upTo: room.position(before: index), delay: pause))
            }
            try await sender.bury(letter, lease, problem)
        }
        if !work.tries.event.isEmpty { try await write(nil, room.room, lease) }
        return Room(room: room.room)
    }

    // MARK: what Redis keeps

    private func readTries(_ rooms: [(LeaseBook.Lease, EventBatch.Room)]) async throws -> [Tries] {
        let commands = rooms.map { lease, room in
            ["HGET", common.keys.tries(feed.name, ofPartition: lease.partition.keyTag), room.room.text]
        }
        return try await common.redis.ask(commands).map { reply in
            let parts = reply.string?.split(separator: " ") ?? []
            guard parts.count == 2, let count = Int(parts[1]) else { return Tries() }
            return Tries(event: String(parts[0]), failures: count)
        }
    }

    private func write(_ tries: Tries?, _ room: RoomName, _ lease: LeaseBook.Lease) async throws {
        let key = common.keys.tries(feed.name, ofPartition: lease.partition.keyTag)
        let command =
            tries.map { ["HSET", key, room.text, "\($0.event) \($0.failures)"] } ?? ["HDEL", key, room.text]
        _ = try await common.redis.ask([command])
    }
}
