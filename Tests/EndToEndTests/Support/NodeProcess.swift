import Foundation
import Glibc
import TestSupport
import Testing

/// One `martlet serve` as a process, as an operator starts it: configured by the environment, ended by signals.
final class TestNode: @unchecked Sendable {  // `port` and `authority` are written before the node is handed out
    let name: String
    private(set) var port = 0
    private let process = Process()
    private let logFile: URL
    /// The PEM file of the authority of the node's certificate, if the node speaks TLS.
    private(set) var authority: String?

    var url: String { "\(authority == nil ? "ws" : "wss")://127.0.0.1:\(port)/ws" }
    var http: String { "\(authority == nil ? "http" : "https")://127.0.0.1:\(port)" }
    /// The log so far.
    var output: String { (try? String(contentsOf: logFile, encoding: .utf8)) ?? "" }
    var pid: pid_t { process.processIdentifier }
    var isRunning: Bool { process.isRunning }

    /// The `martlet` that was built together with these tests.
    static var executable: URL {
        URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent().appending(path: "martlet")
    }

    private init(name: String) {
        self.name = name
        logFile = FileManager.default.temporaryDirectory.appending(
            path: "martlet-\(name)-\(UInt32.random(in: 0 ... .max)).log")
    }

    deinit {
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
        try? FileManager.default.removeItem(at: logFile)
    }

    /// Starts a node and returns when it is ready. `log`: a pipe for the log that nobody reads, in which case the port
    /// is chosen before. `files`: the limit of open files. `authority`: that of its certificate, if it speaks TLS.
    static func start(
        _ name: String, redis: String, _ environment: [String: String] = [:], log: Pipe? = nil, files: Int? = nil,
        authority: String? = nil
    ) async throws -> TestNode {
        let node = TestNode(name: name)
        node.authority = authority
        var all = [
            "MARTLET_PORT": "0", "MARTLET_NODE_NAME": name, "MARTLET_REDIS_URL": redis, "MARTLET_DRAIN_TIME": "500ms",
        ]
        all.merge(environment) { $1 }
        if log != nil {
            node.port = try PrivateRedis.freePort()
            all["MARTLET_PORT"] = "\(node.port)"
        }
        try node.launch(all, log: log, files: files)
        try await node.waitUntilReady()
        return node
    }

    /// Starts a node that is expected to refuse. Returns its exit code and its output.
    static func refuse(_ environment: [String: String], files: Int? = nil) async throws -> (code: Int32, output: String)
    {
        let node = TestNode(name: "refused")
        try node.launch(environment, files: files)
        try await eventually("the node exits") { !node.process.isRunning }
        return (node.process.terminationStatus, node.output)
    }

    private func launch(_ environment: [String: String], log: Pipe? = nil, files: Int? = nil) throws {
        if let files {
            process.executableURL = URL(fileURLWithPath: "/bin/sh")
            process.arguments = ["-c", "ulimit -n \(files) && exec \"$0\" serve", Self.executable.path]
        } else {
            process.executableURL = Self.executable
            process.arguments = ["serve"]
        }
        process.environment = environment.merging(["PATH": "/usr/bin:/bin"]) { first, _ in first }
        // A file instead of a pipe, whose reader would have to be stopped at the moment in which the process dies.
        try Data().write(to: logFile)
        if let log {
            process.standardError = log
        } else {
            process.standardError = try FileHandle(forWritingTo: logFile)
        }
        process.standardOutput = FileHandle.nullDevice
        try process.run()
    }

    private func waitUntilReady() async throws {
        try await eventually("\(name) listens and is ready") { [self] in
            guard process.isRunning else { throw TestFailure("\(name) ended: \(output.suffix(2_000))") }
            if port == 0, let line = output.split(separator: "\n").first(where: { $0.contains("notice listening") }) {
                port = line.split(separator: ":").last.flatMap { Int($0.prefix { $0.isNumber }) } ?? 0
            }
            guard port != 0 else { return false }
            return try await Shell.status(of: "\(http)/readyz", authority: authority) == 200
        }
    }

    /// The CPU time used so far.
    var cpu: Duration {
        let stat = (try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8)) ?? ""
        let fields = stat.split(separator: ")").last?.split(separator: " ") ?? []
        guard fields.count > 12, let user = Int(fields[11]), let system = Int(fields[12]) else { return .zero }
        return .milliseconds((user + system) * 1_000 / sysconf(Int32(_SC_CLK_TCK)))
    }

    func signal(_ signal: Int32) {
        kill(process.processIdentifier, signal)
    }

    /// Sends SIGTERM, and waits until the process has ended.
    func terminate() async throws {
        signal(SIGTERM)
        try await eventually("\(name) leaves") { [self] in !process.isRunning }
    }

    func killNow() async throws {
        signal(SIGKILL)
        try await eventually("\(name) is dead") { [self] in !process.isRunning }
    }
}

/// Programs that users run.
enum Shell {
    static func run(_ program: String, _ arguments: [String]) async throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [program] + arguments
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        try process.run()
        let data = await withCheckedContinuation { continuation in
            DispatchQueue.global().async {
                let data = pipe.fileHandleForReading.readDataToEndOfFile()
                process.waitUntilExit()
                continuation.resume(returning: data)
            }
        }
        return String(decoding: data, as: UTF8.self)
    }

    static func redis(_ redis: PrivateRedis, _ arguments: String...) async throws -> String {
        try await run("redis-cli", ["-p", "\(redis.port)"] + arguments).trimmingCharacters(in: .newlines)
    }

    static func status(of url: String, authority: String? = nil) async throws -> Int {
        let trust = authority.map { ["--cacert", $0] } ?? []
        return Int(try await run("curl", ["-s", "-o", "/dev/null", "-m", "5", "-w", "%{http_code}"] + trust + [url]))
            ?? 0
    }

    static func get(_ url: String) async throws -> String {
        try await run("curl", ["-s", "-m", "5", url])
    }
}
