import ChatCore
import ChatWire
import HTTPTypes
import HummingbirdCore

/// Finds the token in the opening request of a WebSocket, or in an HTTP request. Its places are those of
/// ``TokenCarrier``, in that order; the first one that holds a token counts.
///
/// A browser adds cookies to the requests of every page, so a cookie counts only if the page that sends the request is
/// known to be allowed (CWE-1385, cross-site WebSocket hijacking).
struct TokenCarriers: Sendable {
    /// The prefix of the subprotocol that carries a token. It is never selected, so it is not echoed back.
    static let subprotocolPrefix = "bearer."

    /// The name of the cookie; nil if no cookie counts.
    let cookie: String?
    /// The origins of pages that are allowed; nil means all.
    let allowedOrigins: Set<String>?

    /// The credentials of the opening request of a session. `said`: what the protocol found in it by itself. Throws
    /// `forbidden` for a cookie that is sent by a page of another origin. `isStream`: the answer is a stream, which a
    /// page of the same origin requests without naming its origin.
    func credentials(
        in head: RequestHead, _ said: Credentials, isStream: Bool = false
    ) throws(WireError) -> Credentials {
        guard said.token == nil else { return said }
        var found = said
        if let token = head.first("authorization").flatMap(BearerToken.read) {
            (found.token, found.carrier) = (token, .authorization)
        } else if let offer = head.list("sec-websocket-protocol").first(where: { $0.hasPrefix(Self.subprotocolPrefix) })
        {
            (found.token, found.carrier) = (String(offer.dropFirst(Self.subprotocolPrefix.count)), .subprotocol)
        } else if let ticket = PercentEncoding.query(head.query, only: ["ticket"])?["ticket"] {
            (found.token, found.carrier) = (ticket, .ticket)
        } else if let token = cookie(in: head.values("cookie")) {
            // Programs have no use for a cookie, so a request without an origin is not a page's WebSocket.
            let isOwn = isStream && head.first("origin") == nil && Self.isSameSite(head.first("sec-fetch-site"))
            guard isOwn || head.first("origin").map(isAllowed) ?? false else { throw Self.foreign }
            (found.token, found.carrier) = (token, .cookie)
        } else if let token = PercentEncoding.query(head.query, only: ["token"])?["token"] {
            (found.token, found.carrier) = (token, .query)
        }
        return found
    }

    /// The credentials of an HTTP request. `claimed`: the user that its body names. Throws `forbidden` for a cookie
    /// that is sent by a page of another origin.
    func credentials(of request: Request, claimed: String?) throws(WireError) -> Credentials {
        if let token = request.headers[.authorization].flatMap(BearerToken.read) {
            return Credentials(user: claimed, token: token, carrier: .authorization)
        }
        if let ticket = PercentEncoding.query(request.uri.query ?? "", only: ["ticket"])?["ticket"] {
            return Credentials(user: claimed, token: ticket, carrier: .ticket)
        }
        if let token = cookie(in: request.headers[values: .cookie]) {
            guard isOfAllowedPage(request) else { throw Self.foreign }
            return Credentials(user: claimed, token: token, carrier: .cookie)
        }
        if let token = PercentEncoding.query(request.uri.query ?? "", only: ["token"])?["token"] {
            return Credentials(user: claimed, token: token, carrier: .query)
        }
        return Credentials(user: claimed, token: nil)
    }

    private static let foreign = WireError(.forbidden, "a cookie counts only in requests of allowed origins")

    private func isAllowed(_ origin: String) -> Bool { allowedOrigins?.contains(origin.lowercased()) ?? false }

    /// A browser names the page's origin in each request that may change something, and in most others; where it does
    /// not, it says whether the page is of the same site (the Fetch Metadata specification).
    private func isOfAllowedPage(_ request: Request) -> Bool {
        if let origin = request.headers[.origin] { return isAllowed(origin) }
        guard request.method == .get || request.method == .head else { return false }
        return Self.isSameSite(HTTPField.Name("Sec-Fetch-Site").flatMap { request.headers[$0] })
    }

    private static func isSameSite(_ site: String?) -> Bool { site == "same-origin" || site == "none" }

    /// The value of our cookie (RFC 6265 §4.2.1).
    private func cookie(in fields: [String]) -> String? {
        guard let cookie else { return nil }
        for field in fields {
            for pair in field.utf8.split(separator: UInt8(ascii: ";")) {
                let text = Substring(pair).drop { $0 == " " }
                guard let equals = text.firstIndex(of: "="), text[..<equals] == cookie else { continue }
                return String(text[text.index(after: equals)...])
            }
        }
        return nil
    }
}
