import ChatCore
import ChatRedis
import RedisSchema

/// Hands the rooms that nodes have noted to the queues of the sinks.
struct RoomTaker: Sendable {
    let redis: any RelayStore
    let keys: RedisKeys
    let holder: LeaseHolder
    let news: QueueNews

    /// Rooms of one partition that are handed to one sink at once. With more sinks, fewer rooms, so that a call costs
    /// Redis the same.
    private static let takeAtOnce = 500

    /// Returns whether there is more.
    func take() async throws(RelayTrouble) -> Bool {
        let feeds = Dictionary(grouping: await holder.feeds.keys.sorted().map { SinkFeed(named: $0) }, by: \.book)
        var hasMore = false
        for (book, feeds) in feeds where try await take(book, for: feeds) { hasMore = true }
        return hasMore
    }

    private func take(_ book: RoomBook, for feeds: [SinkFeed]) async throws(RelayTrouble) -> Bool {
        let leases = await holder.leases
        let noted = try await redis.ask(
            leases.map { ["EXISTS", keys.key(book.notes, ofPartition: $0.partition.keyTag)] })
        let filled = zip(leases, noted).filter { $0.1.integer == 1 }.map(\.0)
        let most = max(1, Self.takeAtOnce / feeds.count)
        let commands = filled.map { lease in
            let tag = lease.partition.keyTag
            let queues = feeds.map { keys.due($0.name, ofPartition: tag) }
            return [
                "FCALL", "martlet_take", String(2 + queues.count), keys.key(.lease, ofPartition: tag),
                keys.key(book.notes, ofPartition: tag),
            ] + queues + [String(lease.token), String(most)]
        }
        var hasMore = false
        for (lease, reply) in zip(filled, try await redis.ask(commands)) {
            if let text = reply.error {
                guard text.hasPrefix("FENCED") else { throw RelayTrouble("redis refuses: \(text)") }
                await holder.fenced(lease)
            }
            guard let count = reply.integer, count > 0 else { continue }
            news.add(lease.partition)
            if count == most { hasMore = true }
        }
        return hasMore
    }
}
