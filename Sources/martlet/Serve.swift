import ArgumentParser
import ChatNode
import Logging
import ServiceLifecycle

/// `martlet serve`: runs a node until SIGTERM or SIGINT.
struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run a node.",
        discussion: """
            Configured by environment variables alone; --list-variables prints them. A value that cannot be used refuses \
            the start (exit code 78), and all such values are listed at once.
            """)

    @Flag(help: "Print the table of environment variables (Markdown), and exit.")
    var listVariables = false

    /// Any other argument. None has an effect, and the user should be told so.
    @Argument(parsing: .allUnrecognized, help: .hidden)
    var rest: [String] = []

    func validate() throws {
        guard let first = rest.first else { return }
        let name = first.drop { $0 == "-" }.prefix { $0 != "=" }
        let variable = "MARTLET_" + name.uppercased().replacing("-", with: "_")
        let known = NodeConfiguration.variables.contains(variable) ? variable : nil
        throw ValidationError(
            "serve takes no \(first): it is configured by environment variables alone"
                + (known.map { "; set \($0), as in \($0)=… martlet serve" } ?? " (martlet serve --list-variables)"))
    }

    func run() async throws {
        if listVariables { return print(NodeConfiguration.markdownTable(), terminator: "") }
        try await NodeProcess.run()
    }
}
