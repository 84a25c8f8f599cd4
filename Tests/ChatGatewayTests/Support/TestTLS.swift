import ChatGateway
import NIOCore
import NIOSSL
import NIOTLS
import TestSupport

extension PrivateCertificate {
    /// What a gateway is configured with.
    var files: CertificateFiles { CertificateFiles(certificate: certificate, key: key) }

    /// The context of a client that trusts the authority.
    func client(_ change: (inout TLSConfiguration) -> Void = { _ in }) throws -> NIOSSLContext {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.trustRoots = .file(authority)
        configuration.applicationProtocols = ["h2", "http/1.1"]
        change(&configuration)
        return try NIOSSLContext(configuration: configuration)
    }
}

extension TestSocket {
    /// Begins TLS behind the bytes that were written.
    func beginTLS(_ context: NIOSSLContext) async throws {
        let channel = channel
        try await channel.eventLoop.submit {
            try channel.pipeline.syncOperations.addHandler(
                NIOSSLClientHandler(context: context, serverHostname: nil), position: .first)
        }.get()
    }

    /// The common name of the certificate that the gateway presented. Waits until the handshake is complete.
    func peerName() async throws -> String {
        try await eventually("the handshake is complete") {
            try await channel.nioSSL_peerCertificate().get() != nil
        }
        let certificate = try await channel.nioSSL_peerCertificate().get()
        guard let text = certificate.map({ "\($0)" }) else { return "" }
        // `<NIOSSLCertificate;serial_number=…;common_name=first;alternative_names=…>`
        guard let start = text.firstRange(of: "common_name=") else { return "" }
        return String(text[start.upperBound...].prefix { $0 != ";" && $0 != ">" })
    }
}
