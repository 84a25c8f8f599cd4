import ChatJSON

/// The header of a token (RFC 7515 §4), as far as it matters. `jku`, `jwk`, `x5u` and `x5c`, with which a token would
/// bring its own key, are ignored.
struct TokenHeader {
    var algorithm: TokenAlgorithm
    var keyID: String?

    init(_ bytes: [UInt8], _ allowed: Set<TokenAlgorithm>) throws(TokenProblem) {
        let fields: [String: JSONValue]
        do throws(JSONError) {
            guard let object = try StrictJSON.parse(bytes).object else {
                throw JSONError(offset: 0, problem: "not an object")
            }
            fields = object
        } catch {
            throw .malformed("header, \(error)")
        }
        guard case .string(let name)? = fields["alg"], let algorithm = TokenAlgorithm(name),
            allowed.contains(algorithm)
        else { throw .badAlgorithm }
        self.algorithm = algorithm
        // RFC 7515 §4.1.11: extensions that must be understood; none is.
        guard fields["crit"] == nil else { throw .badHeader("crit", "asks for extensions, of which there are none") }
        if let type = fields["typ"] {
            guard case .string(let text) = type, Self.types.contains(text.lowercased()) else {
                throw .badHeader("typ", "is neither JWT nor at+jwt")
            }
        }
        switch fields["kid"] {
        case nil: keyID = nil
        case .string(let id)?: keyID = id
        default: throw .badHeader("kid", "is not a string")
        }
    }

    /// Media types, which may omit `application/` (RFC 7515 §4.1.9).
    private static let types: Set = ["jwt", "at+jwt", "application/jwt", "application/at+jwt"]
}
