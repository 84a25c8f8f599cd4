import Glibc

/// What the kernel reports about a process at one moment.
struct BenchSample: Equatable {
    /// Nanoseconds of CPU time of each thread, user and system.
    var threads: [Int: UInt64]
    /// Bytes of memory, without pages of files.
    var memory: UInt64

    /// Nil if there is no such process, or if it may not be inspected.
    static func of(_ pid: Int) -> BenchSample? {
        guard let status = read("/proc/\(pid)/status"), let stat = read("/proc/\(pid)/stat") else { return nil }
        return BenchSample(
            threads: threadTimes(pid)
                ?? [pid: cpu(inStat: stat, ticksPerSecond: UInt64(max(1, sysconf(Int32(_SC_CLK_TCK))))) ?? 0],
            memory: memory(inStatus: status))
    }

    /// Nanoseconds of CPU time since an earlier sample. Threads that have ended since are not included.
    func computed(since earlier: BenchSample) -> UInt64 {
        threads.reduce(0) { sum, thread in
            let before = earlier.threads[thread.key] ?? 0
            return sum + (thread.value > before ? thread.value - before : 0)
        }
    }

    /// The exact figure, which is the first number in each thread's `schedstat`. Nil if the kernel does not have it.
    private static func threadTimes(_ pid: Int) -> [Int: UInt64]? {
        guard let directory = opendir("/proc/\(pid)/task") else { return nil }
        defer { closedir(directory) }
        var times: [Int: UInt64] = [:]
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            // A thread that has ended since has no file any more.
            guard let thread = Int(name), let text = read("/proc/\(pid)/task/\(name)/schedstat") else { continue }
            times[thread] = text.split(separator: " ").first.flatMap { UInt64($0) }
        }
        return times.values.contains { $0 > 0 } ? times : nil
    }

    /// `utime` and `stime` of proc(5), the 14th and 15th field. The second field, in parentheses, may contain anything.
    static func cpu(inStat text: String, ticksPerSecond: UInt64) -> UInt64? {
        guard let end = text.lastIndex(of: ")") else { return nil }
        let fields = text[text.index(after: end)...].split(separator: " ")
        guard fields.count > 12, let user = UInt64(fields[11]), let system = UInt64(fields[12]) else { return nil }
        return (user + system) * 1_000_000_000 / max(1, ticksPerSecond)
    }

    /// `RssAnon` and `RssShmem` of proc(5) in bytes, which is memory without a file (nginx keeps its state in memory
    /// that its processes share). 0 if they are missing.
    static func memory(inStatus text: String) -> UInt64 {
        var bytes: UInt64 = 0
        for line in text.split(separator: "\n") where line.hasPrefix("RssAnon:") || line.hasPrefix("RssShmem:") {
            bytes +=
                line.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first
                .flatMap { UInt64($0) }.map { $0 * 1_024 } ?? 0
        }
        return bytes
    }

    private static func read(_ path: String) -> String? {
        let file = open(path, O_RDONLY)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 8_192)
        let count = Glibc.read(file, &bytes, bytes.count)
        return count > 0 ? String(decoding: bytes[..<count], as: UTF8.self) : nil
    }
}

/// A process that is measured, with its samples at each point of a run.
struct BenchProcess {
    enum Role: String {
        case node, redis
    }

    let pid: Int
    let role: Role
    var before: BenchSample?
    /// The sample when all members had joined.
    var joined: BenchSample?
    /// The samples at the beginning and the end of the measured time.
    var start: BenchSample?
    var end: BenchSample?

    var cpu: UInt64? {
        guard let start, let end else { return nil }
        return end.computed(since: start)
    }

    var memoryGrowth: UInt64? {
        guard let before, let joined else { return nil }
        return joined.memory > before.memory ? joined.memory - before.memory : 0
    }
}
