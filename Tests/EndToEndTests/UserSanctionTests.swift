import Foundation
import TestSupport
import Testing

/// Users who are banned or muted in all rooms by a command that every node applies.
@Suite(.serialized, .inTurn)
struct UserSanctionTests {
    private func order(_ cluster: Cluster, _ words: String...) async throws -> ProgramResult {
        try await Program.run(words, environment: ["MARTLET_REDIS_URL": cluster.redis.url])
    }

    private func connect(_ user: String, _ node: TestNode) async throws -> RawReader {
        let reader = try RawReader(port: node.port, query: "user=\(user)&room=lobby")
        try await eventually("\(user) is in the room or refused, \(reader.types)") {
            reader.read()
            return reader.types.contains("joined") || reader.closeCode != nil
        }
        return reader
    }

    private func say(_ user: String, _ node: TestNode) async throws -> String {
        try await Shell.run(
            "curl",
            ["-s", "-m", "5", "\(node.http)/api/rooms/lobby/messages", "-d", #"{"user":"\#(user)","text":"a"}"#])
    }

    @Test func aBanHoldsOnAllNodesAndOnThoseThatStartLater() async throws {
        var cluster = try await Cluster.start(2)
        defer { cluster.end() }
        var (bobs, anas): ([RawReader], [RawReader]) = ([], [])
        for node in cluster.nodes {
            bobs.append(try await connect("bob", node))
            anas.append(try await connect("ana", node))
        }
        let ban = try await order(cluster, "user", "ban", "bob", "--for", "1h", "--reason", "spam")
        #expect(ban.code == 0 && ban.output.hasPrefix("banned, command "), "\(ban)")
        try await eventually("bob's sessions are closed on both nodes", within: .seconds(5)) {
            for bob in bobs { bob.read() }
            return bobs.allSatisfy { $0.closeCode == 4_013 }
        }
        for ana in anas {
            ana.read()
            #expect(ana.closeCode == nil, "nobody else is concerned")
        }
        cluster.nodes.append(try await TestNode.start("late", redis: cluster.redis.url))
        for node in cluster.nodes {
            #expect(try await connect("bob", node).closeCode == 4_013)
            let answer = try await say("bob", node)
            #expect(answer.contains(#""name":"banned""#) && answer.contains("spam"), "\(answer)")
            #expect(try await say("ana", node).contains(#""position""#))
        }
        let listed = try await order(cluster, "commands")
        #expect(listed.output.contains("ban user bob, for 1h (spam), by martlet command line"), "\(listed.output)")
        #expect(try await order(cluster, "user", "unban", "bob").code == 0)
        for node in cluster.nodes {
            try await eventually("bob may return", within: .seconds(5)) {
                try await connect("bob", node).types.contains("joined")
            }
        }
    }

    @Test func aMuteLeavesTheSessionAndRefusesItsMessages() async throws {
        let cluster = try await Cluster.start(1)
        defer { cluster.end() }
        let bob = try await connect("bob", cluster.nodes[0])
        func answer(to ref: Int) async throws -> String? {
            bob.send(#"{"type":"send","ref":\#(ref),"room":"lobby","text":"a"}"#)
            let before = bob.types.count { $0 == "sent" || $0 == "error" }
            try await eventually("an answer") {
                bob.read()
                return bob.types.count { $0 == "sent" || $0 == "error" } > before
            }
            return bob.types.last { $0 == "sent" || $0 == "error" }
        }
        #expect(try await answer(to: 1) == "sent")
        // Without the command line, as an operator with redis-cli alone.
        _ = try cluster.redis(
            "FCALL", "martlet_command", "1", "martlet:commands", "mute", "bob", "3600000", "calm", "ops")
        try await eventually("bob is muted", within: .seconds(5)) { try await answer(to: 2) == "error" }
        #expect(try await say("bob", cluster.nodes[0]).contains(#""name":"muted""#))
        #expect(bob.closeCode == nil)
        _ = try cluster.redis("FCALL", "martlet_command", "1", "martlet:commands", "unmute", "bob")
        try await eventually("bob may talk again", within: .seconds(5)) { try await answer(to: 3) == "sent" }
    }

    @Test func ordersThatAreWrongAreRefused() async throws {
        let cluster = try await Cluster.start(1)
        defer { cluster.end() }
        let soon = try await order(cluster, "user", "ban", "bob", "--for", "soon")
        #expect(soon.code == 64 && soon.error.contains("--for soon is no duration"), "\(soon)")
        let long = try await order(cluster, "user", "mute", "bob", "--reason", String(repeating: "r", count: 201))
        #expect(long.code == 1 && long.error.contains("the reason must be 0 to 200 bytes"), "\(long)")
        #expect(try await order(cluster, "user", "ban", "bob", "--for", "0s").code == 1)
        #expect(try cluster.redis("EXISTS", "martlet:commands") == ["0"])
    }
}
