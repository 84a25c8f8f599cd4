import ChatCore
import ChatJSON
import HTTPTypes
import Hummingbird
import HummingbirdCore
import NIOCore

/// An error as an HTTP answer: a status, its header fields, and the error for the client.
struct HTTPProblem: Error {
    var status: Int
    var error: WireError
    var field: (name: HTTPField.Name, value: String)?

    init(_ error: WireError, status: Int? = nil, field: (name: HTTPField.Name, value: String)? = nil) {
        self.status = status ?? HTTPRoutes.status(of: error.code)
        self.error = error
        self.field = field
    }

    static func methodNotAllowed(_ allowed: String) -> HTTPProblem {
        HTTPProblem(
            WireError(.badField, "this path supports only \(allowed)"), status: 405, field: (.allow, allowed))
    }
}

/// Sends every error as JSON, including those of the router itself.
struct ErrorsAsJSON: RouterMiddleware {
    func handle(
        _ request: Request, context: GatewayRequestContext,
        next: (Request, GatewayRequestContext) async throws -> Response
    ) async throws -> Response {
        let problem: HTTPProblem
        do {
            return try await next(request, context)
        } catch let error as HTTPProblem {
            problem = error
        } catch let error as WireError {
            problem = HTTPProblem(error)
        } catch is NIOTooManyBytesError {
            problem = HTTPProblem(WireError(.frameTooLarge, "the body is too long"))
        } catch let error as HTTPError where error.status == .notFound {
            problem = HTTPProblem(WireError(.notFound, "no such page"))
        } catch let error as any HTTPResponseError {
            problem = HTTPProblem(WireError(.badField, "the request cannot be answered"), status: error.status.code)
        }
        var response = HTTPRoutes.json(HTTPRoutes.body(of: problem.error), status: .init(code: problem.status))
        if let field = problem.field { response.headers[field.name] = field.value }
        if problem.status == 503 { response.headers[.retryAfter] = "1" }
        if problem.status == 401 { response.headers[.wwwAuthenticate] = "Bearer" }
        return response
    }
}
