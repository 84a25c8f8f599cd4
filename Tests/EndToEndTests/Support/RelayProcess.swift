import Foundation
import Glibc
import TestSupport

/// One `martlet relay` as a process.
final class TestRelay: @unchecked Sendable {
    // Proof for @unchecked: the process is only signalled and asked whether it runs.

    private let process = Process()
    private let logFile: URL
    /// The log so far.
    var output: String { (try? String(contentsOf: logFile, encoding: .utf8)) ?? "" }
    var isRunning: Bool { process.isRunning }

    init(redis: String, _ environment: [String: String] = [:]) throws {
        logFile = FileManager.default.temporaryDirectory.appending(
            path: "martlet-relay-\(UInt32.random(in: 0 ... .max)).log")
        process.executableURL = TestNode.executable
        process.arguments = ["relay"]
        process.environment = [
            "PATH": "/usr/bin:/bin", "MARTLET_REDIS_URL": redis, "MARTLET_RELAY_LEASE": "2s",
            "MARTLET_RELAY_SCAN": "1s",
        ].merging(environment) { $1 }
        try Data().write(to: logFile)
        process.standardError = try FileHandle(forWritingTo: logFile)
        process.standardOutput = FileHandle.nullDevice
        try process.run()
    }

    deinit {
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
        try? FileManager.default.removeItem(at: logFile)
    }

    func signal(_ number: Int32) { kill(process.processIdentifier, number) }

    func killNow() async throws {
        signal(SIGKILL)
        try await eventually("the relay is dead") { [self] in !process.isRunning }
    }

    /// Sends SIGTERM, and waits until the process has ended.
    func terminate() async throws {
        signal(SIGTERM)
        try await eventually("the relay ends") { [self] in !process.isRunning }
    }
}

/// What the event streams of all partitions hold.
struct StreamedEvents {
    struct Event: Hashable {
        let id: String
        let type: String
        let room: String
        let json: String
    }

    /// Oldest first in each partition.
    let all: [Event]

    init(_ cluster: Cluster) throws {
        let commands = (0..<16).map { "XRANGE martlet:events:{\($0)}:log - +\n" }
        let lines = try cluster.redis.cli([], stdin: commands.joined()).split(whereSeparator: \.isNewline)
            .map(String.init)
        // The ID of the entry, and then the names and values of its four fields.
        all = stride(from: 0, to: lines.count - 8, by: 9).map {
            Event(id: lines[$0 + 2], type: lines[$0 + 4], room: lines[$0 + 6], json: lines[$0 + 8])
        }
    }

    func of(_ room: String) -> [Event] { all.filter { $0.room == room } }
    func ids(of room: String) -> [String] { of(room).map(\.id) }
}
