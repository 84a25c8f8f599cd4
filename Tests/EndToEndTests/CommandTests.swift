import Foundation
import MartletClient
import TestSupport
import Testing

/// The output and the exit code of `martlet`.
struct ProgramResult: Sendable {
    var code: Int32
    var output: String
    var error: String

    var lines: [String] { output.split(whereSeparator: \.isNewline).map(String.init) }
}

/// A tool of `martlet` as a process in a pipe.
enum Program {
    /// Runs it to its end, with `input` as its whole standard input. It is killed after `limit`, which shows as code 9
    /// or 15.
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

/// `martlet chat`, `top` and `doctor` as processes.
@Suite(.serialized, .inTurn)
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
        let texts = try second.lines.map { try #require(try Self.object($0)) }.filter {
            $0["type"] as? String == "message"
        }.map { $0["text"] as? String }
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

    @Test func anErasureThatRedisRefusesSaysSoAndIsCompletedLater() async throws {
        let cluster = try await Cluster.start(1)
        defer { cluster.end() }
        let (log, index) = ("martlet:{crew}:log", "martlet:user:{ana}:rooms")
        func erase() async throws -> ProgramResult {
            try await Program.run(["user", "erase", "ana", "--redis", cluster.redis.url])
        }
        func isLeft() throws -> [[String]] {
            [
                try cluster.redis("EXISTS", index), try cluster.redis("HEXISTS", "martlet:{crew}:participants", "ana"),
            ]
        }
        _ = try cluster.redis("FCALL", "martlet_participants", "1", log, "create", "ana", "", "", "", "ben")
        _ = try cluster.redis("FCALL", "martlet_user", "1", index, "index", "crew", "1", "group", "1")
        _ = try cluster.redis("FCALL", "martlet_say", "1", log, "ana", "secret")
        // No message can be erased in this room.
        _ = try cluster.redis("SET", "martlet:{crew}:overlay", "x")
        let refused = try await erase()
        #expect(refused.code == 1 && refused.error.contains("crew: WRONGTYPE"), "\(refused)")
        #expect(refused.output == "taken out of 0 rooms, 0 messages erased\n")
        #expect(try isLeft() == [["1"], ["1"]], "the next run finds what is left")
        _ = try cluster.redis("DEL", "martlet:{crew}:overlay")
        let done = try await erase()
        #expect(done.code == 0 && done.output == "taken out of 1 rooms, 1 messages erased\n", "\(done)")
        #expect(try isLeft() == [["0"], ["0"]])
    }

    @Test func aRoomIsModeratedFromRedisAlone() async throws {
        let cluster = try await Cluster.start(1)
        defer { cluster.end() }
        let (url, http) = (cluster.redis.url, "\(cluster.nodes[0].http)/api/rooms/lobby/messages")
        func room(_ words: String...) async throws -> ProgramResult {
            try await Program.run(["room"] + words + ["--redis", url])
        }
        func says(_ user: String) async throws -> String {
            try await Shell.run("curl", ["-s", "-m", "5", http, "-d", #"{"user":"\#(user)","text":"hi"}"#])
        }
        #expect(try await room("moderation", "lobby").lines == ["never moderated"])
        let ban = try await room("ban", "lobby", "bob", "--for", "1h", "--reason", "spam", "--by", "ana")
        #expect(ban.code == 0 && ban.output.hasPrefix("changed, version "), "\(ban)")
        #expect(try await says("bob").contains(#""name":"banned""#))
        #expect(try await room("kick", "lobby", "bob").output == "as it was\n", "a kick shortens no ban")
        for words in [
            ["mute", "lobby", "eve"], ["slow", "lobby", "5s"], ["posting", "lobby", "moderators"], ["freeze", "lobby"],
        ] {
            let done = try await Program.run(["room"] + words + ["--redis", url])
            #expect(done.code == 0 && done.output.hasPrefix("changed"), "\(done)")
        }
        #expect(try await says("cy").contains(#""name":"frozen""#))
        let shown = try await room("moderation", "lobby")
        #expect(shown.lines.first?.hasPrefix("frozen, only moderators may send messages, slow mode 5000 ms, ") == true)
        #expect(shown.lines.count == 3 && shown.lines[1].hasPrefix("ban bob until "), "\(shown.output)")
        #expect(shown.lines[1].hasSuffix(", by ana: spam") && shown.lines[2].hasPrefix("mute eve for ever"))
        let json = try #require(try Self.object(try await room("moderation", "lobby", "--json").lines.first))
        #expect((json["rules"] as? [String: Any])?["frozen"] as? Bool == true)
        #expect((json["sanctions"] as? [[String: Any]])?.map { $0["user"] as? String } == ["bob", "eve"])
        for words in [["thaw", "lobby"], ["posting", "lobby", "open"], ["unban", "lobby", "bob"]] {
            #expect(try await Program.run(["room"] + words + ["--redis", url]).output.hasPrefix("changed"))
        }
        #expect(try await says("bob").contains(#""position""#))
        for words in [
            ["ban", "lobby", ""], ["slow", "lobby", "soon"], ["posting", "lobby", "nobody"], ["mute", "a{b", "x"],
        ] {
            #expect(try await Program.run(["room"] + words + ["--redis", url]).code == 64, "\(words)")
        }
        let gone = try await Program.run(["room", "moderation", "lobby", "--redis", "redis://127.0.0.1:1"])
        #expect(gone.code == 2 && gone.error.hasPrefix("room: "), "\(gone)")
    }

    @Test func topShowsNodesRoomsAndRatesFromRedisAlone() async throws {
        let cluster = try await Cluster.start(
            2, ["MARTLET_NODE_LEASE": "1s", "MARTLET_REDIS_DEADLINE": "500ms", "MARTLET_HEARTBEAT_INTERVAL": "200ms"])
        defer { cluster.end() }
        let room = try RoomName("뉴스")
        let ana = try await Watcher.connect("ana", cluster.nodes[0])
        let bob = try await Watcher.connect("bob", cluster.nodes[1])
        try await ana.client.join(room)
        try await bob.client.join(room)
        let talk = Task {
            while !Task.isCancelled {
                // A send may fail where the machine is so busy that Redis does not answer within the short deadline.
                _ = try? await ana.client.send("tick", to: room)
                try await Task.sleep(for: .milliseconds(20))
            }
        }
        let arguments = ["top", "--redis", cluster.redis.url, "--interval", "0.5", "--json"]
        let seen = try await Program.run(arguments + ["--count", "3"])
        talk.cancel()
        #expect(seen.code == 0, "\(seen.error)")
        #expect(seen.lines.count == 3)
        let view = try #require(try Self.object(seen.lines.last))
        let rooms = try #require(view["rooms"] as? [[String: Any]])
        #expect(rooms.map { $0["room"] as? String } == ["뉴스"])
        #expect(rooms[0]["people"] as? Int == 2)
        #expect(rooms[0]["nodes"] as? Int == 2)
        #expect((rooms[0]["messagesPerSecond"] as? Double ?? 0) > 0)
        #expect((view["nodes"] as? [[String: Any]])?.map { $0["state"] as? String } == ["ok", "ok"])

        for node in cluster.nodes { try await node.killNow() }
        try await eventually("both are dead") {
            let dead = try await Program.run(["top", "--redis", cluster.redis.url, "--once", "--interval", "0.1"])
            return dead.lines.count { $0.contains(" state=dead") } == 2
                && dead.output.contains("behind problem=\"node ")
        }
        await ana.close()
        await bob.close()
    }

    @Test func topSaysWhyItCannotLook() async throws {
        let nobody = try await Program.run(["top", "--redis", "redis://127.0.0.1:1", "--once"])
        #expect(nobody.code == 2)
        #expect(nobody.error.contains("cannot be reached"))
        #expect(try await Program.run(["top", "--redis", "nonsense", "--once"]).code == 2)
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        try redis.cli("SET", "martlet:nodes", "foreign")
        let foreign = try await Program.run(["top", "--redis", redis.url, "--once"])
        #expect(foreign.code == 2)
        #expect(foreign.error.contains("martlet:nodes: WRONGTYPE"))
    }

    @Test func doctorFindsNothingInAHealthyClusterAndNamesEachPlantedFault() async throws {
        let redis = try await PrivateRedis.start(
            PrivateRedis.Options(configuration: [
                "stream-node-max-bytes 512", "appendonly yes", "client-output-buffer-limit pubsub 256mb 64mb 60",
                "lazyfree-lazy-expire yes",
            ]))
        defer { redis.stop() }
        let nodes = [
            try await TestNode.start("node1", redis: redis.url), try await TestNode.start("node2", redis: redis.url),
        ]
        defer { for node in nodes { node.signal(SIGKILL) } }
        let room = try RoomName("lobby")
        let ana = try await Watcher.connect("ana", nodes[0])
        let bob = try await Watcher.connect("bob", nodes[1])
        try await ana.client.join(room)
        try await bob.client.join(room)
        try await ana.client.send("hello", to: room)
        let healthy = try await Program.run(["doctor", "--redis", redis.url, "--wait", "8"])
        #expect(healthy.code == 0, "\(healthy.output)\(healthy.error)")
        #expect(healthy.lines.last == "nothing must be done, 0 warnings")

        try redis.cli("SET", "martlet:{bad}:log", "x")
        try redis.cli("HSET", "martlet:{stuck}:nodes", "ghost-1", "5")
        for seq in [1, 2, 4] { try redis.cli("XADD", "martlet:{stuck}:log", "5-\(seq)", "user", "a", "text", "x") }
        try redis.cli("SADD", "martlet:node:old-1:rooms", "a")
        try redis.cli("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        try redis.cli("FUNCTION", "FLUSH")
        let planted = ["martlet:{stuck}:log", "martlet:{stuck}:nodes", "martlet:{bad}:log", "martlet:node:old-1:rooms"]
        let before = try redis.cli(["DEBUG", "DIGEST-VALUE"] + planted)
        let sick = try await Program.run(
            ["doctor", "--redis", redis.url, "--wait", "0", "--json"], environment: ["MARTLET_PORT": "x"])
        #expect(sick.code == 1)
        let report = try #require(try Self.object(sick.lines.first))
        let findings = try #require(report["findings"] as? [[String: Any]])
        let found = Set(
            findings.filter { $0["level"] as? String != "ok" }.map { "\($0["area"] ?? "") \($0["place"] ?? "")" })
        // The nodes' probes notice within a second that the functions are gone, and load them again.
        #expect(
            found.subtracting(["library martlet"]) == [
                "configuration MARTLET_PORT", "settings maxmemory-policy", "keys martlet:{bad}:log",
                "keys martlet:node:old-1:rooms", "rooms stuck, node ghost-1", "rooms martlet:{stuck}:log",
            ])
        #expect(try redis.cli(["DEBUG", "DIGEST-VALUE"] + planted) == before, "it only looks")
        await ana.close()
        await bob.close()
    }

    @Test func doctorProposesWhatHelps() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let node = try await TestNode.start("node1", redis: redis.url)
        defer { node.signal(SIGKILL) }
        try redis.cli("HSET", "martlet:{it's}:nodes", "ghost-1", "5")
        let sick = try await Program.run(["doctor", "--redis", redis.url, "--wait", "0"])
        #expect(sick.code == 1)
        let line = try #require(sick.lines.first { $0.contains("FCALL martlet_leave") })
        let command = line.drop { $0 != "r" }.replacing("redis-cli", with: "redis-cli -p \(redis.port)")
        #expect(try await Shell.run("sh", ["-c", String(command)]).trimmingCharacters(in: .newlines) == "1")
        let well = try await Program.run(["doctor", "--redis", redis.url, "--wait", "0"])
        #expect(well.code == 0, "\(well.output)")
    }

    @Test func doctorSaysWhatItCouldNotSee() async throws {
        let away = try await Program.run(["doctor", "--redis", "redis://127.0.0.1:1"])
        #expect(away.code == 1)
        #expect(away.output.contains("MUST") && away.output.contains("cannot be reached: Connection refused"))
        #expect(away.output.contains("see that Redis runs there") && away.output.contains("1 thing must be done"))
        let acl = "user weak on >pw ~martlet:* &martlet:* -@all +auth +hello +ping +select +info +time +multi +zrange"
        let redis = try await PrivateRedis.start(PrivateRedis.Options(configuration: [acl]))
        defer { redis.stop() }
        let url = "redis://weak:pw@127.0.0.1:\(redis.port)"
        let weak = try await Program.run(["doctor", "--redis", url, "--wait", "0"])
        #expect(weak.code == 1)
        #expect(weak.output.contains("rights: user weak: it may not, on keys and channels that begin with martlet:: "))
        #expect(weak.output.contains("NOT SEEN settings: NOPERM"))
        #expect(weak.output.contains("NOT SEEN keys and rooms: NOPERM"))
        #expect(try redis.cli("DBSIZE") == "0", "it only looks")
    }

    static func object(_ line: String?) throws -> [String: Any]? {
        try JSONSerialization.jsonObject(with: Data((line ?? "").utf8)) as? [String: Any]
    }
}
