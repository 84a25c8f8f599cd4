import ChatAccess
import ChatCore
import ChatRedis
import RedisSchema

/// Sends events to one endpoint: Standard Webhooks 1.0. An endpoint that fails whatever the event is left alone by a
/// circuit breaker, and one that answers 410 is disabled.
actor WebhookSender {
    /// What all endpoints share.
    struct Common: Sendable {
        let redis: any RelayStore
        let keys: RedisKeys
        let client: WebhookClient
        let secrets: WebhookSecrets
        let schedule: RetrySchedule
        /// The most dead letters of an endpoint and partition, and the most events that wait for another attempt.
        let deadLetters: Int
        let clock: RelayClock
    }

    enum Verdict: Sendable {
        case accepted
        case failed(String, retryAfter: Duration?)
    }

    nonisolated let endpoint: WebhookEndpoint
    private let url: WebhookURL
    private let common: Common
    private var breaker: CircuitBreaker

    /// Throws why nothing can be sent to the endpoint.
    init(_ endpoint: WebhookEndpoint, _ common: Common) throws(RelayTrouble) {
        self.endpoint = endpoint
        self.common = common
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

    /// Whether nothing may be sent now, because the endpoint fails.
    var isLeftAlone: Bool { breaker.closedFor(now: common.clock.now) != nil }

    /// How many events may be under way at once, at most `most`; throws if none may.
    func width(_ most: Int) throws(RelayTrouble) -> Int {
        if let pause = breaker.closedFor(now: common.clock.now) {
            throw RelayTrouble("\(url.host) is left alone, as it fails", pause: pause)
        }
        return breaker.width(most)
    }

    /// Does all work in its order, at most `most` at once, until the endpoint has failed too often. Returns what came
    /// of it, in the order in which it was done, and the work that was not begun. Throws if nothing may be sent now.
    nonisolated func each<Work: Sendable, Done: Sendable>(
        of work: [Work], atOnce most: Int, _ body: @escaping @Sendable (Work) async throws -> Done
    ) async throws -> (done: [Done], rest: ArraySlice<Work>) {
        let width = try await width(most)
        return try await withThrowingTaskGroup(of: Done.self) { group in
            var (done, rest) = ([Done](), work[...])
            for one in rest.prefix(width) { group.addTask { try await body(one) } }
            rest = rest.dropFirst(width)
            while let one = try await group.next() {
                done.append(one)
                guard await !isLeftAlone, let next = rest.popFirst() else { continue }
                group.addTask { try await body(next) }
            }
            return (done, rest)
        }
    }

    /// Throws if the endpoint does not want anything any more.
    func send(_ letter: WebhookLetter) async throws -> Verdict {
        let now = common.clock.wall
        let body = Array(letter.event.utf8)
        let fields = StandardWebhook.fields(
            id: letter.id, now: now, body: body, signers: common.secrets.of(endpoint, now: now))
        let answer: WebhookClient.Answer
        do throws(WebhookClient.Failure) {
            answer = try await common.client.post(url, fields, body)
        } catch {
            return failed(error.description, nil)
        }
        switch answer.status {
        case 200...299:
            breaker.succeeded()
            return .accepted
        case 410: throw try await disabled()
        case 300...399: return failed("status \(answer.status), a redirect, which is not followed", nil)
        default:
            let pause = answer.retryAfter.flatMap { RetryAfter.pause($0, now: common.clock.wall) }
            return failed("status \(answer.status)", pause)
        }
    }

    private func failed(_ problem: String, _ retryAfter: Duration?) -> Verdict {
        breaker.failed(now: common.clock.now, atLeast: retryAfter)
        return .failed(problem, retryAfter: retryAfter)
    }

    /// 410: nobody wants it any more.
    private func disabled() async throws -> RelayTrouble {
        var changed = endpoint
        changed.disabled = "the server answered 410 Gone"
        _ = try await common.redis.ask([WebhookStore(keys: common.keys).write(changed)])
        return RelayTrouble("\(url.host) answered 410 Gone, so the endpoint is disabled", pause: .seconds(5))
    }

    /// Makes the event a dead letter.
    func bury(_ letter: WebhookLetter, _ lease: LeaseBook.Lease, _ problem: String) async throws {
        _ = try await common.redis.ask([
            [
                "XADD", common.keys.dead(endpoint.sink, ofPartition: lease.partition.keyTag), "MAXLEN", "~",
                String(common.deadLetters), "*", "id", letter.id, "type", letter.type, "room", letter.room, "event",
                letter.event, "reason", problem,
            ]
        ])
    }
}
