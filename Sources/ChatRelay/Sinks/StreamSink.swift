import ChatCore
import ChatRedis
import RedisSchema

/// Event streams in Redis, one for each partition, for consumer groups in any language.
///
/// An entry has the fields `id`, `type`, `room` and `event`, the JSON of the event. All events of a room are in one
/// stream, in order.
struct StreamSink: EventSink {
    let name = "streams"
    let filter: EventFilter
    let redis: any RelayStore
    let keys: RedisKeys
    /// The most entries of one stream (`MAXLEN ~`); what no group has read is lost to it beyond that.
    let length: Int

    /// The ID of an entry is `<token of the lease>-<number>`. The IDs of a stream only go up (Redis XADD), so what a
    /// relay adds when another one has already written as the new holder is refused.
    func accept(_ batches: [EventBatch]) async throws -> SinkReceipt {
        let commands = batches.map { self.commands($0) }
        var replies = try await redis.ask(commands.flatMap(\.self))[...]
        var receipt = SinkReceipt()
        for (batch, commands) in zip(batches, commands) {
            for reply in replies.prefix(commands.count) {
                guard let text = reply.error else { continue }
                guard text.contains("equal or smaller") else { throw RelayTrouble("redis refuses: \(text)") }
                receipt.lost.insert(batch.lease)
            }
            replies = replies.dropFirst(commands.count)
        }
        return receipt
    }

    private func commands(_ batch: EventBatch) -> [[String]] {
        let log = keys.key(.log, ofPartition: batch.lease.partition.keyTag)
        return batch.rooms.lazy.flatMap(\.events).map { event in
            [
                "XADD", log, "MAXLEN", "~", String(length), "\(batch.lease.token)-*", "id", event.id, "type",
                event.kind.rawValue, "room", event.room.text, "event", event.json(now: batch.now),
            ]
        }
    }
}
