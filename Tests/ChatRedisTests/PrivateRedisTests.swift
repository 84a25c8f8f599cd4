import Foundation
import TestSupport
import Testing

/// What other tests stand on.
struct PrivateRedisTests {
    /// It once was one that the kernel gave away again before the server (a sentinel) was there: one start in a few hundred failed.
    @Test func aFreePortIsNoneThatTheKernelGivesToOthers() throws {
        let range = try String(contentsOfFile: "/proc/sys/net/ipv4/ip_local_port_range", encoding: .utf8)
        let kernel = try #require(range.split(whereSeparator: \.isWhitespace).first.flatMap { Int($0) })
        let ports = try (0..<200).map { _ in try PrivateRedis.freePort() }
        #expect(Set(ports).count == ports.count)
        #expect(kernel <= 15_000 || ports.allSatisfy { $0 < kernel })
    }
}
