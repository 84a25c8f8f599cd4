import ChatAccess
import ChatCore
import ChatHub

/// How an accepted token was sent.
public enum CarrierLabel: MetricLabel {
    case field, authorization, subprotocol, ticket, cookie, query

    public init(_ carrier: TokenCarrier) {
        self =
            switch carrier {
            case .field: .field
            case .authorization: .authorization
            case .subprotocol: .subprotocol
            case .ticket: .ticket
            case .cookie: .cookie
            case .query: .query
            }
    }
}

/// Why a token or a key was refused.
public enum TokenRefusal: MetricLabel {
    case tooLong, malformed, badAlgorithm, badHeader, unknownKey, badSignature, expired, notYetValid, badIssuer
    case badAudience, badClaim, revoked
    /// Its end is farther ahead than `MARTLET_TOKEN_MAX_LIFETIME`; it is of another user than the client says; it is
    /// neither a token nor a key of a server; it is a ticket that was used or has expired.
    case tooLongLived, otherUser, unknownAPIKey, unknownTicket

    public init(_ problem: TokenProblem) {
        self =
            switch problem {
            case .tooLong: .tooLong
            case .malformed: .malformed
            case .badAlgorithm: .badAlgorithm
            case .badHeader: .badHeader
            case .unknownKey: .unknownKey
            case .badSignature: .badSignature
            case .expired: .expired
            case .notYetValid: .notYetValid
            case .badIssuer: .badIssuer
            case .badAudience: .badAudience
            case .badClaim: .badClaim
            case .revoked: .revoked
            }
    }
}

/// How an attempt to fetch the key set ended.
public enum KeySetResult: MetricLabel {
    case fetched, failed
}
