import ChatCore

/// Decides who a client is. An error is `unauthenticated` (HTTP 401), `forbidden` (403) or `badName` (400).
public protocol Authenticator: Sendable {
    /// The answer, if it takes no waiting; nil: ask ``authenticate(_:)``.
    func authenticateAtOnce(_ credentials: Credentials) -> Result<Identity, WireError>?
    /// The answer, after asking whoever knows.
    func authenticate(_ credentials: Credentials) async -> Result<Identity, WireError>
}

/// Believes what the client says: for development only. The node warns of it when it starts.
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
}
