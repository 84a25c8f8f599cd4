import ChatCore
import ChatJSON
import Testing

@testable import ChatAccess

/// Makes tokens of any text, well formed or not, that are signed correctly with a secret.
struct Forge {
    static let secret = Array("a secret of at least thirty-two bytes".utf8)
    /// Seconds and milliseconds since 1970.
    static let seconds = 1_800_000_000
    static let now = UInt64(seconds) * 1_000

    var rules = TokenRules()

    func keys() throws -> TokenKeys {
        var keys = TokenKeys()
        try keys.add(secret: Self.secret)
        return keys
    }

    static func sign(header: [UInt8], claims: [UInt8]) -> String {
        let signed = Base64.encodeURL(header) + "." + Base64.encodeURL(claims)
        return signed + "." + Base64.encodeURL(mac(signed, secret))
    }

    static func mac(_ text: String, _ secret: [UInt8]) -> [UInt8] {
        Array(text.utf8).withUnsafeBytes { SecretMAC.code(for: $0, secret: secret, .sha256) }
    }

    static func sign(header: String = #"{"alg":"HS256","typ":"JWT"}"#, claims: String) -> String {
        sign(header: Array(header.utf8), claims: Array(claims.utf8))
    }

    /// Claims of ana, valid for an hour, with these members in addition.
    static func claims(_ more: String = "", exp: String? = "\(seconds + 3_600)") -> String {
        var members = [#""sub":"ana""#]
        if let exp { members.append("\"exp\":\(exp)") }
        if !more.isEmpty { members.append(more) }
        return "{" + members.joined(separator: ",") + "}"
    }

    func verify(_ token: String, now: UInt64 = now) throws -> Result<Grant, TokenProblem> {
        TokenVerifier(try keys(), rules).verify(token, now: now)
    }

    /// Nil if the token is accepted.
    func problem(_ token: String, now: UInt64 = now) throws -> TokenProblem? {
        let result = try verify(token, now: now)
        guard case .failure(let problem) = result else { return nil }
        // No sentence about a token may hold a part of it.
        for part in token.split(separator: ".") where part.utf8.count > 8 {
            #expect(!problem.description.contains(part))
        }
        return problem
    }

    func problem(header: String, claims: String = claims()) throws -> TokenProblem? {
        try problem(Self.sign(header: header, claims: claims))
    }

    func problem(claims more: String) throws -> TokenProblem? {
        try problem(Self.sign(claims: Self.claims(more)))
    }
}

extension TokenProblem {
    /// The claim or header field that the problem is about.
    var subject: String? {
        switch self {
        case .badClaim(let name, _), .badHeader(let name, _): name
        default: nil
        }
    }
}
