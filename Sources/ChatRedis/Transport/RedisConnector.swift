import ChatCore
import NIOCore
import NIOPosix
import NIOSSL

/// Opens channels to one Redis: TCP or unix socket, with or without TLS. Names are looked up off the loop, by NIO.
/// May be shared.
struct RedisConnector: Sendable {
    let url: RedisURL
    let timeout: Duration
    private let tls: NIOSSLContext?

    /// The same way to another address.
    init(_ other: RedisConnector, url: RedisURL) {
        self.url = url
        timeout = other.timeout
        tls = other.tls
    }

    /// Reads the file of the certificate authority, if the URL names one: fails as `.tls` if it cannot be read.
    init(url: RedisURL, timeout: Duration) throws(RedisSetupError) {
        self.url = url
        self.timeout = timeout
        guard let wanted = url.tls else {
            tls = nil
            return
        }
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.certificateVerification = wanted.insecure ? .none : .fullVerification
        if let file = wanted.authorityFile { configuration.trustRoots = .file(file) }
        do {
            tls = try NIOSSLContext(configuration: configuration)
        } catch {
            let file = wanted.authorityFile.map { ", with the authority file \($0)" } ?? ""
            throw RedisSetupError(.tls, "redis at \(url): TLS cannot be set up\(file): \(error)")
        }
    }

    /// Connects; the channel's events go to `owner`. Fails if there is no channel; what happens later the owner hears.
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
            // Server name indication takes names only (RFC 6066 §3); an address is verified against the certificate
            // by NIOSSL.
            let isAddress = (try? SocketAddress(ipAddress: host, port: 0)) != nil
            return try NIOSSLClientHandler(context: context, serverHostname: isAddress ? nil : host)
        case .unix:
            return try NIOSSLClientHandler(context: context, serverHostname: nil)
        }
    }

    // MARK: Errors

    /// What went wrong, in words that name the address.
    func describe(_ error: any Error) -> RedisSetupError {
        let (code, text) = cause(error)
        return RedisSetupError(code, "redis at \(url) \(text)")
    }

    /// The same without the address.
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
            return (.unreachable, "cannot be reached: \(error.description)")
        case is NIOSSLError, is BoringSSLError, is NIOSSLExtraError:
            return (.tls, "does not come to terms over TLS: \(error)")
        default:
            return (.unreachable, "cannot be reached: \(error)")
        }
    }
}
