import ChatCore
import ChatJSON
import ChatWire
import Foundation
import RedisSchema
import TestSupport
import Testing

@testable import ChatRedis

/// The version before this one: its calls, its payloads and its heartbeats.
@Suite struct UpgradeTests {
    static let version = "0.1.0"

    @Test func theLibraryAnswersTheCallsOfTheOlderVersionAsItsOwnDid() async throws {
        let fixture = try UpgradeFixture(version: Self.version)
        #expect(fixture.calls.count > 25)
        let redis = try await PrivateRedis.start(.init(configuration: ["stream-node-max-bytes 512"]))
        defer { redis.stop() }
        try fixture.restore(to: redis, library: fixture.library)
        let library = String(decoding: FunctionLibrary.source, as: UTF8.self)
        try redis.cli("-x", "FUNCTION", "LOAD", "REPLACE", stdin: library)
        let info = try redis.cli("INFO", "server")
        let run = try #require(info.firstRange(of: "run_id:")).upperBound
        let inspector = try await RedisInspector.connect(try RedisURL(redis.url), name: "test")
        let known = Self.epochs(in: (fixture.state + fixture.calls.map(\.words)).joined().joined(separator: " "))
        for call in fixture.calls {
            var words = call.words
            // This is another Redis than the recorded one, so messages from outside would first wait for the nodes.
            if words.contains("martlet_say") {
                try redis.cli("HSET", "martlet:{lobby}:meta", "returns", "\(info[run...].prefix(16)):1")
            }
            // The leases of the heartbeats end in seconds, which a busy machine may need for the calls between.
            if let lease = words.firstIndex(of: "PX"), lease + 1 < words.count { words[lease + 1] = "600000" }
            let reply = try UpgradeFixture.text(Self.json(try await inspector.ask([words]).first ?? .null))
            // Redis 7.0 tells the members of a set in an order of its own in each process.
            let isSet = call.words[0] == "SSCAN"
            let (now, then) = (Self.masked(reply, known), Self.masked(call.reply, known))
            #expect(isSet ? now.sorted() == then.sorted() : now == then, "\(call.words)")
        }
        inspector.close()
    }

    @Test func everyPayloadOfTheOlderVersionIsReadWithAllThatItSays() throws {
        var kinds: Set<String> = []
        for payload in try UpgradeFixture(version: Self.version).published {
            var events = 0
            Array(payload.text.utf8).withUnsafeBufferPointer { bytes in
                ChannelEventReader.forEachEvent(in: bytes) { slice in
                    events += 1
                    do {
                        let event = try ChannelEventReader.event(of: UnsafeRawBufferPointer(slice))
                        var writer = ByteWriter()
                        writer.append(event)
                        let was = try Self.object(Data(slice))
                        let becomes = try Self.object(Data(writer.array))
                        #expect(was == becomes)
                        kinds.insert(was["type"] as? String ?? "")
                    } catch {
                        Issue.record("\(payload.text): \(error)")
                    }
                }
            }
            #expect(events == payload.text.split(separator: "\n").count)
        }
        #expect(kinds == ["message", "epoch", "gone", "presence", "signal"])
    }

    @Test func theHeartbeatOfTheOlderVersionIsRead() throws {
        let calls = try UpgradeFixture(version: Self.version).calls
        let beats = calls.filter { $0.words[0] == "SET" && $0.words[1].hasPrefix("martlet:node:") }
        #expect(!beats.isEmpty)
        for beat in beats {
            let node = try NodeID(String(beat.words[1].dropFirst("martlet:node:".count)))
            let report = Array(beat.words[2].utf8).withUnsafeBytes { NodeReportReader.report(of: node, $0) }
            #expect(report.version == Self.version && report.clock > 0 && report.started > 0 && report.rooms > 0)
            // What this version adds is nothing that the older one takes for something else.
            var writer = ByteWriter()
            writer.append(report)
            let was = try Self.object(Data(beat.words[2].utf8))
            let becomes = try Self.object(Data(writer.array))
            for (name, value) in was { #expect(becomes[name] as? NSObject == value as? NSObject, "\(name)") }
        }
    }

    // MARK: -

    private static func object(_ data: Data) throws -> NSDictionary {
        try #require(JSONSerialization.jsonObject(with: data) as? NSDictionary)
    }

    private static func json(_ value: RedisValue) -> Any {
        switch value {
        case .null: NSNull()
        case .integer(let number): number
        case .string(let text): text
        case .error(let text): ["error": text]
        case .array(let elements): elements.map(json)
        }
    }

    /// Epochs that begin during the test are different each time.
    private static func masked(_ text: String, _ known: Set<Substring>) -> String {
        text.replacing(/[0-9]{13}/) { known.contains($0.output) ? String($0.output) : "epoch" }
    }

    private static func epochs(in text: String) -> Set<Substring> { Set(text.matches(of: /[0-9]{13}/).map(\.output)) }
}
