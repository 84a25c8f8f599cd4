import ChatCore
import ChatGateway
import ChatJSON
import ChatWire
import Foundation
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOSSL
import TestSupport
import Testing

/// TLS on the gateway's own port.
@Suite(.serialized)
struct TLSTests {
    private func refusals(_ server: GatewayServer) async -> [GatewayCounters.Refusal: UInt64] {
        await server.counters().refusals
    }

    @Test(arguments: [TLSVersion.tlsv12, .tlsv13])
    func requestsAndSessionsWorkOverTLS(version: TLSVersion) async throws {
        let own = try PrivateCertificate.make()
        try await withGateway {
            $0.certificate = own.files
        } _: { port, service, server in
            let tls = try own.client {
                $0.minimumTLSVersion = version
                $0.maximumTLSVersion = version
            }
            let socket = try await TestSocket.connect(port: port, tls: tls)
            for _ in 0..<2 {
                try await socket.write("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                #expect(await socket.readAnswer()?.body == "ok\n")
            }
            #expect(try await socket.channel.nioSSL_tlsVersion().get() == version)
            #expect(try await socket.peerName() == "first")
            let ana = try await TestWebSocket.connect(port: port, "user=ana&room=lobby", tls: tls)
            let bob = try await TestWebSocket.connect(port: port, "user=bob&room=lobby", tls: tls)
            for client in [ana, bob] { _ = try await client.json("joined") }
            let text = String(repeating: "long ", count: 10_000)
            try await ana.send(#"{"type":"send","ref":1,"room":"lobby","text":"\#(text)"}"#)
            #expect(try await bob.json("message")["text"]?.string == text)
            #expect(try await ana.json("sent")["ref"]?.integer == 1)
            try await bob.sendFrame(.close, [0x03, 0xE8])
            #expect(await bob.closeFrame() == .close(.normal, reason: ""))
            #expect(await bob.next() == nil)
            try await eventually("it has left") { service.sessions == 1 }
            #expect(await refusals(server).isEmpty)
            let expires = try #require(await server.counters().certificateExpires)
            #expect(abs(Double(expires) - Date().timeIntervalSince1970 - 30 * 86_400) < 600)
        }
    }

    @Test func aSessionGetsBytesThatFollowItsHandshake() async throws {
        let own = try PrivateCertificate.make()
        try await withGateway {
            $0.certificate = own.files
        } _: { port, _, _ in
            let socket = try await TestSocket.connect(port: port, tls: try own.client())
            var bytes = Array(TestWebSocket.handshake().utf8)
            WebSocketFrame.append(.ping, Array("early".utf8), maskingKey: 1, to: &bytes)
            try await socket.write(bytes)
            var all: [UInt8] = []
            let pong = [0x8A, 5] + Array("early".utf8)
            while all.firstRange(of: pong) == nil, let more = await socket.read() { all += more }
            #expect(all.firstRange(of: pong) != nil)
        }
    }

    @Test func anOldVersionAndAnUnknownAuthorityAreCountedAsFailedHandshakes() async throws {
        let own = try PrivateCertificate.make()
        let other = try PrivateCertificate.make()
        try await withGateway {
            $0.certificate = own.files
        } _: { port, _, server in
            let old = try own.client {
                $0.minimumTLSVersion = .tlsv1
                $0.maximumTLSVersion = .tlsv11
            }
            for tls in [old, try other.client()] {
                let socket = try await TestSocket.connect(port: port, tls: tls)
                try? await socket.write("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                #expect(await socket.readToEnd() == "")
            }
            try await eventually("both are gone") { await server.counters().connections == 0 }
            let refused = await refusals(server)
            // With TLS 1.3 the server's part of a handshake may be complete before the client refuses the certificate.
            #expect(refused == [.tlsHandshake: 2] || refused == [.tlsHandshake: 1])
        }
    }

    @Test func whoSpeaksNoTLSIsToldSoOrClosedAtOnce() async throws {
        let own = try PrivateCertificate.make()
        try await withGateway {
            $0.certificate = own.files
        } _: { port, _, server in
            let clock = ContinuousClock()
            let began = clock.now
            for text in ["GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "G", TestWebSocket.handshake()] {
                let plain = try await TestSocket.connect(port: port)
                try await plain.write(text)
                let answer = await plain.readAnswer()
                #expect(answer?.head.hasPrefix("HTTP/1.1 400 ") == true)
                #expect(answer?.body.contains("this port speaks TLS only: use https:// or wss://") == true)
                #expect(await plain.read() == nil)
            }
            for bytes in [[0x80, 0x2E, 1, 3, 1], Array("\r\n\r\n\0\r\nQUIT\n".utf8), [0]] as [[UInt8]] {
                let garbage = try await TestSocket.connect(port: port)
                try await garbage.write(bytes)
                #expect(await garbage.readToEnd() == "")
            }
            #expect(clock.now - began < .seconds(20), "nobody waited for a deadline")
            #expect(await refusals(server) == [.notTLS: 6])
            try await eventually("all are gone") { await server.counters().connections == 0 }
        }
    }

    @Test func aHandshakeHasTheTimeOfARequest() async throws {
        let own = try PrivateCertificate.make()
        try await withGateway {
            $0.certificate = own.files
            $0.handshakeTimeout = .milliseconds(300)
            $0.closeTimeout = .milliseconds(100)
        } _: { port, _, server in
            let silent = try await TestSocket.connect(port: port)
            #expect(await silent.readToEnd() == "")
            // The beginning of a handshake record of 512 bytes.
            let half = try await TestSocket.connect(port: port)
            try? await half.write([22, 3, 1, 2, 0, 1, 0, 1])
            #expect(await half.readToEnd() == "")
            #expect(await refusals(server) == [.timeout: 2])
            #expect(await server.counters().connectionsTimedOut == 2)
            try await eventually("both are gone") { await server.counters().connections == 0 }
        }
    }

    @Test func aRequestThatIsLateAfterTheHandshakeIsToldSo() async throws {
        let own = try PrivateCertificate.make()
        try await withGateway {
            $0.certificate = own.files
            $0.handshakeTimeout = .seconds(5)
        } _: { port, _, server in
            let late = try await TestSocket.connect(port: port, tls: try own.client())
            #expect(await late.readToEnd().hasPrefix("HTTP/1.1 408 "))
            #expect(await refusals(server) == [.timeout: 1])
        }
    }

    @Test func connectionsOfAnAddressAreLimitedBeforeTheirHandshake() async throws {
        let own = try PrivateCertificate.make()
        try await withGateway {
            $0.certificate = own.files
            $0.trustedAddresses = []
            $0.limits.connectionsPerAddress = 2
        } _: { port, _, server in
            let tls = try own.client()
            let waiting = [try await TestSocket.connect(port: port), try await TestSocket.connect(port: port)]
            try await eventually("both are here") { await server.counters().connections == 2 }
            let third = try await TestSocket.connect(port: port, tls: tls)
            #expect(await third.readToEnd() == "")
            #expect(await refusals(server) == [.addressConnections: 1])
            try await waiting[0].channel.close().get()
            try await eventually("its place is free") { await server.counters().connections <= 1 }
            let fourth = try await TestWebSocket.connect(port: port, tls: tls)
            _ = try await fourth.json("welcome")
        }
    }

    @Test func handshakesCostAnAddressItsBudget() async throws {
        let own = try PrivateCertificate.make()
        try await withGateway {
            $0.certificate = own.files
            $0.trustedAddresses = []
            $0.limits.costPerSecond = 1
            $0.limits.costBurst = Int(RequestCost.tlsHandshake / 1_000) * 3
        } _: { port, _, server in
            let tls = try own.client()
            var open = 0
            for _ in 0..<8 {
                let socket = try await TestSocket.connect(port: port, tls: tls)
                if (try? await socket.peerName()) == "first" { open += 1 }
            }
            #expect(open == 4)
            #expect(await refusals(server) == [.addressCost: 4])
            #expect(await server.counters().limitRefusals[.costOfAddress] == 4)
        }
    }

    @Test func aFullNodeAnswersProbesOverTLS() async throws {
        let own = try PrivateCertificate.make()
        try await withGateway {
            $0.certificate = own.files
            $0.doorwayTime = .seconds(60)
            $0.maxConnections = 1
        } _: { port, _, server in
            let tls = try own.client()
            let first = try await TestWebSocket.connect(port: port, tls: tls)
            let probe = try await TestSocket.connect(port: port, tls: tls)
            try await probe.write("GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
            #expect(await probe.readToEnd().hasPrefix("HTTP/1.1 503 "))
            let second = try await TestWebSocket.connect(port: port, "user=bob", tls: tls)
            #expect(await second.next() == .close(WebSocketCloseCode(rawValue: 4003), reason: "nodeFull"))
            try await first.send(#"{"type":"ping"}"#)
            _ = try await first.json("pong")
            try await eventually("the others are gone") { await server.counters().connections == 1 }
        }
    }

    @Test func aLongAnswerComesWholeAndALongRequestToo() async throws {
        let own = try PrivateCertificate.make()
        try await withGateway {
            $0.certificate = own.files
            $0.staticFiles = [
                "/long": StaticFile(contentType: "text/plain", bytes: [UInt8](repeating: 0x78, count: 3_000_000))
            ]
        } _: { port, _, _ in
            let socket = try await TestSocket.connect(port: port, tls: try own.client())
            let body = #"{"user":"bot","text":"\#(String(repeating: "x", count: 60_000))"}"#
            try await socket.write(
                "POST /api/rooms/a/messages HTTP/1.1\r\nHost: a\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)")
            #expect(await socket.readAnswer()?.head.hasPrefix("HTTP/1.1 201 ") == true)
            try await socket.write("GET /long HTTP/1.0\r\nHost: a\r\n\r\n")
            let all = await socket.readToEnd()
            #expect(all.hasPrefix("HTTP/1.1 200 ") && all.utf8.count > 3_000_000)
        }
    }

    /// `curl` and others close their side when they have nothing more to send.
    @Test func whoHasAskedMayEndItsSide() async throws {
        let own = try PrivateCertificate.make()
        try await withGateway {
            $0.certificate = own.files
        } _: { port, _, server in
            let socket = try await TestSocket.connect(port: port, tls: try own.client())
            try await socket.channel.setOption(.allowRemoteHalfClosure, value: true).get()
            try await socket.write("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            try? await socket.channel.close(mode: .output).get()
            #expect(await socket.readAnswer()?.body == "ok\n")
            try await eventually("it is gone") { await server.counters().connections == 0 }
        }
    }

    // MARK: Another certificate

    /// What was logged.
    private struct Lines: LogHandler {
        let all = NIOLockedValueBox<[String]>([])
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.info

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let details = event.metadata?.map { "\($0.key)=\($0.value)" }.sorted().joined(separator: " ") ?? ""
            all.withLockedValue { $0.append("\(event.level) \(event.message) \(details)") }
        }

        func count(_ text: String) -> Int { all.withLockedValue { $0.count { $0.contains(text) } } }
    }

    @Test func aNewCertificateIsUsedForNewConnectionsAndAPairThatDoesNotFitIsNot() async throws {
        let own = try PrivateCertificate.make()
        let lines = Lines()
        try await withGateway(logger: Logger(label: "test", factory: { _ in lines })) {
            $0.certificate = own.files
            $0.certificateCheck = .milliseconds(50)
        } _: { port, _, server in
            let tls = try own.client()
            func name() async throws -> String { try await TestSocket.connect(port: port, tls: tls).peerName() }
            let session = try await TestWebSocket.connect(port: port, tls: tls)
            _ = try await session.json("welcome")
            #expect(try await name() == "first")
            try own.renew(name: "second", days: 5)
            try await eventually("the second certificate is used") { try await name() == "second" }
            #expect(lines.count("notice the TLS certificate was replaced expires=") == 1)
            try await eventually("it is said that it expires") {
                lines.count("warning the TLS certificate expires in ") == 1
            }
            let expires = try #require(await server.counters().certificateExpires)
            #expect(abs(Double(expires) - Date().timeIntervalSince1970 - 5 * 86_400) < 600)

            try own.makePair("third", name: "third")
            try own.move("third.key", to: "node.key")
            try await eventually("a warning") { lines.count("was not replaced, the earlier one stays in use") == 1 }
            #expect(lines.count("the key does not belong to the first certificate") == 1)
            try FileManager.default.removeItem(atPath: own.certificate)
            try await eventually("another warning") { lines.count("No such file or directory") == 1 }
            #expect(try await name() == "second")
            try await Task.sleep(for: .milliseconds(500))
            #expect(lines.count("was not replaced") == 2, "each state of the files is tried once")
            try own.move("third.pem", to: "node.pem")
            try await eventually("the third certificate is used") { try await name() == "third" }

            try await session.send(#"{"type":"ping","ref":1}"#)
            #expect(try await session.json("pong")["ref"]?.integer == 1, "open connections go on")
        }
    }

    @Test func aGatewayWithoutAUsableCertificateDoesNotStart() async throws {
        let own = try PrivateCertificate.make()
        await #expect(throws: CertificateError.self) {
            try await withGateway {
                $0.certificate = CertificateFiles(certificate: own.certificate, key: own.certificate)
            } _: { _, _, _ in
            }
        }
    }
}
