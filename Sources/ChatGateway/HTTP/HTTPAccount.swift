import ChatCore
import HTTPTypes
import Hummingbird
import HummingbirdCore
import NIOCore
import Synchronization

/// What HTTP requests may cost: each address has a budget of its own, as nobody has proven to be any user.
final class HTTPAccounts: Sendable {
    let proxies: TrustedProxies
    /// Of all requests but those for health…
    let addresses: AddressRates
    /// …which have another one: a proxy that asks on behalf of many would else take a busy node for a dead one.
    let health: AddressRates
    private let refusals = Atomic<UInt64>(0)

    init(_ options: GatewayOptions) {
        proxies = options.trustedProxies
        addresses = AddressRates(options.limits.costRate)
        health = AddressRates(options.limits.costRate)
    }

    /// Requests that were refused.
    var refused: UInt64 { refusals.load(ordering: .relaxed) }

    func countRefusal() { refusals.add(1, ordering: .relaxed) }

    /// The account that pays for a request which came on that connection.
    func account(of request: Request, peer: SocketAddress?) -> HTTPAccount {
        let address = ClientAddress(peer)
        let fields = Self.forwardedFor.map { request.headers[values: $0] } ?? []
        return HTTPAccount(accounts: self, address: proxies.client(peer: address, forwardedFor: fields))
    }

    private static let forwardedFor = HTTPField.Name("X-Forwarded-For")
}

/// Who pays for the request that is being answered.
struct HTTPAccount: Sendable {
    /// Nil: nobody does (in tests of parts).
    @TaskLocal static var current: HTTPAccount?

    let accounts: HTTPAccounts
    let address: ClientAddress

    /// Charges for what the request turned out to cost.
    func charge(_ cost: UInt64) { accounts.addresses.charge(cost, to: address, now: .now) }
}

/// Takes what a request costs before it is answered, and charges for the answer's bytes. Who may not cost more now is answered only after a
/// while: a refusal is not free either.
struct ChargesAddress: RouterMiddleware {
    /// Longer than this nobody waits to be refused.
    private static let patience: Duration = .seconds(1)

    func handle(
        _ request: Request, context: BasicRequestContext,
        next: (Request, BasicRequestContext) async throws -> Response
    ) async throws -> Response {
        guard let account = HTTPAccount.current else { return try await next(request, context) }
        let isHealth = request.uri.path == "/healthz" || request.uri.path == "/readyz"
        let rates = isHealth ? account.accounts.health : account.accounts.addresses
        let body = request.headers[.contentLength].flatMap { UInt64($0) } ?? 0
        let cost = RequestCost.httpRequest + min(body, 1 << 24) * RequestCost.byteIn
        let wait = rates.take(cost, from: account.address, now: .now)
        guard wait == .zero else {
            account.accounts.countRefusal()
            try await Task.sleep(for: min(wait, Self.patience))
            throw HTTPProblem(
                WireError(.rateLimited, "requests of this address cost the node too much of late"),
                field: (.retryAfter, "\(max(1, wait.components.seconds + 1))"))
        }
        let response = try await next(request, context)
        rates.charge(
            UInt64(max(0, response.body.contentLength ?? 0)) * RequestCost.byteOut, to: account.address, now: .now)
        return response
    }
}
