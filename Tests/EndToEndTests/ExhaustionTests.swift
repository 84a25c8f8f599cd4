import Foundation
import Glibc
import TestSupport
import Testing

/// A node that has no descriptors left for new connections.
@Suite(.inTurn)
struct ExhaustionTests {
    /// A client that requests a session, and reads nothing.
    private func knock(_ node: TestNode, _ number: Int) throws -> LoopbackSocket {
        let client = try LoopbackSocket(port: node.port)
        client.write(
            ("GET /ws?user=u\(number) HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").utf8)
        return client
    }

    @Test func aNodeWithoutDescriptorsRestsSaysSoAndKeepsItsRedis() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let node = try await TestNode.start("few", redis: redis.url, ["MARTLET_EVENT_LOOPS": "1"], files: 64)
        defer { node.signal(SIGKILL) }
        var clients: [LoopbackSocket] = []
        for number in 0..<100 { clients.append(try knock(node, number)) }
        try await eventually("it is not ready, and says why") {
            try await Shell.get("\(node.http)/readyz").contains(
                "connections: as many files and sockets are open as may be (64")
        }
        let before = node.cpu
        let clock = ContinuousClock()
        let began = clock.now
        // A refused client comes again.
        while clock.now - began < .seconds(3) {
            clients.removeFirst()
            clients.append(try knock(node, clients.count))
            try await Task.sleep(for: .milliseconds(50))
        }
        // A debug build is ten times slower than a release.
        #expect(node.cpu - before < (clock.now - began) / 4)
        for kind in ["normal", "pubsub"] { _ = try redis.cli("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes") }
        try await eventually("Redis is back", within: .seconds(10)) {
            let answer = try await Shell.get("\(node.http)/readyz")
            return answer.contains("connections:") && !answer.contains("edis")
        }
        #expect(node.output.components(separatedBy: "full: new connections").count == 2, "one line")
        clients = []
        try await eventually("it is ready again") { try await Shell.status(of: "\(node.http)/readyz") == 200 }
    }

    @Test func aNumberThatCannotFitRefusesTheStart() async throws {
        let environment = [
            "MARTLET_REDIS_URL": "memory:", "MARTLET_PORT": "0", "MARTLET_LIMIT_SESSIONS_PER_NODE": "5000",
        ]
        let (code, output) = try await TestNode.refuse(environment, files: 1_024)
        #expect(code == 78)
        #expect(output.contains("MARTLET_LIMIT_SESSIONS_PER_NODE is 5000") && output.contains("the limit is 1024"))
        let few = try await TestNode.refuse(["MARTLET_REDIS_URL": "memory:", "MARTLET_PORT": "0"], files: 24)
        #expect(few.code == 78 && few.output.contains("raise it"))
    }
}
