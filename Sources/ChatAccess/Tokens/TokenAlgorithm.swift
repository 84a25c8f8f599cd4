/// A signature algorithm of JWTs (RFC 7518 §3.1, RFC 8037). `none` is not among them.
public enum TokenAlgorithm: String, Hashable, Sendable, CaseIterable, CustomStringConvertible {
    case hs256 = "HS256"
    case hs384 = "HS384"
    case hs512 = "HS512"
    case rs256 = "RS256"
    case rs384 = "RS384"
    case rs512 = "RS512"
    case ps256 = "PS256"
    case ps384 = "PS384"
    case ps512 = "PS512"
    case es256 = "ES256"
    case es384 = "ES384"
    case es512 = "ES512"
    case edDSA = "EdDSA"

    /// Reads the name of an algorithm, exactly as it is registered. `Ed25519` is the newer name of EdDSA with that
    /// curve (RFC 9864). Nil for every other text.
    public init?(_ name: String) {
        guard let algorithm = Self.allCases.first(where: { $0.rawValue == name }) else {
            guard name == "Ed25519" else { return nil }
            self = .edDSA
            return
        }
        self = algorithm
    }

    public var description: String { rawValue }

    /// The kind of key that the algorithm needs. Since each key has one kind, no public key can serve as the secret of
    /// an HMAC.
    var keyKind: KeyKind {
        switch self {
        case .hs256, .hs384, .hs512: .secret
        case .rs256, .rs384, .rs512, .ps256, .ps384, .ps512: .rsa
        case .es256: .p256
        case .es384: .p384
        case .es512: .p521
        case .edDSA: .ed25519
        }
    }

    /// The hash function of the signature. Ed25519 hashes by itself.
    var hash: HashFunction {
        switch self {
        case .hs256, .rs256, .ps256, .es256: .sha256
        case .hs384, .rs384, .ps384, .es384: .sha384
        case .hs512, .rs512, .ps512, .es512, .edDSA: .sha512
        }
    }

    /// Whether RSA signatures have the padding PSS.
    var isPSS: Bool {
        switch self {
        case .ps256, .ps384, .ps512: true
        default: false
        }
    }
}

/// The kind of a key.
enum KeyKind: Hashable, Sendable {
    case secret, rsa, p256, p384, p521, ed25519

    /// The algorithms that verify with such a key.
    var algorithms: [TokenAlgorithm] { TokenAlgorithm.allCases.filter { $0.keyKind == self } }

    /// The bytes of one coordinate of the curve (RFC 7518 §6.2.1.2), of which an ES signature holds two; nil for
    /// others.
    var coordinateBytes: Int? {
        switch self {
        case .p256: 32
        case .p384: 48
        case .p521: 66
        case .secret, .rsa, .ed25519: nil
        }
    }
}
