import ChatCore
import ChatGateway
import Testing

@testable import ChatNode

struct DescriptorPlanTests {
    private func configuration(_ environment: [String: String] = [:]) throws -> NodeConfiguration {
        try NodeConfiguration.load(environment: environment.merging(["MARTLET_EVENT_LOOPS": "2"]) { first, _ in first })
    }

    @Test func connectionsAreBoundedByTheLimitOfOpenFiles() throws {
        let plan = try DescriptorPlan(files: 1_024, configuration())
        #expect(plan.isBound)
        #expect(plan.budget == DescriptorBudget(limit: 1_024, reserved: 12, doorway: 16, boundsConnections: true))
        #expect((900...1_000).contains(plan.connections))
        let roomy = try DescriptorPlan(files: 1_048_576, configuration())
        #expect(!roomy.isBound && roomy.connections == 110_000)
    }

    @Test func aClusterKeepsMoreForItself() throws {
        let cluster = try DescriptorPlan(
            files: 1_024, configuration(["MARTLET_REDIS_URL": "redis+cluster://127.0.0.1:7000"]))
        #expect(cluster.budget.reserved == 2 * 2 * 16 + 8)
    }

    @Test func aNumberThatWasGivenMustFit() throws {
        #expect(throws: StartError.self) {
            try DescriptorPlan(files: 1_024, configuration(["MARTLET_LIMIT_SESSIONS_PER_NODE": "1000"]))
        }
        #expect(throws: StartError.self) {
            try DescriptorPlan(files: 1_024, configuration(["MARTLET_LIMIT_CONNECTIONS": "1000"]))
        }
        let plan = try DescriptorPlan(files: 1_024, configuration(["MARTLET_LIMIT_SESSIONS_PER_NODE": "900"]))
        #expect((900...1_000).contains(plan.connections))
        #expect(throws: StartError.self) { try DescriptorPlan(files: 40, configuration()) }
    }

    @Test func addressesOfProxiesAreRead() throws {
        typealias Trusted = NodeConfiguration.TrustedAddresses
        let all = try #require(Trusted("loopback, local,203.0.113.7,2001:db8::/48"))
        #expect(all.ranges.count == AddressRange.loopback.count + AddressRange.local.count + 2)
        #expect(Trusted("none")?.ranges.isEmpty == true)
        for wrong in ["", "loopback,", "everybody", "10.0.0.0/40", "none,local"] { #expect(Trusted(wrong) == nil) }
        #expect(throws: ConfigurationError.self) { try configuration(["MARTLET_TRUSTED_ADDRESSES": "proxy.example"]) }
    }
}
