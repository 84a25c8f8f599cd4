import Foundation
import MartletClient
import TestSupport
import Testing

/// A node as it meets the network: TLS, proxies, ports.
@Suite(.serialized)
struct EdgeTests {
    private func files(_ own: PrivateCertificate) -> [String: String] {
        ["MARTLET_TLS_CERTIFICATE": own.certificate, "MARTLET_TLS_KEY": own.key]
    }

    @Test func curlAndClientsSpeakTLSWithANode() async throws {
        let own = try PrivateCertificate.make(days: 3)
        let node = try await TestNode.start("node", redis: "memory:", files(own), authority: own.authority)
        #expect(node.output.contains("warning the TLS certificate expires in "))
        let verbose = try await Shell.run(
            "curl", ["-sv", "-m", "5", "--cacert", own.authority, "\(node.http)/metrics"])
        #expect(verbose.contains("SSL certificate verify ok"), "\(verbose)")
        #expect(verbose.contains("ALPN") && verbose.contains("http/1.1"))
        let line = verbose.split(separator: "\n").first { $0.hasPrefix("martlet_tls_certificate_expiry_seconds ") }
        let expires = line?.split(separator: " ").last.flatMap { Double($0) } ?? 0
        #expect(abs(expires - Date().timeIntervalSince1970 - 3 * 86_400) < 600, "\(line ?? "no metric")")
        let plain = try await Shell.run("curl", ["-s", "-m", "5", "http://127.0.0.1:\(node.port)/healthz"])
        #expect(plain.contains("this port speaks TLS only"), "\(plain)")
        try await eventually("it is counted") {
            try await Shell.run("curl", ["-s", "-m", "5", "--cacert", own.authority, "\(node.http)/metrics"])
                .contains(#"martlet_refusals_total{reason="notTLS"} 1"#)
        }

        let url = "wss://localhost:\(node.port)"
        let said = try await Program.run(
            ["chat", url, "--ca", own.authority, "--user", "ana", "--room", "safe"], input: "hello\nover TLS\n")
        #expect(said.code == 0, "\(said.error)\(said.output)")
        #expect(said.lines.last?.hasSuffix("ana: over TLS") == true, "\(said.output)")
        var options = ClientOptions()
        options.authorityFile = own.authority
        let client = try MartletClient(urls: [node.url], identity: ClientIdentity(user: "bob"), options: options)
        try await client.connect()
        let joined = try await client.join(try RoomName("safe"))
        #expect(joined.position.seq == 2)
        await client.close()
        try await node.terminate()
    }

    @Test func aNewCertificateNeedsNoRestart() async throws {
        let own = try PrivateCertificate.make()
        let node = try await TestNode.start("node", redis: "memory:", files(own), authority: own.authority)
        func subject() async throws -> String {
            try await Shell.run("curl", ["-sv", "-m", "5", "--cacert", own.authority, "\(node.http)/healthz"])
        }
        #expect(try await subject().contains("subject: CN=first"))
        try own.renew(name: "second")
        try await eventually("the second certificate is presented") {
            try await subject().contains("subject: CN=second")
        }
        #expect(node.output.contains("notice the TLS certificate was replaced"))
        try await node.terminate()
    }

    @Test func aCertificateThatCannotBeUsedRefusesTheStart() async throws {
        let own = try PrivateCertificate.make()
        try own.makePair("other", name: "other")
        var environment = files(own)
        environment["MARTLET_PORT"] = "0"
        environment["MARTLET_REDIS_URL"] = "memory:"
        environment["MARTLET_TLS_KEY"] = own.path("other.key")
        let (code, output) = try await TestNode.refuse(environment)
        #expect(code == 78 && output.contains("file \(own.path("other.key")): the key does not belong"), "\(output)")
        environment["MARTLET_TLS_KEY"] = "/nowhere/node.key"
        let (second, unreadable) = try await TestNode.refuse(environment)
        #expect(second == 78 && unreadable.contains("MARTLET_TLS_KEY is \"/nowhere/node.key\""), "\(unreadable)")
        environment["MARTLET_TLS_KEY"] = nil
        let (third, alone) = try await TestNode.refuse(environment)
        #expect(third == 78 && alone.contains("a certificate is of no use without its key"), "\(alone)")
        let doctor = try await Program.run(
            ["doctor", "--wait", "0"],
            environment: ["MARTLET_REDIS_URL": "memory:"].merging(files(own)) { first, _ in first })
        #expect(doctor.code == 0, "\(doctor.output)")
        environment["MARTLET_TLS_KEY"] = own.path("other.key")
        let bad = try await Program.run(["doctor", "--wait", "0"], environment: environment)
        #expect(bad.code == 1 && bad.output.contains("the key does not belong"), "\(bad.output)")
    }
}
