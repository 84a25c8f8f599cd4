import ArgumentParser
import ChatGateway
import ChatJSON
import ChatNode
import ChatRedis
import RedisSchema

/// `martlet commands`: the newest commands that all nodes apply.
struct Commands: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show the newest commands that all nodes apply, such as revocations, oldest first.")

    @OptionGroup var place: RedisPlace

    @Option(help: "How many.")
    var count = 50

    @Flag(help: "Each command as a JSON object on a line of its own.")
    var json = false

    func validate() throws {
        if !(1...10_000).contains(count) { throw ValidationError("--count must be from 1 to 10000") }
    }

    func run() async throws {
        let reply = try await place.ask("commands") { ["XREVRANGE", $0.commands, "+", "-", "COUNT", "\(count)"] }
        for entry in (reply.array ?? []).reversed() {
            guard let parts = entry.array, parts.count == 2, let id = parts[0].string else { continue }
            let fields = parts[1].pairs.compactMapValues(\.string)
            Terminal.write((json ? Self.object(id, fields) : Self.line(id, fields)) + "\n")
        }
    }

    private static func object(_ id: String, _ fields: [String: String]) -> String {
        JSONValue.object(fields.mapValues { .string($0) }.merging(["id": .string(id)]) { $1 }).text
    }

    private static func line(_ id: String, _ fields: [String: String]) -> String {
        let what = ["type", "subject", "name"].compactMap { fields[$0] }.filter { !$0.isEmpty }.joined(separator: " ")
        let time = fields["time"].flatMap { Int64($0) }.map { ", for \(DurationText.show(.milliseconds($0)))" } ?? ""
        let until = fields["until"].flatMap { UInt64($0) }.map { ", until \(Timestamp.text($0))" } ?? ""
        let reason = fields["reason"].flatMap { $0.isEmpty ? nil : " (\($0))" } ?? ""
        let by = fields["by"].flatMap { $0.isEmpty ? nil : ", by \($0)" } ?? ""
        return TerminalText.harmless("\(id)  \(what)\(time)\(until)\(reason)\(by)")
    }
}
