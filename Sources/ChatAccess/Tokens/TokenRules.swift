import ChatCore

/// What is demanded of tokens.
public struct TokenRules: Hashable, Sendable {
    /// The algorithms that are accepted.
    public var algorithms: Set<TokenAlgorithm> = Set(TokenAlgorithm.allCases)
    /// The value that `iss` must have; nil accepts any issuer, and tokens without one.
    public var issuer: String?
    /// A value that `aud` must contain; nil accepts any audience, and tokens without one.
    public var audience: String?
    /// The difference between the clocks of issuer and node that is tolerated in `exp`, `nbf` and `iat`; at most a day.
    public var leeway: Duration = .seconds(30)
    /// Whether a token must have an `exp`.
    public var requiresExpiry = true
    /// Bytes of a token at most.
    public var maxBytes = 8_192

    public init() {}

    var leewayMilliseconds: UInt64 { UInt64(clamping: min(leeway.wholeMilliseconds, 86_400_000)) }
}
