import ArgumentParser
import ChatNode
import Logging
import ServiceLifecycle

/// `martlet serve`: runs a node until SIGTERM or SIGINT.
struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run a node.",
        discussion: """
            Configured by environment variables alone; README.md lists them. A value that cannot be used refuses the start (exit code \
            78), and all such values are listed at once.
            """)

    @Flag(help: "Print the table of environment variables (Markdown), and exit.")
    var listVariables = false

    func run() async throws {
        if listVariables { return print(NodeConfiguration.markdownTable(), terminator: "") }
        try await NodeProcess.run()
    }
}
