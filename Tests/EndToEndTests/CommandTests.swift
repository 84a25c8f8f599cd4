import Foundation
import MartletClient
import Testing

/// What `martlet` printed and how it ended.
struct ProgramResult: Sendable {
    var code: Int32
    var output: String
    var error: String

    var lines: [String] { output.split(whereSeparator: \.isNewline).map(String.init) }
}

/// A tool of `martlet` as a process, in a pipe.
enum Program {
    /// Runs it to its end, with `input` as its whole standard input. Killed after `limit`, which shows as code 9 or 15.
    static func run(
        _ arguments: [String], input: String = "", environment: [String: String] = [:], limit: Duration = .seconds(60)
    ) async throws -> ProgramResult {
        let process = Process()
        process.executableURL = TestNode.executable
        process.arguments = arguments
        process.environment = environment.merging(["PATH": "/usr/bin:/bin", "USER": "tester"]) { first, _ in first }
        let (output, error, feed) = (Pipe(), Pipe(), Pipe())
        process.standardOutput = output
        process.standardError = error
        process.standardInput = feed
        try process.run()
        feed.fileHandleForWriting.write(Data(input.utf8))
        try feed.fileHandleForWriting.close()
        let guardian = Task {
            try await Task.sleep(for: limit)
            process.terminate()
        }
        defer { guardian.cancel() }
        async let said = read(output)
        async let complained = read(error)
        let (text, problems) = await (said, complained)
        process.waitUntilExit()
        return ProgramResult(code: process.terminationStatus, output: text, error: problems)
    }

    private static func read(_ pipe: Pipe) async -> String {
        await withCheckedContinuation { continuation in
            DispatchQueue.global().async {
                continuation.resume(
                    returning: String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self))
            }
        }
    }
}

/// `martlet chat`, `top` and `doctor` as people start them.
@Suite(.serialized)
struct CommandTests {
    @Test func aChatInAPipeSaysEachLineAndEndsWhenAllIsStored() async throws {
        let cluster = try await Cluster.start(2)
        defer { cluster.end() }
        let input = (1...300).map { "line \($0)\n" }.joined() + "끝 \u{1B}[2J"
        let url = "http://127.0.0.1:\(cluster.nodes[0].port)"
        let first = try await Program.run(["chat", url, "--user", "ana", "--room", "pipe"], input: input)
        #expect(first.code == 0, "\(first.error)")
        #expect(try cluster.redis("XLEN", "martlet:{pipe}:log") == ["301"])
        #expect(first.lines.filter { $0.contains("ana: line ") }.count == 300)
        #expect(first.lines.last?.hasSuffix("ana: 끝 ␛[2J") == true)

        let second = try await Program.run(
            ["chat", cluster.nodes[1].url, "--user", "bob", "--room", "pipe", "--json", "--history", "5"])
        #expect(second.code == 0, "\(second.error)")
        let texts = try second.lines.map { line in
            let object = try JSONSerialization.jsonObject(with: Data(line.utf8))
            return try #require(object as? [String: Any])
        }.filter { $0["type"] as? String == "message" }.map { $0["text"] as? String }
        #expect(texts == ["line 297", "line 298", "line 299", "line 300", "끝 \u{1B}[2J"])
    }

    @Test func aChatThatNobodyWantsSaysWhyAndFails() async throws {
        let bad = try await Program.run(["chat", "gopher://x"])
        #expect(bad.code == 2)
        #expect(bad.error.contains("expected ws://"))
        let room = try await Program.run(["chat", "ws://127.0.0.1:1", "--room", "{x}"])
        #expect(room.code == 64)
        #expect(room.error.contains("brace"))
        let cluster = try await Cluster.start(1)
        defer { cluster.end() }
        let path = try await Program.run(["chat", "ws://127.0.0.1:\(cluster.nodes[0].port)/nowhere"], input: "hi\n")
        #expect(path.code == 1)
        #expect(path.output.contains("the node answered HTTP 404; not coming back"))
    }
}
