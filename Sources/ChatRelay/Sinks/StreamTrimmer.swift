import ChatCore
import ChatRedis
import Logging
import RedisSchema

/// Trims event streams by their slowest consumer group: what every group has acknowledged goes. The bound in length,
/// which ``StreamSink`` keeps, is for groups that nobody reads any more; what they lose by it is logged.
actor StreamTrimmer {
    private let redis: any RelayStore
    private let keys: RedisKeys
    private let logger: Logger
    /// Groups of which a warning was logged, and that have not recovered since.
    private var behind: Set<String> = []

    init(redis: any RelayStore, keys: RedisKeys, logger: Logger) {
        self.redis = redis
        self.keys = keys
        self.logger = logger
    }

    func trim(_ partitions: [EventPartition]) async {
        for partition in partitions {
            let key = keys.key(.log, ofPartition: partition.keyTag)
            do { try await trim(key, partition) } catch { return }
        }
    }

    private func trim(_ key: String, _ partition: EventPartition) async throws {
        let replies = try await redis.ask([["XINFO", "GROUPS", key], ["XRANGE", key, "-", "+", "COUNT", "1"]])
        let groups = (replies[0].array ?? []).map(\.pairs)
        guard !groups.isEmpty, let first = replies[1].array?.first?.array?.first?.string.flatMap({ Position($0) })
        else {
            return
        }
        var needed: Position?
        for group in groups {
            guard let name = group["name"]?.string,
                let delivered = group["last-delivered-id"]?.string.flatMap({ Position($0) })
            else { continue }
            var oldest = Position(epoch: delivered.epoch, seq: delivered.seq + 1)
            if group["pending"]?.integer ?? 0 > 0 {
                let pending = try await redis.ask([["XPENDING", key, name]]).first?.array ?? []
                if pending.count > 1, let id = pending[1].string.flatMap({ Position($0) }) { oldest = min(oldest, id) }
            }
            needed = min(needed ?? oldest, oldest)
            warn(name, partition, isBehind: Self.hasLost(group, first, delivered))
        }
        guard let needed, first < needed else { return }
        _ = try await redis.ask([["XTRIM", key, "MINID", "~", needed.description]])
    }

    /// Whether the stream was trimmed beyond what the group was given: its first entry is later than the next one after
    /// the last that was delivered, and entries were added since.
    private static func hasLost(_ group: [String: RedisValue], _ first: Position, _ delivered: Position) -> Bool {
        guard let read = group["entries-read"]?.integer, let lag = group["lag"] else { return false }
        // Redis gives no lag if entries between the group and the end of the stream are gone.
        return delivered < first && read > 0 && lag == .null
    }

    private func warn(_ group: String, _ partition: EventPartition, isBehind: Bool) {
        let name = "\(partition) \(group)"
        guard isBehind else {
            behind.remove(name)
            return
        }
        guard behind.insert(name).inserted else { return }
        logger.warning(
            "a consumer group has lost events, as its stream is at its bound (MARTLET_RELAY_STREAM_LENGTH)",
            metadata: ["group": "\(group)", "partition": "\(partition)"])
    }
}
