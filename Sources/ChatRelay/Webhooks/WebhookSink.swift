import ChatAccess
import ChatCore
import ChatRedis
import RedisSchema

/// One endpoint that is sent events: Standard Webhooks 1.0, in the order of each room, several rooms at once.
///
/// An event that is not accepted is tried again by the schedule, and the later ones of its room wait for it; other
/// rooms do not. After the last attempt it becomes a dead letter, and the room goes on. An endpoint that fails whatever
/// the room is left alone by a circuit breaker, and one that answers 410 is disabled.
actor WebhookSink: EventSink {
    /// Rooms to which events are sent at once.
    private static let mostAtOnce = 8

    nonisolated var name: String { endpoint.sink }
    nonisolated let filter: EventFilter
    /// What of the rooms it is given by this object; its attempts are counted apart from those of other feeds.
    private let feed: SinkFeed
    private nonisolated let endpoint: WebhookEndpoint
    private let url: WebhookURL
    private let common: Common
    private var breaker: CircuitBreaker

    /// What all endpoints share.
    struct Common: Sendable {
        let redis: any RelayStore
        let keys: RedisKeys
        let client: WebhookClient
        let secrets: WebhookSecrets
        let schedule: RetrySchedule
        /// The most dead letters of an endpoint and partition.
        let deadLetters: Int
        let clock: RelayClock
    }

    /// Throws why nothing can be sent to the endpoint.
    init(_ endpoint: WebhookEndpoint, _ feed: SinkFeed, _ common: Common) throws(RelayTrouble) {
        self.endpoint = endpoint
        self.feed = feed
        self.common = common
        filter = endpoint.filter.since(endpoint.since)
        do throws(WebhookURL.Problem) {
            url = try WebhookURL(endpoint.url)
        } catch {
            throw RelayTrouble("its address: \(error)")
        }
        guard !common.secrets.of(endpoint, now: common.clock.wall).isEmpty else {
            throw RelayTrouble("it has no secret: set MARTLET_WEBHOOKS_KEY")
        }
        breaker = CircuitBreaker(shortest: common.schedule.pauses.first ?? .seconds(5))
    }

    func accept(_ batches: [EventBatch]) async throws -> SinkReceipt {
        if let pause = breaker.closedFor(now: common.clock.now) {
            throw RelayTrouble("\(url.host) is left alone, as it fails", pause: pause)
        }
        let rooms = batches.flatMap { batch in batch.rooms.map { (batch.lease, $0) } }
        let tries = try await readTries(rooms)
        let work = zip(rooms, tries).map { Work(lease: $0.0, room: $0.1, tries: $1) }
        let width = breaker.width(Self.mostAtOnce)
        return try await withThrowingTaskGroup(of: Room.self, returning: SinkReceipt.self) { group in
            var receipt = SinkReceipt()
            var rest = work[...]
            for work in rest.prefix(width) { group.addTask { try await self.deliver(work) } }
            rest = rest.dropFirst(width)
            while let done = try await group.next() {
                if let partial = done.partial { receipt.partial[done.room] = partial }
                // An endpoint that has just failed too often is not given more.
                guard breaker.closedFor(now: common.clock.now) == nil, let work = rest.popFirst() else { continue }
                group.addTask { try await self.deliver(work) }
            }
            for work in rest {
                receipt.partial[work.room.room] = SinkReceipt.Partial(upTo: nil, delay: .seconds(1))
            }
            return receipt
        }
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
            let outcome = await send(event)
            if case .accepted = outcome {
                breaker.succeeded()
                continue
            }
            if case .gone = outcome { try await disable() }
            guard case .failed(let problem, let retryAfter) = outcome else { continue }
            breaker.failed(now: common.clock.now, atLeast: retryAfter)
            tries.failures += 1
            if let pause = common.schedule.pause(
                afterFailures: tries.failures, random: .random(in: 0..<1), atLeast: retryAfter)
            {
                try await write(tries, room.room, lease)
                let before = room.events[..<index].last { $0.position < event.position }
                return Room(
                    room: room.room, partial: SinkReceipt.Partial(upTo: before?.position, delay: pause))
            }
            try await bury(event, lease, problem)
        }
        if !work.tries.event.isEmpty { try await write(nil, room.room, lease) }
        return Room(room: room.room)
    }

    // MARK: one delivery

    private enum Outcome {
        case accepted
        /// 410: nobody wants it any more.
        case gone
        case failed(String, retryAfter: Duration?)
    }

    private func send(_ event: RoomEvent) async -> Outcome {
        let now = common.clock.wall
        let body = Array(event.json(now: now).utf8)
        let fields = StandardWebhook.fields(
            id: event.id, now: now, body: body, signers: common.secrets.of(endpoint, now: now))
        do throws(WebhookClient.Failure) {
            let answer = try await common.client.post(url, fields, body)
            switch answer.status {
            case 200...299: return .accepted
            case 410: return .gone
            case 300...399:
                return .failed("status \(answer.status), a redirect, which is not followed", retryAfter: nil)
            default:
                let pause = answer.retryAfter.flatMap { RetryAfter.pause($0, now: common.clock.wall) }
                return .failed("status \(answer.status)", retryAfter: pause)
            }
        } catch {
            return .failed(error.description, retryAfter: nil)
        }
    }

    private func disable() async throws {
        var changed = endpoint
        changed.disabled = "the server answered 410 Gone"
        _ = try await common.redis.ask([WebhookStore(keys: common.keys).write(changed)])
        throw RelayTrouble("\(url.host) answered 410 Gone, so the endpoint is disabled", pause: .seconds(5))
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

    private func bury(_ event: RoomEvent, _ lease: LeaseBook.Lease, _ problem: String) async throws {
        _ = try await common.redis.ask([
            [
                "XADD", common.keys.dead(name, ofPartition: lease.partition.keyTag), "MAXLEN", "~",
                String(common.deadLetters),
                "*", "id", event.id, "type", event.kind.rawValue, "room", event.room.text, "event",
                event.json(now: common.clock.wall), "reason", problem,
            ]
        ])
    }
}

/// What signs for endpoints: secrets, and key pairs.
struct WebhookSecrets: Sendable {
    /// The operator's key, from which the others are derived; nil if there is none.
    let key: HookSecret?

    /// What signs for the endpoint, the newest first; during a rotation also the one before.
    func of(_ endpoint: WebhookEndpoint, now: UInt64) -> [WebhookSigner] {
        let count = endpoint.previousUntil > now ? 2 : 1
        if !endpoint.secrets.isEmpty {
            return endpoint.secrets.prefix(count).compactMap { text in
                endpoint.isAsymmetric ? WebhookKey(text).map { .key($0) } : HookSecret(text).map { .secret($0) }
            }
        }
        guard let key else { return [] }
        return (0..<count).compactMap { back in
            let generation = endpoint.generation - back
            guard generation > 0 else { return nil }
            if endpoint.isAsymmetric {
                return StandardWebhook.derivedKey(of: endpoint.id, generation: generation, key: key).map { .key($0) }
            }
            return HookSecret(StandardWebhook.derivedSecret(of: endpoint.id, generation: generation, key: key))
                .map { .secret($0) }
        }
    }
}
