import ArgumentParser
import Simulation

/// The simulator as a command, for minutes or for hours.
@main struct MartletSim: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "martlet-sim",
        abstract: "Runs Martlet's room protocol through random schedules of faults, each made from one seed.",
        discussion: """
            Many nodes and clients with the real state machines, a model of Redis and of the network, in virtual \
            time. A schedule that breaks a promise is shrunk and printed, and the exit status is 1. The same seed \
            gives the same schedule on every machine.
            """)

    @Option(help: "Schedules to run.")
    var schedules = 20_000

    @Option(help: "The first seed; default: a fresh one in every run.")
    var from: UInt64?

    @Option(help: "Run this schedule alone, and tell its whole story even if it breaks nothing.")
    var seed: UInt64?

    @Flag(help: "Switch each rule off in turn and tell the first seed (from --from, within --schedules) that notices.")
    var planted = false

    @Option(
        help: """
            Misfortunes: none, cuts, crashes, redis, all, tail, vandal, rules, moderated, amend, amended, amendedTail; \
            mix: these in turn.
            """)
    var faults = FaultChoice.mix

    @Option(help: "Stop after so many seconds, whatever is left.")
    var seconds: Int?

    @Option(help: "Schedules at the same time; default: one for each core.")
    var jobs: Int?

    @Option(help: "Stop after so many broken schedules.")
    var failures = 1

    @Flag(inversion: .prefixedNo, help: "Make a broken schedule small before it is told.")
    var shrink = true

    @Flag(help: "One JSON object at the end instead of text.")
    var json = false

    func validate() throws {
        guard schedules > 0 else { throw ValidationError("--schedules must be at least 1") }
        guard failures > 0 else { throw ValidationError("--failures must be at least 1") }
        guard jobs.map({ (1...256).contains($0) }) ?? true else { throw ValidationError("--jobs takes 1 to 256") }
        guard seconds.map({ $0 > 0 }) ?? true else { throw ValidationError("--seconds must be at least 1") }
        guard (from ?? 0) < 1 << 62 else { throw ValidationError("--from must be below 2^62") }
    }

    func run() async throws {
        if let seed { return try tellOne(seed) }
        if planted { return try await findPlanted() }
        let first = from ?? UInt64.random(in: 1_000_000...1_000_000_000_000)
        let fleet = SimFleet(
            first: first, count: UInt64(schedules), faults: faults, shrinks: shrink, failureLimit: failures,
            deadline: seconds.map { ContinuousClock.now + .seconds($0) })
        let result = try await fleet.run(jobs: jobs ?? SimFleet.cores, report: json ? .silent : .standardError)
        print(json ? result.json : result.text)
        if !result.failures.isEmpty { throw ExitCode.failure }
    }

    private func findPlanted() async throws {
        let range = (from ?? 500_000)..<(from ?? 500_000) + UInt64(schedules)
        let missed = try await withThrowingTaskGroup(of: Bool.self) { group in
            var waiting = PlantedFault.all[...]
            func begin() {
                guard let fault = waiting.popFirst() else { return }
                group.addTask {
                    let found = try range.first { try fault.isFound(seed: $0) }
                    print("\(found.map { "noticed by seed \($0)" } ?? "NOT NOTICED"): \(fault.name)")
                    return found == nil
                }
            }
            for _ in 0..<(jobs ?? SimFleet.cores) { begin() }
            var missed = 0
            for try await isMissed in group {
                if isMissed { missed += 1 }
                begin()
            }
            return missed
        }
        if missed > 0 { throw ExitCode.failure }
    }

    private func tellOne(_ seed: UInt64) throws {
        let (violation, history) = try Simulation.tell(SimPlan(seed: seed, faults: faults.faults(seed: seed)))
        for line in history { print(line) }
        print(violation.map { "seed \(seed): \($0)" } ?? "seed \(seed): every promise was kept")
        if violation != nil { throw ExitCode.failure }
    }
}

/// The faults that may occur in a schedule: one of the sets with a name, or each of them in turn.
struct FaultChoice: ExpressibleByArgument, Equatable, Sendable {
    static let mix = FaultChoice(name: "mix", only: nil)

    let name: String
    /// Nil: the sets take turns.
    private let only: SimPlan.Faults?

    private init(name: String, only: SimPlan.Faults?) {
        self.name = name
        self.only = only
    }

    init?(argument: String) {
        if argument == Self.mix.name {
            self = .mix
        } else if let named = SimPlan.Faults.named.first(where: { $0.name == argument }) {
            self.init(name: named.name, only: named.faults)
        } else {
            return nil
        }
    }

    static var allValueStrings: [String] { SimPlan.Faults.named.map(\.name) + [mix.name] }
    var defaultValueDescription: String { name }

    func faults(seed: UInt64) -> SimPlan.Faults {
        let named = SimPlan.Faults.named
        return only ?? named[Int(seed % UInt64(named.count))].faults
    }
}
