import ChatCore

/// Runs schedules, and shrinks a failing one to a small and readable one.
package enum Simulation {
    package struct Failure: CustomStringConvertible, Sendable {
        package var plan: SimPlan
        package var violation: String
        var history: [String]

        package var description: String {
            """
            seed \(plan.seed): \(violation)
            \(plan.slots) nodes, \(plan.rooms) rooms, \(plan.clients) clients, history \(plan.historyLength), \
            memory \(plan.memoryBytes), window \(plan.appendWindow), \(plan.moves.count) moves after shrinking:
            \(plan.moves.map { "  \($0.at / millisecond) ms \($0.move)" }.joined(separator: "\n"))
            history:
            \(history.suffix(400).map { "  \($0)" }.joined(separator: "\n"))
            """
        }
    }

    package static func run(_ plan: SimPlan) throws -> String? { try SimWorld(plan).run() }

    /// The whole history of a plan, and its violation.
    package static func tell(_ plan: SimPlan) throws -> (violation: String?, history: [String]) {
        let world = try SimWorld(plan, trace: true)
        let violation = world.run()
        return (violation, world.trace)
    }

    /// The failure of the plan, shrunk; nil if every guarantee is kept.
    package static func check(_ plan: SimPlan, shrinks: Bool = true) throws -> Failure? {
        guard let first = try run(plan) else { return nil }
        let small = shrinks ? try shrink(plan) : plan
        let world = try SimWorld(small, trace: true)
        let violation = world.run() ?? first
        return Failure(plan: small, violation: violation, history: world.trace)
    }

    /// Leaves out moves, in runs of decreasing length, as long as the plan still fails (with any violation).
    private static func shrink(_ plan: SimPlan) throws -> SimPlan {
        var plan = plan
        var budget = 400
        var size = max(1, plan.moves.count / 2)
        while size >= 1, budget > 0 {
            var start = 0
            var smaller = false
            while start < plan.moves.count, budget > 0 {
                var candidate = plan
                candidate.moves.removeSubrange(start..<min(start + size, plan.moves.count))
                budget -= 1
                if try run(candidate) != nil {
                    plan = candidate
                    smaller = true
                } else {
                    start += size
                }
            }
            if size == 1, !smaller { break }
            size = smaller && size == 1 ? 1 : size / 2
        }
        return plan
    }
}
