import ChatCore
import ChatJSON

/// Verifies tokens: JWTs (RFC 7519) with a JWS signature in compact form (RFC 7515).
///
/// A value that never changes and asks nobody, so it may be used on any thread; verifying is synchronous and takes 10
/// to 120 µs (HS, RS, PS, ES256, EdDSA), or up to 800 µs (ES384, ES512). When keys change, another verifier takes its
/// place. With a cache, a token that was verified before costs one look-up, as long as neither keys nor rules have
/// changed since.
///
/// What a token allows is in its claim `martlet`. Without `martlet.rooms` it allows nothing in any room: an issuer
/// whose tokens were made for something else has not said that their bearers may chat.
public struct TokenVerifier: Sendable {
    /// Keys that are tried for a token that names none.
    static let maxTries = 8

    public let keys: TokenKeys
    public let rules: TokenRules
    private let cache: VerifiedTokens?
    private let version: UInt64

    public init(_ keys: TokenKeys, _ rules: TokenRules = TokenRules(), cache: VerifiedTokens? = nil) {
        self.keys = keys
        self.rules = rules
        self.cache = cache
        version = cache == nil ? 0 : Self.version(keys, rules)
    }

    /// The grant of a token that is in the cache; nil says nothing about the token. `now` is in milliseconds since
    /// 1970.
    public func known(_ token: String, now: UInt64) -> Grant? {
        guard let cache, token.utf8.count <= rules.maxBytes else { return nil }
        return cache.grant(SHA256Digest(of: token), version: version, now: now)
    }

    /// Verifies the token. `now` is in milliseconds since 1970.
    public func verify(_ token: String, now: UInt64) -> Result<Grant, TokenProblem> {
        guard token.utf8.count <= rules.maxBytes else { return .failure(.tooLong(limit: rules.maxBytes)) }
        guard let cache else { return check(token, now: now).map(\.grant) }
        let digest = SHA256Digest(of: token)
        if let grant = cache.grant(digest, version: version, now: now) { return .success(grant) }
        return check(token, now: now).map { verified in
            // The session that is opened with it shares the permissions, too.
            let grant = cache.sharing(verified.grant)
            cache.insert(grant, for: digest, version: version, until: verified.until, now: now)
            return grant
        }
    }

    private struct Verified {
        var grant: Grant
        /// When the verdict ends to be valid.
        var until: UInt64
    }

    private func check(_ token: String, now: UInt64) -> Result<Verified, TokenProblem> {
        var token = token
        return token.withUTF8 { bytes in
            Result { () throws(TokenProblem) in try check(UnsafeRawBufferPointer(bytes), now: now) }
        }
    }

    /// The signature is verified before any claim is read.
    private func check(_ token: UnsafeRawBufferPointer, now: UInt64) throws(TokenProblem) -> Verified {
        let parts = try Self.parts(token)
        guard let headerBytes = Base64.decodeURL(parts.header) else { throw .malformed("header, not base64url") }
        let header = try TokenHeader(headerBytes, rules.algorithms)
        guard let claimBytes = Base64.decodeURL(parts.claims) else { throw .malformed("claims, not base64url") }
        guard let signature = Base64.decodeURL(parts.signature) else { throw .malformed("signature, not base64url") }
        let candidates = try keys.candidates(header, now: now, atMost: Self.maxTries)
        guard let key = candidates.keys.first(where: { $0.verifies(signature, of: parts.signed, header.algorithm) })
        else {
            // A key set may have the key by now.
            throw candidates.isKnown ? .badSignature : .unknownKey(header.keyID)
        }
        let grant = try TokenClaims(claimBytes).grant(rules, now: now)
        let leeway = rules.leewayMilliseconds
        return Verified(
            grant: grant, until: min(key.validUntil ?? .max, grant.expiresAt.map { $0 + leeway } ?? .max))
    }

    private typealias Parts = (
        header: UnsafeRawBufferPointer, claims: UnsafeRawBufferPointer, signature: UnsafeRawBufferPointer,
        signed: UnsafeRawBufferPointer
    )

    /// The three parts of a token, and what is signed: the first two with their dot.
    private static func parts(_ token: UnsafeRawBufferPointer) throws(TokenProblem) -> Parts {
        var dots: [Int] = []
        for (index, byte) in token.enumerated() where byte == UInt8(ascii: ".") {
            guard dots.count < 2 else { throw .malformed("more than three parts") }
            dots.append(index)
        }
        guard dots.count == 2 else { throw .malformed("fewer than three parts") }
        func part(_ range: Range<Int>) throws(TokenProblem) -> UnsafeRawBufferPointer {
            guard !range.isEmpty else { throw .malformed("an empty part") }
            return UnsafeRawBufferPointer(rebasing: token[range])
        }
        return (
            try part(0..<dots[0]), try part(dots[0] + 1..<dots[1]), try part(dots[1] + 1..<token.count),
            UnsafeRawBufferPointer(rebasing: token[..<dots[1]])
        )
    }

    /// Tells what was verified under other keys or rules from what was verified under these.
    private static func version(_ keys: TokenKeys, _ rules: TokenRules) -> UInt64 {
        let algorithms = rules.algorithms.map(\.rawValue).sorted().joined(separator: " ")
        let text =
            "\(algorithms)\n\(rules.leeway.attoseconds) \(rules.requiresExpiry) \(rules.maxBytes)\n"
            + "\(rules.issuer.map { "=" + $0 } ?? "")\n\(rules.audience.map { "=" + $0 } ?? "")\n"
        var bytes = Array(text.utf8)
        for key in keys.keys { bytes += key.identity.bytes }
        return SHA256Digest(of: bytes).word
    }
}
