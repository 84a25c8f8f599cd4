import Testing

@testable import ChatCore

@Suite(.serialized) struct SimulationTests {
    @Test func quietSchedulesKeepEveryPromise() throws {
        try check(1..<40, .none)
    }

    @Test func schedulesWithCutConnectionsKeepEveryPromise() throws {
        try check(1_000..<1_200, .cuts)
    }

    @Test func schedulesWithCrashesAndStopsKeepEveryPromise() throws {
        try check(2_000..<2_200, [.cuts, .crashes, .stops])
    }

    @Test func schedulesWithRedisFaultsKeepEveryPromise() throws {
        try check(3_000..<3_200, [.redis])
    }

    @Test func schedulesWithEveryFaultKeepEveryPromise() throws {
        try check(4_000..<4_200, .all)
    }

    private func check(_ seeds: Range<UInt64>, _ faults: SimPlan.Faults) throws {
        for seed in seeds {
            if let failure = try Simulation.check(SimPlan(seed: seed, faults: faults)) {
                Issue.record("\(failure)")
                return
            }
        }
    }
}
