import ChatJSON
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOSSL

/// TLS for the connections to one port: the certificate in use, and its replacement when the files change.
///
/// Connections that are open keep the certificate with which they began.
final class ServerTLS: Sendable {
    private struct State {
        var certificate: ServerCertificate
        var watch: CertificateWatch
    }

    private let files: CertificateFiles
    private let logger: Logger
    private let state: NIOLockedValueBox<State>

    /// Reads the files. Blocks, so do not call it on an event loop.
    init(_ files: CertificateFiles, logger: Logger) throws(CertificateError) {
        self.files = files
        self.logger = logger
        let look = Self.look(files)
        state = NIOLockedValueBox(
            State(certificate: try ServerCertificate(reading: files), watch: CertificateWatch(look)))
    }

    private static func look(_ files: CertificateFiles) -> CertificateWatch.Look {
        .init(certificate: FileStamp(files.certificate), key: FileStamp(files.key))
    }

    /// When the certificate in use expires, in seconds since 1970 (UTC).
    var expires: Int64 { state.withLockedValue { $0.certificate.expires } }

    /// The handler of one connection.
    func makeHandler() -> NIOSSLServerHandler {
        var configuration = NIOSSLServerHandler.Configuration()
        // A buffer that a large message needed is not kept for the rest of the connection.
        configuration.maximumPreservedOutboundBufferCapacity = 4_096
        return NIOSSLServerHandler(
            context: state.withLockedValue { $0.certificate.context }, configuration: configuration)
    }

    /// The handler of a connection to another node, which has to prove that it holds the key of this node's own
    /// certificate: names and authorities do not matter among nodes that are given the same files.
    func makePeerHandler() throws -> NIOSSLClientHandler {
        let certificate = state.withLockedValue { $0.certificate }
        return try NIOSSLClientHandler(context: certificate.peerContext, serverHostname: nil) { chain, promise in
            let key = chain.first.flatMap { try? $0.extractPublicKey().toSPKIBytes() }
            promise.succeed(key == certificate.publicKey ? .certificateVerified : .failed)
        }
    }

    /// Looks at the files and the clock at this interval until the task is cancelled.
    func watch(every interval: Duration) async {
        while !Task.isCancelled {
            check()
            do { try await Task.sleep(for: interval) } catch { return }
        }
    }

    /// Looks once. Blocks for milliseconds if the files have changed.
    private func check() {
        let look = Self.look(files)
        if state.withLockedValue({ $0.watch.looked(look) }) { replace() }
        let now = Int64(clamping: WallClock.milliseconds / 1_000)
        let (notice, expires) = state.withLockedValue { state in
            let certificate = state.certificate
            return (
                state.watch.notice(begins: certificate.begins, expires: certificate.expires, now: now),
                certificate.expires
            )
        }
        if let notice { tell(notice, expires) }
    }

    private func replace() {
        do throws(CertificateError) {
            let certificate = try ServerCertificate(reading: files)
            state.withLockedValue { state in
                state.certificate = certificate
                state.watch.replaced()
            }
            logger.notice(
                "the TLS certificate was replaced", metadata: ["expires": "\(Self.text(certificate.expires))"])
        } catch {
            logger.warning(
                "the TLS certificate was not replaced, the earlier one stays in use",
                metadata: ["error": "\(error)"])
        }
    }

    private func tell(_ notice: CertificateWatch.Notice, _ expires: Int64) {
        let metadata: Logger.Metadata = ["file": "\(files.certificate)", "expires": "\(Self.text(expires))"]
        switch notice {
        case .expiresSoon(let days): logger.warning("the TLS certificate expires in \(days) days", metadata: metadata)
        case .expired: logger.warning("the TLS certificate has expired, clients refuse it", metadata: metadata)
        case .notValidYet: logger.warning("the TLS certificate is not valid yet, clients refuse it", metadata: metadata)
        }
    }

    private static func text(_ seconds: Int64) -> String {
        Timestamp.text(UInt64(clamping: min(max(0, seconds), Int64.max / 1_000) * 1_000))
    }
}
