import ChatCore
import Logging
import RedisSchema

/// The workers of all sinks: those that the relay was started with, and one for each webhook endpoint, which come and
/// go while it runs.
actor SinkCrew {
    private struct Member {
        let endpoint: WebhookEndpoint?
        let task: Task<Void, Never>
    }

    private let redis: RelayRedis
    private let keys: RedisKeys
    private let holder: LeaseHolder
    private let queued: QueuedRooms
    private let clock: RelayClock
    private let webhooks: WebhookSink.Common
    private let logger: Logger
    private var members: [String: Member] = [:]
    /// What was wrong with endpoints, so that it is logged once.
    private var problems: [String: String] = [:]

    init(
        redis: RelayRedis, keys: RedisKeys, holder: LeaseHolder, queued: QueuedRooms, clock: RelayClock,
        webhooks: WebhookSink.Common, logger: Logger
    ) {
        self.queued = queued
        self.redis = redis
        self.keys = keys
        self.holder = holder
        self.clock = clock
        self.webhooks = webhooks
        self.logger = logger
    }

    func start(_ sink: any EventSink) { start(sink, nil) }

    /// Starts and stops workers, so that there is one for each endpoint that is not disabled.
    func follow(_ endpoints: [WebhookEndpoint]) async {
        let wanted = Dictionary(
            endpoints.filter { $0.disabled == nil }.map { ($0.sink, $0) }, uniquingKeysWith: { first, _ in first })
        for (name, member) in members {
            guard let endpoint = member.endpoint, wanted[name] != endpoint else { continue }
            members[name] = nil
            member.task.cancel()
            await member.task.value
        }
        for (name, endpoint) in wanted where members[name] == nil {
            do throws(RelayTrouble) {
                start(try WebhookSink(endpoint, webhooks), endpoint)
                problems[name] = nil
            } catch {
                guard problems.updateValue(error.description, forKey: name) != error.description else { continue }
                logger.warning(
                    "nothing can be sent to a webhook endpoint",
                    metadata: ["sink": "\(name)", "error": "\(error)"])
            }
        }
    }

    /// Ends all workers, and waits for them.
    func end() async {
        for member in members.values { member.task.cancel() }
        for member in members.values { await member.task.value }
        members = [:]
    }

    private func start(_ sink: any EventSink, _ endpoint: WebhookEndpoint?) {
        let worker = SinkWorker(
            sink, redis: redis, keys: keys, holder: holder, queued: queued, clock: clock, logger: logger)
        members[sink.name] = Member(endpoint: endpoint, task: Task { await worker.run() })
    }
}
