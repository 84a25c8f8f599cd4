import Foundation
import Glibc
import MartletClient
import TestSupport
import Testing

/// This version on what the version before it left in Redis, and in a room with one of its nodes.
@Suite(.serialized, .inTurn)
struct UpgradeTests {
    private static let lease = ["MARTLET_NODE_LEASE": "3s", "MARTLET_HEARTBEAT_INTERVAL": "500ms"]

    @Test func whatTheOlderVersionLeftIsReadContinuedAndSwept() async throws {
        let (fixture, redis) = try await Self.restored()
        defer { redis.stop() }
        let node = try await TestNode.start("new", redis: redis.url, Self.lease)
        defer { node.signal(SIGKILL) }
        #expect(try Int(redis.cli("FCALL", "martlet_version", "0")) == Self.libraryVersion())
        let log = Self.log(of: "lobby", in: fixture)
        #expect(log.count == 9)

        // A client that was on a node of the older version continues here.
        let lobby = try RoomName("lobby")
        let ana = try await Watcher.connect("ana", node)
        let after = try #require(Position(log[3].position))
        let joined = try await ana.client.join(lobby, after: after)
        #expect("\(joined.resumption)".contains("reset") == false)
        try await ana.wait(for: 5, in: lobby)
        #expect(ana.positions(lobby).map(\.description) == log.dropFirst(4).map(\.position))
        #expect(ana.texts(lobby) == log.dropFirst(4).map { $0.fields["text"] ?? "" })
        #expect(ana.seen(lobby).gaps.isEmpty && ana.seen(lobby).resets.isEmpty)

        // What she said there under a key is known, and what she says here follows.
        let known = try #require(log.first { $0.fields["user"] == "ana" && $0.fields["key"] == "ana-2" })
        var again = SendRequest(room: lobby, text: known.fields["text"], key: "ana-2")
        again.again = true
        let repeated = try await ana.client.send(again)
        #expect(repeated.repeated && repeated.position.description == known.position)
        let sent = try await ana.client.send("from the new version", to: lobby)
        #expect(sent.position.seq == 10)
        try await ana.wait(for: 6, in: lobby)
        #expect(ana.positions(lobby).areContiguous)

        // Rooms in which nobody is any more, or never was, have their history.
        for (name, text) in [("quiet", "then I go"), ("outside", "nobody is here")] {
            let room = try RoomName(name)
            try await ana.client.join(room, history: 5)
            try await ana.wait(for: 1, in: room)
            #expect(ana.texts(room) == [text])
        }

        // The nodes of the older version are dead: their members leave, and nothing of them stays.
        let old = Set(fixture.state.filter { $0[0] == "ZADD" }.flatMap { $0.dropFirst(2) }.filter { $0.contains("-") })
        #expect(old.count == 3)
        try await eventually("the dead nodes are swept") {
            let names = try redis.cli("ZRANGE", "martlet:nodes", "0", "-1").split(separator: "\n")
            return names.count == 1 && names[0].hasPrefix("new-")
        }
        let keys = try redis.cli("--scan", "--pattern", "martlet:*").split(separator: "\n").map(String.init)
        #expect(keys.filter { key in old.contains { key.contains($0) } } == [])
        for key in keys where key.hasSuffix("}:nodes") || key.hasSuffix("}:roster") {
            let text = try redis.cli("HGETALL", key)
            #expect(!old.contains { text.contains($0) }, "\(key): \(text)")
        }
        #expect(try redis.cli("EXISTS", "martlet:{alone}:nodes", "martlet:{alone}:roster") == "0")
        let entries = try redis.cli("XRANGE", "martlet:{lobby}:presence", "-", "+")
        for user in ["bea", "dan"] {
            #expect(Self.count(of: "expire\nuser\n\(user)\n", in: entries) == 1, "\(entries)")
        }
        try await eventually("ana is alone") {
            try await ana.client.roster(lobby).members.map(\.user) == [UserID("ana")]
        }
        #expect(try await Self.ignored(by: node) == [])
    }

    @Test func aNodeOfTheOlderVersionAndOneOfThisOneShareARoom() async throws {
        let (fixture, redis) = try await Self.restored()
        defer { redis.stop() }
        let older = try OlderNode(fixture, redis, "node1")
        try older.beat()
        let node = try await TestNode.start("new", redis: redis.url, Self.lease)
        defer { node.signal(SIGKILL) }
        let lobby = try RoomName("lobby")
        let zoe = try await Watcher.connect("zoe", node)
        try await zoe.client.join(lobby)
        try await eventually("the other nodes of the older version are swept, and this one is not") {
            let names = try Set(redis.cli("HKEYS", "martlet:{lobby}:nodes").split(separator: "\n").map(String.init))
            return names.count == 2 && names.contains(older.id)
        }

        // What the older node says, with the function and with two commands, as it hears of the new epoch.
        var expected: [String] = []
        for (number, say) in [older.append, older.appendAndPublish, older.append].enumerated() {
            let text = "older \(number)"
            let position = try say("bea", text)
            expected.append(text)
            try await zoe.wait(for: expected.count, in: lobby)
            #expect(zoe.texts(lobby) == expected)
            #expect(zoe.positions(lobby).last?.description == position)
        }
        #expect(zoe.positions(lobby).areContiguous)
        try older.signal()
        try await eventually("the signal is shown") { zoe.seen(lobby).signals == ["bea typing"] }

        // Who comes to the older node and goes.
        let gus = try UserID("gus")
        #expect(try older.presence("+", "gus").error == nil)
        try await eventually("gus came") { zoe.seen(lobby).joined[gus] == 1 }
        #expect(try older.presence("-", "gus").error == nil)
        try await eventually("gus went") { zoe.seen(lobby).left[gus] == 1 }

        // What this version says, as the older node hears it.
        let ear = try Ear(redis, "martlet:{lobby}")
        defer { ear.stop() }
        try await eventually("the ear is on the channel") {
            try redis.cli("PUBSUB", "NUMSUB", "martlet:{lobby}").hasSuffix("2")
        }
        let sent = try await zoe.client.send("newer", to: lobby, key: "zoe-0")
        zoe.client.signal(lobby, "typing", data: "{\"on\":true}")
        try await eventually("both are published") { try ear.payloads().count >= 2 }
        for payload in try ear.payloads() {
            let kind = try #require(payload["type"] as? String)
            let known = try older.fields(of: kind)
            #expect(known.isSubset(of: Self.paths(payload)), "\(kind): \(payload)")
        }
        let message = try #require(try ear.payloads().first { $0["type"] as? String == "message" })
        #expect(message["position"] as? String == sent.position.description)

        // A key that was used here is known to the older node, and one that was used there is known here.
        let answer = try older.once("zoe", "newer", key: "zoe-0")
        #expect(answer.error == nil && answer.text.contains("repeated"))
        #expect(answer.text.contains(sent.position.description))
        let bea = try await Watcher.connect("bea", node)
        try await bea.client.join(lobby)
        var again = SendRequest(room: lobby, text: "older 1", key: "older 1")
        again.again = true
        let repeated = try await bea.client.send(again)
        #expect(repeated.repeated && repeated.position == zoe.positions(lobby)[1])

        // The older node goes, and is forgotten by those who stay.
        #expect(try older.leave().error == nil)
        #expect(try redis.cli("HLEN", "martlet:{lobby}:nodes") == "1")
        try await zoe.client.send("alone again", to: lobby)
        #expect(zoe.positions(lobby).areContiguous)
        #expect(try await Self.ignored(by: node) == [])
    }

    // MARK: -

    /// What the older version left, with its library as an earlier version than ours.
    private static func restored() async throws -> (UpgradeFixture, PrivateRedis) {
        let fixture = try UpgradeFixture(version: "0.1.0")
        let redis = try await PrivateRedis.start(.init(configuration: ["stream-node-max-bytes 512"]))
        let recorded = try UpgradeFixture.version(of: fixture.library)
        let library = try fixture.library(asVersion: min(recorded, libraryVersion() - 1))
        try fixture.restore(to: redis, library: library)
        return (fixture, redis)
    }

    private static func libraryVersion() throws -> Int {
        let file = URL(filePath: #filePath).appending(path: "../../../redis/functions/00-library.lua")
        return try UpgradeFixture.version(of: String(contentsOf: file.standardizedFileURL, encoding: .utf8))
    }

    private static func log(
        of room: String, in fixture: UpgradeFixture
    ) -> [(position: String, fields: [String: String])] {
        fixture.state.filter { $0[0] == "XADD" && $0[1] == "martlet:{\(room)}:log" }.map { words in
            var fields: [String: String] = [:]
            for index in stride(from: 3, to: words.count - 1, by: 2) { fields[words[index]] = words[index + 1] }
            return (words[2], fields)
        }
    }

    /// The lines of `/metrics` that count what the node took for nobody's.
    private static func ignored(by node: TestNode) async throws -> [Substring] {
        let lines = try await Shell.get("\(node.http)/metrics").split(separator: "\n")
        let counts = lines.filter { $0.hasPrefix("martlet_redis_ignored_total{") }
        #expect(!counts.isEmpty)
        return counts.filter { !$0.hasSuffix(" 0") }
    }

    private static func count(of part: String, in text: String) -> Int { text.components(separatedBy: part).count - 1 }

    /// The names of all fields, those of objects in objects with a dot.
    fileprivate static func paths(_ object: [String: Any]) -> Set<String> {
        var paths: Set<String> = []
        for (name, value) in object {
            paths.insert(name)
            if name == "entry", let inner = value as? [String: Any] {
                paths.formUnion(inner.keys.filter { ["user", "at"].contains($0) }.map { "\(name).\($0)" })
            }
        }
        return paths
    }
}

/// A node of the older version in the room `lobby`: it sends what that version sent, with the epoch and the positions
/// of now.
private struct OlderNode {
    struct Answer {
        var text: String
        var error: String? {
            let first = text.split(separator: " ").first ?? ""
            return ["ERR", "REFUSED", "WRONGTYPE", "NOSCRIPT"].contains(first) ? text : nil
        }
    }

    let id: String
    private let fixture: UpgradeFixture
    private let redis: PrivateRedis
    private let log = "martlet:{lobby}:log"

    init(_ fixture: UpgradeFixture, _ redis: PrivateRedis, _ name: String) throws {
        self.fixture = fixture
        self.redis = redis
        let names = fixture.state.filter { $0[0] == "ZADD" }.flatMap { $0.dropFirst(2) }
        id = try #require(names.first { $0.hasPrefix("\(name)-") })
    }

    /// Its lease ends long after the test.
    func beat() throws {
        var words = try call("SET", "martlet:node:\(id)").words
        let place = try #require(words.firstIndex(of: "PX"))
        words[place + 1] = "600000"
        try redis.cli(words)
    }

    func append(_ user: String, _ text: String) throws -> String {
        var words = try call("FCALL", "martlet_append").words
        let (epoch, base, last) = try stand()
        let head = try #require(words.firstIndex(of: "user"))
        words[4] = epoch
        words[6] = "\(last)"
        words[7] = ",\"base\":\"\(base)\",\"entry\":\(try UpgradeFixture.text(entry(user, text)))}"
        return try redis.cli(Array(words[..<head]) + Self.flat(entry(user, text)))
    }

    func appendAndPublish(_ user: String, _ text: String) throws -> String {
        var words = try call("XADD").words
        let (epoch, base, _) = try stand()
        let head = try #require(words.firstIndex(of: "user"))
        words[1] = log
        words[head - 1] = "\(epoch)-*"
        let position = try redis.cli(Array(words[..<head]) + Self.flat(entry(user, text)))
        var payload = try published("message")
        payload["position"] = position
        payload["base"] = base
        payload["entry"] = entry(user, text)
        try redis.cli("PUBLISH", "martlet:{lobby}", try UpgradeFixture.text(payload))
        return position
    }

    func signal() throws {
        let signals = fixture.published.filter { $0.channel == "martlet:{lobby}" && $0.text.contains("\"signal\"") }
        let recorded = try #require(signals.first { $0.text.contains("\"user\":\"bea\"") })
        try redis.cli("PUBLISH", recorded.channel, recorded.text)
    }

    func presence(_ change: String, _ user: String) throws -> Answer {
        var words = try call("FCALL", "martlet_presence").words
        let place = try #require(words.firstIndex(of: "delta"))
        words[place - 2] = id
        words[place - 1] = try value()
        words[place + 2] = change
        words[place + 3] = user
        return Answer(text: try redis.cli(words))
    }

    func once(_ user: String, _ text: String, key: String) throws -> Answer {
        var words = try call("FCALL", "martlet_once").words
        words[7] = id
        words[8] = try stand().epoch
        for (name, value) in [("user", user), ("text", text), ("key", key)] {
            let place = try #require(words.firstIndex(of: name))
            words[place + 1] = value
        }
        return Answer(text: try redis.cli(words))
    }

    func leave() throws -> Answer {
        var words = try call("FCALL", "martlet_leave").words
        words[9] = id
        words[10] = try value()
        return Answer(text: try redis.cli(words))
    }

    /// The names of the fields that the older version published.
    func fields(of kind: String) throws -> Set<String> { UpgradeTests.paths(try published(kind)) }

    // MARK: -

    private func entry(_ user: String, _ text: String) -> [String: String] {
        ["user": user, "at": "1795886355774", "text": text, "key": text]
    }

    private static func flat(_ fields: [String: String]) -> [String] { fields.flatMap { [$0.key, $0.value] } }

    private func call(_ beginning: String...) throws -> UpgradeFixture.Call {
        try #require(fixture.calls.last { $0.words.starts(with: beginning) && !$0.reply.contains("error") })
    }

    private func published(_ kind: String) throws -> [String: Any] {
        let recorded = try #require(
            fixture.published.last { $0.channel == "martlet:{lobby}" && $0.text.hasPrefix("{\"type\":\"\(kind)\"") })
        return try #require(try JSONSerialization.jsonObject(with: Data(recorded.text.utf8)) as? [String: Any])
    }

    /// The epoch of the room, the seq at which it began, and the last seq.
    private func stand() throws -> (epoch: String, base: String, last: Int) {
        let link = try redis.cli("LINDEX", "martlet:{lobby}:epochs", "-1").split(separator: "-").map(String.init)
        let last = try redis.cli("XREVRANGE", log, "+", "-", "COUNT", "1").split(separator: "\n").first ?? ""
        let seq = last.split(separator: "-").last.flatMap { Int($0) }
        return (try #require(link.first), try #require(link.last), try #require(seq))
    }

    private func value() throws -> String { try redis.cli("HGET", "martlet:{lobby}:nodes", id) }
}

/// What is published on a channel.
private final class Ear {
    private let process = Process()
    private let file: URL

    init(_ redis: PrivateRedis, _ channel: String) throws {
        file = redis.directory.appending(path: "heard")
        try Data().write(to: file)
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = ["redis-cli", "-p", "\(redis.port)", "SUBSCRIBE", channel]
        process.standardOutput = try FileHandle(forWritingTo: file)
        process.standardInput = FileHandle.nullDevice
        try process.run()
    }

    func payloads() throws -> [[String: Any]] {
        try String(contentsOf: file, encoding: .utf8).split(separator: "\n").compactMap { line in
            try? JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
        }
    }

    func stop() { process.terminate() }
}
