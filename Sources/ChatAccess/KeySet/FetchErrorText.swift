import Glibc
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL

/// Describes errors of connecting, TLS and HTTP for operators: in the system's words, and without those of the server.
enum FetchErrorText {
    static func of(_ error: any Error) -> String {
        switch error {
        case let error as KeySetFetcher.Failure: return error.description
        case let error as NIOConnectionError:
            return error.connectionErrors.first.map { of($0.error) } ?? "the host name does not resolve"
        case let error as IOError:
            return strerror(error.errnoCode).map { String(cString: $0) } ?? "error \(error.errnoCode)"
        case ChannelError.connectTimeout: return "the host did not take the connection in time"
        case is HTTPParserError: return "the answer is not HTTP, or ends too early"
        case is NIOSSLError, is BoringSSLError, is NIOSSLExtraError: return "TLS: \(tls("\(error)"))"
        default: return "\(type(of: error))"
        }
    }

    /// The meaning of an error of BoringSSL, without its dump of the stack.
    private static func tls(_ text: String) -> String {
        for (word, meaning) in meanings where text.contains(word) { return meaning }
        guard let found = text.firstRange(of: "OPENSSL_internal:") else { return "the handshake failed" }
        let words = text[found.upperBound...].prefix { $0.isLetter || $0.isNumber || $0 == "_" }
        return words.lowercased().replacing("_", with: " ")
    }

    private static let meanings: [(String, String)] = [
        ("CERTIFICATE_VERIFY_FAILED", "the certificate is not of an authority that is trusted here"),
        ("failedToValidateHostname", "the certificate is not for this host name"),
        ("unableToValidateCertificate", "the certificate is not for this host name"),
        ("WRONG_VERSION_NUMBER", "no TLS is spoken there"),
        ("failedToLoadCertificate", "it holds no PEM certificate that can be read"),
        ("uncleanShutdown", "the connection was closed without notice"),
    ]
}
