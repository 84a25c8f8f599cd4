import ArgumentParser
import ChatNode

/// `martlet`: the node, the relay, and their tools.
@main
struct Martlet: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "martlet",
        abstract: "A chat node: one room across many nodes, through Redis.",
        version: "martlet \(Node.version)",
        subcommands: [
            Serve.self, RelayCommand.self, Webhooks.self, Chat.self, Top.self, Doctor.self, Replay.self, Bench.self,
            Token.self, User.self, Room.self, Commands.self,
        ])
}
