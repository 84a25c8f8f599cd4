import ChatCore
import Foundation
import Glibc
import MartletClient
import TestSupport
import Testing

@testable import ChatArchive

/// `martlet relay` beside nodes: what is said reaches event streams and the archive.
@Suite(.serialized, .inTurn)
struct RelayTests {
    private func say(_ count: Int, in room: String, _ cluster: Cluster, from first: Int = 1) throws -> [String] {
        // One process for all of them, as others measure time beside these tests.
        let commands = (first..<(first + count)).map {
            "FCALL martlet_say 1 martlet:{\(room)}:log ana \"text \($0)\"\n"
        }
        let lines = try cluster.redis.cli([], stdin: commands.joined()).split(whereSeparator: \.isNewline)
        // The position, and whether it was stored.
        return stride(from: 0, to: lines.count, by: 2).map { "\(room)~\(lines[$0])" }
    }

    /// Looks ten times a second: each look starts a process.
    private func soon(_ what: String, _ condition: () async throws -> Bool) async throws {
        try await eventually(what) {
            if try await condition() { return true }
            try await Task.sleep(for: .milliseconds(100))
            return false
        }
    }

    private func file() -> String {
        FileManager.default.temporaryDirectory.appending(path: "archive-\(UInt32.random(in: 0 ... .max)).db").path
    }

    /// `<position> <text>` of each row of the room; none as long as there is no archive.
    private func rows(_ path: String, _ room: String) throws -> [String] {
        guard FileManager.default.fileExists(atPath: path) else { return [] }
        let database = try SQLiteDatabase(path: path, busy: .seconds(5))
        var tables = 0
        try database.run("SELECT name FROM sqlite_master WHERE name = 'messages'", []) { _ in
            tables += 1
            return true
        }
        guard tables > 0 else { return [] }
        var rows: [String] = []
        try database.run(
            "SELECT epoch || '-' || seq, coalesce(text, '-') FROM messages WHERE room = ? ORDER BY epoch, seq",
            [.text(room)]
        ) {
            rows.append("\($0.text(0) ?? "") \($0.text(1) ?? "")")
            return true
        }
        return rows
    }

    @Test func whatIsSaidReachesTheStreamsAndTheArchive() async throws {
        let cluster = try await Cluster.start(2)
        defer { cluster.end() }
        // One room is older than the relay, and no node knows of it.
        let old = try say(3, in: "old", cluster)
        let path = file()
        defer { try? FileManager.default.removeItem(atPath: path) }
        let relay = try TestRelay(redis: cluster.redis.url, ["MARTLET_ARCHIVE": "sqlite:\(path)"])
        try await soon("the room from before is in the streams") {
            try StreamedEvents(cluster).ids(of: "old") == old
        }

        // A room that nodes hold: noted by them, long before the next scan of a quiet relay.
        let http = "\(cluster.nodes[0].http)/api/rooms/lobby/messages"
        let body = #"{"user":"ana","text":"hello","data":{"a":[1,2]}}"#
        let posted = try await Shell.run("curl", ["-s", "-m", "5", http, "-d", body])
        #expect(posted.contains("position"), "\(posted)")
        try await soon("the message is in the streams") { try StreamedEvents(cluster).of("lobby").count == 1 }
        let event = try #require(try StreamedEvents(cluster).of("lobby").first)
        #expect(event.type == "message.created")
        #expect(event.json.contains(#""text":"hello","data":{"a":[1,2]}"#))
        #expect(event.json.hasPrefix(#"{"id":"\#(event.id)","type":"message.created","timestamp":""#))

        try await soon("the archive has both rooms") {
            try rows(path, "old").count == 3 && rows(path, "lobby").count == 1
        }
        #expect(
            try rows(path, "old").map { $0.split(separator: " ").dropFirst().joined(separator: " ") } == [
                "text 1", "text 2", "text 3",
            ])
        try await relay.terminate()
        #expect(relay.output.contains("the relay has ended"))
        #expect(!relay.output.contains(" warning "), "\(relay.output)")
    }

    @Test func whoComesAndGoesAndWhoBelongsIsInTheStreamsToo() async throws {
        let cluster = try await Cluster.start(2)
        defer { cluster.end() }
        let relay = try TestRelay(redis: cluster.redis.url, ["MARTLET_RELAY_TYPES": "*"])
        try await soon("the relay has scanned") { relay.output.contains("all rooms were scanned") }
        func types(_ room: String) throws -> [String] { try StreamedEvents(cluster).of(room).map(\.type) }
        func post(_ path: String, _ body: String) async throws {
            let answer = try await Shell.run(
                "curl", ["-s", "-m", "5", "\(cluster.nodes[0].http)\(path)", "-d", body])
            #expect(!answer.contains("error"), "\(answer)")
        }
        try await post("/api/conversations", #"{"operation":"create","room":"team","users":["bo"],"by":"ana"}"#)
        try await soon("who belongs to it") { try types("team").count == 2 }
        try await post("/api/conversations", #"{"operation":"leave","room":"team","by":"bo"}"#)
        try await soon("bo has left") { try types("team").count == 3 }
        #expect(try types("team") == ["participant.joined", "participant.joined", "participant.left"])
        let left = try #require(try StreamedEvents(cluster).of("team").last)
        #expect(left.json.contains(#""operation":"leave","user":"bo","by":"bo""#), "\(left.json)")

        // Nodes write down what is read as soon as they know that a relay wants it.
        try await post("/api/conversations", #"{"operation":"create","room":"crew","users":["bo"],"by":"ana"}"#)
        var said = 0
        try await soon("what ana has read") {
            said += 1
            try await post("/api/rooms/crew/messages", #"{"user":"bo","text":"\#(said)"}"#)
            let log = try cluster.redis.cli(["XREVRANGE", "martlet:{crew}:log", "+", "-", "COUNT", "1"])
            let newest = try #require(log.split(separator: "\n").first)
            try await post("/api/rooms/crew/read", #"{"user":"ana","position":"\#(newest)"}"#)
            return try types("crew").contains("participant.read")
        }
        let read = try #require(try StreamedEvents(cluster).of("crew").first { $0.type == "participant.read" })
        #expect(read.json.contains(#""data":{"room":"crew","user":"ana","position":""#), "\(read.json)")

        // Nobody says anything there.
        let ana = try await Watcher.connect("ana", cluster.nodes[0])
        let bo = try await Watcher.connect("bo", cluster.nodes[1])
        let quiet = try RoomName("quiet")
        try await ana.client.join(quiet)
        try await soon("ana came") { try types("quiet").count == 2 }
        try await bo.client.join(quiet)
        try await soon("bo came") { try types("quiet").count == 3 }
        await ana.close()
        await bo.close()
        try await soon("both have left") { try types("quiet").count == 6 }
        #expect(
            try types("quiet") == [
                "room.occupied", "presence.joined", "presence.joined", "presence.left", "presence.left", "room.vacated",
            ])
        try await relay.terminate()
        #expect(!relay.output.contains(" warning "), "\(relay.output)")
    }

    @Test func aMonitorSeesWhatARelayDoesAndThatTheWholeWayWorks() async throws {
        let cluster = try await Cluster.start(1)
        defer { cluster.end() }
        let path = file()
        defer { try? FileManager.default.removeItem(atPath: path) }
        let port = try PrivateRedis.freePort()
        let relay = try TestRelay(
            redis: cluster.redis.url, ["MARTLET_ARCHIVE": "sqlite:\(path)", "MARTLET_RELAY_PORT": "\(port)"])
        try await soon("the relay has scanned") { relay.output.contains("all rooms were scanned") }
        let place = ["--redis", cluster.redis.url]
        let check = try await Shell.run(TestNode.executable.path, ["relay", "check"] + place)
        #expect(check.contains("streams  ") && check.contains("archive  "), "\(check)")
        let metrics = try await Shell.run("curl", ["-s", "-m", "5", "http://127.0.0.1:\(port)/metrics"])
        for line in [
            "martlet_relay_partitions 16", "martlet_relay_redis_up 1", #"martlet_relay_events_total{sink="streams"} 1"#,
            #"martlet_relay_sink_up{sink="archive"} 1"#, #"martlet_relay_delay_seconds_count{sink="archive"} 1"#,
            #"martlet_relay_lag_seconds{partition="15",sink="streams"} 0.0"#, "martlet_relay_partitions_unread 0",
        ] {
            #expect(metrics.split(separator: "\n").contains(Substring(line)), "\(line)\n\(metrics)")
        }
        let status = ["-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "5"]
        for route in ["healthz", "readyz"] {
            #expect(try await Shell.run("curl", status + ["http://127.0.0.1:\(port)/\(route)"]) == "200")
        }
        // Somebody has overwritten the webhook endpoints, and takes it back.
        for (command, shown) in [
            (["SET", "martlet:events:{0}:webhooks", "x"], "0"), (["DEL", "martlet:events:{0}:webhooks"], "1"),
        ] {
            _ = try cluster.redis.cli(command)
            try await soon("\(command) is seen") {
                try await Shell.run("curl", ["-s", "-m", "5", "http://127.0.0.1:\(port)/metrics"])
                    .contains("\nmartlet_relay_endpoints_followed \(shown)\n")
            }
        }
        #expect(relay.output.contains("the webhook endpoints cannot be followed"))
        try await relay.terminate()
        let failed = try await Shell.run(
            "/bin/sh",
            ["-c", "\(TestNode.executable.path) relay check --within 300ms --redis \(cluster.redis.url) 2>&1"])
        #expect(failed.contains("not in 300ms: archive streams"), "\(failed)")
    }

    @Test func aRelayWhosePortIsTakenDoesNotStart() async throws {
        let cluster = try await Cluster.start(1)
        defer { cluster.end() }
        let taken = cluster.nodes[0].port
        let relay = try TestRelay(redis: cluster.redis.url, ["MARTLET_RELAY_PORT": "\(taken)"])
        try await soon("the relay has ended") { !relay.isRunning }
        #expect(relay.output.contains("MARTLET_RELAY_PORT: "), "\(relay.output)")
    }

    @Test func whatIsSaidBeforeNodesKnowOfTheFirstRelayIsNotLeftBehind() async throws {
        let cluster = try await Cluster.start(1)
        defer { cluster.end() }
        // Only the scans at the beginning, as with the default.
        let relay = try TestRelay(redis: cluster.redis.url, ["MARTLET_RELAY_SCAN": "10m"])
        try await soon("the relay has scanned") { relay.output.contains("all rooms were scanned") }
        // The node has not noted it, if it has not looked yet; the message of a shell is never noted.
        let said = try say(1, in: "lobby", cluster)
        try await soon("it is in the streams") { try StreamedEvents(cluster).ids(of: "lobby") == said }
    }

    @Test func aRelayThatIsKilledLosesNothingAndAnotherOneTakesOver() async throws {
        let cluster = try await Cluster.start(1)
        defer { cluster.end() }
        let path = file()
        defer { try? FileManager.default.removeItem(atPath: path) }
        var relays = try (0..<2).map { _ in
            try TestRelay(redis: cluster.redis.url, ["MARTLET_ARCHIVE": "sqlite:\(path)"])
        }
        let rooms = (0..<12).map { "room\($0)" }
        var said: [String: [String]] = [:]
        for round in 0..<6 {
            for room in rooms { said[room, default: []] += try say(5, in: room, cluster, from: 5 * round) }
            try await relays[0].killNow()
            relays.removeFirst()
            relays.append(try TestRelay(redis: cluster.redis.url, ["MARTLET_ARCHIVE": "sqlite:\(path)"]))
        }
        var found: [String: String] = [:]
        do {
            try await soon("everything is in the streams and in the archive") {
                let streams = try StreamedEvents(cluster)
                for room in rooms {
                    found[room] = "\(Set(streams.ids(of: room)).count) \(try rows(path, room).count)"
                }
                return found.values.allSatisfy { $0 == "30 30" }
            }
        } catch {
            throw TestFailure("\(error): \(found)\n\(relays.map(\.output).joined(separator: "---\n"))")
        }
        let streams = try StreamedEvents(cluster)
        for room in rooms {
            // At least once, and the first time in order.
            var seen: Set<String> = []
            #expect(streams.ids(of: room).filter { seen.insert($0).inserted } == said[room])
            #expect(streams.of(room).allSatisfy { $0.type == "message.created" })
            #expect(try rows(path, room).map { "\(room)~\($0.split(separator: " ")[0])" } == said[room])
        }
    }

    @Test func aRelayThatWasFrozenDoesNotDisturbTheOneThatTookOver() async throws {
        let cluster = try await Cluster.start(1)
        defer { cluster.end() }
        let first = try TestRelay(redis: cluster.redis.url)
        var said = try say(3, in: "lobby", cluster)
        try await soon("the first relay works") { try StreamedEvents(cluster).ids(of: "lobby") == said }
        first.signal(SIGSTOP)
        let second = try TestRelay(redis: cluster.redis.url)
        said += try say(3, in: "lobby", cluster, from: 4)
        try await soon("the second one takes over") { try StreamedEvents(cluster).ids(of: "lobby") == said }
        first.signal(SIGCONT)
        said += try say(3, in: "lobby", cluster, from: 7)
        try await soon("both go on") { try Set(StreamedEvents(cluster).ids(of: "lobby")) == Set(said) }
        var seen: Set<String> = []
        #expect(try StreamedEvents(cluster).ids(of: "lobby").filter { seen.insert($0).inserted } == said)
        _ = second
    }

    @Test func whatTheLogNoLongerHasIsReportedAsAGap() async throws {
        let cluster = try await Cluster.start(1)
        defer { cluster.end() }
        let relay = try TestRelay(redis: cluster.redis.url)
        let said = try say(2, in: "lobby", cluster)
        try await soon("the relay works") { try StreamedEvents(cluster).ids(of: "lobby") == said }
        try await relay.terminate()
        let missed = try say(4, in: "lobby", cluster, from: 3)
        _ = try cluster.redis("XTRIM", "martlet:{lobby}:log", "MAXLEN", "=", "1")
        let again = try TestRelay(redis: cluster.redis.url)
        try await soon("the rest is there") {
            try StreamedEvents(cluster).ids(of: "lobby").last == missed.last
        }
        let events = try StreamedEvents(cluster).of("lobby").dropFirst(2)
        #expect(events.map(\.type) == ["gap", "message.created"])
        #expect(events.first?.json.contains(#""missing":3,"reason":"trimmed""#) == true)
        _ = again
    }

    @Test func anErasedMessageIsErasedInTheArchiveToo() async throws {
        let cluster = try await Cluster.start(1)
        defer { cluster.end() }
        let path = file()
        defer { try? FileManager.default.removeItem(atPath: path) }
        let relay = try TestRelay(redis: cluster.redis.url, ["MARTLET_ARCHIVE": "sqlite:\(path)"])
        let said = try say(2, in: "lobby", cluster)
        try await soon("the archive has both") { try rows(path, "lobby").count == 2 }
        let position = String(said[0].dropFirst("lobby~".count))
        _ = try cluster.redis(
            "FCALL", "martlet_amend", "1", "martlet:{lobby}:log", "delete", "ana", position, "", "", "", "", "0", "any")
        try await soon("it is erased") {
            try rows(path, "lobby").map { $0.split(separator: " ").last.map(String.init) } == ["-", "2", "-"]
        }
        _ = relay
    }

    @Test func aSinkThatFailsHoldsUpItselfAlone() async throws {
        let cluster = try await Cluster.start(1)
        defer { cluster.end() }
        let directory = FileManager.default.temporaryDirectory.appending(path: "no-\(UInt32.random(in: 0 ... .max))")
        let path = directory.appending(path: "archive.db").path
        defer { try? FileManager.default.removeItem(at: directory) }
        let relay = try TestRelay(redis: cluster.redis.url, ["MARTLET_ARCHIVE": "sqlite:\(path)"])
        let said = try say(5, in: "lobby", cluster)
        try await soon("the streams have it") { try StreamedEvents(cluster).ids(of: "lobby") == said }
        try await soon("the trouble is named") { relay.output.contains("a sink does not accept events") }
        #expect(relay.output.contains("sqlite \(path): unable to open database file"), "\(relay.output)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        try await soon("the archive catches up") { try rows(path, "lobby").count == 5 }
        try await soon("and says so") { relay.output.contains("a sink accepts events again") }
    }

    /// The positions of a room's whole history, read page by page over HTTP.
    private func history(_ room: String, _ node: TestNode, limit: Int = 7) async throws -> [String] {
        var positions: [String] = []
        var before = ""
        while true {
            let text = try await Shell.run(
                "curl", ["-s", "-m", "5", "\(node.http)/api/rooms/\(room)/messages?limit=\(limit)\(before)"])
            guard let page = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any],
                let messages = page["messages"] as? [[String: Any]]
            else { throw TestFailure("no page: \(text)") }
            let found = messages.compactMap { $0["position"] as? String }
            positions = found + positions
            guard page["older"] as? Bool == true, let first = found.first else { return positions }
            before = "&before=\(first)"
        }
    }

    @Test func historyGoesOnInTheArchiveWhereTheLogEnds() async throws {
        let path = file()
        defer { try? FileManager.default.removeItem(atPath: path) }
        let archive = ["MARTLET_ARCHIVE": "sqlite:\(path)"]
        let cluster = try await Cluster.start(2, archive)
        defer { cluster.end() }
        let relay = try TestRelay(redis: cluster.redis.url, archive)
        let said = try say(40, in: "lobby", cluster).map { String($0.dropFirst("lobby~".count)) }
        try await soon("all is archived") { try rows(path, "lobby").count == 40 }
        _ = try cluster.redis("XTRIM", "martlet:{lobby}:log", "MAXLEN", "=", "5")
        for node in cluster.nodes { #expect(try await history("lobby", node) == said) }
        // Around a message that only the archive has.
        let url = "\(cluster.nodes[0].http)/api/rooms/lobby/messages?around=\(said[20])&limit=4"
        let around = try await Shell.run("curl", ["-s", "-m", "5", url])
        for position in said[18...21] { #expect(around.contains(position), "\(around)") }
        try await timesAreFound(cluster.nodes[1])
        _ = relay
    }

    /// Pages around a time begin their newer half with the first message of that time, wherever it is.
    private func timesAreFound(_ node: TestNode) async throws {
        func page(_ query: String) async throws -> [(position: String, at: String)] {
            let url = "\(node.http)/api/rooms/lobby/messages?\(query)"
            let text = try await Shell.run("curl", ["-s", "-m", "5", url])
            let object = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any]
            guard let messages = object?["messages"] as? [[String: Any]] else { throw TestFailure("no page: \(text)") }
            return messages.map { ($0["position"] as? String ?? "", $0["at"] as? String ?? "") }
        }
        let all = try await page("limit=100")
        try #require(all.count == 40)
        for index in [0, 7, 20, 34, 36, 39] {
            let first = try #require(all.firstIndex { $0.at >= all[index].at })
            let found = try await page("time=\(all[index].at)&limit=2").map(\.position)
            #expect(found.contains(all[first].position), "\(index): \(found)")
            if first > 0, first < 39 { #expect(found == [all[first - 1].position, all[first].position]) }
        }
        #expect(try await page("time=0&limit=3").map(\.position) == all.prefix(3).map(\.position))
        #expect(try await page("time=9007199253740000&limit=3").map(\.position) == all.suffix(3).map(\.position))
        let refused = try await Shell.run(
            "curl", ["-s", "-m", "5", "\(node.http)/api/rooms/lobby/messages?time=yesterday"])
        #expect(refused.contains("time must be milliseconds since 1970"), "\(refused)")
    }

    @Test func aRoomThatIsClosedIsInTheArchiveAndNowhereElse() async throws {
        let path = file()
        defer { try? FileManager.default.removeItem(atPath: path) }
        let archive = ["MARTLET_ARCHIVE": "sqlite:\(path)", "MARTLET_LINGER": "100ms"]
        let cluster = try await Cluster.start(2, archive)
        defer { cluster.end() }
        let tool = ["--redis", cluster.redis.url]
        let early = try await Program.run(["room", "close", "event"] + tool)
        #expect(early.code == 1 && early.error.contains("no relay has an archive"), "\(early)")
        let relay = try TestRelay(redis: cluster.redis.url, archive)
        let watcher = try await Watcher.connect("eve", cluster.nodes[1])
        _ = try await watcher.client.join(try RoomName("event"))
        let said = try say(25, in: "event", cluster)
        let closed = try await Program.run(["room", "close", "event", "--wait", "20s"] + tool)
        #expect(closed.code == 0 && closed.output.contains("closed: nothing of it is left"), "\(closed)")
        #expect(try rows(path, "event").count == said.count)
        #expect(try cluster.redis("KEYS", "martlet:{event}:*") == [])
        #expect(try await history("event", cluster.nodes[0]).count == said.count, "the archive keeps it")
        await watcher.close()
        _ = relay
    }

    @Test func aColdRoomLeavesRedisAndGoesOnWhereItWas() async throws {
        let path = file()
        defer { try? FileManager.default.removeItem(atPath: path) }
        let archive = ["MARTLET_ARCHIVE": "sqlite:\(path)", "MARTLET_ARCHIVE_COLD": "1s"]
        let cluster = try await Cluster.start(2, archive)
        defer { cluster.end() }
        let relay = try TestRelay(redis: cluster.redis.url, archive)
        var said = try say(30, in: "cold", cluster)
        try await soon("its content has left Redis") {
            try cluster.redis("XLEN", "martlet:{cold}:log") == ["0"]
        }
        #expect(try cluster.redis("PTTL", "martlet:{cold}:log") == ["-1"])
        #expect(try rows(path, "cold").count == 30)
        said += try say(2, in: "cold", cluster, from: 31)
        let positions = said.map { String($0.dropFirst("cold~".count)) }
        #expect(positions.last?.hasSuffix("-32") == true, "seqs go on: \(positions.suffix(2))")
        for node in cluster.nodes { #expect(try await history("cold", node) == positions) }
        _ = relay
    }

    @Test func aRelayWithoutASinkDoesNotStart() async throws {
        let result = try await Program.run(
            ["relay"], environment: ["MARTLET_RELAY_STREAMS": "off", "MARTLET_REDIS_URL": "redis://127.0.0.1:1"])
        #expect(result.code == 78)
        #expect(result.error.contains("set MARTLET_ARCHIVE"), "\(result.error)")
        let bad = try await Program.run(["relay"], environment: ["MARTLET_ARCHIVE": "mysql://x"])
        #expect(bad.code == 78)
        #expect(bad.error.contains("MARTLET_ARCHIVE"), "\(bad.error)")
    }
}
