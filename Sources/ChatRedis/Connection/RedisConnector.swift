import ChatCore
import Glibc
import NIOCore
import NIOPosix
import NIOSSL

/// Opens channels to one Redis: TCP or Unix socket, with or without TLS. NIO resolves names outside the event loop. May
/// be shared.
struct RedisConnector: Sendable {
    let url: RedisURL
    let timeout: Duration
    private let tls: NIOSSLContext?

    /// The same settings for another address.
    init(_ other: RedisConnector, url: RedisURL) {
        self.url = url
        timeout = other.timeout
        tls = other.tls
    }

    /// Reads the file of the certificate authority if the URL names one; fails as `.tls` if it cannot be read.
    init(url: RedisURL, timeout: Duration) throws(RedisSetupError) {
        self.url = url
        self.timeout = timeout
        guard let wanted = url.tls else {
            tls = nil
            return
        }
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.certificateVerification = wanted.insecure ? .none : .fullVerification
        var file: String?
        do {
            if let authority = wanted.authorityFile {
                file = authority
                let certificates = try NIOSSLCertificate.fromPEMFile(authority)
                guard !certificates.isEmpty else { throw RedisSetupError(.tls, "it holds no PEM certificate") }
                configuration.trustRoots = .certificates(certificates)
            }
            if let certificate = wanted.certificateFile, let key = wanted.keyFile {
                file = certificate
                let chain = try NIOSSLCertificate.fromPEMFile(certificate)
                guard !chain.isEmpty else { throw RedisSetupError(.tls, "it holds no PEM certificate") }
                configuration.certificateChain = chain.map { .certificate($0) }
                file = key
                configuration.privateKey = .privateKey(try NIOSSLPrivateKey(file: key, format: .pem))
            }
            tls = try NIOSSLContext(configuration: configuration)
        } catch {
            let place = file.map { ", file \($0)" } ?? ""
            let why = (error as? RedisSetupError)?.message ?? TLSText.of(error)
            throw RedisSetupError(.tls, "redis at \(url): TLS cannot be set up\(place): \(why)")
        }
    }

    /// Connects; the channel's events go to `owner`. The future fails if no channel is established; later failures are
    /// reported to the owner.
    func connect<Owner: RedisChannelOwner>(
        _ owner: Owner, attempt: Int, on eventLoop: any EventLoop
    ) -> EventLoopFuture<Void> {
        let bound = NIOLoopBound(owner, eventLoop: eventLoop)
        let bootstrap = ClientBootstrap(group: eventLoop)
            .connectTimeout(TimeAmount(timeout))
            .channelInitializer { [tls, url] channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    if let tls { try pipeline.addHandler(Self.tlsHandler(tls, url)) }
                    try pipeline.addHandler(RedisChannelHandler(bound.value, attempt: attempt))
                }
            }
        switch url.address {
        case .tcp(let host, let port):
            return bootstrap.channelOption(.socketOption(.so_keepalive), value: 1).connect(host: host, port: port).map {
                _ in
            }
        case .unix(let path):
            return bootstrap.connect(unixDomainSocketPath: path).map { _ in }
        }
    }

    private static func tlsHandler(_ context: NIOSSLContext, _ url: RedisURL) throws -> NIOSSLClientHandler {
        switch url.address {
        case .tcp(let host, _):
            // Server name indication takes names only (RFC 6066 §3); NIOSSL verifies an address against the
            // certificate.
            let isAddress = (try? SocketAddress(ipAddress: host, port: 0)) != nil
            return try NIOSSLClientHandler(context: context, serverHostname: isAddress ? nil : host)
        case .unix:
            return try NIOSSLClientHandler(context: context, serverHostname: nil)
        }
    }

    // MARK: Errors

    /// Describes the error and names the address.
    func describe(_ error: any Error) -> RedisSetupError {
        let (code, text) = cause(error)
        return RedisSetupError(code, "redis at \(url) \(text)")
    }

    /// Describes the error without the address.
    func reason(_ error: any Error) -> String { cause(error).1 }

    private func cause(_ error: any Error) -> (RedisSetupError.Code, String) {
        switch error {
        case let error as RedisSetupError:
            return (error.code, error.message)
        case let error as NIOConnectionError:
            guard let first = error.connectionErrors.first else {
                let reason = error.dnsAError ?? error.dnsAAAAError
                return (.unknownHost, "has a host name without an address" + (reason.map { ": \($0)" } ?? ""))
            }
            return cause(first.error)
        case ChannelError.connectTimeout:
            return (.timedOut, "did not take the connection in \(timeout)")
        case let error as IOError:
            return (.unreachable, "cannot be reached: \(error.plainText)")
        case is NIOSSLError, is BoringSSLError, is NIOSSLExtraError:
            return (.tls, "does not come to terms over TLS: \(TLSText.of(error))")
        default:
            return (.unreachable, "cannot be reached: \(error)")
        }
    }
}

extension IOError {
    /// The system's description (strerror(3), which glibc makes thread-safe), without the name of the call.
    var plainText: String {
        guard let words = strerror(errnoCode) else { return "error \(errnoCode)" }
        return String(cString: words)
    }
}

/// The meaning of an error of BoringSSL, without its stack dump, which contains file names of the build machine.
enum TLSText {
    static func of(_ error: any Error) -> String {
        let text = "\(error)"
        for (word, meaning) in meanings where text.contains(word) { return meaning }
        // `…:OPENSSL_internal:WORDS_LIKE_THESE at /path…`
        guard let found = text.firstRange(of: "OPENSSL_internal:") else { return text }
        let words = text[found.upperBound...].prefix { $0.isLetter || $0.isNumber || $0 == "_" }
        return words.lowercased().replacing("_", with: " ")
    }

    private static let meanings: [(String, String)] = [
        (
            "CERTIFICATE_VERIFY_FAILED",
            "certificate verify failed: self-signed certificate in chain, or an authority that this machine does not "
                + "trust (MARTLET_REDIS_CA names the file of a private one)"
        ),
        ("failedToValidateHostname", "certificate verify failed: it is not for this host name"),
        ("unableToValidateCertificate", "certificate verify failed: it is not for this host name"),
        (
            "CERTIFICATE_REQUIRED",
            "it requires a client certificate (MARTLET_REDIS_CERTIFICATE and MARTLET_REDIS_KEY)"
        ),
        (
            "ALERT_UNKNOWN_CA",
            "it does not trust the authority of our certificate (MARTLET_REDIS_CERTIFICATE)"
        ),
        ("WRONG_VERSION_NUMBER", "no TLS is spoken there: redis:// instead of rediss://, or another port"),
        ("failedToLoadCertificate", "it holds no PEM certificate that can be read"),
        ("failedToLoadPrivateKey", "it holds no PEM key that can be read, or one with a pass phrase"),
        ("KEY_VALUES_MISMATCH", "the key does not belong to the certificate"),
        ("uncleanShutdown", "the connection was closed during the handshake"),
    ]
}
