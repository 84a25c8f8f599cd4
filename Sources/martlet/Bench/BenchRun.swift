import Dispatch
import Glibc
import Histogram
import Synchronization

/// A whole run: connects, warms up, measures, receives the rest, and samples the processes meanwhile.
struct BenchRun {
    var plan: BenchPlan
    var urls: [String]
    var prefix: String
    var threads: Int
    var isIdle: Bool
    var processes: [BenchProcess]
    /// Called with the progress, one line at a time.
    var progress: @Sendable (String) -> Void

    func measure() async throws -> BenchOutcome {
        var addresses: [BenchAddress] = []
        for url in urls { addresses.append(try BenchAddress(url)) }
        var processes = processes
        for index in processes.indices {
            guard let sample = BenchSample.of(processes[index].pid) else {
                throw BenchError("there is no process \(processes[index].pid), or it cannot be inspected")
            }
            processes[index].before = sample
        }
        let control = BenchControl()
        let count = max(1, min(threads, plan.rooms))
        let began = BenchPoll.now
        let parts = (0..<count).map { thread in begin(thread, count, addresses, control) }
        try await wait { control.ready.load(ordering: .sequentiallyConsistent) == count }
        let joinedIn = BenchPoll.now - began
        progress("\(plan.connections) connections after \(BenchReport.milliseconds(joinedIn))")
        // The aftermath of joining (presence, freed memory) is not to be measured.
        try await Task.sleep(for: .milliseconds(1_500))
        Self.sample(&processes, \.joined)
        let start = BenchPoll.now + 20_000_000
        control.start.store(start, ordering: .sequentiallyConsistent)
        let measured = start + (isIdle ? 0 : UInt64(plan.warmup * 1e9))
        try await sleep(until: measured)
        Self.sample(&processes, \.start)
        if isIdle {
            try await sleep(until: measured + UInt64(plan.seconds * 1e9))
            control.stop.store(true, ordering: .sequentiallyConsistent)
        } else {
            try await sleep(until: measured + UInt64(plan.seconds * 1e9))
            try await wait { control.done.load(ordering: .sequentiallyConsistent) == count }
        }
        Self.sample(&processes, \.end)
        let elapsed = BenchPoll.now - measured
        var result = BenchResult()
        for part in parts { result.add(await part.value) }
        return BenchOutcome(
            plan: plan, isIdle: isIdle, result: result, processes: processes, joinedIn: joinedIn, elapsed: elapsed)
    }

    /// Runs a thread of its own, because it waits in the kernel.
    private func begin(_ thread: Int, _ count: Int, _ addresses: [BenchAddress], _ control: BenchControl)
        -> Task<BenchResult, Never>
    {
        let (plan, prefix, isIdle) = (plan, prefix, isIdle)
        return Task {
            await withCheckedContinuation { continuation in
                DispatchQueue(label: "bench-\(thread)").async {
                    let part = BenchThread(
                        plan: plan, addresses: addresses, prefix: prefix,
                        rooms: plan.rooms(ofThread: thread, among: count), control: control)
                    continuation.resume(returning: part.run(isIdle: isIdle))
                }
            }
        }
    }

    private static func sample(_ processes: inout [BenchProcess], _ place: WritableKeyPath<BenchProcess, BenchSample?>)
    {
        for index in processes.indices { processes[index][keyPath: place] = BenchSample.of(processes[index].pid) }
    }

    private func wait(_ condition: () -> Bool) async throws {
        while !condition() { try await Task.sleep(for: .milliseconds(2)) }
    }

    private func sleep(until: UInt64) async throws {
        let now = BenchPoll.now
        if until > now { try await Task.sleep(for: .nanoseconds(Int64(until - now))) }
    }
}

/// The result of a run.
struct BenchOutcome {
    var plan: BenchPlan
    var isIdle: Bool
    var result: BenchResult
    var processes: [BenchProcess]
    /// Nanoseconds until all had joined.
    var joinedIn: UInt64
    /// Nanoseconds from the beginning of the measured time until everything had arrived.
    var elapsed: UInt64

    /// Nanoseconds of CPU time of all processes in this role in the measured time; nil if none was sampled.
    func cpu(_ role: BenchProcess.Role) -> UInt64? {
        let all = processes.filter { $0.role == role }.compactMap(\.cpu)
        return all.isEmpty ? nil : all.reduce(0, +)
    }

    var nodeCPUPerDelivery: Double? {
        guard let cpu = cpu(.node), result.measuredDeliveries > 0 else { return nil }
        return Double(cpu) / Double(result.measuredDeliveries) / 1_000
    }

    var redisCPUPerMessage: Double? {
        guard let cpu = cpu(.redis), result.measuredSends > 0 else { return nil }
        return Double(cpu) / Double(result.measuredSends) / 1_000
    }

    var bytesPerConnection: Double? {
        let grown = processes.filter { $0.role == .node }.compactMap(\.memoryGrowth)
        guard !grown.isEmpty, plan.connections > 0 else { return nil }
        return Double(grown.reduce(0, +)) / Double(plan.connections)
    }
}
