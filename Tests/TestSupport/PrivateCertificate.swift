import Foundation

/// A certificate for `localhost` and 127.0.0.1 in a temporary directory, made by openssl. It was signed by an
/// intermediate authority, and that by an authority of its own. The directory is removed with the object.
///
///     let files = try PrivateCertificate.make()
///     … files.certificate, files.key, files.authority …
package final class PrivateCertificate: Sendable {
    package let directory: URL

    /// PEM files: the certificate followed by that of the intermediate authority, its key, and the authority that
    /// clients trust.
    package var certificate: String { path("node.pem") }
    package var key: String { path("node.key") }
    package var authority: String { path("authority.crt") }

    private init(directory: URL) {
        self.directory = directory
    }

    deinit { try? FileManager.default.removeItem(at: directory) }

    package static func make(name: String = "first", days: Int = 30) throws -> PrivateCertificate {
        let directory = FileManager.default.temporaryDirectory
            .appending(path: "martlet-certificate-\(UInt32.random(in: 0 ... .max))")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let files = PrivateCertificate(directory: directory)
        try Data(extensions.utf8).write(to: directory.appending(path: "openssl.cnf"))
        try files.sign("authority", "authority", name: "root", days: 90, by: nil)
        try files.sign("between", "authority", name: "between", days: 90, by: "authority")
        try files.renew(name: name, days: days)
        return files
    }

    package func path(_ name: String) -> String { directory.appending(path: name).path }

    /// Makes another certificate with another key, and replaces both files. `name` is its common name.
    package func renew(name: String, days: Int = 30) throws {
        try makePair("new", name: name, days: days)
        try move("new.pem", to: "node.pem")
        try move("new.key", to: "node.key")
    }

    /// Makes a certificate and its key, in files of that prefix (`.pem`, `.key`).
    package func makePair(_ prefix: String, name: String, days: Int = 30) throws {
        try sign(prefix, "node", name: name, days: days, by: "between")
        let chain = try ["\(prefix).crt", "between.crt"].map { try Data(contentsOf: directory.appending(path: $0)) }
        try Data(chain.joined()).write(to: directory.appending(path: "\(prefix).pem"))
    }

    /// Puts a file in the place of another one, in one step.
    package func move(_ name: String, to other: String) throws {
        guard rename(path(name), path(other)) == 0 else { throw TestFailure("\(name) cannot be renamed") }
    }

    private func sign(_ prefix: String, _ kind: String, name: String, days: Int, by signer: String?) throws {
        var arguments = [
            "req", "-x509", "-config", path("openssl.cnf"), "-extensions", kind, "-subj", "/CN=\(name)", "-days",
            "\(days)", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
            path("\(prefix).key"), "-out", path("\(prefix).crt"),
        ]
        if let signer { arguments += ["-CA", path("\(signer).crt"), "-CAkey", path("\(signer).key")] }
        try PrivateRedis.run("openssl", arguments)
    }

    private static let extensions = """
        [req]
        distinguished_name = name
        prompt = no
        [name]
        CN = unnamed
        [authority]
        basicConstraints = critical, CA:TRUE
        keyUsage = critical, keyCertSign
        subjectKeyIdentifier = hash
        [node]
        basicConstraints = critical, CA:FALSE
        extendedKeyUsage = serverAuth
        subjectAltName = DNS:localhost, IP:127.0.0.1

        """
}
