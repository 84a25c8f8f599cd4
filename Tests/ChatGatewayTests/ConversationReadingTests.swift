import ChatCore
import ChatJSON
import Foundation
import NIOCore
import TestSupport
import Testing

@testable import ChatGateway

/// Read positions, unread messages, the inbox, watching and who is online, through a whole node.
@Suite struct ConversationReadingTests {
    private static let room = "dm:ana:bob"

    private static func connect(_ port: Int, _ user: String, _ device: String) async throws -> TestWebSocket {
        let client = try await TestWebSocket.connect(port: port, "user=\(user)&device=\(device)")
        _ = try await client.json("welcome")
        return client
    }

    /// Bob has begun the conversation with ana, is in it, and has said that many things.
    private static func begin(_ port: Int, messages: Int) async throws -> (bob: TestWebSocket, positions: [String]) {
        let bob = try await connect(port, "bob", "desk")
        try await bob.send(#"{"type":"conversation","ref":1,"operation":"direct","user":"ana"}"#)
        #expect(try await bob.json("conversation")["room"]?.string == room)
        try await bob.send(#"{"type":"join","ref":2,"room":"\#(room)"}"#)
        let joined = try await bob.json("joined")
        #expect(joined["unread"]?.integer == 0 && joined["reads"]?.object?.isEmpty == true && joined["read"] == nil)
        var positions: [String] = []
        for number in 0..<messages {
            try await bob.send(#"{"type":"send","ref":3,"room":"\#(room)","text":"number \#(number)"}"#)
            positions.append(try await bob.json("sent")["position"]?.string ?? "")
        }
        return (bob, positions)
    }

    private static func get(_ port: Int, _ path: String) async throws -> JSONValue {
        let socket = try await TestSocket.connect(port: port)
        try await socket.write("GET \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        guard let answer = await socket.readAnswer() else { throw TestFailure("no answer to \(path)") }
        return try JSONValue(parsing: answer.body)
    }

    @Test func whatIsReadOnOneDeviceIsToldToTheOthersAndToTheRoom() async throws {
        try await withMemoryNode { port in
            let (bob, positions) = try await Self.begin(port, messages: 3)
            let laptop = try await Self.connect(port, "ana", "laptop")
            let phone = try await Self.connect(port, "ana", "phone")
            try await phone.send(#"{"type":"join","ref":1,"room":"\#(Self.room)","history":10}"#)
            let joined = try await phone.json("joined")
            // (Bob has read what he said; Redis is told of that later.)
            #expect(joined["unread"]?.integer == 3 && joined["read"] == nil)
            #expect(joined["reads"]?["bob"]?.string == positions[2])
            try await phone.send(#"{"type":"read","ref":2,"room":"\#(Self.room)","position":"\#(positions[1])"}"#)
            #expect(try await phone.json("read")["position"]?.string == positions[1])
            let notice = try await laptop.json("notice")
            #expect(notice["kind"]?.string == "read" && notice["room"]?.string == Self.room)
            #expect(notice["position"]?.string == positions[1] && notice["unread"]?.integer == 1)
            #expect(try await bob.json("receipts")["reads"]?["ana"]?.string == positions[1])
            // Back is not possible, and beyond the end is the end.
            try await laptop.send(#"{"type":"read","ref":3,"room":"\#(Self.room)","position":"\#(positions[0])"}"#)
            #expect(try await laptop.json("read")["position"]?.string == positions[1])
            let epoch = positions[2].split(separator: "-")[0]
            try await laptop.send(#"{"type":"read","ref":4,"room":"\#(Self.room)","position":"\#(epoch)-4000"}"#)
            #expect(try await laptop.json("read")["position"]?.string == positions[2])
            for (position, code) in [("77-1", 105), ("1-1", 105)] {
                try await laptop.send(#"{"type":"read","ref":5,"room":"\#(Self.room)","position":"\#(position)"}"#)
                #expect(try await laptop.json("error")["code"]?.integer == code)
            }
            let eve = try await Self.connect(port, "eve", "x")
            try await eve.send(#"{"type":"read","ref":6,"room":"\#(Self.room)","position":"\#(positions[0])"}"#)
            #expect(try await eve.json("error")["code"]?.integer == 301)
        }
    }

    @Test func theInboxHasPagesAndThenWhatHasChanged() async throws {
        try await withMemoryNode { port in
            let (bob, positions) = try await Self.begin(port, messages: 2)
            try await bob.send(
                #"{"type":"conversation","ref":4,"operation":"create","room":"team","users":["ana","eve"]}"#)
            _ = try await bob.json("conversation")
            let ana = try await Self.connect(port, "ana", "desk")
            try await ana.send(#"{"type":"inbox","ref":1,"limit":1}"#)
            let first = try await ana.json("inbox")
            #expect(first["more"]?.bool == true && first["conversations"]?.array?.count == 1)
            let cursor = try #require(first["cursor"]?.string)
            try await ana.send(#"{"type":"inbox","ref":2,"cursor":"\#(cursor)"}"#)
            let second = try await ana.json("inbox")
            let all = (first["conversations"]?.array ?? []) + (second["conversations"]?.array ?? [])
            #expect(second["more"]?.bool == false && Set(all.compactMap { $0["room"]?.string }) == [Self.room, "team"])
            let direct = try #require(all.first { $0["kind"]?.string == "direct" })
            #expect(direct["users"]?.array?.compactMap(\.string) == ["bob"] && direct["unread"]?.integer == 2)
            #expect(direct["last"]?["text"]?.string == "number 1" && direct["role"]?.string == "member")
            // Only what has changed, by whatever way.
            let known = try #require(second["cursor"]?.string)
            #expect(
                try await Self.get(port, "/api/inbox?user=ana&cursor=\(known)")["conversations"]?.array?.isEmpty == true
            )
            try await ana.send(#"{"type":"read","ref":3,"room":"\#(Self.room)","position":"\#(positions[1])"}"#)
            _ = try await ana.json("read")
            let changed = try await Self.get(port, "/api/inbox?user=ana&cursor=\(known)")
            #expect(changed["conversations"]?.array?.map { $0["unread"]?.integer } == [0])
            try await ana.send(#"{"type":"inbox","ref":4,"cursor":"not a cursor"}"#)
            #expect(try await ana.json("error")["code"]?.integer == 105)
            // Whoever leaves is not in the list any more.
            try await ana.send(#"{"type":"conversation","ref":5,"operation":"leave","room":"team"}"#)
            _ = try await ana.json("conversation")
            let left = try await Self.get(port, "/api/inbox?user=ana")
            #expect(left["conversations"]?.array?.compactMap { $0["room"]?.string } == [Self.room])
        }
    }

    @Test func whomAMessageOverHTTPMentionsIsTold() async throws {
        try await withMemoryNode { port in
            _ = try await Self.begin(port, messages: 0)
            let ana = try await Self.connect(port, "ana", "desk")
            try await eventually("ana is online") {
                try await Self.get(port, "/api/online?users=ana")["online"]?.array?.count == 1
            }
            let body = #"{"user":"bob","text":"look","mentions":["eve","bob","ana"]}"#
            let socket = try await TestSocket.connect(port: port)
            try await socket.write(
                "POST /api/rooms/\(Self.room)/messages HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                    + "Content-Length: \(body.utf8.count)\r\n\r\n\(body)")
            let answer = try #require(await socket.readAnswer())
            let position = try JSONValue(parsing: answer.body)["position"]?.string
            let notice = try await ana.json("notice")
            #expect(notice["kind"]?.string == "mentioned" && notice["by"]?.string == "bob")
            #expect(position != nil && notice["position"]?.string == position)
        }
    }

    @Test func whoWatchesIsToldHeadsAndIsNotPresent() async throws {
        try await withMemoryNode { port in
            let (bob, _) = try await Self.begin(port, messages: 1)
            let ana = try await Self.connect(port, "ana", "desk")
            try await ana.send(#"{"type":"watch","ref":1,"rooms":["\#(Self.room)","quiet"]}"#)
            #expect(try await ana.json("watching")["rooms"]?.array?.count == 2)
            var head = try await ana.json("head")
            while head["room"]?.string != Self.room { head = try await ana.json("head") }
            #expect(head["text"]?.string == "number 0" && head["unread"]?.integer == 1)
            for number in 0..<20 {
                try await bob.send(#"{"type":"send","ref":3,"room":"\#(Self.room)","text":"more \#(number)"}"#)
                _ = try await bob.json("sent")
            }
            var heads = 0
            repeat {
                head = try await ana.json("head")
                if head["room"]?.string == Self.room { heads += 1 }
            } while head["text"]?.string != "more 19"
            #expect(head["unread"]?.integer == 21 && heads <= 4)
            #expect(try await Self.get(port, "/api/rooms/\(Self.room)/roster")["count"]?.integer == 1)
            try await ana.send(#"{"type":"unwatch","ref":2,"rooms":["\#(Self.room)"]}"#)
            #expect(try await ana.json("watching")["rooms"]?.array?.compactMap(\.string) == ["quiet"])
        }
    }

    @Test func redisKnowsWhoIsOnline() async throws {
        try await withMemoryNode { port in
            let ana = try await Self.connect(port, "ana", "desk")
            _ = try await Self.connect(port, "a,b", "desk")
            try await eventually("both are online") {
                let found = try await Self.get(port, "/api/online?users=ana,eve,a%252Cb,ana")
                return found["online"]?.array?.compactMap(\.string) == ["ana", "a,b"]
            }
            try await ana.send(#"{"type":"online","ref":1,"users":["eve","ana"]}"#)
            #expect(try await ana.json("online")["online"]?.array?.compactMap(\.string) == ["ana"])
        }
    }

    @Test func whenSomebodyWasLastHereIsToldIfTheyAllowIt() async throws {
        try await withMemoryNode { port in
            let ana = try await Self.connect(port, "ana", "desk")
            let bob = try await Self.connect(port, "bob", "desk")
            let eve = try await Self.connect(port, "eve", "desk")
            try await bob.send(#"{"type":"lastSeen","ref":1}"#)
            #expect(try await bob.json("lastSeen")["shown"]?.bool == false)
            try await bob.send(#"{"type":"lastSeen","ref":2,"shown":true}"#)
            #expect(try await bob.json("lastSeen")["shown"]?.bool == true)
            try await eve.send(#"{"type":"lastSeen","ref":3,"shown":1}"#)
            #expect(try await eve.json("error")["name"]?.string == "badField")
            let began = Date()
            try await bob.socket.channel.close().get()
            try await eve.socket.channel.close().get()
            var seen: JSONValue?
            try await eventually("bob was here", within: .seconds(60)) {
                try await ana.send(#"{"type":"online","ref":4,"users":["bob","eve","ana"]}"#)
                let answer = try await ana.json("online")
                seen = answer["seen"]
                return seen?["bob"] != nil && answer["online"]?.array?.compactMap(\.string) == ["ana"]
            }
            let at = try #require(seen?["bob"]?.string.flatMap(Timestamp.milliseconds))
            let (ended, told) = (Double(at) / 1_000, Date().timeIntervalSince1970)
            #expect(ended > began.timeIntervalSince1970 - 1 && told - ended > 9, "when the session has ended")
            #expect(seen?["eve"] == nil, "eve does not allow it")
            #expect(try await Self.get(port, "/api/online?users=bob")["seen"]?["bob"] == seen?["bob"])
        }
    }
}
