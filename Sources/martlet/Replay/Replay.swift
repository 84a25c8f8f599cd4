import ArgumentParser
import ChatGateway
import Glibc
import MartletClient

/// `martlet replay`: replays recorded chats through nodes, with a session for every user, and proves for each session
/// that it was shown exactly the room's log.
struct Replay: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Replay recorded chats through nodes, and prove that every session saw exactly its rooms' logs.",
        discussion: """
            A trace is NDJSON in the order of time: \
            {"at":ms,"room":"…","user":"…","event":"join"|"leave"|"message","text":"…"}. Every user is one session, \
            from the first join on. At the end the log of each room is read through a node and compared with what \
            each session was shown since its join: nothing missing, repeated, reordered or changed. Exits 1 if there \
            is a difference, and 2 if the replay could not be carried out.
            """)

    @Argument(help: "Trace files; several are merged by time.")
    var files: [String]

    @Option(help: "A node or proxy, ws://host:port[/ws]; may be given more than once.")
    var url: [String] = []

    @Option(help: "Speed as a multiple of the recorded one (10, or 0.5). Default: as fast as possible.")
    var speed: Double?

    @Option(help: "Sends of one user that may be unanswered.")
    var window = 8

    @Option(
        name: .customLong("protocol"),
        help: "What the users speak: \(ReplayDialect.allCases.map(\.rawValue).joined(separator: ", ")).")
    var dialect = ReplayDialect.martlet

    @Flag(help: "Write the summary as one JSON object to standard output.")
    var json = false

    func validate() throws {
        if url.isEmpty { throw ValidationError("--url is needed: the node or proxy to play through") }
        if let speed, !(speed > 0 && speed.isFinite) { throw ValidationError("--speed must be a number above 0") }
        guard (1...1_000).contains(window) else { throw ValidationError("--window must be from 1 to 1000") }
    }

    func run() async throws {
        let verdict: ReplayVerdict
        do {
            verdict = try await replay()
        } catch let error as ReplayError {
            StandardError.write("replay: \(error.message)\n")
            throw ExitCode(2)
        } catch let error as ClientError {
            StandardError.write("replay: \(error)\n")
            throw ExitCode(2)
        }
        print(json ? verdict.json : verdict.text)
        if !verdict.isGood { throw ExitCode(1) }
    }

    private func replay() async throws -> ReplayVerdict {
        let trace = try ReplayTrace(files: files)
        guard !trace.events.isEmpty else { throw ReplayError("the traces contain no event") }
        try FileLimit.raise(toHold: trace.users.count)
        let options = ReplayOptions(dialect: dialect, window: window, speed: speed)
        return try await ReplayProof(urls: url, options: options, isQuiet: false).verdict(trace)
    }
}

/// Raises the limit of open files.
enum FileLimit {
    /// Raises the soft limit to the hard one. Throws a ``ReplayError`` if that does not suffice for `sessions` sockets.
    static func raise(toHold sessions: Int) throws(ReplayError) {
        OpenFileLimit.raise()
        guard let files = OpenFileLimit.current, files < sessions + 64 else { return }
        throw ReplayError(
            "the trace has \(sessions) users, and this process may open only \(files) files: "
                + "raise the limit with ulimit -n"
        )
    }
}

/// Standard error, unbuffered.
enum StandardError {
    static func write(_ text: String) {
        var text = text
        text.withUTF8 { _ = Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }
}
