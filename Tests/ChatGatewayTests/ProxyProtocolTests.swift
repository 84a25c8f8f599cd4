import ChatCore
import ChatGateway
import ChatJSON
import NIOCore
import NIOSSL
import TestSupport
import Testing

/// Connections that begin with a header of the PROXY protocol. The proxy is 127.0.0.1; 127.0.0.2 is a stranger.
@Suite(.serialized)
struct ProxyProtocolTests {
    private let proxies = ["127.0.0.1"].compactMap { AddressRange($0) }

    /// A header of version 2 for this client, as a number.
    private func header(_ client: UInt32, local: Bool = false) -> [UInt8] {
        let address = withUnsafeBytes(of: client.bigEndian) { Array($0) }
        return [13, 10, 13, 10, 0, 13, 10] + Array("QUIT\n".utf8) + [local ? 0x20 : 0x21, 0x11, 0, 19] + address
            + [127, 0, 0, 1, 0x12, 0x34, 0x01, 0xBB] + [4, 0, 4, 0, 0, 0, 0]
    }

    private let ana: UInt32 = 0xC000_0201
    private let bob: UInt32 = 0xC000_0202

    private func get(_ path: String, _ fields: String = "") -> [UInt8] {
        Array("GET \(path) HTTP/1.1\r\nHost: a\r\n\(fields)\r\n".utf8)
    }

    private func status(_ port: Int, _ bytes: [UInt8], from source: String? = nil) async throws -> Int {
        let socket = try await TestSocket.connect(port: port, from: source)
        try await socket.write(bytes)
        let head = await socket.readAnswer()?.head ?? ""
        return head.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
    }

    @Test func theClientThatIsNamedHasTheBudgetOfItsAddress() async throws {
        try await withGateway {
            $0.takesProxyHeaders = true
            $0.trustedAddresses = proxies
            $0.limits.costPerSecond = 1
            $0.limits.costBurst = Int(RequestCost.httpRequest / 1_000) * 3
        } _: { port, _, _ in
            let path = "/api/rooms/lobby/messages"
            var statuses: [Int] = []
            for _ in 0..<6 { statuses.append(try await status(port, header(ana) + get(path))) }
            #expect(statuses.prefix(3).allSatisfy { $0 == 200 } && statuses.suffix(2).allSatisfy { $0 == 429 })
            #expect(try await status(port, header(bob) + get(path)) == 200)
            let line = Array("PROXY TCP4 192.0.2.1 127.0.0.1 4660 443\r\n".utf8)
            #expect(try await status(port, line + get(path)) == 429, "version 1 names the same client")
            #expect(
                try await status(port, header(ana) + get(path, "X-Forwarded-For: 198.51.100.9\r\n")) == 429,
                "a client that is no proxy is not believed")
            #expect(
                try await status(port, header(0x7F00_0001) + get(path, "X-Forwarded-For: 198.51.100.9\r\n")) == 200,
                "a proxy that is named is believed as if it had connected itself")
            #expect(try await status(port, get(path)) == 200, "without a header, the proxy has its own budget")
        }
    }

    @Test func theClientThatIsNamedIsNotExemptFromTheLimitsOfAddresses() async throws {
        try await withGateway {
            $0.takesProxyHeaders = true
            $0.trustedAddresses = proxies
            $0.limits.connectionsPerAddress = 2
        } _: { port, _, server in
            var waiting: [TestSocket] = []
            for _ in 0..<2 {
                waiting.append(try await TestSocket.connect(port: port))
                try await waiting.last?.write(header(ana))
            }
            try await eventually("both are named") {
                let third = try await TestSocket.connect(port: port)
                try await third.write(header(ana) + get("/healthz"))
                return await third.readAnswer()?.head.hasPrefix("HTTP/1.1 429 ") == true
            }
            #expect(try await status(port, header(bob) + get("/healthz")) == 200)
            for _ in 0..<5 {
                waiting.append(try await TestSocket.connect(port: port))
                try await waiting.last?.write(header(ana, local: true))
            }
            #expect(try await status(port, header(0, local: true) + get("/healthz")) == 200, "the proxy asks itself")
            let session = try await TestSocket.connect(port: port)
            try await session.write(header(bob) + Array(TestWebSocket.handshake().utf8))
            #expect(await session.readAnswer(hasBody: false)?.head.hasPrefix("HTTP/1.1 101 ") == true)
            #expect(await server.counters().limitRefusals[.connectionsPerAddress] ?? 0 >= 1)
            try await waiting[0].channel.close().get()
            try await eventually("a place is free") { try await status(port, header(ana) + get("/healthz")) == 200 }
        }
    }

    @Test(arguments: [true, false])
    func aHeaderThatMayNotComeIsABadRequest(accepts: Bool) async throws {
        try await withGateway {
            $0.takesProxyHeaders = accepts
            $0.trustedAddresses = proxies
        } _: { port, _, server in
            let line = Array("PROXY TCP4 192.0.2.1 127.0.0.1 4660 443\r\n".utf8)
            // A stranger, or any peer if headers are not accepted.
            let source = accepts ? "127.0.0.2" : nil
            var statuses: [Int] = []
            for bytes in [header(ana), line, []] {
                statuses.append(try await status(port, bytes + get("/healthz"), from: source))
            }
            #expect(statuses == [400, 400, 200])
            #expect(await server.counters().refusals == [.badRequest: 2])
        }
    }

    @Test func aBrokenHeaderEndsTheConnectionAndASilentProxyHasADeadline() async throws {
        try await withGateway {
            $0.takesProxyHeaders = true
            $0.trustedAddresses = proxies
            $0.handshakeTimeout = .seconds(1)
        } _: { port, _, server in
            var broken = header(ana)
            broken[12] = 0x31
            for bytes in [broken, Array("PROXY TCP9 x y z\r\n".utf8)] {
                let socket = try await TestSocket.connect(port: port)
                try await socket.write(bytes + get("/healthz"))
                #expect(await socket.readToEnd() == "")
            }
            let slow = try await TestSocket.connect(port: port)
            try? await slow.write(Array(header(ana).prefix(20)))
            #expect(await slow.readToEnd().hasPrefix("HTTP/1.1 408 "))
            #expect(await server.counters().refusals == [.proxyHeader: 2, .timeout: 1])
            try await eventually("all are gone") { await server.counters().connections == 0 }
        }
    }

    @Test func bytesInAnyPiecesAreRead() async throws {
        try await withGateway {
            $0.takesProxyHeaders = true
            $0.trustedAddresses = proxies
        } _: { port, _, server in
            let all = header(ana) + Array(TestWebSocket.handshake("user=ana&room=a").utf8)
            let singly = try await TestSocket.connect(port: port)
            for byte in all { try await singly.write([byte]) }
            #expect(await singly.readAnswer(hasBody: false)?.head.hasPrefix("HTTP/1.1 101 ") == true)
            // RFC 9112 §2.2 allows empty lines before a request; a header begins like them.
            for bytes in ["\r\n\r\n", "\r\n"].map({ Array($0.utf8) }) {
                #expect(try await status(port, bytes + get("/healthz")) == 200)
            }
            #expect(await server.counters().refusals.isEmpty)
        }
    }

    @Test func aHeaderComesBeforeTLS() async throws {
        let own = try PrivateCertificate.make()
        try await withGateway {
            $0.certificate = own.files
            $0.takesProxyHeaders = true
            $0.trustedAddresses = proxies
            $0.limits.connectionsPerAddress = 1
        } _: { port, _, server in
            let tls = try own.client()
            // Waits for nothing: TLS begins behind the header.
            func connect(_ client: UInt32) async throws -> TestSocket {
                let socket = try await TestSocket.connect(port: port)
                try await socket.write(header(client))
                try? await socket.beginTLS(tls)
                return socket
            }
            let first = try await connect(ana)
            try await first.write(get("/healthz"))
            #expect(await first.readAnswer()?.body == "ok\n")
            let second = try await connect(ana)
            try? await second.write(get("/healthz"))
            #expect(await second.readToEnd() == "", "one connection of that client is open")
            let other = try await connect(bob)
            try await other.write(get("/healthz"))
            #expect(await other.readAnswer()?.body == "ok\n")
            let plain = try await TestSocket.connect(port: port)
            try await plain.write(header(0xC000_0203) + get("/healthz"))
            #expect(await plain.readAnswer()?.head.hasPrefix("HTTP/1.1 400 ") == true)
            #expect(await server.counters().refusals == [.addressConnections: 1, .notTLS: 1])
        }
    }
}
