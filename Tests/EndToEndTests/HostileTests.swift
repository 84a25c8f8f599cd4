import Foundation
import Glibc
import MartletClient
import TestSupport
import Testing

/// Data that strangers publish and write: no node traps, and all rooms work afterwards. MARTLET_FUZZ is the number of
/// payloads, MARTLET_FUZZ_SEED repeats a run.
@Suite(.serialized, .inTurn)
struct HostileTests {
    private static var seed: UInt64 {
        ProcessInfo.processInfo.environment["MARTLET_FUZZ_SEED"].flatMap { UInt64($0) } ?? .random(in: 0...999_999_999)
    }
    private static var count: Int {
        ProcessInfo.processInfo.environment["MARTLET_FUZZ"].flatMap { Int($0) } ?? 3_000
    }

    /// Ana and bob on different nodes, in the same rooms.
    private struct Pair {
        let redis: PrivateRedis
        let nodes: [TestNode]
        let rooms: [RoomName]
        let ana: Watcher
        let bob: Watcher

        init(_ rooms: [String]) async throws {
            redis = try await PrivateRedis.start()
            var nodes: [TestNode] = []
            for index in 1...2 { nodes.append(try await TestNode.start("node\(index)", redis: redis.url)) }
            self.nodes = nodes
            self.rooms = try rooms.map { try RoomName($0) }
            ana = try await Watcher.connect("ana", nodes[0])
            bob = try await Watcher.connect("bob", nodes[1])
            for room in self.rooms {
                try await ana.client.join(room)
                try await bob.client.join(room)
            }
        }

        /// Messages of both reach both in every room.
        func talk(_ text: String) async throws {
            for room in rooms {
                try await ana.client.send("\(text) of ana", to: room)
                try await bob.client.send("\(text) of bob", to: room)
                try await eventually("\(room) talks: \(text)", within: .seconds(60)) {
                    [ana, bob].allSatisfy { Set($0.texts(room)).isSuperset(of: ["\(text) of ana", "\(text) of bob"]) }
                }
            }
        }

        func expectAlive() {
            for node in nodes { #expect(node.isRunning, "\(node.name) ended: \(node.output.suffix(3_000))") }
        }

        /// Kills Redis and starts an empty one, so many times.
        func restart(_ times: Int) async throws {
            for time in 1...times {
                try await redis.restart()
                try await talk("after restart \(time)")
                expectAlive()
            }
        }

        func end() {
            for node in nodes { node.signal(SIGKILL) }
            redis.stop()
        }
    }

    @Test func nodesOutliveNonsenseOnTheirChannelsAndThreeRestarts() async throws {
        let pair = try await Pair(["vandal", "other"])
        defer { pair.end() }
        try await pair.talk("before")
        let seed = Self.seed
        var wild = WildData(seed: seed)
        wild.nodes = try pair.redis.cli("HKEYS", "martlet:{vandal}:nodes").split(separator: "\n").map(String.init)
        let value = try pair.redis.cli("HGET", "martlet:{vandal}:nodes", wild.nodes.first ?? "")
        wild.epoch = try #require(UInt64(value))
        var left = Self.count
        print("HostileTests: \(left) payloads of seed \(seed)")
        while left > 0 {
            let count = min(left, 20_000)
            left -= count
            var commands: [UInt8] = []
            for _ in 0..<count {
                let payload = Array(wild.payload().utf8)
                let head = "*3\r\n$7\r\nPUBLISH\r\n$16\r\nmartlet:{vandal}\r\n$\(payload.count)\r\n"
                commands += Array(head.utf8) + payload + [0x0D, 0x0A]
            }
            try RawRedis.send(commands, replies: count, port: pair.redis.port)
            pair.expectAlive()
        }
        try await pair.talk("through it")
        try await pair.restart(3)
        let metrics = try await Shell.get("\(pair.nodes[0].http)/metrics")
        #expect(metrics.contains("martlet_redis_ignored_total{kind=\"payload\"}"), "seed \(seed)")
        let lines = pair.nodes[0].output.split(separator: "\n").count { $0.contains("ignored") }
        #expect(
            (1...60).contains(lines), "one line a minute for each kind and loop, not one for each payload: \(lines)")
    }

    @Test func aForgedEpochNear2To64EndsNobody() async throws {
        let pair = try await Pair(["v"])
        defer { pair.end() }
        try await pair.talk("before")
        for number in [
            "18446744073709551615", "9223372036854775807", "9007199254740992", "9007199254740991", "9007199253740992",
        ] {
            try pair.redis.cli(
                "PUBLISH", "martlet:{v}", #"{"type":"epoch","epoch":"\#(number)","base":"0","nodes":{},"by":"x"}"#)
            try pair.redis.cli(
                "PUBLISH", "martlet:{v}",
                #"{"type":"gone","node":"x","value":"1","nodes":{},"last":"\#(number)-\#(number)"}"#)
        }
        try await pair.talk("after")
        try await pair.restart(3)
    }

    @Test func aRoomWhoseKeysWereSpoiledIsFoundByTheDoctorAndHealsOnceTheyAreMended() async throws {
        let pair = try await Pair(["v"])
        defer { pair.end() }
        try await pair.talk("before")
        let log = "martlet:{v}:log"
        func last() throws -> String {
            let info = try pair.redis.cli("XINFO", "STREAM", log).split(separator: "\n").map(String.init)
            return info[try #require(info.firstIndex(of: "last-generated-id")) + 1]
        }
        func doctor() async throws -> String {
            let process = Process()
            process.executableURL = TestNode.executable
            process.arguments = ["doctor"]
            process.environment = ["MARTLET_REDIS_URL": pair.redis.url, "PATH": "/usr/bin:/bin"]
            let pipe = Pipe()
            process.standardOutput = pipe
            process.standardError = FileHandle.nullDevice
            try process.run()
            let text = await withCheckedContinuation { continuation in
                DispatchQueue.global().async {
                    continuation.resume(
                        returning: String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self))
                }
            }
            return text.replacing("\n         ", with: "")
        }
        // Invalid entries are skipped and change nothing else.
        try pair.redis.cli("HSET", "martlet:{v}:nodes", "x{y", "5", "ghost-1", "never")
        try pair.redis.cli("HSET", "martlet:{v}:meta", "branch", "18446744073709551615", "history", "never")
        try pair.redis.cli("LPUSH", "martlet:{v}:epochs", "garbage")
        try pair.redis.cli("HSET", "martlet:{v}:roster", "eve", "[[[[")
        try pair.redis.cli("XADD", "martlet:{v}:presence", "18446744073709551000-5", "kind", "join")
        try await pair.talk("in spite of it")
        let found = try await doctor()
        for word in ["ghost-1", "field branch", "martlet:{v}:epochs", "eve"] {
            #expect(found.contains(word), "\(found)")
        }
        // The log itself is set to where no node can follow, and back; and deleted.
        let before = try last()
        try pair.redis.cli("XSETID", log, "9007199253740000-7")
        let ahead = try await doctor()
        #expect(ahead.contains("9007199253740000-7") && ahead.contains("XSETID"), "\(ahead)")
        try pair.redis.cli("XSETID", log, before)
        try await pair.talk("mended")
        try pair.redis.cli("XSETID", log, "9007199253740000-7")
        try pair.redis.cli("DEL", log)
        try await pair.talk("begun anew")
        try await pair.restart(1)
    }
}

/// Sends bytes to Redis without a client in between.
private enum RawRedis {
    static func send(_ bytes: [UInt8], replies: Int, port: Int) throws {
        let socket = try LoopbackSocket(port: port, timeout: 60)
        var sent = 0
        var heard = 0
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while heard < replies {
            if sent < bytes.count {
                let count = socket.write(bytes[sent..<min(sent + 65_536, bytes.count)])
                guard count > 0 else { throw TestFailure("redis takes no more: \(errno)") }
                sent += count
                // The replies are few bytes each: they fit into the kernel's buffers until everything has been sent.
                guard sent == bytes.count || sent % (1 << 20) < 65_536 else { continue }
            }
            let count = socket.read(into: &chunk, waits: sent == bytes.count)
            if count > 0 { heard += chunk[..<count].count { $0 == 0x0A } }
            guard count > 0 || sent < bytes.count else { throw TestFailure("redis fell silent after \(heard)") }
        }
    }
}
