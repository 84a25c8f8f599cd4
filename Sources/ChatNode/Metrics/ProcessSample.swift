import Glibc

/// What the kernel reports about this process.
struct ProcessSample: Equatable, Sendable {
    /// User and system time together, in seconds.
    var cpuSeconds: Double
    var residentBytes: Double
    var threads: Double
    /// The start of the process, in seconds after the machine started.
    var startSeconds: Double

    /// Reads `/proc/self/stat`; nil where there is none.
    static func current() -> ProcessSample? {
        let page = sysconf(Int32(_SC_PAGESIZE))
        let ticks = sysconf(Int32(_SC_CLK_TCK))
        guard page > 0, ticks > 0, let stat = contents(of: "/proc/self/stat") else { return nil }
        return ProcessSample(stat: stat, ticksPerSecond: Double(ticks), pageBytes: Double(page))
    }

    /// Reads the line of proc(5). The second field, the program's name in parentheses, may contain spaces and
    /// parentheses itself, so fields are counted from the last closing parenthesis.
    init?(stat: String, ticksPerSecond: Double, pageBytes: Double) {
        guard let close = stat.lastIndex(of: ")") else { return nil }
        let fields = stat[stat.index(after: close)...].split(whereSeparator: { $0 == " " || $0 == "\n" })
        // Numbers in proc(5) begin at 1, and the first of these is field 3.
        func field(_ number: Int) -> Double? { fields.count > number - 3 ? Double(fields[number - 3]) : nil }
        guard let user = field(14), let system = field(15), let threads = field(20), let start = field(22),
            let resident = field(24)
        else { return nil }
        cpuSeconds = (user + system) / ticksPerSecond
        residentBytes = resident * pageBytes
        self.threads = threads
        startSeconds = start / ticksPerSecond
    }

    /// The start of the process in seconds since 1970; nil where the kernel does not tell.
    static func startTime() -> Double? {
        guard let sample = current(), let stat = contents(of: "/proc/stat") else { return nil }
        for line in stat.split(separator: "\n") where line.hasPrefix("btime ") {
            return Double(line.dropFirst(6)).map { $0 + sample.startSeconds }
        }
        return nil
    }

    /// The number of files and sockets that the process has open; nil where the kernel does not tell.
    static func openFiles() -> Double? {
        guard let folder = opendir("/proc/self/fd") else { return nil }
        defer { closedir(folder) }
        var count = 0
        while readdir(folder) != nil { count += 1 }
        // Without `.`, `..` and the descriptor of the directory itself.
        return Double(max(0, count - 3))
    }

    /// The contents of a small file of `/proc`, of which at most 1 MiB is read.
    private static func contents(of path: String) -> String? {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16_384)
        while bytes.count < 1_048_576 {
            let count = read(file, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            bytes.append(contentsOf: chunk[..<count])
        }
        return bytes.isEmpty ? nil : String(decoding: bytes, as: UTF8.self)
    }
}
