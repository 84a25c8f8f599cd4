import ChatCore
import ChatRedis

/// Counts the work of a Redis link. There is one for each ``RedisLink``.
public final class RedisMetrics: RedisLinkObserver, Sendable {
    private let metrics: NodeMetrics
    private let queuedBytes: PrometheusGauge

    /// `shard` is the loop's number.
    public init(_ metrics: NodeMetrics, shard: Int) {
        self.metrics = metrics
        queuedBytes = metrics.registry.gauge(
            "martlet_redis_queued_bytes", help: "Bytes of requests that Redis has not answered.",
            labels: [("shard", "\(shard)")])
    }

    public func redisSent(commands: Int, bytes: Int, queuedBytes: Int) {
        metrics.redisSentCommands.increment(by: commands)
        metrics.redisSentBytes.increment(by: bytes)
        self.queuedBytes.set(Int64(queuedBytes))
    }

    public func redisAnswered(operation: UInt8, nanoseconds: UInt64) {
        let operation = RedisCodec.Operation(rawValue: operation) ?? .done
        metrics.redisCommands[operation].recordNanoseconds(Int64(clamping: nanoseconds))
    }

    public func redisHeard(bytes: Int, accepted: Bool) {
        metrics.redisHeard.increment()
        metrics.redisHeardBytes.increment(by: bytes)
        if !accepted { metrics.redisUnreadable.increment() }
    }

    public func redisIgnored(_ kind: IgnoredData) { metrics.redisIgnored[kind].increment() }

    /// The shard is notified too. It knows whether the event matters, and counts it.
    public func redisConnected(_ role: RedisConnectionRole, attempt: Int) {}
    public func redisDisconnected(_ role: RedisConnectionRole) {}
}
