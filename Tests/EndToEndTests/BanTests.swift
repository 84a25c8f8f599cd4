import Foundation
import Glibc
import MartletClient
import Synchronization
import TestSupport
import Testing

/// A ban while its user sends as fast as possible (promise 14).
@Suite(.serialized, .inTurn)
struct BanTests {
    /// A session that keeps many sends waiting, on a thread of its own.
    private final class Flood: Sendable {
        private struct Seen {
            var sent = 0
            var hasLeft = false
            var hasEnded = false
        }

        /// The most sends without an answer: few enough for the buffers of a node that is stopped.
        private static let mostWaiting = 100

        private let seen = Mutex(Seen())
        private let isOver = Atomic(false)

        /// The number of sends that were stored.
        var sent: Int { seen.withLock { $0.sent } }
        /// The node made the session leave the room.
        var hasLeft: Bool { seen.withLock { $0.hasLeft } }
        var hasEnded: Bool { seen.withLock { $0.hasEnded } }

        init(_ user: String, in room: String, port: Int) {
            Thread.detachNewThread { [self] in
                do {
                    run(try RawReader(port: port, query: "user=\(user)&room=\(room)"), room)
                } catch {
                    seen.withLock { $0.hasEnded = true }
                }
            }
        }

        deinit { isOver.store(true, ordering: .relaxed) }

        func end() { isOver.store(true, ordering: .relaxed) }

        private func run(_ socket: RawReader, _ room: String) {
            socket.widen()
            var (read, asked, answered, number) = (0, 0, 0, 0)
            var hasJoined = false
            while !isOver.load(ordering: .relaxed), !socket.ended {
                socket.read()
                for type in socket.types[read...] {
                    switch type {
                    case "joined": hasJoined = true
                    case "sent": seen.withLock { $0.sent += 1 }
                    case "left": seen.withLock { $0.hasLeft = true }
                    default: break
                    }
                    if type == "sent" || type == "error" { answered += 1 }
                }
                let before = read
                read = socket.types.count
                while hasJoined, asked - answered < Self.mostWaiting {
                    number += 1
                    asked += 1
                    socket.send(#"{"type":"send","ref":\#(number),"room":"\#(room)","text":"\#(number)"}"#)
                }
                if read == before { usleep(200) }
            }
            if socket.ended { seen.withLock { $0.hasEnded = true } }
        }
    }

    private let limits = [
        "MARTLET_LIMIT_REQUESTS_PER_SECOND": "100000", "MARTLET_LIMIT_REQUEST_BURST": "100000",
        "MARTLET_LIMIT_REQUESTS_PER_SECOND_PER_USER": "400000", "MARTLET_LIMIT_COST_PER_SECOND": "10000000",
        "MARTLET_LIMIT_COST_BURST": "100000000", "MARTLET_LIMIT_USER_BYTES_PER_SECOND": "1GiB",
        "MARTLET_LIMIT_USER_BYTES_BURST": "1GiB",
    ]

    private func post(_ url: String, _ body: String) async throws -> (status: Int, body: String) {
        let text = try await Shell.run("curl", ["-s", "-m", "20", "-w", "\n%{http_code}", url, "-d", body])
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        return (Int(lines.last ?? "") ?? 0, lines.dropLast().joined(separator: "\n"))
    }

    /// `MARTLET_TEST_BANS`: how many bans, in place of 20. During every other one, a node on which the user sends is
    /// stopped.
    @Test func onceABanIsAnsweredNothingOfItsUserIsStored() async throws {
        let rounds = ProcessInfo.processInfo.environment["MARTLET_TEST_BANS"].flatMap { Int($0) } ?? 20
        let cluster = try await Cluster.start(3, limits)
        defer { cluster.end() }
        for round in 0..<rounds { try await ban(round, in: cluster) }
    }

    private func ban(_ round: Int, in cluster: Cluster) async throws {
        let (user, room) = ("mallory\(round)", "bans\(round)")
        let log = "martlet:{\(room)}:log"
        let sender = cluster.nodes[round % 3]
        let stopped = cluster.nodes[(round + 1) % 3]
        let moderated = round % 4 < 2 ? cluster.nodes[(round + 2) % 3] : sender
        let floods = [sender, stopped].map { Flood(user, in: room, port: $0.port) }
        defer { for flood in floods { flood.end() } }
        try await eventually("\(user) sends on two nodes") {
            floods.allSatisfy { $0.sent >= 50 } || floods.contains { $0.hasEnded }
        }
        let stops = round % 2 == 1
        if stops { stopped.signal(SIGSTOP) }
        defer { if stops { stopped.signal(SIGCONT) } }
        let answer = try await post(
            "\(moderated.http)/api/rooms/\(room)/moderation", #"{"operation":"ban","user":"\#(user)","reason":"flood"}"#
        )
        let newest = try cluster.redis("XREVRANGE", log, "+", "-", "COUNT", "1").first ?? ""
        #expect(answer.status == 200, "round \(round): \(answer.body)")
        let json = try JSONSerialization.jsonObject(with: Data(answer.body.utf8)) as? [String: Any]
        let version = try #require(json?["version"] as? String)
        if stops { stopped.signal(SIGCONT) }
        try await eventually("\(user) has left on both nodes") { floods.allSatisfy { $0.hasLeft || $0.hasEnded } }
        // Whatever the nodes had under way is at its end, as these are behind it.
        for node in [sender, stopped] {
            let said = try await post("\(node.http)/api/rooms/\(room)/messages", #"{"user":"ana","text":"behind"}"#)
            #expect(said.status == 201, "round \(round): \(said.body)")
        }
        for flood in floods {
            #expect(flood.hasLeft && !flood.hasEnded, "round \(round): the session goes on, outside of the room")
        }
        // The ban began the epoch that it is named after.
        let inEpoch = try cluster.redis("XRANGE", log, version, "+")
        let afterAnswer = try cluster.redis("XRANGE", log, "(\(newest)", "+")
        #expect(!inEpoch.contains(user), "round \(round): stored in the epoch of the ban")
        #expect(!afterAnswer.contains(user), "round \(round): stored after the answer to the ban")
        #expect(inEpoch.filter { $0 == "behind" }.count == 2 && newest.contains("-"))
        #expect(try cluster.redis("XRANGE", log, "-", "+").contains(user))
    }
}
