import Foundation
import TestSupport
import Testing

/// Tests of the servers that other tests use.
struct PrivateRedisTests {
    /// The kernel once gave such a port to another connection before the server (a sentinel) listened: one start in a
    /// few hundred failed.
    @Test func aFreePortIsNoneThatTheKernelGivesToOthers() throws {
        let range = try String(contentsOfFile: "/proc/sys/net/ipv4/ip_local_port_range", encoding: .utf8)
        let kernel = try #require(range.split(whereSeparator: \.isWhitespace).first.flatMap { Int($0) })
        let ports = try (0..<200).map { _ in try PrivateRedis.freePort() }
        #expect(Set(ports).count == ports.count)
        #expect(kernel <= 15_000 || ports.allSatisfy { $0 < kernel })
    }
}
