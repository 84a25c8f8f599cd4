import ChatCore

/// Determines who a client is. An error is `unauthenticated` (HTTP 401), `forbidden` (403) or `badName` (400).
public protocol Authenticator: Sendable {
    /// The answer if it is available without waiting; nil means to call ``authenticate(_:)``.
    func authenticateAtOnce(_ credentials: Credentials) -> Result<Identity, WireError>?
    /// The answer, possibly after asking another service.
    func authenticate(_ credentials: Credentials) async -> Result<Identity, WireError>
    /// The sender of an HTTP request that names no user. Nil means that everybody may do everything.
    func caller(_ credentials: Credentials) async -> Result<Identity?, WireError>
    /// A ticket that allows its bearer what the grant allows. The bearer of the grant was authenticated before.
    func ticket(for grant: Grant) async -> Result<Ticket, WireError>
}

extension Authenticator {
    public func caller(_ credentials: Credentials) async -> Result<Identity?, WireError> {
        if let result = authenticateAtOnce(credentials) { return result.map { $0 } }
        return await authenticate(credentials).map { $0 }
    }

    public func ticket(for grant: Grant) async -> Result<Ticket, WireError> {
        .failure(WireError(.notFound, "this node knows no tickets"))
    }
}

/// Trusts the client's claim: for development only. The node logs a warning when it starts.
public struct DevelopmentAuthenticator: Authenticator {
    public init() {}

    public func authenticateAtOnce(_ credentials: Credentials) -> Result<Identity, WireError>? {
        guard let user = credentials.user else {
            return .failure(WireError(.unauthenticated, "user is missing: say who you are, as in ?user=ana"))
        }
        do {
            return .success(Identity(user: try UserID(user)))
        } catch {
            return .failure(WireError(.badName, error.description))
        }
    }

    public func authenticate(_ credentials: Credentials) async -> Result<Identity, WireError> {
        authenticateAtOnce(credentials) ?? .failure(WireError(.unauthenticated, "user is missing"))
    }

    public func caller(_ credentials: Credentials) async -> Result<Identity?, WireError> { .success(nil) }
}
