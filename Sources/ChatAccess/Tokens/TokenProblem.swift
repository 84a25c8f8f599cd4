/// Why a token was refused.
///
/// ``name`` is a label for metrics. ``description`` is a sentence for developers, which never holds any part of the
/// token, so that it may be logged and sent to whoever showed the token.
public enum TokenProblem: Error, Hashable, Sendable, CustomStringConvertible {
    /// The token has more bytes than this limit.
    case tooLong(limit: Int)
    /// It is not three parts of base64url with JSON in the first two; the text says where it is not.
    case malformed(String)
    /// `alg` is missing, unknown, not allowed here, or does not fit the key that `kid` names.
    case badAlgorithm
    /// The header field of this name is not acceptable; the text says why.
    case badHeader(String, String)
    /// There is no key with this ID, or no key for the algorithm if the token names none.
    case unknownKey(String?)
    case badSignature
    case expired
    /// `nbf` or `iat` is in the future.
    case notYetValid
    case badIssuer
    case badAudience
    /// The claim of this name is missing or not acceptable; the text says why.
    case badClaim(String, String)
    /// The token, or all tokens of its user, were revoked.
    case revoked

    /// All names, in order.
    public static let names = [
        "tooLong", "malformed", "badAlgorithm", "badHeader", "unknownKey", "badSignature", "expired", "notYetValid",
        "badIssuer", "badAudience", "badClaim", "revoked",
    ]

    /// The name of the kind of problem, one of ``names``.
    public var name: String {
        switch self {
        case .tooLong: "tooLong"
        case .malformed: "malformed"
        case .badAlgorithm: "badAlgorithm"
        case .badHeader: "badHeader"
        case .unknownKey: "unknownKey"
        case .badSignature: "badSignature"
        case .expired: "expired"
        case .notYetValid: "notYetValid"
        case .badIssuer: "badIssuer"
        case .badAudience: "badAudience"
        case .badClaim: "badClaim"
        case .revoked: "revoked"
        }
    }

    public var description: String {
        switch self {
        case .tooLong(let limit): "the token is longer than \(limit) bytes"
        case .malformed(let reason): "the token is not a signed JWT: \(reason)"
        case .badAlgorithm: "the token's alg is missing, not allowed here, or not one of its key"
        case .badHeader(let field, let reason): "the token's header \(field) \(reason)"
        case .unknownKey(.some): "the token names a key (kid) that is not known here"
        case .unknownKey(nil): "the token names no key (kid), and no key here is one for its alg"
        case .badSignature: "the token's signature is not right"
        case .expired: "the token has expired (exp)"
        case .notYetValid: "the token is not valid yet (nbf or iat is in the future)"
        case .badIssuer: "the token's issuer (iss) is not the one that is accepted here"
        case .badAudience: "the token's audience (aud) does not contain the one of this chat"
        case .badClaim(let claim, let reason): "the token's claim \(claim) \(reason)"
        case .revoked: "the token was revoked"
        }
    }
}
