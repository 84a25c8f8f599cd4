import ArgumentParser
import Foundation
import Glibc
import MartletClient

/// `martlet chat`: a chat on a terminal, or in a pipe.
struct Chat: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Chat in a room, on a terminal or in a pipe.",
        discussion: """
            On a terminal you write in the lowest line; /help lists the commands, and Ctrl-C exits. In a pipe each \
            line of standard input is sent as a message, and each message is a line of standard output; after the \
            end of the input the program waits until everything is stored. Lines that begin with * are about the \
            room. Exits 1 if a message could not be sent, or if the node rejects the client.
            """)

    @Argument(help: "Nodes or proxies: ws://host:port[/ws], wss://…, or as scripts/up prints it, http://host:port.")
    var url: [String]

    @Option(help: "The room.")
    var room = "lobby"

    @Option(help: "Your user name (default: $USER).")
    var user: String?

    @Option(help: "Name of this device.")
    var device: String?

    @Option(
        help:
            "A token, sent as Authorization: Bearer; @FILE reads it from a file, which hides it from ps."
    )
    var token: String?

    @Option(help: "PEM file of the authority that signed the nodes' certificate, for a private one (wss://).")
    var ca: String?

    @Option(help: "How many earlier messages to show.")
    var history = 20

    @Flag(help: "One JSON object for each event, with the field names of the client protocol.")
    var json = false

    @Flag(help: "Continue after the end of the input.")
    var listen = false

    func validate() throws {
        if url.isEmpty { throw ValidationError("an address is needed, such as ws://127.0.0.1:8080") }
        if let ca, access(ca, R_OK) != 0 { throw ValidationError("--ca: \(ca) cannot be read") }
        if !(0...1_000).contains(history) { throw ValidationError("--history must be from 0 to 1000") }
        do throws(NameError) {
            _ = try RoomName(room)
        } catch {
            throw ValidationError("--room: \(error)")
        }
        do throws(NameError) {
            if let user { _ = try UserID(user) }
            if let device { _ = try DeviceName(device) }
        } catch {
            throw ValidationError("--user, --device: \(error)")
        }
    }

    func run() async throws {
        let app: ChatApp
        do {
            let identity = ClientIdentity(
                user: user ?? Self.environment("USER") ?? "guest", device: device,
                token: try token.map(Self.secret))
            app = try ChatApp(
                ChatOptions(
                    urls: url.map(Self.address), room: try RoomName(room), identity: identity, history: history,
                    json: json, listens: listen, authorityFile: ca))
        } catch let error as ClientError {
            StandardError.write("chat: \(error.text)\n")
            throw ExitCode(2)
        }
        let code = await app.run()
        if code != 0 { throw ExitCode(code) }
    }

    /// Accepts what people paste: the address of the page, or a host and a port.
    static func address(_ text: String) -> String {
        if text.hasPrefix("http://") { return "ws://" + text.dropFirst(7) }
        if text.hasPrefix("https://") { return "wss://" + text.dropFirst(8) }
        return text.contains("://") ? text : "ws://" + text
    }

    /// The token itself, or the first line of the file that the text names.
    private static func secret(_ text: String) throws(ClientError) -> String {
        guard text.hasPrefix("@") else { return text }
        let path = String(text.dropFirst())
        do {
            let file = try String(contentsOfFile: path, encoding: .utf8)
            return String(file.prefix { !$0.isNewline })
        } catch {
            throw .badArgument("--token: \(path) cannot be read: \(error.localizedDescription)")
        }
    }

    private static func environment(_ name: String) -> String? {
        getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
    }
}
