import Foundation
import Glibc
import TestSupport

/// A HAProxy of a test's own, with the given configuration. It ends with `stop()`, or when the object is released.
final class HAProxy: @unchecked Sendable {  // everything is written before the object is handed out
    private let process = Process()
    private let directory: URL

    private init() {
        directory = FileManager.default.temporaryDirectory.appending(
            path: "martlet-haproxy-\(UInt32.random(in: 0 ... .max))")
    }

    deinit { stop() }

    /// Returns once it listens on `port`.
    static func start(_ configuration: String, port: Int) async throws -> HAProxy {
        let proxy = HAProxy()
        try FileManager.default.createDirectory(at: proxy.directory, withIntermediateDirectories: true)
        let file = proxy.directory.appending(path: "haproxy.cfg")
        let log = proxy.directory.appending(path: "log")
        try Data(configuration.utf8).write(to: file)
        try Data().write(to: log)
        // /usr/sbin, where Debian puts it, is often not in a user's PATH.
        let candidates = ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy", "/usr/bin/haproxy"]
        guard let program = candidates.first(where: { access($0, X_OK) == 0 }) else {
            throw TestFailure("haproxy is not installed: scripts/install run")
        }
        proxy.process.executableURL = URL(filePath: program)
        proxy.process.arguments = ["-db", "-f", file.path]
        proxy.process.standardOutput = try FileHandle(forWritingTo: log)
        proxy.process.standardError = try FileHandle(forWritingTo: log)
        try proxy.process.run()
        try await eventually("haproxy listens") {
            guard proxy.process.isRunning else {
                throw TestFailure("haproxy ended: \((try? String(contentsOf: log, encoding: .utf8)) ?? "")")
            }
            return (try? LoopbackSocket(port: port, timeout: 1)) != nil
        }
        return proxy
    }

    func stop() {
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
        try? FileManager.default.removeItem(at: directory)
    }
}

/// Examples on the pages of this repository, which tests use as they stand there.
enum Page {
    /// The environment variables in such a block, each in a line of its own and perhaps with a comment behind it.
    static func variables(_ page: String, with mark: String) throws -> [String: String] {
        var variables: [String: String] = [:]
        for line in try block(page, with: mark).split(whereSeparator: \.isNewline) {
            let parts = line.prefix { $0 != "#" }.split(separator: "=", maxSplits: 1)
            guard parts.count == 2 else { continue }
            variables[String(parts[0])] = parts[1].trimmingCharacters(in: .whitespaces)
        }
        return variables
    }

    /// The fenced block of a page that contains `mark`.
    static func block(_ page: String, with mark: String) throws -> String {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        let text = try String(contentsOf: root.appending(path: page), encoding: .utf8)
        let blocks = text.components(separatedBy: "```").enumerated().filter { $0.offset % 2 == 1 }.map(\.element)
        guard let block = blocks.first(where: { $0.contains(mark) }) else {
            throw TestFailure("\(page) has no block with \(mark)")
        }
        // The word after the fence names the language.
        return String(block.drop { !$0.isNewline })
    }
}
