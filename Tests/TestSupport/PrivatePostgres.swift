import Foundation
import Glibc

/// A PostgreSQL of the tests' own on loopback, by `scripts/postgres`. It ends with `stop()`, or when the object is
/// released.
package final class PrivatePostgres: @unchecked Sendable {
    // Proof for @unchecked: the process is only signalled and asked whether it runs.

    package let port: Int
    package let directory: URL
    private let process = Process()

    package var url: String { "postgresql://martlet@127.0.0.1:\(port)/postgres" }

    private init(port: Int) {
        self.port = port
        directory = FileManager.default.temporaryDirectory.appending(
            path: "martlet-postgres-\(UInt32.random(in: 0 ... .max))")
    }

    deinit { stop() }

    /// Starts a server and returns once it accepts connections.
    package static func start() async throws -> PrivatePostgres {
        let server = PrivatePostgres(port: try PrivateRedis.freePort())
        try FileManager.default.createDirectory(at: server.directory, withIntermediateDirectories: true)
        // It may run as another user.
        chmod(server.directory.path, 0o755)
        let log = server.directory.appending(path: "log")
        try Data().write(to: log)
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        server.process.executableURL = root.appending(path: "scripts/postgres")
        server.process.arguments = [server.directory.appending(path: "server").path, "\(server.port)"]
        server.process.standardOutput = try FileHandle(forWritingTo: log)
        server.process.standardError = try FileHandle(forWritingTo: log)
        try server.process.run()
        try await eventually("postgres answers", within: .seconds(60)) {
            guard server.process.isRunning else {
                let text = (try? String(contentsOf: log, encoding: .utf8)) ?? ""
                throw TestFailure("postgres ended at once: \(text.suffix(500))")
            }
            let text = (try? String(contentsOf: log, encoding: .utf8)) ?? ""
            return text.contains("database system is ready to accept connections")
        }
        return server
    }

    package func stop() {
        if process.isRunning {
            process.terminate()
            process.waitUntilExit()
        }
        try? FileManager.default.removeItem(at: directory)
    }
}
