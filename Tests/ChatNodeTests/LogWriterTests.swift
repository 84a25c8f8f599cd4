import Glibc
import Logging
import NIOCore
import NIOPosix
import Testing

@testable import ChatNode

/// A log that nobody reads, or that is read late.
@Suite struct LogWriterTests {
    /// The smallest possible pipe, with a writer to it.
    private final class Pipe: Sendable {
        let input: CInt
        let output: CInt
        let writer: LogWriter

        init(limit: Int) throws {
            var ends: [CInt] = [0, 0]
            guard pipe(&ends) == 0 else { throw Failure() }
            (input, output) = (ends[0], ends[1])
            // F_SETPIPE_SZ
            _ = fcntl(output, 1_031, 4_096)
            writer = LogWriter(descriptor: output, limit: limit)
        }

        struct Failure: Error {}

        /// Reads until the pipe is empty and nothing more is written.
        func readAll() throws -> String {
            _ = fcntl(input, F_SETFL, O_NONBLOCK)
            var all: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 65_536)
            let end = ContinuousClock.now + .seconds(60)
            while ContinuousClock.now < end {
                let isIdle = writer.isIdle
                let count = read(input, &buffer, buffer.count)
                if count > 0 { all += buffer[..<count] } else if isIdle { break }
                // Waits here, because other tests may keep a yielding task from running for long.
                var ready = pollfd(fd: input, events: Int16(POLLIN), revents: 0)
                if count <= 0 { poll(&ready, 1, 10) }
            }
            return String(decoding: all, as: UTF8.self)
        }

        func close() async throws {
            try await writer.stop()
            Glibc.close(input)
            Glibc.close(output)
        }
    }

    @Test func aReaderWhoDoesNotReadCostsLinesAndNobodyWaits() async throws {
        let pipe = try Pipe(limit: 10_000)
        let line = String(repeating: "x", count: 99) + "\n"
        let began = ContinuousClock.now
        for _ in 0..<1_000 { pipe.writer.write(line) }
        #expect(ContinuousClock.now - began < .seconds(5))
        let dropped = pipe.writer.dropped
        #expect(dropped >= 1_000 - 100 - 141 - 100 && dropped < 1_000, "\(dropped)")
        let before = ContinuousClock.now
        pipe.writer.flush(within: .milliseconds(50))
        #expect(ContinuousClock.now - before < .seconds(5), "who ends does not wait for long")

        let lines = try pipe.readAll().split(separator: "\n")
        let reports = lines.filter { $0.hasSuffix("log lines were dropped because nobody read them") }
        #expect(lines.count == 1_000 - dropped + reports.count)
        #expect(reports.compactMap { Int($0.split(separator: " ")[1]) }.reduce(0, +) == dropped)
        #expect(lines.last == reports.last)
        pipe.writer.write("after\n")
        #expect(try pipe.readAll() == "after\n")
        #expect(pipe.writer.dropped == dropped)
        try await pipe.close()
    }

    @Test func aProcessThatEndsSaysWhatIsMissingIfItsLogIsReadInTime() async throws {
        let pipe = try Pipe(limit: 1_000)
        for number in 0..<1_000 { pipe.writer.write("line \(number)\n") }
        let dropped = pipe.writer.dropped
        #expect(dropped > 0)
        // Not in a task: `flush` blocks a thread of the pool that tasks run on, which may have no other.
        let reading = NIOThreadPool.singleton.runIfActive(eventLoop: NIOSingletons.posixEventLoopGroup.any()) {
            try pipe.readAll()
        }
        pipe.writer.flush(within: .seconds(30))
        #expect(pipe.writer.isIdle, "all is written when the process may end")
        let lines = try await reading.get().split(separator: "\n")
        let reports = lines.filter { $0.hasSuffix("log lines were dropped because nobody read them") }
        // The thread that writes may have had time for the last lines.
        #expect(lines.count == 1_000 - dropped + reports.count)
        #expect(reports.compactMap { Int($0.split(separator: " ")[1]) }.reduce(0, +) == dropped)
        try await pipe.close()
    }

    @Test func linesComeWholeAndInOrderFromManyThreads() async throws {
        let pipe = try Pipe(limit: 1 << 20)
        let reading = Task { try pipe.readAll() }
        await withTaskGroup(of: Void.self) { tasks in
            for writer in 0..<4 {
                tasks.addTask { for number in 0..<500 { pipe.writer.write("\(writer) \(number)\n") } }
            }
        }
        let text = try await reading.value + pipe.readAll()
        let lines = text.split(separator: "\n").map { $0.split(separator: " ").compactMap { Int($0) } }
        #expect(lines.count == 2_000 && lines.allSatisfy { $0.count == 2 })
        for writer in 0..<4 {
            #expect(lines.filter { $0.first == writer }.compactMap(\.last) == Array(0..<500))
        }
        try await pipe.close()
    }

    @Test func whatWasDroppedIsSaidInTheFormOfTheLog() {
        var log = NodeConfiguration.Log()
        log.format = .json
        let line = NodeLogHandler.droppedLine(7, log)
        #expect(line.hasPrefix("{\"time\":") && line.hasSuffix("}\n"), "\(line)")
        #expect(line.contains("\"level\":\"warning\"") && line.contains("\"count\":\"7\""), "\(line)")
        log.format = .text
        #expect(NodeLogHandler.droppedLine(7, log).contains(" warning log lines were dropped"))
    }
}
