import ChatCore
public import ChatRedis
public import RedisSchema

/// The endpoints in Redis: a hash of partition 0, endpoint → JSON.
public struct WebhookStore: Sendable {
    let keys: RedisKeys

    public init(keys: RedisKeys) {
        self.keys = keys
    }

    private func key(_ key: EventKey) -> String { keys.key(key, ofPartition: EventPartition.first.keyTag) }

    /// The command that reads all endpoints.
    public var read: [String] { ["HGETALL", key(.webhooks)] }

    /// The endpoints in the reply to ``read``, ordered by ID. What is none of ours is left out; see ``unreadable(_:)``.
    public func endpoints(_ reply: RedisValue) -> [WebhookEndpoint] {
        reply.pairs.compactMap { id, value in value.string.flatMap { WebhookEndpoint(id: id, json: $0) } }
            .sorted { $0.id < $1.id }
    }

    /// The IDs in the reply to ``read`` whose endpoints cannot be read, in order. Nothing is sent to them.
    public func unreadable(_ reply: RedisValue) -> [String] {
        reply.pairs.filter { id, value in value.string.flatMap { WebhookEndpoint(id: id, json: $0) } == nil }
            .map(\.key).sorted()
    }

    /// The command that stores an endpoint.
    public func write(_ endpoint: WebhookEndpoint) -> [String] {
        ["HSET", key(.webhooks), endpoint.id, endpoint.json]
    }

    /// The commands that make relays queue rooms for a new endpoint. `now`: ms since 1970.
    public func begin(_ endpoint: WebhookEndpoint, now: UInt64) -> [[String]] {
        endpoint.feeds.map { begin($0, now: now) }
    }

    func begin(_ feed: SinkFeed, now: UInt64) -> [String] { ["HSETNX", key(.sinks), feed.name, "new \(now)"] }

    /// The commands that remove the endpoint with that ID, and what is queued for it.
    public func remove(_ id: String) -> [[String]] {
        let feeds = RoomBook.allCases.map { SinkFeed(WebhookEndpoint.sink(of: id), $0).name }
        return [["HDEL", key(.webhooks), id], ["HDEL", key(.sinks)] + feeds]
            + EventPartition.all.flatMap { partition in
                let tag = partition.keyTag
                return feeds.flatMap { feed in
                    [
                        ["DEL", keys.due(feed, ofPartition: tag)], ["DEL", keys.tries(feed, ofPartition: tag)],
                        ["DEL", keys.dead(feed, ofPartition: tag)], ["DEL", keys.later(feed, ofPartition: tag)],
                    ]
                }
            }
    }
}
