import ChatJSON

/// Reads key sets (RFC 7517, RFC 7518 §6, RFC 8037 §2) key by key.
enum JWKSet {
    /// The keys of the set, each one or why it cannot be used. Throws if this is no key set.
    static func keys(_ bytes: [UInt8]) throws(KeyProblem) -> [Result<TokenKey, KeyProblem>] {
        let set: JSONValue
        do throws(JSONError) {
            set = try StrictJSON.parse(bytes)
        } catch {
            throw KeyProblem("the key set is not JSON: \(error)")
        }
        guard case .array(let members)? = set["keys"] else {
            throw KeyProblem("this is no key set: it has no list called keys")
        }
        guard members.count <= TokenKeys.maxSetKeys else {
            throw KeyProblem("the key set has \(members.count) keys, the limit is \(TokenKeys.maxSetKeys)")
        }
        return members.enumerated().map { index, member in
            let id = member["kid"]?.string.map { ", kid " + KeyName.shown($0) } ?? ""
            return Result { () throws(KeyProblem) in try key(member) }.mapError { $0.of("key \(index + 1)\(id)") }
        }
    }

    private static func key(_ value: JSONValue) throws(KeyProblem) -> TokenKey {
        guard case .object(let members) = value else { throw KeyProblem("not an object") }
        let type = try text(members, "kty")
        guard type != "oct" else { throw KeyProblem("a shared secret (oct), which a key set would show to everybody") }
        guard members["d"] == nil else { throw KeyProblem("a private key, which should be shown to nobody") }
        if let use = members["use"], use.string != "sig" { throw KeyProblem("not for signatures (use)") }
        if let operations = members["key_ops"] {
            guard operations.array?.contains(.string("verify")) == true else {
                throw KeyProblem("not for verifying (key_ops)")
            }
        }
        var id: String?
        if members["kid"] != nil { id = try text(members, "kid") }
        let key = try publicKey(type, members)
        var algorithm: TokenAlgorithm?
        if members["alg"] != nil {
            algorithm = TokenAlgorithm(try text(members, "alg"))
            guard algorithm != nil else { throw KeyProblem("for an algorithm (alg) that is not supported") }
        }
        if let algorithm, algorithm.keyKind != key.kind {
            throw KeyProblem("for \(algorithm) (alg), which needs another kind of key")
        }
        return TokenKey(.publicKey(key), id: id, onlyAlgorithm: algorithm)
    }

    private static func publicKey(_ type: String, _ members: [String: JSONValue]) throws(KeyProblem) -> PublicKey {
        switch type {
        case "RSA":
            return try PublicKey(rsaModulus: try bytes(members, "n"), exponent: try bytes(members, "e"))
        case "EC":
            let curve = try text(members, "crv")
            guard let kind = curves[curve] else { throw KeyProblem("a curve (crv) that is not supported") }
            return try PublicKey(kind, x: try bytes(members, "x"), y: try bytes(members, "y"))
        case "OKP":
            guard try text(members, "crv") == "Ed25519" else { throw KeyProblem("a curve (crv) that is not supported") }
            return try PublicKey(ed25519: try bytes(members, "x"))
        default:
            throw KeyProblem("a kind of key (kty) that is not supported")
        }
    }

    private static let curves: [String: KeyKind] = ["P-256": .p256, "P-384": .p384, "P-521": .p521]

    private static func text(_ members: [String: JSONValue], _ name: String) throws(KeyProblem) -> String {
        guard case .string(let text)? = members[name] else { throw KeyProblem("\(name) is missing, or not a string") }
        return text
    }

    private static func bytes(_ members: [String: JSONValue], _ name: String) throws(KeyProblem) -> [UInt8] {
        guard let bytes = Base64.decodeURL(try text(members, name)), !bytes.isEmpty else {
            throw KeyProblem("\(name) is not base64url")
        }
        return bytes
    }
}
