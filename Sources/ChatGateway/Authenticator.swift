import ChatCore

/// What a client showed of who it is.
public struct Credentials: Sendable, Hashable {
    /// `?user=`, or `user` of an HTTP request's body: a claim, not a proof.
    public var user: String?
    /// `Authorization: Bearer …`, or `?token=`.
    public var token: String?

    public init(user: String?, token: String?) {
        self.user = user
        self.token = token
    }
}

/// Decides who a client is. An error is `unauthenticated` (HTTP 401), `forbidden` (403) or `badName` (400).
public protocol Authenticator: Sendable {
    /// The answer, if it takes no waiting; nil: ask ``authenticate(_:)``.
    func authenticateAtOnce(_ credentials: Credentials) -> Result<UserID, WireError>?
    /// The answer, after asking whoever knows.
    func authenticate(_ credentials: Credentials) async -> Result<UserID, WireError>
}

/// Believes what the client says: for development only. The node says so loudly when it starts.
public struct DevelopmentAuthenticator: Authenticator {
    public init() {}

    public func authenticateAtOnce(_ credentials: Credentials) -> Result<UserID, WireError>? {
        guard let user = credentials.user else {
            return .failure(WireError(.unauthenticated, "user is missing: say who you are, as in ?user=ana"))
        }
        do {
            return .success(try UserID(user))
        } catch {
            return .failure(WireError(.badName, error.description))
        }
    }

    public func authenticate(_ credentials: Credentials) async -> Result<UserID, WireError> {
        authenticateAtOnce(credentials) ?? .failure(WireError(.unauthenticated, "user is missing"))
    }
}
