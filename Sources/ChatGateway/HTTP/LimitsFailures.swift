import ChatCore
import HTTPTypes
import Hummingbird
import HummingbirdCore

/// Refuses requests with credentials of an address whose credentials were wrong too often of late, before anybody looks
/// at them. Counts those that are refused as wrong (401).
struct LimitsFailures: RouterMiddleware {
    let addresses: AddressBook
    /// Proxies, whose own address stands for many clients.
    let trusted: [AddressRange]

    func handle(
        _ request: Request, context: GatewayRequestContext,
        next: (Request, GatewayRequestContext) async throws -> Response
    ) async throws -> Response {
        guard Self.hasCredentials(request), let client = context.client,
            !trusted.contains(where: { $0.contains(client) })
        else { return try await next(request, context) }
        let wait = addresses.penalty(of: client.network, now: .now)
        guard wait == .zero else {
            throw HTTPProblem(
                AddressBook.tooManyFailures, field: (.retryAfter, "\(max(1, wait.components.seconds + 1))"))
        }
        do {
            return try await next(request, context)
        } catch {
            if Self.isWrong(error) { addresses.failed(client.network, now: .now) }
            throw error
        }
    }

    private static func isWrong(_ error: any Error) -> Bool {
        switch error {
        case let error as WireError: error.code == .unauthenticated
        case let error as HTTPProblem: error.status == 401
        default: false
        }
    }

    /// Whether a request says who sends it, in whatever place.
    private static func hasCredentials(_ request: Request) -> Bool {
        if request.headers.contains(.authorization) || request.headers.contains(.cookie) { return true }
        guard let query = request.uri.query else { return false }
        return ["token=", "ticket="].contains { query.contains($0) }
    }
}
