import ChatJSON
import TestSupport
import Testing

/// Conversations through a whole node: over the WebSocket and over HTTP.
@Suite struct ConversationTests {
    private static func ask(
        _ port: Int, _ method: String, _ path: String, fields: String = "", body: String? = nil
    ) async throws -> (status: Int, json: JSONValue) {
        let socket = try await TestSocket.connect(port: port)
        let content =
            body.map { "Content-Type: application/json\r\nContent-Length: \($0.utf8.count)\r\n\r\n\($0)" } ?? "\r\n"
        try await socket.write(
            "\(method) \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\(fields)\(content)")
        let answer = try #require(await socket.readAnswer())
        return (try #require(Int(answer.head.split(separator: " ")[1])), try JSONValue(parsing: answer.body))
    }

    private static func client(_ port: Int, _ user: String) async throws -> TestWebSocket {
        let client = try await TestWebSocket.connect(port: port, "user=\(user)")
        _ = try await client.json("welcome")
        return client
    }

    /// The reply to a request, whatever else comes before it.
    private static func reply(_ client: TestWebSocket, _ request: String) async throws -> JSONValue {
        try await client.send(#"{"ref":"r",\#(request)}"#)
        while true {
            let frame = try await client.json()
            if frame["ref"]?.string == "r" { return frame }
        }
    }

    private static func names(_ frame: JSONValue) -> [String] {
        guard case .array(let all)? = frame["participants"] else { return [] }
        return all.map { "\($0["user"]?.string ?? "?") \($0["role"]?.string ?? "?")" }
    }

    @Test func onlyParticipantsAreInAGroup() async throws {
        try await withMemoryNode { port in
            let ana = try await Self.client(port, "ana")
            let bo = try await Self.client(port, "bo")
            let cy = try await Self.client(port, "cy")
            let create = #""type":"conversation","operation":"create","room":"team","users":["bo"]"#
            let created = try await Self.reply(ana, create)
            #expect(created["type"]?.string == "conversation" && created["kind"]?.string == "group")
            #expect(created["changed"]?.bool == true && created["room"]?.string == "team")
            #expect(try await Self.reply(ana, create)["changed"]?.bool == false)
            #expect(try await Self.reply(cy, #""type":"join","room":"team""#)["code"]?.integer == 301)
            #expect(try await Self.reply(cy, #""type":"history","room":"team""#)["code"]?.integer == 301)
            #expect(try await Self.reply(cy, #""type":"participants","room":"team""#)["code"]?.integer == 301)
            let joined = try await Self.reply(bo, #""type":"join","room":"team""#)
            #expect(joined["type"]?.string == "joined" && joined["rules"]?["members"]?.string == "participants")
            #expect(try await Self.reply(bo, #""type":"send","room":"team","text":"hi""#)["type"]?.string == "sent")
            let list = try await Self.reply(bo, #""type":"participants","room":"team""#)
            #expect(list["kind"]?.string == "group" && Self.names(list) == ["ana owner", "bo member"])
            guard case .array(let all)? = list["participants"] else { throw SocketClosed() }
            #expect(all.map { $0["notify"]?.string } == [nil, "all"] && all.allSatisfy { $0["read"]?.string == "0-0" })
            let remove = #""type":"conversation","operation":"remove","room":"team","user":"bo""#
            #expect(try await Self.reply(bo, remove)["code"]?.integer == 301)
            #expect(try await Self.reply(ana, remove)["changed"]?.bool == true)
            let left = try await bo.json("left")
            #expect(left["room"]?.string == "team" && left["reason"]?.string == "removed")
            #expect(try await Self.reply(bo, #""type":"send","room":"team","text":"x""#)["code"]?.integer == 107)
            #expect(try await Self.reply(bo, #""type":"history","room":"team""#)["code"]?.integer == 301)
        }
    }

    @Test func whoIsInTheRoomIsToldWhoBelongsToIt() async throws {
        try await withMemoryNode { port in
            let ana = try await Self.client(port, "ana")
            let bo = try await Self.client(port, "bo")
            _ = try await Self.reply(ana, #""type":"conversation","operation":"create","room":"team","users":["bo"]"#)
            _ = try await Self.reply(bo, #""type":"join","room":"team""#)
            func told(_ request: String) async throws -> String? {
                _ = try await Self.reply(ana, #""type":"conversation","room":"team",\#(request)"#)
                return try await bo.json("participantsChanged")["changes"]?.text
            }
            #expect(
                try await told(#""operation":"invite","users":["cy"]"#)
                    == #"[{"joined":true,"role":"member","user":"cy"}]"#)
            #expect(
                try await told(#""operation":"role","user":"cy","role":"moderator""#)
                    == #"[{"role":"moderator","user":"cy"}]"#)
            #expect(try await told(#""operation":"remove","user":"cy""#) == #"[{"left":true,"user":"cy"}]"#)
            // Who is removed is told of it before the room is left.
            #expect(try await told(#""operation":"remove","user":"bo""#) == #"[{"left":true,"user":"bo"}]"#)
            #expect(try await bo.json("left")["reason"]?.string == "removed")
        }
    }

    @Test func aDirectConversationIsTheSameForBothAndEndsWithABlock() async throws {
        try await withMemoryNode { port in
            let ana = try await Self.client(port, "ana")
            let bo = try await Self.client(port, "bo")
            #expect(try await Self.reply(ana, #""type":"join","room":"dm:ana:bo""#)["code"]?.integer == 301)
            let first = try await Self.reply(ana, #""type":"conversation","operation":"direct","user":"bo""#)
            #expect(first["room"]?.string == "dm:ana:bo" && first["kind"]?.string == "direct")
            let second = try await Self.reply(bo, #""type":"conversation","operation":"direct","user":"ana""#)
            #expect(second["room"]?.string == "dm:ana:bo" && second["changed"]?.bool == false)
            for client in [ana, bo] {
                #expect(try await Self.reply(client, #""type":"join","room":"dm:ana:bo""#)["type"]?.string == "joined")
            }
            let send = #""type":"send","room":"dm:ana:bo","text":"hi""#
            #expect(try await Self.reply(bo, send)["type"]?.string == "sent")
            let block = #""type":"conversation","operation":"block","user":"bo""#
            #expect(try await Self.reply(ana, block)["changed"]?.bool == true)
            #expect(try await Self.reply(bo, send)["code"]?.integer == 310)
            #expect(try await Self.reply(ana, send)["type"]?.string == "sent")
            let over = try await Self.ask(
                port, "POST", "/api/rooms/dm%3Aana%3Abo/messages", body: #"{"user":"bo","text":"over HTTP"}"#)
            #expect(over.status == 403 && over.json["error"]?["name"]?.string == "blocked")
            let third = try await Self.ask(
                port, "POST", "/api/rooms/dm%3Aana%3Abo/messages", body: #"{"user":"cy","text":"me too"}"#)
            #expect(third.status == 403 && third.json["error"]?["name"]?.string == "forbidden")
            let unblock = #""type":"conversation","operation":"unblock","user":"bo""#
            #expect(try await Self.reply(ana, unblock)["changed"]?.bool == true)
            #expect(try await Self.reply(bo, send)["type"]?.string == "sent")
        }
    }

    @Test func theSameOverHTTP() async throws {
        try await withMemoryNode(["MARTLET_LIMIT_PARTICIPANTS": "3"]) { port in
            let path = "/api/conversations"
            func post(_ body: String) async throws -> (status: Int, json: JSONValue) {
                try await Self.ask(port, "POST", path, body: body)
            }
            #expect(try await post(#"{"operation":"create","room":"team"}"#).status == 401)
            #expect(try await post(#"{"operation":"make","room":"team","by":"ana"}"#).status == 400)
            let created = try await post(#"{"operation":"create","room":"team","users":["bo"],"by":"ana"}"#)
            #expect(created.status == 200 && created.json["changed"]?.bool == true)
            let full = try await post(#"{"operation":"invite","room":"team","users":["cy","dan"],"by":"ana"}"#)
            #expect(full.status == 409 && full.json["error"]?["name"]?.string == "tooManyParticipants")
            let list = try await Self.ask(port, "GET", "/api/rooms/team/participants?user=bo")
            #expect(list.status == 200 && Self.names(list.json) == ["ana owner", "bo member"])
            #expect(try await Self.ask(port, "GET", "/api/rooms/team/participants?user=cy").status == 403)
            #expect(try await post(#"{"operation":"leave","room":"team","by":"ana"}"#).status == 200)
            let after = try await Self.ask(port, "GET", "/api/rooms/team/participants?user=bo")
            #expect(Self.names(after.json) == ["bo owner"])
            let block = try await post(#"{"operation":"block","user":"bo","by":"ana"}"#)
            #expect(block.json["room"]?.string == "dm:ana:bo")
            let refused = try await post(#"{"operation":"direct","user":"ana","by":"bo"}"#)
            #expect(refused.status == 403 && refused.json["error"]?["code"]?.integer == 310)
            let blocked = try await post(#"{"operation":"blocked","by":"ana"}"#)
            #expect(blocked.json == .object(["users": .array([.string("bo")])]))
        }
    }

    @Test func starsAreKeptAndAUserIsErased() async throws {
        try await withMemoryNode { port in
            let ana = try await Self.client(port, "ana")
            _ = try await Self.reply(ana, #""type":"conversation","operation":"create","room":"team""#)
            _ = try await Self.reply(ana, #""type":"join","room":"team""#)
            let sent = try await Self.reply(ana, #""type":"send","room":"team","text":"keep me","data":{"n":1}"#)
            let position = try #require(sent["position"]?.string)
            let starred = try await Self.reply(ana, #""type":"star","room":"team","position":"\#(position)""#)
            #expect(starred["type"]?.string == "starred" && starred["starred"]?.bool == true)
            #expect(try await Self.reply(ana, #""type":"star","room":"team","position":"7-7""#)["code"]?.integer == 105)
            let page = try await Self.reply(ana, #""type":"stars","limit":5"#)
            guard case .array(let stars)? = page["stars"] else { throw SocketClosed() }
            #expect(stars.count == 1 && stars[0]["text"]?.string == "keep me" && stars[0]["data"]?["n"]?.integer == 1)
            #expect(stars[0]["position"]?.string == position && page["cursor"] == nil)
            let over = try await Self.ask(port, "GET", "/api/stars?user=ana&limit=1")
            #expect(over.status == 200 && over.json["stars"] == page["stars"])
            // Who is not in the room cannot star what is said there.
            let body = #"{"room":"team","position":"\#(position)","user":"cy"}"#
            #expect(try await Self.ask(port, "POST", "/api/stars", body: body).status == 403)
            let erased = try await Self.ask(port, "POST", "/api/users/ana/erasure", body: "{}")
            #expect(erased.status == 200 && erased.json["done"]?.bool == true && erased.json["rooms"]?.integer == 1)
            #expect(try await ana.json("left")["reason"]?.string == "removed")
            let none = try await Self.ask(port, "GET", "/api/stars?user=ana")
            #expect(none.json["stars"] == .array([]))
        }
    }
}

private struct SocketClosed: Error {}
