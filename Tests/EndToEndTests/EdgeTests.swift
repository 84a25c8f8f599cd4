import Foundation
import MartletClient
import TestSupport
import Testing

/// A node as it meets the network: TLS, proxies, ports.
@Suite(.serialized, .inTurn)
struct EdgeTests {
    private static let page = "Sources/ChatNode/PRODUCTION.md"

    private func files(_ own: PrivateCertificate) -> [String: String] {
        ["MARTLET_TLS_CERTIFICATE": own.certificate, "MARTLET_TLS_KEY": own.key]
    }

    /// The variables of the page, with the files and addresses of this machine.
    @Test func theExamplesOfThePageAreTheSettingsOfANode() async throws {
        let own = try PrivateCertificate.make()
        let tls = try Page.variables(Self.page, with: "MARTLET_TLS_CERTIFICATE=")
        let admin = try Page.variables(Self.page, with: "MARTLET_ADMIN_PORT=")
        #expect(Set(tls.keys) == ["MARTLET_HOST", "MARTLET_PORT", "MARTLET_TLS_CERTIFICATE", "MARTLET_TLS_KEY"])
        #expect(Set(admin.keys) == ["MARTLET_ADMIN_PORT", "MARTLET_ADMIN_HOST"])
        var environment = files(own)
        environment["MARTLET_HOST"] = tls["MARTLET_HOST"]
        // Without keys of tokens a node listens to its own machine only.
        environment["MARTLET_TOKEN_HMAC_SECRET"] = String(repeating: "secret of a test ", count: 3)
        let adminPort = try PrivateRedis.freePort()
        environment["MARTLET_ADMIN_PORT"] = "\(adminPort)"
        environment["MARTLET_ADMIN_HOST"] = "127.0.0.4"
        let node = try await TestNode.start("node", redis: "memory:", environment, authority: own.authority)
        #expect(node.output.contains("notice serving operators"))
        #expect(node.output.contains("address=127.0.0.4:\(adminPort)"))
        let operators = "http://127.0.0.4:\(adminPort)"
        #expect(try await Shell.get("\(operators)/metrics").contains("martlet_tls_certificate_expiry_seconds "))
        for (url, status) in [
            ("\(operators)/readyz", 200), ("\(operators)/", 404), ("\(node.http)/metrics", 404),
            ("\(node.http)/readyz", 200), ("http://127.0.0.1:\(adminPort)/metrics", 0),
        ] {
            #expect(try await Shell.status(of: url, authority: own.authority) == status, "\(url)")
        }
        environment["MARTLET_PORT"] = "\(node.port)"
        environment["MARTLET_REDIS_URL"] = "memory:"
        let (code, output) = try await TestNode.refuse(environment)
        #expect(
            code == 69 && output.contains("cannot listen on 0.0.0.0:\(node.port): the address is in use"), "\(output)")
        environment["MARTLET_PORT"] = "0"
        let (second, why) = try await TestNode.refuse(environment)
        #expect(
            second == 69 && why.contains("cannot listen on 127.0.0.4:\(adminPort): the address is in use"), "\(why)")
        try await node.terminate()
    }

    @Test func curlAndClientsSpeakTLSWithANode() async throws {
        let own = try PrivateCertificate.make(days: 3)
        let node = try await TestNode.start("node", redis: "memory:", files(own), authority: own.authority)
        #expect(node.output.contains("warning the TLS certificate expires in "))
        // `/metrics` is on this port as long as operators have none of their own.
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

    /// The configuration of the page, with TLS in the nodes and a PROXY header before it.
    @Test func nodesBehindAProxyThatPassesTLSKnowTheirClients() async throws {
        let own = try PrivateCertificate.make()
        let environment = files(own).merging([
            "MARTLET_PROXY_PROTOCOL": "accept", "MARTLET_TRUSTED_ADDRESSES": "127.0.0.1",
        ]) { first, _ in first }
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        var nodes: [TestNode] = []
        for name in ["node1", "node2"] {
            nodes.append(try await TestNode.start(name, redis: redis.url, environment, authority: own.authority))
        }
        let port = try PrivateRedis.freePort()
        let configuration = try Page.block(Self.page, with: "check-ssl")
            .replacing("bind :443", with: "bind 127.0.0.1:\(port)")
            .replacing("10.0.0.11:8443", with: "127.0.0.1:\(nodes[0].port)")
            .replacing("10.0.0.12:8443", with: "127.0.0.1:\(nodes[1].port)")
            .replacing("maxconn 50000", with: "maxconn 500")
        let proxy = try await HAProxy.start(configuration, port: port)
        defer { proxy.stop() }
        func curl(_ path: String, _ more: String...) async throws -> String {
            let common = ["-s", "-m", "5", "--cacert", own.authority, "--interface", "127.0.0.3"]
            return try await Shell.run("curl", common + more + ["https://127.0.0.1:\(port)\(path)"])
        }
        try await eventually("requests pass the proxy") { try await curl("/healthz") == "ok\n" }

        var options = ClientOptions()
        options.authorityFile = own.authority
        let room = try RoomName("lobby")
        var clients: [MartletClient] = []
        for user in ["ana", "bob"] {
            let url = "wss://127.0.0.1:\(port)/ws"
            let client = try MartletClient(urls: [url], identity: ClientIdentity(user: user), options: options)
            try await client.connect()
            _ = try await client.join(room)
            clients.append(client)
        }
        _ = try await clients[0].send("through TLS and the proxy", to: room)
        #expect(try redis.cli("XLEN", "martlet:{lobby}:log") == "1")

        // The node knows who asks, and does not believe what the client itself adds.
        #expect(try await curl("/ws", "-H", "X-Forwarded-For: 198.51.100.1").contains("badField"))
        try await eventually("the client's address is in the log") {
            nodes.contains { $0.output.contains("reason=noHandshake") && $0.output.contains("address=127.0.0.3") }
        }
        for node in nodes {
            let metrics = try await Shell.run(
                "curl", ["-s", "-m", "5", "--cacert", own.authority, "\(node.http)/metrics"])
            for reason in ["notTLS", "tlsHandshake", "proxyHeader", "badRequest", "timeout"] {
                #expect(metrics.contains("martlet_refusals_total{reason=\"\(reason)\"} 0"), "\(reason), checks too")
            }
        }
        for client in clients { await client.close() }
        for node in nodes { try await node.terminate() }
    }

    /// The page's configuration of a proxy that ends TLS, with a PROXY header in place of `X-Forwarded-For`.
    @Test func nodesBehindAProxyThatEndsTLSKnowTheirClientsFromTheHeaderToo() async throws {
        let own = try PrivateCertificate.make()
        let both = try [own.certificate, own.key].map { try Data(contentsOf: URL(filePath: $0)) }
        try Data(both.joined()).write(to: own.directory.appending(path: "both.pem"))
        let environment = ["MARTLET_PROXY_PROTOCOL": "accept", "MARTLET_TRUSTED_ADDRESSES": "127.0.0.1"]
        let node = try await TestNode.start("node", redis: "memory:", environment)
        let (port, plain) = (try PrivateRedis.freePort(), try PrivateRedis.freePort())
        let configuration = try Page.block(Self.page, with: "crt /etc/haproxy/chat.pem")
            .replacing("bind :443", with: "bind 127.0.0.1:\(port)").replacing(
                "bind :80", with: "bind 127.0.0.1:\(plain)"
            )
            .replacing("/etc/haproxy/chat.pem", with: own.path("both.pem"))
            .replacing("option forwardfor", with: "")
            .replacing("server node1 10.0.0.11:8080", with: "server node1 127.0.0.1:\(node.port) send-proxy-v2")
            .replacing("server node2 10.0.0.12:8080", with: "").replacing("maxconn 50000", with: "maxconn 500")
        let proxy = try await HAProxy.start(configuration, port: port)
        defer { proxy.stop() }
        func curl(_ path: String, from source: String, _ fields: String...) async throws -> String {
            let common = ["-s", "-m", "5", "--http1.1", "--cacert", own.authority, "--interface", source]
            let all = common + fields.flatMap { ["-H", $0] }
            return try await Shell.run("curl", all + ["https://127.0.0.1:\(port)\(path)"])
        }
        try await eventually("requests pass the proxy") {
            try await curl("/api/rooms/a/roster", from: "127.0.0.3").contains(#""count":0"#)
        }
        #expect(try await !curl("/metrics", from: "127.0.0.3").contains("martlet_"))
        for (path, answer) in [
            ("inbox?user=ana", "conversations"), ("stars?user=ana", "stars"), ("online?users=ana", "online"),
        ] {
            #expect(try await curl("/api/\(path)", from: "127.0.0.3").contains("\"\(answer)\":["), "\(path)")
        }
        // Two clients over connections that the proxy keeps.
        _ = try await curl("/ws", from: "127.0.0.3")
        _ = try await curl(
            "/ws?user=ana", from: "127.0.0.5", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: v9")
        for (reason, client) in [("noHandshake", "127.0.0.3"), ("subprotocol", "127.0.0.5")] {
            try await eventually("\(client) is in the log") {
                node.output.split(separator: "\n").contains {
                    $0.contains("reason=\(reason)") && $0.contains("address=\(client)")
                }
            }
        }
        try await node.terminate()
    }

    /// Polls of Socket.IO at any node: those with the same key pass them on to each other, with TLS.
    @Test func nodesWithTheSameKeyPassPollsOn() async throws {
        let own = try PrivateCertificate.make()
        let other = try PrivateCertificate.make(name: "other")
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        var nodes: [TestNode] = []
        for (name, certificate) in [("one", own), ("two", own), ("three", other)] {
            var environment = files(certificate)
            environment["MARTLET_SOCKETIO"] = "on"
            nodes.append(
                try await TestNode.start(name, redis: redis.url, environment, authority: certificate.authority))
        }
        func ask(_ node: TestNode, _ query: String = "", _ more: [String] = []) async throws -> String {
            let url = "\(node.http)/socket.io/?EIO=4&transport=polling\(query)"
            return try await Shell.run("curl", ["-s", "-m", "10", "--cacert", node.authority ?? ""] + more + [url])
        }
        let opening = try await ask(nodes[0])
        let sid = try #require(opening.split(separator: "\"").dropFirst(3).first, "\(opening)")
        #expect(try await ask(nodes[1], "&sid=\(sid)", ["--data-binary", "40{\"user\":\"ana\"}"]) == "ok")
        #expect(try await ask(nodes[1], "&sid=\(sid)").hasPrefix("40{\"sid\":"))
        #expect(try await ask(nodes[0], "&sid=\(sid)", ["--data-binary", "42[\"join\",\"lobby\"]"]) == "ok")
        #expect(try await ask(nodes[2], "&sid=\(sid)").contains("\"code\":1"))
        for node in nodes { try await node.terminate() }
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
