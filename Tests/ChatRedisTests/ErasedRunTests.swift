import RedisSchema
import TestSupport
import Testing

@testable import ChatRedis

/// What requests cost in a log of which hundreds of messages, one after the other, were erased. Redis reads each
/// tombstone from `overlay`, so what is read is counted.
@Suite struct ErasedRunTests {
    private static let log = "martlet:{erased}:log"
    /// Tombstones are read by 64.
    private static let mostReads = 8

    /// A log of the messages from 1000-`first` to 1000-1200, whose keys are `k<seq>`. All but the last 50 were erased.
    /// Nodes were never in the room, so it has no chain of epochs, and the functions find out themselves where its
    /// epoch began.
    private func erasedLog(from first: Int = 201) async throws -> PrivateRedis {
        let redis = try await PrivateRedis.start()
        let library = String(decoding: FunctionLibrary.source, as: UTF8.self)
        try redis.cli("-x", "FUNCTION", "LOAD", "REPLACE", stdin: library)
        let messages = """
            for seq = ARGV[1], 1200 do
                redis.call('XADD', KEYS[1], '1000-' .. seq, 'user', 'ana', 'at', '1', 'text', 'x', 'key', 'k' .. seq)
            end
            """
        try redis.cli("EVAL", messages, "1", Self.log, "\(first)")
        for start in stride(from: first, through: 1_150, by: 95) {
            let end = min(start + 94, 1_150)
            let answer = try redis.cli(
                "FCALL", "martlet_amend", "1", Self.log, "delete-range", "mod", "1000-\(start)", "1000-\(end)",
                "", "", "1", "0", "any", "", "3000:4194304")
            #expect(answer.contains("stored\n\(end - start + 1)"), "\(answer)")
        }
        return redis
    }

    private func reads(_ redis: PrivateRedis) throws -> Int {
        var count = 0
        for line in try redis.cli("INFO", "commandstats").split(whereSeparator: \.isNewline)
        where line.hasPrefix("cmdstat_hmget:") || line.hasPrefix("cmdstat_hget:") {
            count += line.split(separator: ",").first.flatMap { Int($0.drop { $0 != "=" }.dropFirst()) } ?? 0
        }
        return count
    }

    /// Runs the command, and returns the positions in its answer.
    private func cheap(_ redis: PrivateRedis, _ command: String...) throws -> [String] {
        let before = try reads(redis)
        let answer = try redis.cli(command)
        let cost = try reads(redis) - before
        #expect(cost <= Self.mostReads, "\(command.joined(separator: " ")): \(cost) reads")
        return answer.split(separator: "\n").map(String.init).filter { $0.hasPrefix("1000-") }
    }

    private func positions(_ range: some Sequence<Int>) -> [String] { range.map { "1000-\($0)" } }

    @Test func aPageCostsWhatItHoldsWhereverItBegins() async throws {
        let redis = try await erasedLog()
        defer { redis.stop() }
        func page(_ anchor: String, _ place: Int) throws -> [String] {
            let found = try cheap(
                redis, "FCALL_RO", "martlet_history", "1", Self.log, anchor, "1000-\(place)", "10:65536")
            #expect(found.last == "1000-1210", "the newest entry")
            return found.dropLast()
        }
        #expect(try page("after", 200) == positions(201...210))
        #expect(try page("after", 700) == positions(701...710))
        #expect(try page("after", 1_145) == positions(1_146...1_155))
        #expect(try page("before", 1_151) == positions(1_141...1_150))
        #expect(try page("before", 700) == positions(690...699))
        #expect(try page("before", 205) == positions(201...204))
        #expect(try page("around", 700) == positions(695...704))
        #expect(try page("after", 100) == positions(201...210))
    }

    @Test func anErasedMessageIsRefusedAtOnce() async throws {
        let redis = try await erasedLog()
        defer { redis.stop() }
        let before = try reads(redis)
        for operation in ["delete", "edit", "react", "report"] {
            let answer = try redis.cli(
                "FCALL", "martlet_amend", "1", Self.log, operation, "ana", "1000-210", "x", "", "", "1", "0", "any")
            #expect(answer.contains("messageDeleted"), "\(answer)")
        }
        #expect(try reads(redis) - before <= 4 * Self.mostReads)
    }

    @Test func whereAnEpochBeganIsFoundByHalving() async throws {
        let redis = try await erasedLog()
        defer { redis.stop() }
        // The base, the third element of the answer, is the seq before the epoch's first message.
        let keys = ["log", "nodes", "epochs", "meta"].map { String(Self.log.dropLast(3)) + $0 }
        let before = try reads(redis)
        let view = try redis.cli(["FCALL_RO", "martlet_view", "4"] + keys + ["", "1:65536"])
        #expect(view.hasPrefix("ok\n1000-1210\n200\n"), "\(view)")
        // One more for each halving.
        #expect(try reads(redis) - before <= 4 * Self.mostReads)
    }

    /// The index of keys was built anew forever, as it never had room for all that was erased.
    @Test(arguments: [1, 201]) func theKeyOfAnErasedMessageIsKnown(first: Int) async throws {
        let redis = try await erasedLog(from: first)
        defer { redis.stop() }
        for seq in [210, 700, 1_150, 1_199] {
            var answer = ""
            // Each call indexes 256 entries.
            for _ in 0..<8 where answer.isEmpty || answer.contains("AGAIN") {
                answer = try redis.cli("FCALL", "martlet_say", "1", Self.log, "ana", "x", "", "k\(seq)")
            }
            #expect(answer.contains("1000-\(seq)\nrepeated"), "\(seq): \(answer)")
        }
    }
}
