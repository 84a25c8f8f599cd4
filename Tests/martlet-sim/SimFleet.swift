import Foundation
import Simulation

/// Runs many schedules at once and collects their failures. The faults of a schedule follow from its seed alone, so
/// that a failure can be repeated by itself.
struct SimFleet: Sendable {
    enum Report: Sendable {
        case silent, standardError
    }

    struct Result: Sendable {
        var first: UInt64
        var run: UInt64
        var failures: [Simulation.Failure]
        var elapsed: Duration

        var text: String {
            let told = failures.map {
                "\($0)\nagain: martlet-sim --seed \($0.plan.seed) --faults \($0.plan.faults.name)"
            }
            let end =
                "\(run) schedules from seed \(first) in \(elapsed.components.seconds) s: "
                + (failures.isEmpty ? "every promise was kept" : "\(failures.count) broke a promise")
            return (told + [end]).joined(separator: "\n\n")
        }

        var json: String {
            let broken = failures.map { failure in
                "{\"seed\":\(failure.plan.seed),\"faults\":\"\(failure.plan.faults.name)\",\"broken\":\(Self.quoted(failure.violation))}"
            }
            return
                "{\"first\":\(first),\"schedules\":\(run),\"seconds\":\(elapsed.components.seconds),\"failures\":[\(broken.joined(separator: ","))]}"
        }

        private static func quoted(_ text: String) -> String {
            var out = "\""
            for scalar in text.unicodeScalars {
                switch scalar {
                case "\"", "\\": out += "\\\(scalar)"
                case _ where scalar.value < 0x20: out += " "
                default: out.unicodeScalars.append(scalar)
                }
            }
            return out + "\""
        }
    }

    static var cores: Int { max(1, ProcessInfo.processInfo.activeProcessorCount) }

    let first: UInt64
    let count: UInt64
    let faults: FaultChoice
    let shrinks: Bool
    let failureLimit: Int
    let deadline: ContinuousClock.Instant?

    private static let batch: UInt64 = 50

    func run(jobs: Int, report: Report) async throws -> Result {
        let began = ContinuousClock.now
        var result = Result(first: first, run: 0, failures: [], elapsed: .zero)
        var next: UInt64 = 0
        var progress = SimProgress(total: count, isSilent: report == .silent)
        try await withThrowingTaskGroup(of: (UInt64, [Simulation.Failure]).self) { group in
            func startBatch() {
                guard next < count, result.failures.count < failureLimit, deadline.map({ .now < $0 }) ?? true else {
                    return
                }
                let range = next..<min(count, next + Self.batch)
                next = range.upperBound
                group.addTask { try (UInt64(range.count), failures(in: range)) }
            }
            for _ in 0..<jobs { startBatch() }
            for try await (run, failures) in group {
                result.run += run
                result.failures += failures
                progress.advance(to: result.run, failures: result.failures.count)
                startBatch()
            }
        }
        progress.end()
        result.elapsed = ContinuousClock.now - began
        return result
    }

    private func failures(in range: Range<UInt64>) throws -> [Simulation.Failure] {
        var found: [Simulation.Failure] = []
        for offset in range {
            let seed = first &+ offset
            let plan = SimPlan(seed: seed, faults: faults.faults(seed: seed))
            if let failure = try Simulation.check(plan, shrinks: shrinks) { found.append(failure) }
        }
        return found
    }
}

/// One line that is overwritten on a terminal; a line every ten seconds in a pipe.
struct SimProgress {
    private let total: UInt64
    private let isSilent: Bool
    private let isTerminal = isatty(2) == 1
    private var told = ContinuousClock.now
    private let began = ContinuousClock.now

    init(total: UInt64, isSilent: Bool) {
        self.total = total
        self.isSilent = isSilent
    }

    mutating func advance(to run: UInt64, failures: Int) {
        let now = ContinuousClock.now
        guard !isSilent, now - told >= (isTerminal ? .milliseconds(200) : .seconds(10)) else { return }
        told = now
        let seconds = max(1, (now - began).components.seconds)
        let line = "simulation: \(run) of \(total) schedules, \(run / UInt64(seconds)) a second, \(failures) broken"
        write(isTerminal ? "\r\u{1B}[K\(line)" : "\(line)\n")
    }

    func end() {
        if isTerminal, !isSilent { write("\r\u{1B}[K") }
    }

    private func write(_ text: String) { FileHandle.standardError.write(Data(text.utf8)) }
}
