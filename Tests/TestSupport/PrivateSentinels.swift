import Foundation
import Glibc

/// A master, its replica and some sentinels that watch them, of a test's own. They end with `stop()`, or when the
/// object is released.
package final class PrivateSentinels: @unchecked Sendable {
    package static let masterName = "mymaster"

    /// The first two are master and replica when they start.
    package let servers: [PrivateRedis]
    package let ports: [Int]
    private let directory: URL
    private let password: String?
    // Guarded by `lock`.
    private let lock = NSLock()
    private var processes: [Process] = []

    package var url: String {
        let user = password.map { ":\($0)@" } ?? ""
        return "redis+sentinel://\(user)\(ports.map { "127.0.0.1:\($0)" }.joined(separator: ","))/\(Self.masterName)"
    }

    private init(servers: [PrivateRedis], ports: [Int], directory: URL, password: String?) {
        self.servers = servers
        self.ports = ports
        self.directory = directory
        self.password = password
    }

    deinit { stop() }

    /// Returns when every sentinel knows the master, the replica and the other sentinels. `downAfter`: milliseconds.
    package static func start(
        sentinels count: Int = 3, downAfter: Int = 700, password: String? = nil, sentinelPassword: String? = nil,
        configuration: [String] = []
    ) async throws -> PrivateSentinels {
        let auth = password.map { ["masterauth \($0)"] } ?? []
        let master = try await PrivateRedis.start(.init(password: password, configuration: configuration + auth))
        let replica = try await PrivateRedis.start(
            .init(password: password, configuration: configuration + auth + ["replicaof 127.0.0.1 \(master.port)"]))
        let directory = FileManager.default.temporaryDirectory
            .appending(path: "martlet-sentinels-\(UInt32.random(in: 0 ... .max))")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let ports = try (0..<count).map { _ in try PrivateRedis.freePort() }
        let cluster = PrivateSentinels(
            servers: [master, replica], ports: ports, directory: directory, password: password)
        try await eventually("the replica follows", within: .seconds(60)) {
            try master.cli("INFO", "replication").contains("state=online")
        }
        for index in ports.indices {
            try cluster.launch(index, master.port, downAfter: downAfter, sentinelPassword: sentinelPassword)
        }
        for index in ports.indices {
            try await eventually("sentinel \(index) knows all", within: .seconds(60)) {
                guard cluster.isRunning(index) else {
                    let log = cluster.log(of: index)
                    throw TestFailure("sentinel \(index) ended at once: \(log)")
                }
                // Fails until the sentinel listens.
                guard
                    let answer = try? cluster.sentinel(
                        index, "SENTINEL", "MASTER", masterName, password: sentinelPassword)
                else { return false }
                let lines = answer.split(separator: "\n").map(String.init)
                func value(_ name: String) -> String? {
                    lines.firstIndex(of: name).flatMap { $0 + 1 < lines.count ? lines[$0 + 1] : nil }
                }
                return value("num-slaves") == "1" && value("num-other-sentinels") == "\(count - 1)"
            }
        }
        return cluster
    }

    private func launch(_ index: Int, _ masterPort: Int, downAfter: Int, sentinelPassword: String?) throws {
        let home = directory.appending(path: "\(index)")
        try FileManager.default.createDirectory(at: home, withIntermediateDirectories: true)
        let file = home.appending(path: "sentinel.conf")
        var lines = [
            "port \(ports[index])", "bind 127.0.0.1", "dir \(home.path)", "logfile \(home.path)/sentinel.log",
            "sentinel monitor \(Self.masterName) 127.0.0.1 \(masterPort) \(ports.count / 2 + 1)",
            "sentinel down-after-milliseconds \(Self.masterName) \(downAfter)",
            "sentinel failover-timeout \(Self.masterName) 3000",
        ]
        if let password { lines.append("sentinel auth-pass \(Self.masterName) \(password)") }
        if let sentinelPassword {
            lines += ["requirepass \(sentinelPassword)", "sentinel sentinel-pass \(sentinelPassword)"]
        }
        try (lines.joined(separator: "\n") + "\n").write(to: file, atomically: true, encoding: .utf8)
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = ["redis-server", file.path, "--sentinel"]
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        lock.withLock { processes.append(process) }
    }

    private func isRunning(_ index: Int) -> Bool { lock.withLock { processes[index].isRunning } }

    private func log(of index: Int) -> String {
        let file = directory.appending(path: "\(index)/sentinel.log")
        return String(((try? String(contentsOf: file, encoding: .utf8)) ?? "").suffix(500))
    }

    /// The output of redis-cli for a command to that sentinel.
    @discardableResult
    package func sentinel(_ index: Int, _ words: String..., password: String? = nil) throws -> String {
        let login = password.map { ["--no-auth-warning", "-a", $0] } ?? []
        return try PrivateRedis.run("redis-cli", ["-h", "127.0.0.1", "-p", "\(ports[index])"] + login + words)
    }

    /// SIGSTOP and SIGCONT for one sentinel.
    package func freeze(sentinel index: Int) { signal(index, SIGSTOP) }
    package func thaw(sentinel index: Int) { signal(index, SIGCONT) }

    private func signal(_ index: Int, _ number: Int32) {
        let pid = lock.withLock { processes[index].processIdentifier }
        kill(pid, number)
    }

    package func stop() {
        let running = lock.withLock {
            defer { processes = [] }
            return processes
        }
        for process in running where process.isRunning { kill(process.processIdentifier, SIGKILL) }
        for process in running { process.waitUntilExit() }
        for server in servers { server.stop() }
        try? FileManager.default.removeItem(at: directory)
    }
}

extension PrivateRedis {
    /// Whether the server is a master, as it reports itself. A server that is being promoted closes its connections,
    /// including the one that asks.
    package var isMaster: Bool { (try? cli("INFO", "replication"))?.contains("role:master") ?? false }

    /// `run_id` of INFO.
    package func runID() throws -> String {
        let line = try cli("INFO", "server").split(whereSeparator: \.isNewline).first { $0.hasPrefix("run_id:") }
        return line.map { String($0.dropFirst("run_id:".count)) } ?? ""
    }
}
