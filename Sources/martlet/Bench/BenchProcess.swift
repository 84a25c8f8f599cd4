import Glibc

/// What the kernel knows of a process at one moment.
struct BenchSample: Equatable {
    /// Nanoseconds computed by each of its threads, user and system.
    var threads: [Int: UInt64]
    /// Bytes of memory, without what it shares with files.
    var memory: UInt64

    /// Nil: there is no such process, or it is not ours to look at.
    static func of(_ pid: Int) -> BenchSample? {
        guard let status = read("/proc/\(pid)/status"), let stat = read("/proc/\(pid)/stat") else { return nil }
        return BenchSample(
            threads: threadTimes(pid)
                ?? [pid: cpu(inStat: stat, ticksPerSecond: UInt64(max(1, sysconf(Int32(_SC_CLK_TCK))))) ?? 0],
            memory: memory(inStatus: status))
    }

    /// The nanoseconds computed since an earlier sample. (What a thread did that has ended meanwhile is lost.)
    func computed(since earlier: BenchSample) -> UInt64 {
        threads.reduce(0) { sum, thread in
            let before = earlier.threads[thread.key] ?? 0
            return sum + (thread.value > before ? thread.value - before : 0)
        }
    }

    /// The exact figure: the first number of each thread's `schedstat`. Nil if the kernel has none.
    private static func threadTimes(_ pid: Int) -> [Int: UInt64]? {
        guard let directory = opendir("/proc/\(pid)/task") else { return nil }
        defer { closedir(directory) }
        var times: [Int: UInt64] = [:]
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            // A thread that ended meanwhile has no file any more.
            guard let thread = Int(name), let text = read("/proc/\(pid)/task/\(name)/schedstat") else { continue }
            times[thread] = text.split(separator: " ").first.flatMap { UInt64($0) }
        }
        return times.values.contains { $0 > 0 } ? times : nil
    }

    /// `utime` and `stime` of proc(5), the 14th and 15th field; the second, in parentheses, may hold anything.
    static func cpu(inStat text: String, ticksPerSecond: UInt64) -> UInt64? {
        guard let end = text.lastIndex(of: ")") else { return nil }
        let fields = text[text.index(after: end)...].split(separator: " ")
        guard fields.count > 12, let user = UInt64(fields[11]), let system = UInt64(fields[12]) else { return nil }
        return (user + system) * 1_000_000_000 / max(1, ticksPerSecond)
    }

    /// `RssAnon` and `RssShmem` of proc(5), in bytes: what no file stands behind (nginx keeps its state in memory that its
    /// processes share). 0 if they are not there.
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

/// A process that is watched, and what it was at each point of a run.
struct BenchProcess {
    enum Role: String {
        case node, redis
    }

    let pid: Int
    let role: Role
    var before: BenchSample?
    /// When all had joined.
    var joined: BenchSample?
    /// At the beginning and the end of the measured time.
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
