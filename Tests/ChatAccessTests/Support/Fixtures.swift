import ChatJSON
import Testing

@testable import ChatAccess

/// The tokens and keys of `Fixtures/tokens.json`, which PyJWT and joserfc made (`Fixtures/make.py`).
enum Fixtures {
    struct Token: Sendable, CustomTestStringConvertible {
        var maker: String
        var algorithm: TokenAlgorithm
        /// The name of the key that verifies it.
        var key: String
        var keyID: String?
        var text: String

        var testDescription: String { "\(algorithm) by \(maker)" }
    }

    private static let all: JSONValue = (try? JSONValue(parsing: PackageResources.tokens_json)) ?? .null

    static let secret = all["secret"]?.string ?? ""
    /// Milliseconds since 1970, as all times of Martlet.
    static let issuedAt = UInt64(all["issuedAt"]?.integer ?? 0) * 1_000
    static let expiresAt = UInt64(all["expiresAt"]?.integer ?? 0) * 1_000
    /// A moment at which the tokens are valid.
    static let now = issuedAt + 60_000

    static func signing(_ name: String) -> String { all["signing"]?[name]?.string ?? "" }
    /// `authority`, `certificate` and `key`, for a server on loopback.
    static func tls(_ name: String) -> String { all["tls"]?[name]?.string ?? "" }

    /// A token whose `alg` is `Ed25519`, the newer name of EdDSA.
    static let newer = all["newer"]?.string ?? ""

    static func pem(_ name: String) -> String { all["pem"]?[name]?.string ?? "" }
    static func certificate(_ name: String) -> String { all["certificates"]?[name]?.string ?? "" }
    static func forged(_ name: String) -> String { all["forged"]?[name]?.string ?? "" }
    static func jwk(_ name: String) -> [String: JSONValue] { all["jwk"]?[name]?.object ?? [:] }
    static let privateJWK: [String: JSONValue] = all["privateJWK"]?.object ?? [:]

    static let tokens: [Token] = (all["tokens"]?.array ?? []).compactMap { value in
        guard let maker = value["maker"]?.string, let name = value["algorithm"]?.string,
            let algorithm = TokenAlgorithm(name), let key = value["key"]?.string, let text = value["token"]?.string
        else { return nil }
        return Token(maker: maker, algorithm: algorithm, key: key, keyID: value["kid"]?.string, text: text)
    }

    static func token(_ algorithm: TokenAlgorithm, _ maker: String = "PyJWT") -> String {
        tokens.first { $0.algorithm == algorithm && $0.maker == maker }?.text ?? ""
    }

    static func keySet(_ keys: [[String: JSONValue]]) -> [UInt8] {
        Array(JSONValue.object(["keys": .array(keys.map { .object($0) })]).text.utf8)
    }
}
