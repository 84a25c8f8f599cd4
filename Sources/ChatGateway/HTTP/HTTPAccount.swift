import ChatCore
import HTTPTypes
import Hummingbird
import HummingbirdCore
import Synchronization

/// The cost limits of HTTP requests: each address has a budget of its own, as no user is authenticated.
final class HTTPAccounts: Sendable {
    /// The budget for all requests except health checks.
    let addresses: AddressRates
    /// The budget for health checks. It is separate, as a proxy that forwards many clients would otherwise take a busy
    /// node for a dead one.
    let health: AddressRates
    /// The reads of each address. Two at once: a read that has to wait for Redis does not hold up all others.
    let reads = AddressTurns(atOnce: 2)
    private let refusals = Atomic<UInt64>(0)
    private let tickets: KeyedRates<UserID>
    private let ticketRefusals = Atomic<UInt64>(0)

    /// The parts of a ticket that are paid for one by one: ``CostRate`` counts whole units a second.
    private static let unitsPerTicket: UInt64 = 60

    init(_ options: GatewayOptions) {
        addresses = AddressRates(options.limits.costRate)
        health = AddressRates(options.limits.costRate)
        let most = min(max(1, options.limits.ticketsPerMinutePerUser), 1_000_000_000)
        tickets = KeyedRates(CostRate(perSecond: most, burst: (most - 1) * Int(Self.unitsPerTicket)))
    }

    /// Requests that were refused.
    var refused: UInt64 { refusals.load(ordering: .relaxed) }

    /// Tickets that were refused because of the limit of a user.
    var ticketsRefused: UInt64 { ticketRefusals.load(ordering: .relaxed) }

    /// Takes a ticket from the user's budget and returns zero, or returns the time after which it suffices.
    func takeTicket(of user: UserID, now: Moment) -> Duration {
        let wait = tickets.take(Self.unitsPerTicket, from: user, now: now)
        if wait > .zero { ticketRefusals.add(1, ordering: .relaxed) }
        return wait
    }

    func countRefusal() { refusals.add(1, ordering: .relaxed) }

    /// The account to charge: that of the client named by a trusted proxy, or of the peer's address. All Unix sockets
    /// share one.
    func account(of client: PeerAddress?) -> HTTPAccount {
        HTTPAccount(accounts: self, address: client?.network ?? PeerAddress(high: 0, low: 1))
    }
}

/// The account that is charged for the current request.
struct HTTPAccount: Sendable {
    /// Nil in unit tests, where nothing is charged.
    @TaskLocal static var current: HTTPAccount?

    let accounts: HTTPAccounts
    let address: PeerAddress

    /// Charges for the actual cost of the request.
    func charge(_ cost: UInt64) { accounts.addresses.charge(cost, to: address, now: .now) }
}

/// The budget of an address does not suffice.
private struct InDebt: Error {
    var wait: Duration
}

/// Takes the cost of a request before it is answered, and charges for the bytes of the answer. If the budget is
/// exhausted, the refusal is delayed, as a refusal is not free either.
struct ChargesAddress: RouterMiddleware {
    let accounts: HTTPAccounts
    /// The delay of a refusal: a client that retries at once on a few connections is not refused a thousand times a
    /// second. Up to twice as long at random: otherwise all connections of an address would be answered, and ask again,
    /// at the moment at which its budget suffices.
    private static let wait: ClosedRange<Duration> = .milliseconds(100)...(.milliseconds(500))

    func handle(
        _ request: Request, context: GatewayRequestContext,
        next: (Request, GatewayRequestContext) async throws -> Response
    ) async throws -> Response {
        let account = accounts.account(of: context.client)
        let isHealth = request.uri.path == "/healthz" || request.uri.path == "/readyz"
        let rates = isHealth ? accounts.health : accounts.addresses
        do {
            let uri = request.uri
            guard Self.takesTurns(method: request.method.rawValue, path: uri.path, query: uri.query ?? "") else {
                return try await answer(request, context, account, rates, next: next)
            }
            return try await accounts.reads.inTurn(of: account.address) {
                try await answer(request, context, account, rates, next: next)
            }
        } catch let debt as InDebt {
            accounts.countRefusal()
            rates.charge(RequestCost.httpRefusal, to: account.address, now: .now)
            let delay = min(max(debt.wait, Self.wait.lowerBound), Self.wait.upperBound)
            try await Task.sleep(for: delay * Double.random(in: 1..<2))
            throw HTTPProblem(
                WireError(.rateLimited, "requests of this address cost the node too much of late"),
                field: (.retryAfter, "\(max(1, debt.wait.components.seconds + 1))"))
        }
    }

    private func answer(
        _ request: Request, _ context: GatewayRequestContext, _ account: HTTPAccount, _ rates: AddressRates,
        next: (Request, GatewayRequestContext) async throws -> Response
    ) async throws -> Response {
        let body = request.headers[.contentLength].flatMap { UInt64($0) } ?? 0
        let cost = RequestCost.httpRequest + min(body, 1 << 24) * RequestCost.byteBody
        let wait = rates.take(cost, from: account.address, now: .now)
        guard wait == .zero else { throw InDebt(wait: wait) }
        let response = try await HTTPAccount.$current.withValue(account) { try await next(request, context) }
        rates.charge(
            UInt64(max(0, response.body.contentLength ?? 0)) * RequestCost.byteOut, to: account.address, now: .now)
        return response
    }

    /// Whether the request reads what may be large: its cost is known only when it was read. A request that waits for
    /// messages keeps nobody from reading.
    static func takesTurns(method: String, path: String, query: String) -> Bool {
        (method == "GET" || method == "HEAD") && path.hasPrefix("/api/")
            && RoomsAPI.wait(method: method, path: path, query: query) == nil
    }
}
