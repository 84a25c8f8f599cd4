import Foundation
import MartletClient
import TestSupport
import Testing

/// What an operator is told in each kind of trouble: `/readyz`, one line of the log, a metric and `martlet doctor` name
/// the cause and the remedy, and clients get a correct error.
@Suite(.serialized, .inTurn)
struct OperatorTableTests {
    struct Trouble: Sendable, CustomTestStringConvertible {
        var name: String
        var configuration: [String] = []
        var begin: @Sendable (PrivateRedis) async throws -> Void
        var end: @Sendable (PrivateRedis) async throws -> Void
        /// Words that each of them must contain.
        var readiness: [String]
        var log: [String]
        var metric = "martlet_ready 0"
        var doctor: [String]
        var told: [String]

        var testDescription: String { name }
    }

    private static func refusals(_ kind: String) -> String { "martlet_redis_refusals_total{kind=\"\(kind)\"}" }

    static let troubles: [Trouble] = [
        Trouble(
            name: "full",
            begin: { _ = try $0.cli("CONFIG", "SET", "maxmemory", "1mb") },
            end: { _ = try $0.cli("CONFIG", "SET", "maxmemory", "0") },
            readiness: ["OOM command not allowed", "raise maxmemory"],
            log: [
                "warning redis refuses, nothing can be said", "reason=outOfMemory", "raise maxmemory or free memory",
            ],
            metric: refusals("outOfMemory"),
            doctor: ["it refuses every write", "OOM command not allowed", "raise maxmemory"],
            told: ["notStored", "OOM"]),
        Trouble(
            name: "without replicas",
            begin: { _ = try $0.cli("CONFIG", "SET", "min-replicas-to-write", "1") },
            end: { _ = try $0.cli("CONFIG", "SET", "min-replicas-to-write", "0") },
            readiness: ["NOREPLICAS", "lower min-replicas-to-write"],
            log: ["reason=noReplicas", "bring the replicas back"], metric: refusals("noReplicas"),
            doctor: ["min-replicas-to-write: it is 1, and 0 replicas", "NOREPLICAS", "bring the replicas back"],
            told: ["notStored", "NOREPLICAS"]),
        Trouble(
            name: "cannot save", configuration: ["enable-protected-configs local"],
            begin: { redis in
                let blocked = redis.directory.appending(path: "blocked")
                try FileManager.default.createDirectory(at: blocked, withIntermediateDirectories: true)
                for setting in [["dbfilename", "blocked"], ["save", "3600 1"]] {
                    _ = try redis.cli(["CONFIG", "SET"] + setting)
                }
                _ = try redis.cli("BGSAVE")
                try await eventually("the snapshot fails") {
                    try redis.cli("INFO", "persistence").contains("rdb_last_bgsave_status:err")
                }
            },
            end: { _ = try $0.cli("CONFIG", "SET", "stop-writes-on-bgsave-error", "no") },
            readiness: ["MISCONF", "make room on Redis' disk"], log: ["reason=diskError", "make room on Redis' disk"],
            metric: refusals("diskError"), doctor: ["rdb_last_bgsave_status", "MISCONF", "disk"],
            told: ["notStored", "MISCONF"]),
        Trouble(
            name: "a right taken away",
            begin: { _ = try $0.cli("ACL", "SETUSER", "default", "-xadd") },
            end: { _ = try $0.cli("ACL", "SETUSER", "default", "+xadd") },
            readiness: ["NOPERM", "redis/users.acl"], log: ["reason=noPermission", "redis/users.acl"],
            metric: refusals("noPermission"), doctor: ["user default: it may not", "XADD", "redis/users.acl"], told: []),
        Trouble(
            name: "frozen", begin: { $0.freeze() }, end: { $0.thaw() },
            readiness: ["redis", "martlet doctor"], log: ["node is not ready", "martlet doctor"],
            doctor: ["did not answer", "see whether Redis hangs"], told: ["unavailable"]),
        Trouble(
            name: "killed", configuration: ["appendonly yes"], begin: { $0.kill() }, end: { try await $0.restart() },
            readiness: ["cannot be reached: Connection refused", "see that redis runs"],
            log: ["a connection to redis is down, trying again"],
            doctor: ["cannot be reached: Connection refused", "see that Redis runs there"],
            told: ["unavailable", "no connection to redis"]),
        Trouble(
            name: "with a password",
            begin: {
                _ = try $0.cli("CONFIG", "SET", "requirepass", "secret")
                for type in ["pubsub", "normal"] {
                    _ = try $0.cli("-a", "secret", "--no-auth-warning", "CLIENT", "KILL", "TYPE", type)
                }
            },
            end: { _ = try $0.cli("-a", "secret", "--no-auth-warning", "CONFIG", "SET", "requirepass", "") },
            readiness: ["password", "martlet doctor"], log: ["password"],
            doctor: ["password", "set MARTLET_REDIS_PASSWORD"], told: ["no connection to redis"]),
        Trouble(
            name: "read-only",
            begin: { _ = try $0.cli("REPLICAOF", "127.0.0.1", "1") },
            end: { _ = try $0.cli("REPLICAOF", "NO", "ONE") },
            readiness: ["replica"], log: ["replica"], doctor: ["replica", "let MARTLET_REDIS_URL name the master"],
            told: ["redis"]),
    ]

    private func readiness(_ node: TestNode) async throws -> (status: Int, text: String) {
        let text = try await Shell.run("curl", ["-s", "-m", "5", "-w", " %{http_code}", "\(node.http)/readyz"])
        return (Int(text.suffix(3)) ?? 0, text)
    }

    private func value(_ metric: String, _ node: TestNode) async throws -> Double {
        let metrics = try await Shell.get("\(node.http)/metrics")
        let line = metrics.split(separator: "\n").first { $0.hasPrefix(metric + " ") }
        return line.flatMap { $0.split(separator: " ").last }.flatMap { Double($0) } ?? 0
    }

    private func missing(_ words: [String], in text: String) -> [String] { words.filter { !text.contains($0) } }

    @Test(arguments: troubles)
    func everyTroubleIsNamedWithWhatToDo(_ trouble: Trouble) async throws {
        let redis = try await PrivateRedis.start(.init(configuration: trouble.configuration))
        defer { redis.stop() }
        let node = try await TestNode.start("node", redis: redis.url, ["MARTLET_EVENT_LOOPS": "1"])
        defer { node.signal(SIGKILL) }
        let room = try RoomName("lobby")
        let ana = try await Watcher.connect("ana", node)
        try await ana.client.join(room)
        try await ana.client.send("before", to: room)
        let began = ContinuousClock.now
        try await trouble.begin(redis)
        defer { redis.thaw() }

        try await eventually("\(trouble.name): not ready, and why") {
            let answer = try await readiness(node)
            return answer.status == 503 && missing(trouble.readiness, in: answer.text).isEmpty
        }
        #expect(ContinuousClock.now - began < .seconds(12))
        try await eventually("\(trouble.name): the log says \(trouble.log)") {
            node.output.split(separator: "\n").contains { missing(trouble.log, in: String($0)).isEmpty }
        }
        if trouble.metric.hasSuffix(" 0") {
            let name = String(trouble.metric.dropLast(2))
            try await eventually("\(trouble.name): \(name)") { try await value(name, node) == 0 }
        } else {
            #expect(try await value(trouble.metric, node) > 0, "\(trouble.metric)")
        }
        let doctor = try await Program.run(["doctor", "--redis", redis.url, "--wait", "0"])
        #expect(doctor.code == 1, "\(doctor.output)")
        #expect(missing(trouble.doctor, in: doctor.output) == [], "\(doctor.output)")
        let told = try await Shell.run(
            "curl",
            ["-s", "-m", "10", "\(node.http)/api/rooms/lobby/messages", "-d", #"{"user":"bot","text":"t","key":"k"}"#])
        #expect(missing(trouble.told, in: told) == [], "\(told)")
        #expect(try await Shell.status(of: "\(node.http)/healthz") == 200)

        try await trouble.end(redis)
        try await eventually("\(trouble.name): ready again") { try await readiness(node).status == 200 }
        try await eventually("\(trouble.name): the log says so") {
            node.output.split(separator: "\n").last { $0.contains("node is") }?.contains("notice node is ready")
                ?? false
        }
        try await ana.client.send("after", to: room)
        try await eventually("\(trouble.name): it goes on") { ana.texts(room).last == "after" }
        #expect(ana.seen(room).left.isEmpty, "nobody left")
    }

    @Test func aHistoryThatIsLostIsOneLineAndAReset() async throws {
        let cluster = try await Cluster.start(1, ["MARTLET_ROOM_VIEW_INTERVAL": "1s", "MARTLET_EVENT_LOOPS": "1"])
        defer { cluster.end() }
        let node = cluster.nodes[0]
        let ana = try await Watcher.connect("ana", node)
        let rooms = try (0..<10).map { try RoomName("room\($0)") }
        for room in rooms {
            try await ana.client.join(room)
            try await ana.client.send("before", to: room)
        }
        _ = try cluster.redis("FLUSHALL")
        try await eventually("ana is told reset in each") { rooms.allSatisfy { !ana.seen($0).resets.isEmpty } }
        try await eventually("the log says so") { node.output.contains("redis has lost the history of rooms") }
        let lines = node.output.split(separator: "\n").filter { $0.contains("redis has lost the history of rooms") }
        #expect(lines.count < 5 && lines[0].contains("see who flushed Redis"), "\(lines)")
        #expect(try await value("martlet_resets_total", node) >= 10)
    }

    @Test(arguments: [SIGKILL, SIGSTOP])
    func aNodeThatDiesOrHangsIsNamedByTheOthers(signal: Int32) async throws {
        let cluster = try await Cluster.start(
            2, ["MARTLET_NODE_LEASE": "4s", "MARTLET_HEARTBEAT_INTERVAL": "500ms", "MARTLET_EVENT_LOOPS": "1"])
        defer { cluster.end() }
        let room = try RoomName("lobby")
        let ana = try await Watcher.connect("ana", cluster.nodes[0])
        let bob = try await Watcher.connect("bob", cluster.nodes[1])
        try await ana.client.join(room)
        try await bob.client.join(room)
        // The sweeper must have read a heartbeat with bob in it.
        try await eventually("node2 has told of bob") {
            try cluster.redis("KEYS", "martlet:node:node2-*").contains {
                try !$0.hasSuffix(":rooms") && cluster.redis("GET", $0).joined().contains(#""sessions":1"#)
            }
        }
        cluster.nodes[1].signal(signal)
        let user = try UserID("bob")
        try await eventually("bob leaves") { ana.seen(room).left[user] == 1 }
        try await eventually("node1 says why") { cluster.nodes[0].output.contains("a dead node is swept") }
        let lines = cluster.nodes[0].output.split(separator: "\n").filter { $0.contains("a dead node is swept") }
        #expect(lines.count == 1, "\(lines)")
        for words in ["warning", "peer.id=node2-", "rooms=1", "remedy="] {
            #expect(lines.first?.contains(words) ?? false, "\(words): \(lines)")
        }
        #expect(try await value("martlet_nodes_swept_total", cluster.nodes[0]) == 1)
        #expect(try await readiness(cluster.nodes[0]).status == 200)
        if signal == SIGSTOP {
            cluster.nodes[1].signal(SIGCONT)
            try await eventually("it comes back") { ana.seen(room).joined[user].map { $0 >= 1 } ?? false }
            try await eventually("it says so") {
                cluster.nodes[1].output.contains("redis had forgotten this node, entering its rooms again")
            }
        }
    }

    @Test func aForeignKeyIsNamedAndCostsOnlyItsRoom() async throws {
        let cluster = try await Cluster.start(1, ["MARTLET_EVENT_LOOPS": "1"])
        defer { cluster.end() }
        let node = cluster.nodes[0]
        _ = try cluster.redis("SET", "martlet:{taken}:log", "mine")
        let ana = try await Watcher.connect("ana", node)
        await #expect(throws: ClientError.self) { try await ana.client.join(try RoomName("taken")) }
        try await eventually("the log says so") { node.output.contains("a key in redis is somebody else's") }
        let line = node.output.split(separator: "\n").first { $0.contains("a key in redis is somebody else's") }
        for words in ["reason=foreignKey", "martlet:{taken}:log", "room.id=taken", "RENAME or DEL it"] {
            #expect(line?.contains(words) ?? false, "\(words): \(line ?? "")")
        }
        #expect(try await value(Self.refusals("foreignKey"), node) > 0)
        #expect(try await readiness(node).status == 200, "other rooms are as they were")
        try await ana.client.join(try RoomName("free"))
        try await ana.client.send("hello", to: try RoomName("free"))
        let doctor = try await Program.run(["doctor", "--redis", cluster.redis.url, "--wait", "0"])
        #expect(doctor.code == 1 && doctor.output.contains("martlet:{taken}:log"), "\(doctor.output)")
    }
}
