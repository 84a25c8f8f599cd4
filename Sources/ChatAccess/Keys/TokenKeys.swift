/// The keys that verify tokens: shared secrets, public keys in PEM, and key sets (JWKS). A value: each change makes
/// another set.
///
/// The kind of a key determines the algorithms for which it is used, so a public key never verifies an HMAC. A token
/// with a key ID is verified by the keys with that ID, and by keys that were configured without one. Several keys may
/// have the same ID, as RFC 7517 §4.5 allows.
public struct TokenKeys: Sendable {
    /// RFC 7518 §3.2 demands as many bytes as the hash has.
    static let minSecretBytes = 32
    static let maxSecretBytes = 65_536
    static let maxSetKeys = 256

    private(set) var keys: [TokenKey] = []

    public init() {}

    public var isEmpty: Bool { keys.isEmpty }
    public var count: Int { keys.count }

    /// For logs: one line for each key, with its kind and ID.
    public var descriptions: [String] { keys.map(\.description) }

    /// Adds a shared secret (HS256, HS384, HS512). `validUntil`, in milliseconds since 1970, is for a previous secret
    /// that is being replaced.
    public mutating func add(secret: [UInt8], id: String? = nil, validUntil: UInt64? = nil) throws(KeyProblem) {
        guard secret.count >= Self.minSecretBytes else {
            throw KeyProblem("the secret has \(secret.count) bytes, at least \(Self.minSecretBytes) are needed")
        }
        guard secret.count <= Self.maxSecretBytes else {
            throw KeyProblem("the secret has \(secret.count) bytes, at most \(Self.maxSecretBytes) are accepted")
        }
        // Everybody has the public key, and could sign.
        guard !secret.starts(with: "-----BEGIN ".utf8), !secret.starts(with: "ssh-".utf8) else {
            throw KeyProblem("the secret is a public key or certificate, which is to be given as such")
        }
        insert(TokenKey(.secret(secret), id: id, validUntil: validUntil))
    }

    /// Adds all public keys in the text of a PEM file: `PUBLIC KEY` (RSA, EC P-256, P-384, P-521, Ed25519) and
    /// `CERTIFICATE`, of which nothing but the key counts. `id` is `kid` of the tokens that they verify.
    public mutating func add(pem: String, id: String? = nil) throws(KeyProblem) {
        let blocks = try PEM.blocks(pem)
        guard !blocks.isEmpty else { throw KeyProblem("it holds no PEM block (-----BEGIN PUBLIC KEY-----)") }
        var added: [TokenKey] = []
        for (index, block) in blocks.enumerated() {
            do throws(KeyProblem) {
                added.append(TokenKey(.publicKey(try Self.publicKey(block)), id: id))
            } catch {
                throw blocks.count == 1 ? error : error.of("block \(index + 1)")
            }
        }
        for key in added { insert(key) }
    }

    /// Reads a key set (RFC 7517). Keys that cannot be used are skipped and named in `skipped`; the others are not
    /// affected. Throws if there is no key that can be used.
    public init(keySet: [UInt8], skipped: inout [KeyProblem]) throws(KeyProblem) {
        for result in try JWKSet.keys(keySet) {
            switch result {
            case .success(let key): insert(key)
            case .failure(let problem): skipped.append(problem)
            }
        }
        guard !keys.isEmpty else {
            throw skipped.first.map { KeyProblem("the key set has no usable key: \($0)") }
                ?? KeyProblem("the key set is empty")
        }
    }

    /// Adds the keys of another set.
    public mutating func add(_ others: TokenKeys) {
        for key in others.keys { insert(key) }
    }

    /// Adds the key unless it is already there.
    private mutating func insert(_ key: TokenKey) {
        if !keys.contains(where: { $0.identity == key.identity }) { keys.append(key) }
    }

    private static func publicKey(_ block: PEM.Block) throws(KeyProblem) -> PublicKey {
        switch block.label {
        case "PUBLIC KEY": return try PublicKey(subjectPublicKeyInfo: block.bytes)
        case "CERTIFICATE": return try PublicKey(certificate: block.bytes)
        case let label where label.hasSuffix("PRIVATE KEY"):
            throw KeyProblem("a private key, which is only for whoever signs: give the public key")
        default: throw KeyProblem("neither a PUBLIC KEY nor a CERTIFICATE")
        }
    }

    // MARK: Looking up

    /// The keys that may have signed such a token. `isKnown`: there is a key with the ID that the token names, or it
    /// names none.
    func candidates(
        _ header: TokenHeader, now: UInt64, atMost limit: Int
    ) throws(TokenProblem) -> (keys: [TokenKey], isKnown: Bool) {
        var found: [TokenKey] = []
        var isKnown = header.keyID == nil
        for key in keys where key.isValid(at: now) {
            if let id = header.keyID, let own = key.id {
                guard own.utf8.elementsEqual(id.utf8) else { continue }
                isKnown = true
            }
            if key.fits(header.algorithm) { found.append(key) }
            if found.count == limit { break }
        }
        guard found.isEmpty else { return (found, isKnown) }
        if header.keyID != nil, isKnown { throw .badAlgorithm }
        throw .unknownKey(header.keyID)
    }
}
