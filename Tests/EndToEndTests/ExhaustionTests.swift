import Foundation
import Glibc
import TestSupport
import Testing

/// A node that has no descriptors left for those who want to connect.
struct ExhaustionTests {
    /// A client that asks for a session, and reads nothing.
    private func knock(_ node: TestNode, _ number: Int) -> CInt {
        let file = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(UInt16(clamping: node.port).bigEndian)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        _ = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(file, $0, size) }
        }
        let request =
            "GET /ws?user=u\(number) HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        _ = Array(request.utf8).withUnsafeBytes { send(file, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
        return file
    }

    @Test func aNodeWithoutDescriptorsRestsSaysSoAndKeepsItsRedis() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let node = try await TestNode.start("few", redis: redis.url, ["MARTLET_EVENT_LOOPS": "1"], files: 64)
        defer { node.signal(SIGKILL) }
        var clients: [CInt] = []
        defer { for client in clients { close(client) } }
        for number in 0..<100 { clients.append(knock(node, number)) }
        try await eventually("it is not ready, and says why") {
            try await Shell.get("\(node.http)/readyz").contains(
                "connections: as many files and sockets are open as may be (64")
        }
        let before = node.cpu
        let clock = ContinuousClock()
        let began = clock.now
        // Whoever was sent away comes again.
        while clock.now - began < .seconds(3) {
            close(clients.removeFirst())
            clients.append(knock(node, clients.count))
            try await Task.sleep(for: .milliseconds(50))
        }
        // Of a build that is ten times slower than a release.
        #expect(node.cpu - before < (clock.now - began) / 4)
        for kind in ["normal", "pubsub"] { _ = try redis.cli("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes") }
        try await eventually("Redis is back", within: .seconds(10)) {
            let answer = try await Shell.get("\(node.http)/readyz")
            return answer.contains("connections:") && !answer.contains("edis")
        }
        #expect(node.output.components(separatedBy: "full: new connections").count == 2, "one line")
        for client in clients { close(client) }
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
