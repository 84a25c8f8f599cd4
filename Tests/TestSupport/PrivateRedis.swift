import Foundation
import Glibc
import NIOConcurrencyHelpers

/// A redis-server of a test's own: on loopback or a unix socket, in a temporary directory, without persistence. It ends
/// with `stop()`, when the object is released, or with the tests, for a server that all tests of a suite share.
///
///     let redis = try await PrivateRedis.start()
///     defer { redis.stop() }
///     … redis.url …
package final class PrivateRedis: @unchecked Sendable {
    package struct Options: Sendable {
        /// `requirepass`.
        package var password: String?
        /// Lines of configuration, as they stand in redis.conf.
        package var configuration: [String] = []
        /// Also listens on a TLS port, with a self-signed certificate for `localhost` and 127.0.0.1.
        package var tls = false

        package init(password: String? = nil, configuration: [String] = [], tls: Bool = false) {
            self.password = password
            self.configuration = configuration
            self.tls = tls
        }
    }

    package let port: Int
    /// 0 without TLS.
    package let tlsPort: Int
    package let directory: URL
    private let options: Options
    // Guarded by `lock`: tests of one suite may stop and read from several tasks.
    private let lock = NSLock()
    private var process: Process?

    package var url: String {
        let user = options.password.map { ":\($0)@" } ?? ""
        return "redis://\(user)127.0.0.1:\(port)"
    }
    package var socketPath: String { directory.appending(path: "s").path }
    package var certificatePath: String { directory.appending(path: "redis.crt").path }
    package var pid: pid_t? { lock.withLock { process.map { $0.processIdentifier } } }

    private init(options: Options, port: Int, tlsPort: Int, directory: URL) {
        self.options = options
        self.port = port
        self.tlsPort = tlsPort
        self.directory = directory
    }

    deinit { stop() }

    /// Starts a server and returns once it answers PING.
    package static func start(_ options: Options = Options()) async throws -> PrivateRedis {
        let directory = FileManager.default.temporaryDirectory
            .appending(path: "martlet-test-\(UInt32.random(in: 0 ... .max))")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        var lastError: (any Error)?
        // Another process may take the port between the check and the server's bind.
        for _ in 0..<5 {
            let redis = PrivateRedis(
                options: options, port: try freePort(), tlsPort: options.tls ? try freePort() : 0, directory: directory)
            do {
                if options.tls { try redis.makeCertificate() }
                try await redis.launch()
                return redis
            } catch {
                redis.kill()
                lastError = error
            }
        }
        throw lastError ?? TestFailure("redis-server did not start")
    }

    /// Starts the server again on the same ports, without data. Also after `kill()`.
    package func restart() async throws {
        kill()
        try await launch()
    }

    /// Ends the server and removes its directory.
    package func stop() {
        kill()
        try? FileManager.default.removeItem(at: directory)
    }

    /// Ends the server like a crash. Returns when it has ended.
    package func kill() {
        let running = lock.withLock {
            let running = process
            process = nil
            return running
        }
        guard let running else { return }
        Self.servers.withLockedValue { _ = $0.removeValue(forKey: running.processIdentifier) }
        if running.isRunning { Glibc.kill(running.processIdentifier, SIGKILL) }
        running.waitUntilExit()
    }

    /// Stops the process at any point of its work (SIGSTOP): connections stay open, and nothing is answered.
    package func freeze() { _ = pid.map { Glibc.kill($0, SIGSTOP) } }

    /// Continues the process (SIGCONT).
    package func thaw() { _ = pid.map { Glibc.kill($0, SIGCONT) } }

    /// Runs redis-cli with this server and returns its output, without the last line end.
    @discardableResult
    package func cli(_ arguments: String..., stdin: String? = nil) throws -> String {
        try cli(arguments, stdin: stdin)
    }

    @discardableResult
    package func cli(_ arguments: [String], stdin: String? = nil) throws -> String {
        var all = ["-h", "127.0.0.1", "-p", "\(port)"]
        if let password = options.password { all += ["--no-auth-warning", "-a", password] }
        return try Self.run("redis-cli", all + arguments, stdin: stdin)
    }

    // MARK: -

    private func launch() async throws {
        signal(SIGPIPE, SIG_IGN)
        let log = directory.appending(path: "redis.log")
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        var arguments = [
            "redis-server", "--port", "\(port)", "--bind", "127.0.0.1", "--unixsocket", socketPath, "--dir",
            directory.path,
            "--save", "", "--appendonly", "no", "--daemonize", "no", "--logfile", log.path, "--databases", "16",
            "--enable-debug-command", "local",
        ]
        if let password = options.password { arguments += ["--requirepass", password] }
        if options.tls {
            arguments += [
                "--tls-port", "\(tlsPort)", "--tls-cert-file", certificatePath, "--tls-key-file",
                directory.appending(path: "redis.key").path, "--tls-auth-clients", "no",
            ]
        }
        for line in options.configuration {
            let words = line.split(separator: " ", maxSplits: 1).map(String.init)
            arguments.append("--" + (words.first ?? ""))
            // Each word is a value of its own (`user ana on >secret …` has many).
            if words.count > 1 { arguments += words[1].split(separator: " ").map(String.init) }
        }
        process.arguments = arguments
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        lock.withLock { self.process = process }
        Self.servers.withLockedValue { $0[process.processIdentifier] = directory }
        _ = Self.endsWithTheTests
        try await eventually("redis-server answers", within: .seconds(60)) {
            guard process.isRunning else {
                let text = (try? String(contentsOf: log, encoding: .utf8)) ?? ""
                throw TestFailure("redis-server ended at once: \(text.suffix(500))")
            }
            return Self.answersPing(port: port)
        }
    }

    /// The running servers, and their directories.
    private static let servers = NIOLockedValueBox<[pid_t: URL]>([:])

    /// Whoever is still running when the tests are over is ended: nobody releases what a static constant holds.
    private static let endsWithTheTests: Void = {
        atexit {
            for (pid, directory) in PrivateRedis.servers.withLockedValue({ $0 }) {
                Glibc.kill(pid, SIGKILL)
                try? FileManager.default.removeItem(at: directory)
            }
        }
    }()

    private func makeCertificate() throws {
        try Self.run(
            "openssl",
            [
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
                "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", directory.appending(path: "redis.key").path,
                "-out",
                certificatePath,
            ])
    }

    @discardableResult
    package static func run(_ name: String, _ arguments: [String], stdin: String? = nil) throws -> String {
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = [name] + arguments
        let output = Pipe()
        let input = Pipe()
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        process.standardInput = input
        try process.run()
        if let stdin { try input.fileHandleForWriting.write(contentsOf: Data(stdin.utf8)) }
        try input.fileHandleForWriting.close()
        let data = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw TestFailure("\(name) ended with status \(process.terminationStatus)")
        }
        var text = String(decoding: data, as: UTF8.self)
        if text.hasSuffix("\n") { text.removeLast() }
        return text
    }

    /// A free TCP port of loopback that the kernel does not hand out by itself: between the check and the server's
    /// bind, a connection of another test could otherwise take it. Never the same port twice.
    package static func freePort() throws -> Int {
        let range = firstPort..<min(firstKernelPort, 65_536)
        for _ in 0..<1_000 {
            guard let port = range.randomElement(), given.withLockedValue({ $0.insert(port).inserted }) else {
                continue
            }
            if try LoopbackSocket.isFree(port: port) { return port }
        }
        throw TestFailure("no free port from \(range.lowerBound) to \(range.upperBound - 1)")
    }

    private static let firstPort = 15_000
    /// From here on the kernel chooses ports for sockets that do not name one (ip(7), `ip_local_port_range`).
    private static let firstKernelPort: Int = {
        let text = try? String(contentsOfFile: "/proc/sys/net/ipv4/ip_local_port_range", encoding: .utf8)
        let first = text?.split(whereSeparator: \.isWhitespace).first.flatMap { Int($0) } ?? 32_768
        return first > firstPort ? first : 65_536
    }()
    private static let given = NIOLockedValueBox<Set<Int>>([])

    private static func answersPing(port: Int) -> Bool {
        guard let socket = try? LoopbackSocket(port: port, timeout: 1) else { return false }
        socket.write("PING\r\n".utf8)
        var answer = [UInt8](repeating: 0, count: 64)
        let count = socket.read(into: &answer)
        // -LOADING: not yet. -NOAUTH and -NOPERM: it is up.
        return count > 0 && !answer.starts(with: Array("-LOADING".utf8))
    }
}
