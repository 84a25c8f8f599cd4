import ChatCore
import ChatWire
import HTTPTypes
import Hummingbird
import HummingbirdCore

/// What pages of other origins may read (the Fetch standard, "CORS protocol"). The client module and the API's
/// description are public, so every page may read them; the API may be read by pages that may open a WebSocket. Also
/// answers requests that concern no path.
struct CrossOrigin: RouterMiddleware {
    /// Nil means all.
    let allowed: Set<String>?

    private static let open: Set<String> = ["/martlet.js", "/openapi.json"]
    /// How long a browser may cache the answer to a preflight request.
    private static let maxAge = "600"

    func handle(
        _ request: Request, context: GatewayRequestContext,
        next: (Request, GatewayRequestContext) async throws -> Response
    ) async throws -> Response {
        guard HTTPRoutes.known.contains(request.method) else {
            let error = WireError(.badField, "the method is not known here")
            return HTTPRoutes.json(HTTPRoutes.body(of: error), status: .notImplemented)
        }
        if request.head.path == "*" {
            return Response(status: .noContent, headers: [.allow: "GET, HEAD, OPTIONS, POST"])
        }
        var response = try await next(request, context)
        let path = request.uri.path
        if Self.open.contains(path) {
            set("Access-Control-Allow-Origin", "*", &response)
        } else if path.hasPrefix("/api/") {
            if allowed != nil { set("Vary", "Origin", &response) }
            guard let origin = request.headers[.origin], allowed?.contains(origin.lowercased()) ?? true else {
                return response
            }
            set("Access-Control-Allow-Origin", allowed == nil ? "*" : origin, &response)
        } else {
            return response
        }
        if request.method == .options, asks(request) {
            set("Access-Control-Allow-Methods", response.headers[.allow] ?? "GET", &response)
            set(
                "Access-Control-Allow-Headers", "Authorization, Content-Type, Idempotency-Key, Last-Event-ID", &response
            )
            set("Access-Control-Max-Age", Self.maxAge, &response)
        } else {
            set("Access-Control-Expose-Headers", "Retry-After", &response)
        }
        return response
    }

    /// The fields of an answer that is no answer of the routes: a stream of events.
    static func fields(for head: RequestHead, allowed: Set<String>?) -> [(name: String, value: String)] {
        var fields: [(name: String, value: String)] = allowed == nil ? [] : [("Vary", "Origin")]
        if let origin = head.first("origin"), allowed?.contains(origin.lowercased()) ?? true {
            fields.append(("Access-Control-Allow-Origin", allowed == nil ? "*" : origin))
            fields.append(("Access-Control-Expose-Headers", "Retry-After"))
        }
        return fields
    }

    private func asks(_ request: Request) -> Bool {
        HTTPField.Name("Access-Control-Request-Method").map { request.headers.contains($0) } ?? false
    }

    private func set(_ name: String, _ value: String, _ response: inout Response) {
        if let name = HTTPField.Name(name) { response.headers[name] = value }
    }
}
