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
    let redis: RelayRedis
    let keys: RedisKeys
    /// The most entries of one stream (`MAXLEN ~`); what no group has read is lost to it beyond that.
    let length: Int

    /// The most bytes of events in one call, so that Redis is not held up.
    private static let mostBytes = 64 * 1_024

    func accept(_ batches: [EventBatch]) async throws -> SinkReceipt {
        let commands = batches.map { self.commands($0) }
        var replies = try await redis.ask(commands.flatMap(\.self))[...]
        var receipt = SinkReceipt()
        for (batch, commands) in zip(batches, commands) {
            for reply in replies.prefix(commands.count) {
                guard let text = reply.error else { continue }
                guard text.hasPrefix("FENCED") else { throw RelayTrouble("redis refuses: \(text)") }
                receipt.lost.insert(batch.lease)
            }
            replies = replies.dropFirst(commands.count)
        }
        return receipt
    }

    private func commands(_ batch: EventBatch) -> [[String]] {
        let tag = batch.lease.partition.keyTag
        let head = [
            "FCALL", "martlet_emit", "2", keys.key(.lease, ofPartition: tag), keys.key(.log, ofPartition: tag),
            String(batch.lease.token), String(length),
        ]
        var commands: [[String]] = []
        var command = head
        var bytes = 0
        for event in batch.rooms.lazy.flatMap(\.events) {
            let json = event.json(now: batch.now)
            command += [event.id, event.kind.rawValue, event.room.text, json]
            bytes += json.utf8.count
            guard bytes >= Self.mostBytes else { continue }
            commands.append(command)
            (command, bytes) = (head, 0)
        }
        if command.count > head.count { commands.append(command) }
        return commands
    }
}
