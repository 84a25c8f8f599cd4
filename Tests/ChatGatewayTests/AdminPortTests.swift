import ChatCore
import ChatGateway
import NIOSSL
import TestSupport
import Testing

/// A port for operators beside the one for clients.
struct AdminPortTests {
    private func status(_ port: Int, _ path: String, tls: NIOSSLContext? = nil) async throws -> Int {
        let socket = try await TestSocket.connect(port: port, tls: tls)
        try await socket.write("GET \(path) HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        let head = await socket.readToEnd()
        return head.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
    }

    @Test func metricsAreServedThereAndNoLongerToClients() async throws {
        try await withGateway {
            $0.adminPort = 0
            $0.staticFiles = ["/": StaticFile(contentType: "text/html", bytes: Array("<p>hi".utf8))]
        } _: { port, _, server in
            let admin = try #require(server.boundAdminPort)
            #expect(admin != port)
            let rooms = "/api/rooms/lobby/messages"
            for (path, forClients, forOperators) in [
                ("/metrics", 404, 200), ("//metrics", 404, 404), ("/metrics/", 404, 404), ("/healthz", 200, 200),
                ("/api/revocations", 404, 405), ("/api/users/ana/sanctions", 404, 200),
                ("/readyz", 200, 200), ("/", 200, 404), (rooms, 200, 404), ("/ws?user=ana", 426, 404),
            ] {
                let found = (try await status(port, path), try await status(admin, path))
                #expect(found == (forClients, forOperators), "\(path)")
            }
            let session = try await TestWebSocket.connect(port: port)
            _ = try await session.json("welcome")
            await #expect(throws: TestFailure.self) { try await TestWebSocket.connect(port: admin) }
        }
    }

    @Test func withoutItMetricsAreServedToEverybody() async throws {
        try await withGateway { port, _, server in
            let found = try await status(port, "/metrics")
            #expect(server.boundAdminPort == nil && found == 200)
        }
    }

    @Test func itSpeaksPlainHTTPBesideTLS() async throws {
        let own = try PrivateCertificate.make()
        try await withGateway {
            $0.adminPort = 0
            $0.certificate = own.files
        } _: { port, _, server in
            let admin = try #require(server.boundAdminPort)
            let socket = try await TestSocket.connect(port: admin)
            try await socket.write("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            let head = try #require(await socket.readAnswer()).head
            #expect(head.hasPrefix("HTTP/1.1 200 ") && !head.contains("Strict-Transport-Security"))
            #expect(try await status(port, "/metrics", tls: try own.client()) == 404)
        }
    }

    @Test func aFullNodeStillAnswersItsOperators() async throws {
        try await withGateway {
            $0.adminPort = 0
            $0.maxConnections = 1
            $0.doorwayTime = .seconds(60)
        } _: { port, _, server in
            let admin = try #require(server.boundAdminPort)
            let session = try await TestWebSocket.connect(port: port)
            _ = try await session.json("welcome")
            #expect(try await status(admin, "/metrics") == 200)
            let second = try await TestWebSocket.connect(port: port, "user=bob")
            #expect(await second.closeFrame() != nil)
            #expect(try await status(admin, "/readyz") == 503)
            #expect(await server.counters().timesFull == 1, "both ports are full, and it is said once")
        }
    }

    @Test func itIsOpenWhileANodeLeaves() async throws {
        try await withGateway {
            $0.adminPort = 0
        } _: { port, _, server in
            let admin = try #require(server.boundAdminPort)
            await server.stopAccepting()
            #expect(try await status(admin, "/metrics") == 200)
            await #expect(throws: (any Error).self) { try await TestSocket.connect(port: port) }
            await server.stop()
            await #expect(throws: (any Error).self) { try await TestSocket.connect(port: admin) }
        }
    }

    @Test func aPortThatIsTakenIsNamed() async throws {
        try await withGateway { port, _, _ in
            await #expect(
                throws: GatewayError(
                    description: "cannot listen on 127.0.0.1:\(port): the address is in use by another program")
            ) {
                try await withGateway {
                    $0.adminPort = port
                } _: { _, _, _ in
                }
            }
        }
    }
}
