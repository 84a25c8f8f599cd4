import ChatCore
import ChatJSON
import ChatWire
import HTTPTypes
import Hummingbird
import HummingbirdCore
import NIOCore

/// Who sends a request to the HTTP API, and what is in its body: the part that all routes share.
struct APICaller: Sendable {
    let options: GatewayOptions
    let authenticator: any Authenticator
    let carriers: TokenCarriers

    init(options: GatewayOptions, authenticator: any Authenticator) {
        self.options = options
        self.authenticator = authenticator
        carriers = TokenCarriers(cookie: options.tokenCookie, allowedOrigins: options.allowedOrigins)
    }

    /// Who sends a message. `claimed`: the user that the message names.
    func sender(_ request: Request, claimed: String?) async throws(WireError) -> Identity {
        let credentials = try carriers.credentials(of: request, claimed: claimed)
        if let result = authenticator.authenticateAtOnce(credentials) { return try paid(result) }
        return try paid(await authenticator.authenticate(credentials))
    }

    /// What the sender of a request that only reads may do; nil means everything.
    func reader(_ request: Request) async throws(WireError) -> Grant? { try await identity(of: request)?.grant }

    /// Who sends a request that names no user; nil in development mode, where everybody may do everything.
    func identity(of request: Request) async throws(WireError) -> Identity? {
        try paid(await authenticator.caller(try carriers.credentials(of: request, claimed: nil)))
    }

    /// The address pays for a token that is not accepted, as an attacker may try many.
    private func paid<Answer>(_ result: Result<Answer, WireError>) throws(WireError) -> Answer {
        if case .failure = result { HTTPAccount.current?.charge(RequestCost.verification) }
        return try result.get()
    }

    /// Refuses a request of a page that must not change anything: one of another origin, or one that a browser sends
    /// without asking first. A page of another origin can make its visitors' browsers post a form without a preflight
    /// request, but not JSON (the Fetch standard's "CORS-preflight fetch"). Programs other than browsers need not send
    /// a content type.
    func refuseForeignPage(_ request: Request) throws {
        if let origins = options.allowedOrigins, let origin = request.headers[.origin],
            !origins.contains(origin.lowercased())
        {
            throw WireError(.forbidden, "pages of this origin may not post")
        }
        let site = HTTPField.Name("Sec-Fetch-Site").flatMap { request.headers[$0] }
        guard request.headers[.origin] != nil || site != nil else { return }
        let type = request.headers[.contentType]?.prefix { $0 != ";" }.lowercased() ?? ""
        guard type.split(separator: " ").first == "application/json" else {
            throw HTTPProblem(WireError(.badField, "a page must post application/json"), status: 415)
        }
    }

    /// The body, within the limit of its size.
    func body(of request: Request) async throws -> ByteBuffer {
        let tooLong = WireError(.frameTooLarge, "a body may have \(options.maxBodyBytes) bytes")
        if let length = request.headers[.contentLength].flatMap({ Int($0) }), length > options.maxBodyBytes {
            throw tooLong
        }
        do {
            return try await request.body.collect(upTo: options.maxBodyBytes)
        } catch is NIOTooManyBytesError {
            throw tooLong
        }
    }

    /// The JSON object in the body. `mayBeEmpty`: no body at all counts as an object without members.
    func object(in request: Request, mayBeEmpty: Bool = false) async throws -> [String: JSONValue] {
        try refuseForeignPage(request)
        let buffer = try await body(of: request)
        if mayBeEmpty, buffer.readableBytes == 0 { return [:] }
        do throws(JSONError) {
            guard let object = try JSONValue(parsing: Array(buffer.readableBytesView)).object else {
                throw JSONError(offset: 0, problem: "not an object")
            }
            return object
        } catch {
            throw WireError(.badFrame, "the body must be a JSON object: \(error)")
        }
    }
}
