import ChatCore
import ChatJSON
import ChatWire
import HTTPTypes
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore

/// The HTTP side: health, metrics, the rooms' API and the static files, on Hummingbird's router.
struct HTTPRoutes: Sendable {
    /// Where WebSockets are opened.
    static let webSocketPath = "/ws"
    /// Where event streams are opened.
    static let eventsPath = "/api/events"

    let accounts: HTTPAccounts
    let security: SecurityHeaders
    private let responder: RouterResponder<GatewayRequestContext>

    init(
        options: GatewayOptions, service: any ChatService, authenticator: any Authenticator,
        fullness: @escaping @Sendable () -> String? = { nil }, audience: RouteAudience = .everybody,
        addresses: AddressBook? = nil, accounts: HTTPAccounts? = nil, sockJS: [SockJSService] = []
    ) {
        let accounts = accounts ?? HTTPAccounts(options)
        self.accounts = accounts
        security = SecurityHeaders(isTLS: audience != .operators && options.certificate != nil)
        let router = Router(context: GatewayRequestContext.self)
        router.add(middleware: CrossOrigin(allowed: options.allowedOrigins))
        router.add(middleware: ErrorsAsJSON())
        router.add(middleware: ChargesAddress(accounts: accounts))
        if !sockJS.isEmpty { router.add(middleware: SockJSRoutes(services: sockJS, allowed: options.allowedOrigins)) }
        router.add(middleware: OnePathEach())
        if let addresses {
            router.add(middleware: LimitsFailures(addresses: addresses, trusted: options.trustedAddresses))
        }
        let caller = APICaller(options: options, authenticator: authenticator)
        let rooms = RoomsAPI(options: options, service: service, caller: caller)
        let access = AccessAPI(service: service, caller: caller)
        let conversations = ConversationsAPI(service: service, caller: caller)
        for route in Self.routes(rooms, access, conversations, service, fullness: fullness)
        where audience.isServed(route.path) {
            Self.serve(router, route)
        }
        for (path, file) in options.staticFiles where audience.isServed(path) {
            let page = StaticPage(file)
            Self.serve(router, Route(path, [.get: { request, _ in page.response(to: request) }]))
        }
        responder = router.buildResponder()
    }

    func respond(to request: Request, context: GatewayRequestContext) async -> Response {
        var response: Response
        do {
            response = try await responder.respond(to: request, context: context)
        } catch {
            response = Self.json(
                Self.body(of: WireError(.internalError, "the request failed")), status: .internalServerError)
        }
        security.add(to: &response.headers)
        return response
    }

    /// Requests that even a full node answers, for its operators.
    static func isAnsweredWhenFull(_ head: RequestHead) -> Bool {
        ["/healthz", "/readyz", "/metrics"].contains(head.path)
    }

    typealias Handler = @Sendable (Request, GatewayRequestContext) async throws -> Response

    /// A path and what answers its methods. HEAD comes with GET.
    struct Route {
        var path: String
        var handlers: [HTTPRequest.Method: Handler]

        init(_ path: String, _ handlers: [HTTPRequest.Method: Handler]) {
            self.path = path
            self.handlers = handlers
        }

        var methods: [String] { handlers.keys.map(\.rawValue).sorted() }
    }

    /// All routes but the static files. `openapi.json` describes each of them; a test compares the two.
    static func routes(
        _ api: RoomsAPI, _ access: AccessAPI, _ conversations: ConversationsAPI, _ service: any ChatService,
        fullness: @escaping @Sendable () -> String? = { nil }
    ) -> [Route] {
        [
            Route("/healthz", [.get: { _, _ in text("ok\n") }]),
            Route("/readyz", [.get: { _, _ in readiness(await service.readiness(), fullness()) }]),
            Route(
                "/metrics",
                [
                    .get: { _, _ in
                        text(await service.metricsText(), type: "text/plain; version=0.0.4; charset=utf-8")
                    }
                ]),
            Route(
                "/api/rooms/:room/messages",
                [
                    .get: { request, context in
                        try await api.history(
                            request, room: context.parameters.get("room"), client: context.client)
                    },
                    .post: { request, context in try await api.say(request, room: context.parameters.get("room")) },
                ]),
            Route(
                "/api/rooms/:room/amendments",
                [.post: { request, context in try await api.amend(request, room: context.parameters.get("room")) }]),
            Route(
                "/api/rooms/:room/audit",
                [.get: { request, context in try await api.audit(request, room: context.parameters.get("room")) }]),
            Route(
                "/api/rooms/:room/roster",
                [.get: { request, context in try await api.roster(request, room: context.parameters.get("room")) }]),
            Route(
                "/api/rooms/:room/moderation",
                [
                    .get: { request, context in
                        try await api.moderation(request, room: context.parameters.get("room"))
                    },
                    .post: { request, context in
                        try await api.moderate(request, room: context.parameters.get("room"))
                    },
                ]),
            Route(
                "/api/rooms/:room/participants",
                [
                    .get: { request, context in
                        try await conversations.participants(request, room: context.parameters.get("room"))
                    }
                ]),
            Route("/api/conversations", [.post: { request, _ in try await conversations.converse(request) }]),
            Route(
                "/api/stars",
                [
                    .get: { request, _ in try await conversations.stars(request) },
                    .post: { request, _ in try await conversations.star(request) },
                ]),
            Route(
                "/api/users/:user/sanctions",
                [
                    .get: { request, context in
                        try await access.sanctions(request, user: context.parameters.get("user"))
                    },
                    .post: { request, context in
                        try await access.sanction(request, user: context.parameters.get("user"))
                    },
                ]),
            Route(
                "/api/users/:user/erasure",
                [
                    .post: { request, context in
                        try await access.erase(request, user: context.parameters.get("user"))
                    }
                ]),
            Route("/api/tickets", [.post: { request, _ in try await access.ticket(request) }]),
            Route("/api/revocations", [.post: { request, _ in try await access.revoke(request) }]),
            // GET is answered before the router is reached; what is here answers HEAD, without a session.
            Route(
                eventsPath,
                [
                    .get: { request, _ in try await api.events(request) }
                ]),
            // Listed with the other routes, but answered before the router is reached.
            Route(
                webSocketPath,
                [.get: { _, _ in throw HTTPProblem(WireError(.badField, "this path is for WebSocket"), status: 426) }]),
            HooksAPI(service: service, caller: access.caller).route,
        ] + InboxAPI(service: service, caller: access.caller).routes
    }

    /// Methods that get 405 where they are not served; all others are unknown.
    static let known: [HTTPRequest.Method] =
        [.get, .head, .post, .put, .delete, .patch, .options, .trace, .connect]
        + ["QUERY"].compactMap { HTTPRequest.Method(rawValue: $0) }

    /// Adds a path: its methods, HEAD if there is GET, OPTIONS that lists them, and 405 for the others.
    private static func serve(_ router: Router<GatewayRequestContext>, _ route: Route) {
        var handlers = route.handlers
        if let get = handlers[.get] {
            handlers[.head] = { request, context in try await get(request, context).createHeadResponse() }
        }
        let allowed = (handlers.keys.map(\.rawValue) + ["OPTIONS"]).sorted().joined(separator: ", ")
        handlers[.options] = { _, _ in Response(status: .noContent, headers: [.allow: allowed]) }
        for method in known {
            let handler = handlers[method] ?? { _, _ in throw HTTPProblem.methodNotAllowed(allowed) }
            router.on(RouterPath(route.path), method: method) { request, context in
                try await handler(request, context)
            }
        }
    }

    private static func readiness(_ readiness: Readiness, _ fullness: String?) -> Response {
        let reasons = readiness.reasons + (fullness.map { ["connections: \($0)"] } ?? [])
        var members: [String: JSONValue] = [
            "ready": .bool(reasons.isEmpty), "reasons": .array(reasons.map { .string($0) }),
        ]
        if !readiness.warnings.isEmpty { members["warnings"] = .array(readiness.warnings.map { .string($0) }) }
        return json(
            Array(JSONValue.object(members).text.utf8), status: reasons.isEmpty ? .ok : .serviceUnavailable)
    }

    static func text(_ text: String, type: String = "text/plain; charset=utf-8") -> Response {
        response(ByteBuffer(string: text), type: type, status: .ok)
    }

    static func json(_ body: [UInt8], status: HTTPResponse.Status = .ok) -> Response {
        response(ByteBuffer(bytes: body), type: jsonType, status: status)
    }

    static func json(_ body: ByteBuffer) -> Response { response(body, type: jsonType, status: .ok) }

    private static let jsonType = "application/json; charset=utf-8"

    private static func response(_ body: ByteBuffer, type: String, status: HTTPResponse.Status) -> Response {
        var headers = HTTPFields()
        headers[.contentType] = type
        headers[.cacheControl] = "no-store"
        return Response(status: status, headers: headers, body: ResponseBody(byteBuffer: body))
    }

    /// `{"error":{"code":…,"name":…,"message":…,"retry":…}}`
    static func body(of error: WireError) -> [UInt8] {
        var bytes = ByteWriter()
        bytes.appendText("{\"error\":{")
        MartletV1Codec.fields(of: error, into: &bytes)
        bytes.appendText("}}")
        return bytes.array
    }

    /// The HTTP status that corresponds to an error's code.
    static func status(of code: WireError.Code) -> Int {
        switch code {
        case .badFrame, .binaryFrame, .unknownType, .missingField, .badField, .badName: 400
        case .frameTooLarge: 413
        case .notJoined, .tooManyRooms, .tooManyParticipants, .tooManyEntries, .duplicate, .outcomeUnknown,
            .notAMessage, .tooManyEdits, .tooManyReactions:
            409
        case .notFound, .noSuchMessage: 404
        case .messageDeleted: 410
        case .rateLimited, .tooManyWaiting, .slowMode: 429
        case .unauthenticated: 401
        case .forbidden, .banned, .muted, .frozen, .notModerator, .blockedWord, .rejected, .blocked, .notAuthor,
            .tooLate:
            403
        case .noSpace, .unavailable, .notStored, .draining, .notReplicated: 503
        case .internalError: 500
        }
    }
}

/// Answers 404 to a path with an empty segment. The router ignores empty segments, so that `//metrics` and `/metrics/`
/// would be served like `/metrics`, past a proxy that closes that path and past what other middlewares do for it.
private struct OnePathEach: RouterMiddleware {
    func handle(
        _ request: Request, context: GatewayRequestContext,
        next: (Request, GatewayRequestContext) async throws -> Response
    ) async throws -> Response {
        let path = request.uri.path
        guard path == "/" || !(path.hasSuffix("/") || path.contains("//")) else { throw HTTPError(.notFound) }
        return try await next(request, context)
    }
}
