import ChatCore
import HTTPTypes
import Hummingbird
import HummingbirdCore
import NIOCore

/// A base URL at which SockJS is served. Its sessions are WebSockets; the other transports need a proxy that sends all
/// requests of a client to one node.
public struct SockJSService: Sendable, Hashable {
    public let base: String
    /// Whether sessions can be opened. If not, `info` says so.
    public let opensWebSockets: Bool
    /// What `info` says about cookies.
    public let needsCookie: Bool
    /// Whether a plain request for the base URL is answered with SockJS's greeting.
    public let greets: Bool

    public init(at base: String, opensWebSockets: Bool = true, needsCookie: Bool = false, greets: Bool = true) {
        self.base = base
        self.opensWebSockets = opensWebSockets
        self.needsCookie = needsCookie
        self.greets = greets
    }

    /// Where the protocol is without SockJS's framing.
    public var rawPath: String { base + "/websocket" }

    /// The key of the endpoint for the sessions of a service.
    static func pattern(below base: String) -> String { base + "/*/*/websocket" }

    /// The same for a request's path, `<base>/<server>/<session>/websocket`; nil if the path has another form. Server
    /// and session may be anything without dots.
    static func pattern(of path: String) -> String? {
        guard path.hasSuffix("/websocket") else { return nil }
        let parts = path.split(separator: "/", omittingEmptySubsequences: false)
        // An empty part before the first slash, then the base.
        guard parts.count >= 5 else { return nil }
        let names = parts[(parts.count - 3)..<(parts.count - 1)]
        guard names.allSatisfy({ !$0.isEmpty && !$0.contains(".") }) else { return nil }
        return pattern(below: parts[..<(parts.count - 3)].joined(separator: "/"))
    }
}

/// Answers the plain requests of SockJS: its greeting, `info`, and requests to the path of a session that open no
/// WebSocket (sockjs-protocol 0.3).
struct SockJSRoutes: RouterMiddleware {
    let services: [SockJSService]
    /// Nil means all.
    let allowed: Set<String>?

    func handle(
        _ request: Request, context: GatewayRequestContext,
        next: (Request, GatewayRequestContext) async throws -> Response
    ) async throws -> Response {
        let path = request.uri.path
        for service in services where path.hasPrefix(service.base) {
            if service.greets, path == service.base || path == service.base + "/" {
                return request.method == .get || request.method == .head
                    ? text("Welcome to SockJS!\n") : notAllowed
            }
            if path == service.base + "/info" { return info(service, request) }
            if path == service.rawPath || SockJSService.pattern(of: path) == SockJSService.pattern(below: service.base)
            {
                guard request.method == .get else { return notAllowed }
                return text("Can \"Upgrade\" only to \"WebSocket\".\n", status: .badRequest)
            }
        }
        return try await next(request, context)
    }

    private var notAllowed: Response { Response(status: .methodNotAllowed, headers: [.allow: "GET"]) }

    private func text(_ text: String, status: HTTPResponse.Status = .ok) -> Response {
        Response(
            status: status, headers: [.contentType: "text/plain; charset=UTF-8"],
            body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
    }

    private func info(_ service: SockJSService, _ request: Request) -> Response {
        var response: Response
        switch request.method {
        case .get, .head:
            let entropy = UInt32.random(in: 0 ... .max)
            let body =
                "{\"websocket\":\(service.opensWebSockets),\"origins\":[\"*:*\"],"
                + "\"cookie_needed\":\(service.needsCookie),\"entropy\":\(entropy)}"
            response = Response(
                status: .ok,
                headers: [
                    .contentType: "application/json; charset=UTF-8",
                    .cacheControl: "no-store, no-cache, no-transform, must-revalidate, max-age=0",
                ], body: ResponseBody(byteBuffer: ByteBuffer(string: body)))
        case .options:
            response = Response(
                status: .noContent,
                headers: [.allow: "OPTIONS, GET", .cacheControl: "public, max-age=31536000"])
            set("Expires", "Fri, 01 Jan 2100 00:00:00 GMT", &response)
            set("Access-Control-Allow-Methods", "OPTIONS, GET", &response)
            set("Access-Control-Max-Age", "31536000", &response)
        default: return notAllowed
        }
        // sockjs-client asks with credentials, for which a browser does not accept a star. The answer is the same for
        // everybody.
        set("Vary", "Origin", &response)
        if let origin = request.headers[.origin] {
            guard allowed?.contains(origin.lowercased()) ?? true else { return response }
            set("Access-Control-Allow-Origin", origin, &response)
            set("Access-Control-Allow-Credentials", "true", &response)
            if let asked = HTTPField.Name("Access-Control-Request-Headers").flatMap({ request.headers[$0] }) {
                set("Access-Control-Allow-Headers", asked, &response)
            }
        } else if allowed == nil {
            set("Access-Control-Allow-Origin", "*", &response)
        }
        return response
    }

    private func set(_ name: String, _ value: String, _ response: inout Response) {
        if let name = HTTPField.Name(name) { response.headers[name] = value }
    }
}
