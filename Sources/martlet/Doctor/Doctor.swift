import ArgumentParser
import Glibc

/// `martlet doctor`: what is wrong, where, and what to do.
struct Doctor: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Find what is wrong with the environment, Redis, nodes and rooms, and say what to do.",
        discussion: """
            Reads the environment as serve would, and looks at Redis: version, settings, function library, the user's \
            rights, nodes, their clocks, keys and rooms. It changes nothing, and asks in small batches; of the \
            database it looks through at most --keys keys and says so if there are more. Exits 0 if nothing must be \
            done, 1 if something must, 2 if it could not look (or not at everything).
            """)

    @OptionGroup var place: RedisPlace

    @Option(help: "Keys of the database to look through, at most.")
    var keys = 200_000

    @Option(help: "Rooms to look at, at most.")
    var rooms = 20_000

    @Option(help: "Seconds to wait for a heartbeat of each node, which shows its clock.")
    var wait = 6.0

    @Flag(help: "All findings as one JSON object.")
    var json = false

    func validate() throws {
        if !(1...100_000_000).contains(keys) { throw ValidationError("--keys must be from 1 to 100000000") }
        if !(1...10_000_000).contains(rooms) { throw ValidationError("--rooms must be from 1 to 10000000") }
        if !(0...600).contains(wait) { throw ValidationError("--wait must be from 0 to 600 seconds") }
    }

    func run() async throws {
        signal(SIGPIPE, SIG_IGN)
        var options = DoctorOptions(environment: place.merged)
        options.keyLimit = keys
        options.roomLimit = rooms
        options.wait = .seconds(wait)
        let showsProgress = Terminal.errorIsTerminal
        var look = DoctorLook(options) { what, share in
            guard showsProgress else { return }
            StandardError.write("\r\u{1B}[K\(what) \(Int(min(1, max(0, share)) * 100)) %")
        }
        let report = await look.run()
        if showsProgress { StandardError.write("\r\u{1B}[K") }
        if json {
            Terminal.write(report.json + "\n")
        } else {
            let columns = Terminal.outputIsTerminal ? Terminal.size.columns - 1 : nil
            let colour = Terminal.outputIsTerminal && Terminal.wantsColour
            Terminal.write(report.lines(columns: columns, colour: colour).joined(separator: "\n") + "\n")
        }
        if report.exitCode != 0 { throw ExitCode(report.exitCode) }
    }
}
