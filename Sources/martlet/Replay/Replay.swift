import ArgumentParser
import ChatGateway
import Glibc
import MartletClient

/// `martlet replay`: plays recorded chat through nodes, every user a session of their own, and proves for each session that what it
/// saw is the room's log.
struct Replay: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Play recorded chat through nodes, and prove that every session saw its rooms' logs.",
        discussion: """
            A trace is NDJSON, in time order: {"at":ms,"room":"…","user":"…","event":"join"|"leave"|"message","text":"…"}. \
            Every user is one session, from the first join on. At the end each room's log is read through a node and held \
            against what each session was shown from its join on: nothing missing, repeated, swapped or different. Exits 1 if it is \
            not so, and 2 if the replay could not be made.
            """)

    @Argument(help: "Traces; several are laid side by side.")
    var files: [String]

    @Option(help: "A node or proxy, ws://host:port[/ws]; may be given more than once.")
    var url: [String] = []

    @Option(help: "Times as fast as it was recorded (10, or 0.5). Without it: as fast as it goes.")
    var speed: Double?

    @Option(help: "Sends of one user that may be unanswered.")
    var window = 8

    @Flag(help: "The summary as one JSON object, on standard output.")
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
        guard !trace.events.isEmpty else { throw ReplayError("the traces hold no event") }
        try FileLimit.raise(toHold: trace.users.count)
        return try await ReplayProof(urls: url, options: ReplayOptions(window: window, speed: speed), isQuiet: false)
            .verdict(trace)
    }
}

/// Lets this process open as many sockets as it needs.
enum FileLimit {
    /// Raises the soft limit to the hard one. Throws a ``ReplayError`` if that does not hold `sessions` sockets.
    static func raise(toHold sessions: Int) throws(ReplayError) {
        OpenFileLimit.raise()
        guard let files = OpenFileLimit.current, files < sessions + 64 else { return }
        throw ReplayError(
            "the trace has \(sessions) users, and this process may open only \(files) files: raise the limit with ulimit -n"
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
