import Foundation
import Glibc
import MartletClient
import TestSupport
import Testing

/// Standard error is a pipe that nobody reads.
@Suite(.serialized, .inTurn)
struct LogPipeTests {
    @Test func aLogThatNobodyReadsCostsLinesAndNothingElse() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let pipe = Pipe()
        // F_SETPIPE_SZ: the smallest possible pipe.
        _ = fcntl(pipe.fileHandleForWriting.fileDescriptor, 1_031, 4_096)
        let node = try await TestNode.start(
            "node", redis: redis.url,
            ["MARTLET_LOG_LEVEL": "trace", "MARTLET_LOG_QUEUE_BYTES": "4096", "MARTLET_EVENT_LOOPS": "1"], log: pipe)
        defer { node.signal(SIGKILL) }
        let room = try RoomName("lobby")
        let ana = try await Watcher.connect("ana", node)
        try await ana.client.join(room)
        try await ana.client.send("before", to: room)
        func dropped() async throws -> Int {
            let metrics = try await Shell.get("\(node.http)/metrics")
            let line = metrics.split(separator: "\n").first { $0.hasPrefix("martlet_log_dropped_total ") }
            return line.flatMap { $0.split(separator: " ").last }.flatMap { Double($0) }.map { Int($0) } ?? 0
        }
        // Redis fails and comes back, which a node logs.
        for round in 0..<100 {
            redis.kill()
            try await redis.restart()
            #expect(try await Shell.status(of: "\(node.http)/healthz") == 200)
            if try await dropped() > 10, round > 5 { break }
        }
        #expect(try await dropped() > 10)
        try await ana.client.send("after", to: room)
        try await ana.wait(for: 2, in: room)
        #expect(ana.texts(room) == ["before", "after"])

        let before = try await dropped()
        let began = ContinuousClock.now
        try await node.terminate()
        #expect(ContinuousClock.now - began < .seconds(8))
        // Waiting lines are lost with the process, except for those in the pipe.
        try pipe.fileHandleForWriting.close()
        let text = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        #expect(text.contains("info setting") && before > 10)
    }

    @Test func whoReadsLateIsToldHowMuchIsMissing() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let pipe = Pipe()
        _ = fcntl(pipe.fileHandleForWriting.fileDescriptor, 1_031, 4_096)
        let node = try await TestNode.start(
            "node", redis: redis.url,
            ["MARTLET_LOG_LEVEL": "trace", "MARTLET_LOG_QUEUE_BYTES": "4096", "MARTLET_EVENT_LOOPS": "1"], log: pipe)
        defer { node.signal(SIGKILL) }
        try await eventually("lines are dropped") {
            redis.kill()
            try await redis.restart()
            let metrics = try await Shell.get("\(node.http)/metrics")
            return metrics.split(separator: "\n").contains {
                $0.hasPrefix("martlet_log_dropped_total ") && !$0.hasSuffix(" 0")
            }
        }
        try pipe.fileHandleForWriting.close()
        let all = Task.detached { String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self) }
        try await node.terminate()
        let text = await all.value
        #expect(text.contains("log lines were dropped because nobody read them"), "\(text.suffix(2_000))")
    }
}
