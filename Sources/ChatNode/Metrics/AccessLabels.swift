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

/// What was done with a message that had a word of the list.
public enum WordResult: MetricLabel {
    case masked, refused

    init?(_ outcome: WordScreen.Outcome) {
        switch outcome {
        case .clean: return nil
        case .masked: self = .masked
        case .refused: self = .refused
        }
    }
}

/// What a hook has decided about a message, or why it has not.
public enum HookResult: MetricLabel {
    case allowed, refused, replaced, late, unreachable, badAnswer

    init(_ decision: HookDecision) {
        self =
            switch decision {
            case .allow: .allowed
            case .refuse: .refused
            case .replace: .replaced
            case .none(.late): .late
            case .none(.unreachable): .unreachable
            case .none(.badAnswer): .badAnswer
            }
    }
}
