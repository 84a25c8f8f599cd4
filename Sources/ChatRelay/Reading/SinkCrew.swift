import ChatCore
import Logging
import RedisSchema

/// The workers of all feeds: those of the sinks that the relay was started with, and of webhook endpoints, which come
/// and go while it runs.
actor SinkCrew {
    private struct Member {
        let endpoint: WebhookEndpoint?
        let task: Task<Void, Never>
    }

    private let redis: any RelayStore
    private let keys: RedisKeys
    private let holder: LeaseHolder
    private let news: QueueNews
    private let book: SinkBook
    private let clock: RelayClock
    private let webhooks: WebhookSender.Common
    private let logger: Logger
    private var members: [String: Member] = [:]
    /// What was wrong with endpoints, so that it is logged once.
    private var problems: [String: String] = [:]

    init(
        redis: any RelayStore, keys: RedisKeys, holder: LeaseHolder, news: QueueNews, book: SinkBook,
        clock: RelayClock, webhooks: WebhookSender.Common, logger: Logger
    ) {
        self.news = news
        self.book = book
        self.redis = redis
        self.keys = keys
        self.holder = holder
        self.clock = clock
        self.webhooks = webhooks
        self.logger = logger
    }

    func start(_ sink: any EventSink) {
        for book in sink.filter.books { start(sink, SinkFeed(sink.name, book), nil) }
    }

    /// Starts and stops workers, so that there is one for each feed of an endpoint that is not disabled. `unreadable`:
    /// the IDs of others, to which nothing is sent.
    func follow(_ endpoints: [WebhookEndpoint], unreadable: [String]) async throws(RelayTrouble) {
        for id in unreadable { say(id, "what Redis holds of it cannot be read; remove it, and add it again") }
        let wanted = Dictionary(
            endpoints.filter { $0.disabled == nil }.flatMap { endpoint in
                endpoint.feeds.map { ($0.name, (endpoint: endpoint, feed: $0)) }
            }, uniquingKeysWith: { first, _ in first })
        for (name, member) in members {
            guard let endpoint = member.endpoint, wanted[name]?.endpoint != endpoint else { continue }
            members[name] = nil
            member.task.cancel()
            await member.task.value
            book.ended(name)
        }
        // An endpoint that was added by an older version has no queues but that of messages.
        let known = await holder.feeds
        let missing = wanted.values.filter { known[$0.feed.name] == nil }
        _ = try await redis.ask(
            missing.map { WebhookStore(keys: keys).begin($0.feed, now: clock.wall) })
        for (name, (endpoint, feed)) in wanted where members[name] == nil {
            do throws(RelayTrouble) {
                let sink: any EventSink =
                    endpoint.isUnordered
                    ? try UnorderedWebhookSink(endpoint, feed, webhooks) : try WebhookSink(endpoint, feed, webhooks)
                start(sink, feed, endpoint)
                problems[name] = nil
            } catch {
                say(name, error.description)
            }
        }
    }

    private func say(_ name: String, _ problem: String) {
        guard problems.updateValue(problem, forKey: name) != problem else { return }
        logger.warning(
            "nothing can be sent to a webhook endpoint", metadata: ["sink": "\(name)", "error": "\(problem)"])
    }

    /// Ends all workers, and waits for them.
    func end() async {
        for member in members.values { member.task.cancel() }
        for member in members.values { await member.task.value }
        members = [:]
    }

    private func start(_ sink: any EventSink, _ feed: SinkFeed, _ endpoint: WebhookEndpoint?) {
        let worker = SinkWorker(
            sink, feed, redis: redis, keys: keys, holder: holder, news: news, book: book, clock: clock,
            logger: logger)
        book.began(feed.name)
        members[feed.name] = Member(endpoint: endpoint, task: Task { await worker.run() })
    }
}
