import Foundation

/// What an earlier version left in Redis, asked of its function library and published: the files of
/// `Tests/Upgrade/<version>`, which `scripts/chaos upgrade-record` writes.
package struct UpgradeFixture: Sendable {
    package struct Call: Sendable {
        /// The command as a node of that version sent it.
        package var words: [String]
        /// What that version's own library answers, as JSON text.
        package var reply: String
    }

    package struct Payload: Sendable {
        package var channel: String
        package var text: String
    }

    package struct Failure: Error, CustomStringConvertible {
        package var description: String
    }

    /// Commands that make the keys as they were when all nodes were killed. No node has a heartbeat.
    package let state: [[String]]
    /// One command of each form, in the order in which the replies were recorded on ``state``.
    package let calls: [Call]
    package let published: [Payload]
    package let library: String

    package init(version: String) throws {
        let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../Upgrade/\(version)")
            .standardizedFileURL
        func lines(_ name: String) throws -> [[Any]] {
            let text = try String(contentsOf: folder.appending(path: name), encoding: .utf8)
            return try text.split(separator: "\n").map { line in
                guard let value = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [Any] else {
                    throw Failure(description: "\(name): no JSON array: \(line)")
                }
                return value
            }
        }
        state = try lines("state.jsonl").compactMap { $0 as? [String] }
        calls = try lines("calls.jsonl").compactMap { call in
            guard let words = call.first as? [String], let reply = call.last else { return nil }
            return Call(words: words, reply: try Self.text(reply))
        }
        published = try lines("channel.jsonl").compactMap { line in
            guard let channel = line.first as? String, let text = line.last as? String else { return nil }
            return Payload(channel: channel, text: text)
        }
        library = try String(contentsOf: folder.appending(path: "functions.txt"), encoding: .utf8)
    }

    /// JSON text in one form, so that values can be compared as text.
    package static func text(_ value: Any) throws -> String {
        let options: JSONSerialization.WritingOptions = [.sortedKeys, .fragmentsAllowed, .withoutEscapingSlashes]
        return String(decoding: try JSONSerialization.data(withJSONObject: value, options: options), as: UTF8.self)
    }

    /// The number in `local VERSION = `.
    package static func version(of library: String) throws -> Int {
        guard let number = try Int(library[place(in: library)]) else { throw Self.noVersion }
        return number
    }

    /// The library as if it had that version, so that a node with any later one replaces it.
    package func library(asVersion version: Int) throws -> String {
        try library.replacingCharacters(in: Self.place(in: library), with: "\(version)")
    }

    private static let noVersion = Failure(description: "the library does not say its version")

    private static func place(in library: String) throws -> Range<String.Index> {
        guard let start = library.range(of: "local VERSION = ")?.upperBound,
            let end = library[start...].firstIndex(where: { !$0.isNumber })
        else { throw noVersion }
        return start..<end
    }

    /// Loads a library, and makes the keys.
    package func restore(to redis: PrivateRedis, library: String) throws {
        try redis.cli("-x", "FUNCTION", "LOAD", stdin: library)
        let commands = state.map { $0.map(Self.quoted).joined(separator: " ") }.joined(separator: "\n") + "\n"
        let output = try redis.cli(stdin: commands)
        let errors = output.split(separator: "\n").filter { $0.contains("ERR") || $0.contains("WRONGTYPE") }
        guard errors.isEmpty else { throw Failure(description: errors.joined(separator: "; ")) }
    }

    /// A word as redis-cli reads it from a line.
    private static func quoted(_ word: String) -> String {
        let escaped = word.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("\n", with: "\\n")
        return "\"\(escaped)\""
    }
}
