import ChatCore
import ChatWire
import HTTPTypes
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore

/// The HTTP side: health, metrics, the rooms' API and the static files, on Hummingbird's router.
struct HTTPRoutes: Sendable {
    /// Makes a connection that has been found to speak HTTP into one that is answered here.
    let connection: HTTP1Channel
    let accounts: HTTPAccounts

    init(options: GatewayOptions, service: any ChatService, authenticator: any Authenticator, logger: Logger) {
        let responder = Self.router(options, service, authenticator).buildResponder()
        let accounts = HTTPAccounts(options)
        self.accounts = accounts
        var configuration = HTTP1Channel.Configuration()
        configuration.httpDecoder = .init(
            maxHeaderFieldSize: options.maxHeaderBytes, maxHeaderListSize: options.maxHeaderBytes,
            maxHeaderFieldCount: 100)
        connection = HTTP1Channel(
            responder: { request, writer, channel in
                let context = BasicRequestContext(
                    source: ApplicationRequestContextSource(channel: channel, logger: logger))
                let account = accounts.account(of: request, peer: channel.remoteAddress)
                let response = try await HTTPAccount.$current.withValue(account) {
                    try await responder.respond(to: request, context: context)
                }
                try await writer.write(response: response.head, body: response.body)
            },
            configuration: configuration)
    }

    private static func router(
        _ options: GatewayOptions, _ service: any ChatService, _ authenticator: any Authenticator
    ) -> Router<BasicRequestContext> {
        let router = Router(context: BasicRequestContext.self)
        router.add(middleware: ErrorsAsJSON())
        router.add(middleware: ChargesAddress())
        let api = RoomsAPI(options: options, service: service, authenticator: authenticator)
        for route in routes(api, service) { serve(router, route) }
        for (path, file) in options.staticFiles {
            let page = StaticPage(file)
            serve(router, Route(path, [.get: { request, _ in page.response(to: request) }]))
        }
        return router
    }

    typealias Handler = @Sendable (Request, BasicRequestContext) async throws -> Response

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

    /// All but the static files. `openapi.json` describes each of them; a test holds the two together.
    static func routes(_ api: RoomsAPI, _ service: any ChatService) -> [Route] {
        [
            Route("/healthz", [.get: { _, _ in text("ok\n") }]),
            Route("/readyz", [.get: { _, _ in readiness(await service.readiness()) }]),
            Route(
                "/metrics",
                [.get: { _, _ in text(await service.metricsText(), type: "text/plain; version=0.0.4; charset=utf-8") }]),
            Route(
                "/api/rooms/:room/messages",
                [
                    .get: { request, context in try await api.history(request, room: context.parameters.get("room")) },
                    .post: { request, context in try await api.say(request, room: context.parameters.get("room")) },
                ]),
            Route(
                "/api/rooms/:room/roster",
                [.get: { request, context in try await api.roster(request, room: context.parameters.get("room")) }]),
            // A WebSocket opens with a connection's first request only; a proxy that reuses connections is told so.
            Route("/ws", [.get: { _, _ in throw HTTPProblem.upgradeLate }]),
        ]
    }

    /// The methods that are refused where they are not served; of others there is no such page.
    private static let known: [HTTPRequest.Method] =
        [.get, .head, .post, .put, .delete, .patch, .options, .trace, .connect]
        + ["QUERY"].compactMap { HTTPRequest.Method(rawValue: $0) }

    /// Adds a path: its methods, HEAD where there is GET, and 405 for the others.
    private static func serve(_ router: Router<BasicRequestContext>, _ route: Route) {
        var handlers = route.handlers
        if let get = handlers[.get] {
            handlers[.head] = { request, context in try await get(request, context).createHeadResponse() }
        }
        let allowed = handlers.keys.map(\.rawValue).sorted().joined(separator: ", ")
        for method in known {
            let handler = handlers[method] ?? { _, _ in throw HTTPProblem.methodNotAllowed(allowed) }
            router.on(RouterPath(route.path), method: method) { request, context in
                try await handler(request, context)
            }
        }
    }

    private static func readiness(_ readiness: Readiness) -> Response {
        let reasons = readiness.reasons.map { JSONValue.string($0) }
        let body = JSONValue.object(["ready": .bool(readiness.isReady), "reasons": .array(reasons)])
        return json(Array(body.text.utf8), status: readiness.isReady ? .ok : .serviceUnavailable)
    }

    static func text(_ text: String, type: String = "text/plain; charset=utf-8") -> Response {
        response(Array(text.utf8), type: type, status: .ok)
    }

    static func json(_ body: [UInt8], status: HTTPResponse.Status = .ok) -> Response {
        response(body, type: "application/json; charset=utf-8", status: status)
    }

    private static func response(_ body: [UInt8], type: String, status: HTTPResponse.Status) -> Response {
        var headers = HTTPFields()
        headers[.contentType] = type
        headers[.cacheControl] = "no-store"
        headers[.xContentTypeOptions] = "nosniff"
        return Response(status: status, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: body)))
    }

    /// `{"error":{"code":…,"name":…,"message":…,"retry":…}}`
    static func body(of error: WireError) -> [UInt8] {
        var bytes = ByteWriter()
        bytes.appendText("{\"error\":{")
        MartletV1Codec.fields(of: error, into: &bytes)
        bytes.appendText("}}")
        return bytes.array
    }

    /// The HTTP status that says the same as an error's code.
    static func status(of code: WireError.Code) -> Int {
        switch code {
        case .badFrame, .binaryFrame, .unknownType, .missingField, .badField, .badName: 400
        case .frameTooLarge: 413
        case .notJoined, .tooManyRooms, .outcomeUnknown: 409
        case .notFound: 404
        case .rateLimited, .tooManyWaiting: 429
        case .unauthenticated: 401
        case .forbidden: 403
        case .noSpace, .unavailable, .notStored, .draining, .notReplicated: 503
        case .internalError: 500
        }
    }
}
