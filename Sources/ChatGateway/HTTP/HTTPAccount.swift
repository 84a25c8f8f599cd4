import ChatCore
import HTTPTypes
import Hummingbird
import HummingbirdCore
import Synchronization

/// What HTTP requests may cost: each address has a budget of its own, as nobody has proven to be any user.
final class HTTPAccounts: Sendable {
    /// Of all requests but those for health…
    let addresses: AddressRates
    /// …which have another one: a proxy that asks on behalf of many would else take a busy node for a dead one.
    let health: AddressRates
    private let refusals = Atomic<UInt64>(0)

    init(_ options: GatewayOptions) {
        addresses = AddressRates(options.limits.costRate)
        health = AddressRates(options.limits.costRate)
    }

    /// Requests that were refused.
    var refused: UInt64 { refusals.load(ordering: .relaxed) }

    func countRefusal() { refusals.add(1, ordering: .relaxed) }

    /// The account of whoever asks: a client that a trusted proxy names, or the connection's other end; all on Unix sockets have one.
    func account(of client: PeerAddress?) -> HTTPAccount {
        HTTPAccount(accounts: self, address: client?.network ?? PeerAddress(high: 0, low: 1))
    }
}

/// Who pays for the request that is being answered.
struct HTTPAccount: Sendable {
    /// Nil: nobody does (in tests of parts).
    @TaskLocal static var current: HTTPAccount?

    let accounts: HTTPAccounts
    let address: PeerAddress

    /// Charges for what the request turned out to cost.
    func charge(_ cost: UInt64) { accounts.addresses.charge(cost, to: address, now: .now) }
}

/// Takes what a request costs before it is answered, and charges for the answer's bytes. Who may not cost more now is answered only after a
/// while: a refusal is not free either.
struct ChargesAddress: RouterMiddleware {
    let accounts: HTTPAccounts
    /// Longer than this nobody waits to be refused.
    private static let patience: Duration = .seconds(1)
    /// Nor shorter: who asks again at once on few connections is not refused a thousand times a second.
    private static let leastWait: Duration = .milliseconds(100)

    func handle(
        _ request: Request, context: GatewayRequestContext,
        next: (Request, GatewayRequestContext) async throws -> Response
    ) async throws -> Response {
        let account = accounts.account(of: context.client)
        let isHealth = request.uri.path == "/healthz" || request.uri.path == "/readyz"
        let rates = isHealth ? account.accounts.health : account.accounts.addresses
        let body = request.headers[.contentLength].flatMap { UInt64($0) } ?? 0
        let cost = RequestCost.httpRequest + min(body, 1 << 24) * RequestCost.byteIn
        let wait = rates.take(cost, from: account.address, now: .now)
        guard wait == .zero else {
            account.accounts.countRefusal()
            rates.charge(RequestCost.httpRefusal, to: account.address, now: .now)
            try await Task.sleep(for: min(max(wait, Self.leastWait), Self.patience))
            throw HTTPProblem(
                WireError(.rateLimited, "requests of this address cost the node too much of late"),
                field: (.retryAfter, "\(max(1, wait.components.seconds + 1))"))
        }
        let response = try await HTTPAccount.$current.withValue(account) { try await next(request, context) }
        rates.charge(
            UInt64(max(0, response.body.contentLength ?? 0)) * RequestCost.byteOut, to: account.address, now: .now)
        return response
    }
}
