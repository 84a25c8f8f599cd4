import Glibc
import NIOCore
import NIOSSL

/// The PEM files of the certificate that the gateway presents.
public struct CertificateFiles: Sendable, Hashable {
    /// The node's own certificate, followed by those of the authorities between it and a root.
    public var certificate: String
    /// Its private key, without a passphrase.
    public var key: String

    public init(certificate: String, key: String) {
        self.certificate = certificate
        self.key = key
    }
}

/// Why the files cannot be used; the text names the file.
public struct CertificateError: Error, Equatable, Sendable, CustomStringConvertible {
    public let description: String
}

/// A certificate chain and its key, ready for handshakes.
public struct ServerCertificate: Sendable {
    let context: NIOSSLContext
    /// For connections to other nodes, see ``ServerTLS/makePeerHandler()``.
    let peerContext: NIOSSLContext
    /// The public key of the node's own certificate (RFC 5280, SubjectPublicKeyInfo).
    let publicKey: [UInt8]
    /// The time from which on the node's own certificate is valid, in seconds since 1970 (UTC).
    public let begins: Int64
    /// The time at which it expires, in seconds since 1970 (UTC).
    public let expires: Int64

    /// Longer files are refused; a chain has some thousand bytes.
    private static let mostBytes = 1_048_576
    /// What TLS 1.2 may use: only suites with forward secrecy and authenticated encryption (RFC 9325 §4.2). Those of
    /// TLS 1.3 all have both.
    private static let cipherSuites = "ECDH+AESGCM:ECDH+CHACHA20"
    /// How long a peer may take to confirm the end of TLS before the connection is closed.
    private static let shutdownTimeout = TimeAmount.seconds(1)

    /// Reads both files, and checks that the key belongs to the first certificate. Blocks for milliseconds, so do not
    /// call it on an event loop.
    public init(reading files: CertificateFiles) throws(CertificateError) {
        let certificate = try Self.read(files.certificate)
        let key = try Self.read(files.key)
        let chain = (try? NIOSSLCertificate.fromPEMBytes(certificate)) ?? []
        guard let own = chain.first else {
            throw Self.fault(files.certificate, "it holds no PEM certificate that can be read")
        }
        guard !key.isEmpty, let privateKey = try? NIOSSLPrivateKey(bytes: key, format: .pem) else {
            throw Self.fault(files.key, "it holds no PEM private key that can be read, or one with a passphrase")
        }
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(privateKey))
        configuration.minimumTLSVersion = .tlsv12
        configuration.cipherSuites = Self.cipherSuites
        configuration.applicationProtocols = ["http/1.1"]
        configuration.shutdownTimeout = Self.shutdownTimeout
        do {
            context = try NIOSSLContext(configuration: configuration)
        } catch {
            throw Self.fault(
                files.key, "the key does not belong to the first certificate in \(files.certificate)")
        }
        var peers = TLSConfiguration.makeClientConfiguration()
        peers.minimumTLSVersion = .tlsv12
        // Whoever is connected to is known by the key alone.
        peers.trustRoots = .certificates([])
        peers.shutdownTimeout = Self.shutdownTimeout
        do {
            peerContext = try NIOSSLContext(configuration: peers)
            publicKey = try own.extractPublicKey().toSPKIBytes()
        } catch {
            throw Self.fault(files.certificate, "its public key cannot be read")
        }
        begins = Int64(own.notValidBefore)
        expires = Int64(own.notValidAfter)
    }

    private static func fault(_ file: String, _ why: String) -> CertificateError {
        CertificateError(description: "the TLS certificate cannot be used, file \(file): \(why)")
    }

    private static func read(_ path: String) throws(CertificateError) -> [UInt8] {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw fault(path, systemError) }
        defer { close(file) }
        var bytes: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 65_536)
        while bytes.count <= mostBytes {
            let count = Glibc.read(file, &part, part.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw fault(path, systemError) }
            if count == 0 { return bytes }
            bytes += part[..<count]
        }
        throw fault(path, "it has more than \(mostBytes) bytes")
    }

    private static var systemError: String { strerror(errno).map { String(cString: $0) } ?? "error \(errno)" }
}
