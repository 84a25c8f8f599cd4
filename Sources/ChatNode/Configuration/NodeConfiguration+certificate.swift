import ChatGateway

extension NodeConfiguration {
    /// The files of the certificate; nil if the node does not speak TLS itself.
    var certificateFiles: CertificateFiles? {
        guard let certificate = listener.certificateFile, let key = listener.keyFile else { return nil }
        return CertificateFiles(certificate: certificate, key: key)
    }

    /// Reads the files of the certificate, and returns why they cannot be used.
    public func certificateProblem() -> ConfigurationProblem? {
        guard let files = certificateFiles else { return nil }
        do throws(CertificateError) {
            _ = try ServerCertificate(reading: files)
            return nil
        } catch {
            return ConfigurationProblem(
                variables: ["MARTLET_TLS_CERTIFICATE", "MARTLET_TLS_KEY"], message: error.description)
        }
    }
}
