import ChatAccess
import ChatCore
import ChatJSON
import ChatNode
import ChatWire
import TestSupport
import Testing

@testable import ChatGateway

/// Who may do what, through a whole node: all ways in, all requests, all routes.
@Suite struct AccessTests {
    private func withTokens(
        _ environment: [String: String] = [:], _ body: (_ port: Int) async throws -> Void
    ) async throws {
        try await withMemoryNode(
            ["MARTLET_TOKEN_HMAC_SECRET": TestTokens.secret].merging(environment) { $1 }, body)
    }

    private static func connect(_ port: Int, _ token: String, query: String = "") async throws -> TestWebSocket {
        let client = try await TestWebSocket.connect(
            port: port, query, extra: "Authorization: Bearer \(token)\r\n")
        _ = try await client.json("welcome")
        return client
    }

    /// The status of an HTTP request.
    private static func status(
        _ port: Int, _ method: String, _ path: String, _ fields: String = "", body: String? = nil
    ) async throws -> Int {
        let socket = try await TestSocket.connect(port: port)
        let content = body.map { "Content-Length: \($0.utf8.count)\r\n\r\n\($0)" } ?? "\r\n"
        try await socket.write(
            "\(method) \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\(fields)\(content)")
        guard let answer = await socket.readAnswer(hasBody: method != "HEAD") else { return 0 }
        return Int(answer.head.split(separator: " ")[1]) ?? 0
    }

    // MARK: nothing answers without rights

    @Test func noRouteAnswersWithoutATokenOrWithoutItsRight() async throws {
        // Everybody may read these: they say nothing of rooms.
        let open: Set<String> = ["/healthz", "/readyz", "/metrics", "/ws"]
        let routes = try servedRoutes()
        try await withTokens { port in
            let none = "Authorization: Bearer \(try TestTokens.make("ana", [:]))\r\n"
            var count = 0
            for route in routes where !open.contains(route.path) {
                let path = route.path.replacing(":room", with: "lobby")
                for method in route.methods + (route.methods.contains("GET") ? ["HEAD"] : []) {
                    let text = #"{"user":"ana","text":"hi","operation":"create","room":"lobby"}"#
                    let body = ["POST", "PUT"].contains(method) ? text : nil
                    #expect(try await Self.status(port, method, path, body: body) == 401, "\(method) \(path)")
                    // A delivery is signed, and a token makes no difference.
                    let refused = path.hasPrefix("/hooks/") ? 401 : 403
                    #expect(
                        try await Self.status(port, method, path, none, body: body) == refused, "\(method) \(path)")
                    count += 1
                }
            }
            #expect(count >= 6)
        }
    }

    @Test func noRequestReachesARoomWithoutItsRight() async throws {
        try await withTokens { port in
            let client = try await Self.connect(port, try TestTokens.make("ana", ["lobby": ["read"]]))
            let requests: [(GatewayCounters.RequestType, String, String)] = [
                (.join, #""room":"secret""#, "error 301"), (.send, #""room":"lobby","text":"a""#, "error 301"),
                (.signal, #""room":"lobby","name":"typing""#, "error 301"),
                (.history, #""room":"secret""#, "error 301"), (.roster, #""room":"secret""#, "error 301"),
                (.leave, #""room":"secret""#, "error 107"), (.ping, #""x":1"#, "pong 0"),
                (.moderate, #""room":"lobby","operation":"freeze""#, "error 301"),
                (.conversation, #""room":"secret","operation":"invite","users":["bob"]"#, "error 301"),
                (.amend, #""room":"lobby","operation":"delete","of":"1-1""#, "error 301"),
                (.read, #""room":"secret","position":"1-1""#, "error 301"), (.inbox, #""limit":5"#, "inbox 0"),
                (.watch, #""rooms":["lobby","secret"]"#, "error 301"),
                (.unwatch, #""rooms":["secret"]"#, "watching 0"), (.online, #""users":["bob"]"#, "online 0"),
                (.lastSeen, #""shown":true"#, "lastSeen 0"),
                (.token, #""token":"a.b.c""#, "error 300"),
            ]
            #expect(Set(requests.map(\.0)) == Set(GatewayCounters.RequestType.allCases), "all types of requests")
            try await client.send(#"{"type":"join","room":"lobby"}"#)
            _ = try await client.json("joined")
            for (type, fields, answer) in requests {
                try await client.send(#"{"type":"\#(type.rawValue)","ref":7,\#(fields)}"#)
                var frame = try await client.json()
                while frame["ref"] == nil { frame = try await client.json() }
                #expect("\(frame["type"]?.string ?? "") \(frame["code"]?.integer ?? 0)" == answer, "\(type)")
            }
        }
    }

    @Test func aClientWithoutATokenIsRefusedAndSoIsEveryTokenThatIsNotOurs() async throws {
        try await withTokens { port in
            let silent = try await TestWebSocket.connect(port: port, "auth=frame")
            try await silent.send(#"{"type":"join","room":"lobby"}"#)
            #expect(try await silent.json()["code"]?.integer == 300)
            let bobs = try TestTokens.make("bob")
            let foreign = try TestTokens.make("ana", secret: "another secret, which is as long as ours")
            for (query, reason) in [
                ("user=ana", CloseReason.unauthenticated), ("token=a.b.c", .unauthenticated),
                ("token=abc", .unauthenticated), ("auth=query&token=\(bobs)", .badName),
                ("user=ana&token=\(bobs)", .forbidden), ("token=\(foreign)", .unauthenticated),
            ] {
                let client = try await TestWebSocket.connect(port: port, query)
                let close = WebSocketDecoder.Event.close(
                    WebSocketCloseCode(rawValue: reason.rawValue), reason: reason.name)
                #expect(await client.closeFrame() == close, "\(query)")
            }
        }
    }

    // MARK: carriers

    @Test func aTokenMayComeInAnyOfItsPlaces() async throws {
        try await withTokens([
            "MARTLET_TOKEN_COOKIE": "chat", "MARTLET_ALLOWED_ORIGINS": "https://chat.example",
        ]) { port in
            let token = try TestTokens.make("ana")
            let origin = "Origin: https://chat.example\r\n"
            for (query, fields) in [
                ("", "Authorization: Bearer \(token)\r\n"), ("token=\(token)", ""),
                ("", "Sec-WebSocket-Protocol: martlet.v1, bearer.\(token)\r\n"),
                ("", "\(origin)Cookie: a=b; chat=\(token); c=d\r\n"),
            ] {
                let client = try await TestWebSocket.connect(port: port, query, extra: fields)
                #expect(try await client.json("welcome")["user"]?.string == "ana")
            }
            // The answer selects the protocol and does not repeat the token.
            let socket = try await TestSocket.connect(port: port)
            try await socket.write(
                TestWebSocket.handshake("", extra: "Sec-WebSocket-Protocol: bearer.\(token), martlet.v1\r\n"))
            let answer = try #require(await socket.readAnswer(hasBody: false))
            #expect(answer.head.contains("Sec-WebSocket-Protocol: martlet.v1") && !answer.head.contains("bearer"))
            // In the first frame.
            let late = try await TestWebSocket.connect(port: port, "auth=frame")
            try await late.send(#"{"type":"hello","token":"\#(token)","device":"phone"}"#)
            let welcome = try await late.json("welcome")
            #expect(welcome["user"]?.string == "ana" && welcome["device"]?.string == "phone")
            #expect(welcome["expires"]?.integer.map { (3_500...3_600).contains($0) } == true)
        }
    }

    @Test func aCookieCountsOnlyInRequestsOfAllowedPages() async throws {
        try await withTokens([
            "MARTLET_TOKEN_COOKIE": "chat", "MARTLET_ALLOWED_ORIGINS": "https://chat.example",
        ]) { port in
            let cookie = "Cookie: chat=\(try TestTokens.make("ana"))\r\n"
            let path = "/api/rooms/lobby/messages"
            let body = #"{"text":"hi"}"#
            let json = "Content-Type: application/json\r\n"
            let ours = "Origin: https://chat.example\r\n"
            let foreign = "Origin: https://evil.example\r\n"
            #expect(try await Self.status(port, "POST", path, cookie + ours + json, body: body) == 201)
            #expect(try await Self.status(port, "POST", path, cookie + foreign + json, body: body) == 403)
            #expect(try await Self.status(port, "POST", path, cookie + json, body: body) == 403)
            #expect(try await Self.status(port, "GET", path, cookie + ours) == 200)
            #expect(try await Self.status(port, "GET", path, cookie + foreign) == 403)
            #expect(try await Self.status(port, "GET", path, cookie + "Sec-Fetch-Site: same-origin\r\n") == 200)
            #expect(try await Self.status(port, "GET", path, cookie + "Sec-Fetch-Site: cross-site\r\n") == 403)
            let socket = try await TestSocket.connect(port: port)
            try await socket.write(TestWebSocket.handshake("", extra: cookie + foreign))
            #expect(await socket.readAnswer()?.head.hasPrefix("HTTP/1.1 403 ") ?? false)
            let program = try await TestWebSocket.connect(port: port, "", extra: cookie)
            #expect(await program.closeFrame() == .close(WebSocketCloseCode(rawValue: 4010), reason: "forbidden"))
        }
    }

    // MARK: renewal, end and revocation

    @Test func aSessionGoesOnWithANewTokenAndEndsWithoutOne() async throws {
        try await withTokens(["MARTLET_TOKEN_GRACE": "1s", "MARTLET_TOKEN_LEEWAY": "1s"]) { port in
            let ana = try await Self.connect(port, try TestTokens.make("ana", lives: 2), query: "room=lobby")
            let bob = try await Self.connect(port, try TestTokens.make("bob", lives: 2), query: "room=lobby")
            let expiring = try await ana.json("expiring")
            #expect(expiring["closesIn"]?.integer.map { (0...1_000).contains($0) } == true)
            try await ana.send(#"{"type":"token","ref":1,"token":"\#(try TestTokens.make("ana"))"}"#)
            let renewed = try await ana.json("token")
            #expect(renewed["ref"]?.integer == 1 && (renewed["expires"]?.integer ?? 0) > 3_000)
            #expect(await bob.closeFrame() == .close(WebSocketCloseCode(rawValue: 4011), reason: "expired"))
            try await ana.send(#"{"type":"send","ref":2,"room":"lobby","text":"still here"}"#)
            #expect(try await ana.json("sent")["ref"]?.integer == 2)
            let less = try TestTokens.make("ana", ["hall": ["read"]])
            try await ana.send(#"{"type":"token","ref":3,"token":"\#(less)"}"#)
            let left = try await ana.json("left")
            #expect(left["room"]?.string == "lobby" && left["reason"]?.string == "forbidden")
        }
    }

    @Test func newsOfARoomGoToTheSessionsThatMayReadIt() async throws {
        try await withTokens { port in
            let whole = try await Self.connect(port, try TestTokens.make("ana"))
            let narrow = try await Self.connect(port, try TestTokens.make("ana", ["crew": ["read"]]))
            let bob = try await Self.connect(port, try TestTokens.make("bob"))
            for (ref, order) in [
                #""operation":"direct","user":"ana""#, #""operation":"create","room":"crew","users":["ana"]"#,
            ].enumerated() {
                try await bob.send(#"{"type":"conversation","ref":\#(ref),\#(order)}"#)
                #expect(try await bob.json("conversation")["ref"]?.integer == ref)
            }
            for room in ["dm:ana:bob", "crew"] {
                #expect(try await whole.json("notice")["room"]?.string == room)
            }
            #expect(try await narrow.json("notice")["room"]?.string == "crew")
        }
    }

    @Test func aSessionDoesNotWatchWhatItsNewTokenDoesNotLetItRead() async throws {
        try await withTokens { port in
            let ana = try await Self.connect(port, try TestTokens.make("ana", ["lobby": ["read"], "crew": ["read"]]))
            try await ana.send(#"{"type":"watch","ref":1,"rooms":["lobby","crew"]}"#)
            #expect(try await ana.json("watching")["rooms"]?.array?.count == 2)
            let less = try TestTokens.make("ana", ["lobby": ["read"]])
            try await ana.send(#"{"type":"token","ref":2,"token":"\#(less)"}"#)
            _ = try await ana.json("token")
            try await ana.send(#"{"type":"unwatch","ref":3,"rooms":["hall"]}"#)
            let watching = try await ana.json("watching")
            #expect(watching["rooms"]?.array?.compactMap(\.string) == ["lobby"])
        }
    }

    @Test func aRevocationEndsTheSessionsOfItsTokensAndKeepsThemOut() async throws {
        let key = "a key of the back end"
        try await withTokens([
            "MARTLET_API_KEYS": "backend:\(APIKeys.hash(of: key)):admin,bot:\(APIKeys.hash(of: "bot")):send"
        ]) { port in
            let (anas, bobs) = (try TestTokens.make("ana", id: "t1"), try TestTokens.make("bob", id: "t2"))
            let ana = try await Self.connect(port, anas)
            let bob = try await Self.connect(port, bobs)
            let admin = "Authorization: Bearer \(key)\r\n"
            let bot = "Authorization: Bearer bot\r\n"
            let path = "/api/revocations"
            #expect(try await Self.status(port, "POST", path, bot, body: #"{"user":"ana"}"#) == 403)
            for body in ["{}", #"{"user":"ana","token":"x"}"#, #"{"user":7}"#, #"{"everybody":false}"#, "[]"] {
                #expect(try await Self.status(port, "POST", path, admin, body: body) == 400, "\(body)")
            }
            #expect(try await Self.status(port, "POST", path, admin, body: #"{"token":"t1"}"#) == 200)
            #expect(await ana.closeFrame() == .close(WebSocketCloseCode(rawValue: 4012), reason: "revoked"))
            let again = try await TestWebSocket.connect(port: port, "token=\(anas)")
            #expect(await again.closeFrame() == .close(WebSocketCloseCode(rawValue: 4002), reason: "unauthenticated"))
            try await bob.send(#"{"type":"ping","ref":1}"#)
            #expect(try await bob.json("pong")["ref"]?.integer == 1)
            #expect(try await Self.status(port, "POST", path, admin, body: #"{"user":"bob"}"#) == 200)
            #expect(await bob.closeFrame() == .close(WebSocketCloseCode(rawValue: 4012), reason: "revoked"))
        }
    }

    @Test func administratorsBanUsersInAllRooms() async throws {
        let keys = "backend:\(APIKeys.hash(of: "k1")):admin,mod:\(APIKeys.hash(of: "k2")):moderate"
        try await withTokens(["MARTLET_API_KEYS": keys]) { port in
            let bob = try await Self.connect(port, try TestTokens.make("bob"))
            let (admin, mod) = ("Authorization: Bearer k1\r\n", "Authorization: Bearer k2\r\n")
            let path = "/api/users/bob/sanctions"
            let token = "Authorization: Bearer \(try TestTokens.make("bob"))\r\n"
            for fields in [mod, token] {
                #expect(try await Self.status(port, "POST", path, fields, body: #"{"operation":"unban"}"#) == 403)
                #expect(try await Self.status(port, "GET", path, fields) == 403)
            }
            for body in [
                "{}", "[]", #"{"operation":"freeze"}"#, #"{"operation":"ban","user":"ana"}"#,
                #"{"operation":"ban","time":0}"#, #"{"operation":"mute","time":-1}"#,
                #"{"operation":"ban","reason":7}"#,
            ] {
                #expect(try await Self.status(port, "POST", path, admin, body: body) == 400, "\(body)")
            }
            let body = #"{"operation":"ban","time":3600000,"reason":"spam"}"#
            let ban = try await Self.answer(port, "POST", path, admin, body: body)
            #expect(ban.status == 200 && ban.json["user"]?.string == "bob" && ban.json["position"] != nil)
            #expect(await bob.closeFrame() == .close(WebSocketCloseCode(rawValue: 4013), reason: "banned"))
            let again = try await TestWebSocket.connect(port: port, "token=\(try TestTokens.make("bob"))")
            #expect(await again.closeFrame() == .close(WebSocketCloseCode(rawValue: 4013), reason: "banned"))
            let messages = "/api/rooms/lobby/messages"
            let refused = try await Self.answer(port, "GET", messages, token)
            #expect(refused.status == 403 && refused.json["error"]?["name"]?.string == "banned")
            #expect(try await Self.status(port, "POST", messages, token, body: #"{"text":"hi"}"#) == 403)
            for path in ["/api/inbox", "/api/online?users=ana", "/api/stars"] {
                #expect(try await Self.status(port, "GET", path, token) == 403, "\(path)")
            }
            #expect(try await Self.status(port, "PUT", "/api/online", token, body: #"{"shown":true}"#) == 403)
            let blocked = #"{"operation":"blocked"}"#
            #expect(try await Self.status(port, "POST", "/api/conversations", token, body: blocked) == 403)
            let listed = try await Self.answer(port, "GET", path, admin)
            let sanction = listed.json["sanctions"]?.array?.first
            #expect(sanction?["kind"]?.string == "ban" && sanction?["reason"]?.string == "spam")
            #expect(sanction?["by"]?.string == "backend" && sanction?["until"] != nil)
            #expect(try await Self.status(port, "POST", path, admin, body: #"{"operation":"unban"}"#) == 200)
            try await eventually("bob may read again") {
                try await Self.status(port, "GET", messages, token) == 200
            }
        }
    }

    // MARK: servers, and clients without a token

    @Test func aServerSeesOnlyTheStarsOfRoomsThatItMayRead() async throws {
        let keys = "all:\(APIKeys.hash(of: "k1")):admin,team:\(APIKeys.hash(of: "k2")):read@team:*"
        try await withTokens(["MARTLET_API_KEYS": keys]) { port in
            let (all, team) = ("Authorization: Bearer k1\r\n", "Authorization: Bearer k2\r\n")
            for room in ["lobby", "team:a"] {
                let said = try await Self.answer(
                    port, "POST", "/api/rooms/\(room)/messages", all, body: #"{"user":"ana","text":"hi"}"#)
                let position = try #require(said.json["position"]?.string)
                let star = #"{"user":"ana","room":"\#(room)","position":"\#(position)"}"#
                #expect(try await Self.status(port, "POST", "/api/stars", all, body: star) == 200, "\(room)")
            }
            for (key, rooms) in [(all, ["team:a", "lobby"]), (team, ["team:a"])] {
                let listed = try await Self.answer(port, "GET", "/api/stars?user=ana", key)
                #expect(listed.json["stars"]?.array?.compactMap { $0["room"]?.string } == rooms)
            }
        }
    }

    @Test func aServerSpeaksForOthersWithinItsScopes() async throws {
        let keys = "bot:\(APIKeys.hash(of: "k1")):read+send@team:*"
        try await withTokens(["MARTLET_API_KEYS": keys]) { port in
            let key = "Authorization: Bearer k1\r\n"
            let body = #"{"user":"ana","text":"hi"}"#
            #expect(try await Self.status(port, "POST", "/api/rooms/team:a/messages", key, body: body) == 201)
            #expect(try await Self.status(port, "POST", "/api/rooms/lobby/messages", key, body: body) == 403)
            #expect(try await Self.status(port, "GET", "/api/rooms/lobby/messages", key) == 200)
            let unknown = "Authorization: Bearer k2\r\n"
            #expect(try await Self.status(port, "GET", "/api/rooms/lobby/messages", unknown) == 401)
            // A token is of one user.
            let token = "Authorization: Bearer \(try TestTokens.make("bob"))\r\n"
            #expect(try await Self.status(port, "POST", "/api/rooms/lobby/messages", token, body: body) == 403)
            #expect(
                try await Self.status(port, "POST", "/api/rooms/lobby/messages", token, body: #"{"text":"hi"}"#) == 201)
        }
    }

    // MARK: moderation

    private static func answer(
        _ port: Int, _ method: String, _ path: String, _ fields: String, body: String? = nil
    ) async throws -> (status: Int, json: JSONValue) {
        let socket = try await TestSocket.connect(port: port)
        let content = body.map { "Content-Length: \($0.utf8.count)\r\n\r\n\($0)" } ?? "\r\n"
        try await socket.write(
            "\(method) \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\(fields)\(content)")
        let answer = try #require(await socket.readAnswer())
        return (
            Int(answer.head.split(separator: " ")[1]) ?? 0, try JSONValue(parsing: Array(answer.body.utf8))
        )
    }

    @Test func moderatorsChangeRulesAndSanctionsOverHTTP() async throws {
        let keys = "mod:\(APIKeys.hash(of: "k1")):read+send+moderate,bot:\(APIKeys.hash(of: "k2")):send"
        try await withTokens(["MARTLET_API_KEYS": keys]) { port in
            let mod = "Authorization: Bearer k1\r\n"
            let ana = "Authorization: Bearer \(try TestTokens.make("ana", ["**": ["read", "send", "moderate"]]))\r\n"
            let bob = "Authorization: Bearer \(try TestTokens.make("bob"))\r\n"
            let (path, messages) = ("/api/rooms/lobby/moderation", "/api/rooms/lobby/messages")
            let before = try await Self.answer(port, "GET", path, ana).json
            #expect(before["version"]?.string == "0" && before["sanctions"]?.array?.isEmpty == true)
            #expect(before["rules"]?["posting"]?.string == "open" && before["rules"]?["slowMode"]?.integer == 0)
            // Only with the right, and only what is an order.
            let freeze = #"{"operation":"freeze"}"#
            #expect(try await Self.status(port, "POST", path, bob, body: freeze) == 403)
            #expect(try await Self.status(port, "GET", path, bob) == 403)
            for body in [
                "{}", "[]", #"{"operation":"burn"}"#, #"{"operation":"ban"}"#, #"{"operation":"ban","user":7}"#,
                #"{"operation":"ban","user":"bob","time":-1}"#, #"{"operation":"ban","user":"bob","time":0.5}"#,
                #"{"operation":"ban","user":"bob","time":0}"#, #"{"operation":"slow"}"#,
                #"{"operation":"slow","time":86400001}"#, #"{"operation":"posting","value":"nobody"}"#,
                #"{"operation":"mute","user":"bob","reason":"a\nb"}"#,
            ] {
                #expect(try await Self.status(port, "POST", path, ana, body: body) == 400, "\(body)")
            }
            // A session of bob is told, and bob may neither read nor write the room, nor come back.
            let session = try await TestWebSocket.connect(
                port: port, "room=lobby", extra: "\(bob)")
            _ = try await session.json("joined")
            #expect(try await Self.status(port, "POST", messages, bob, body: #"{"text":"hi"}"#) == 201)
            let ban = #"{"operation":"ban","user":"bob","time":3600000,"reason":"spam"}"#
            let banned = try await Self.answer(port, "POST", path, ana, body: ban)
            #expect(banned.status == 200 && banned.json["changed"]?.bool == true)
            let left = try await session.json("left")
            #expect(left["reason"]?.string == "banned" && left["until"]?.string != nil)
            for path in [messages, "/api/rooms/lobby/roster"] {
                let refused = try await Self.answer(port, "GET", path, bob)
                #expect(refused.status == 403 && refused.json["error"]?["code"]?.integer == 302)
                #expect(refused.json["error"]?["until"]?.string == left["until"]?.string)
            }
            let unsaid = try await Self.answer(port, "POST", messages, bob, body: #"{"text":"hi"}"#)
            #expect(unsaid.status == 403 && unsaid.json["error"]?["name"]?.string == "banned")
            for type in ["history", "roster", "join"] {
                try await session.send(#"{"type":"\#(type)","ref":1,"room":"lobby"}"#)
                #expect(try await session.json("error")["code"]?.integer == 302, "\(type)")
            }
            // Servers read for others.
            #expect(try await Self.status(port, "GET", messages, mod) == 200)
            let now = try await Self.answer(port, "GET", path, mod).json
            #expect(now["version"]?.string == banned.json["version"]?.string)
            let sanction = try #require(now["sanctions"]?.array?.first)
            #expect(sanction["user"]?.string == "bob" && sanction["kind"]?.string == "ban")
            #expect(sanction["reason"]?.string == "spam" && sanction["by"]?.string == "ana")
            #expect(sanction["until"]?.string == left["until"]?.string)
            // What is as wanted changes nothing.
            let unmute = #"{"operation":"unmute","user":"bob"}"#
            let same = try await Self.answer(port, "POST", path, mod, body: unmute)
            #expect(same.status == 200 && same.json["changed"]?.bool == false)
            #expect(same.json["version"]?.string == banned.json["version"]?.string)
            // Rules bind everybody but moderators and servers with that scope.
            #expect(try await Self.status(port, "POST", path, mod, body: freeze) == 200)
            let says = #"{"user":"cy","text":"hi"}"#
            let bot = "Authorization: Bearer k2\r\n"
            let frozen = try await Self.answer(port, "POST", messages, bot, body: says)
            #expect(frozen.status == 403 && frozen.json["error"]?["code"]?.integer == 305)
            #expect(try await Self.status(port, "POST", messages, mod, body: says) == 201)
            #expect(try await Self.status(port, "POST", messages, ana, body: #"{"text":"hi"}"#) == 201)
            // Sanctions bind servers too.
            #expect(try await Self.status(port, "POST", messages, mod, body: #"{"user":"bob","text":"hi"}"#) == 403)
            let unban = #"{"operation":"unban","user":"bob"}"#
            #expect(try await Self.status(port, "POST", path, mod, body: unban) == 200)
            #expect(try await Self.status(port, "GET", messages, bob) == 200)
        }
    }

    @Test func moderatorsChangeRulesAndSanctionsOverTheWebSocket() async throws {
        try await withTokens { port in
            let rooms: [String: [String]] = ["**": ["read", "send", "moderate"]]
            let ana = "Authorization: Bearer \(try TestTokens.make("ana", rooms))\r\n"
            let bob = "Authorization: Bearer \(try TestTokens.make("bob"))\r\n"
            let mod = try await TestWebSocket.connect(port: port, "room=lobby", extra: ana)
            let user = try await TestWebSocket.connect(port: port, "room=lobby", extra: bob)
            let joined = try await mod.json("joined")
            #expect(joined["rights"]?.array?.contains(.string("moderate")) == true && joined["rules"] == nil)
            _ = try await user.json("joined")
            try await user.send(#"{"type":"moderate","ref":1,"room":"lobby","operation":"freeze"}"#)
            #expect(try await user.json("error")["code"]?.integer == 301)
            try await mod.send(#"{"type":"moderate","ref":2,"room":"lobby","operation":"ban"}"#)
            #expect(try await mod.json("error")["name"]?.string == "missingField")
            // Everybody sees the new rules, which do not bind a moderator.
            try await mod.send(#"{"type":"moderate","ref":3,"room":"lobby","operation":"freeze"}"#)
            for socket in [mod, user] {
                #expect(try await socket.json("rules")["rules"]?["frozen"]?.bool == true)
            }
            try await user.send(#"{"type":"send","ref":4,"room":"lobby","text":"hi"}"#)
            #expect(try await user.json("error")["name"]?.string == "frozen")
            try await mod.send(#"{"type":"send","ref":5,"room":"lobby","text":"hi"}"#)
            _ = try await mod.json("sent")
            // Everybody sees what was imposed on whom, and until when.
            try await mod.send(
                #"{"type":"moderate","ref":6,"room":"lobby","operation":"mute","user":"bob","time":60000,"#
                    + #""reason":"spam"}"#
            )
            for socket in [mod, user] {
                let sanction = try await socket.json("sanction")
                #expect(sanction["kind"]?.string == "mute" && sanction["user"]?.string == "bob")
                #expect(sanction["reason"]?.string == "spam" && sanction["until"]?.string != nil)
            }
            let later = try await TestWebSocket.connect(port: port, "room=lobby", extra: bob)
            let told = try await later.json("joined")
            #expect(told["sanction"]?["kind"]?.string == "mute" && told["rules"]?["frozen"]?.bool == true)
            try await mod.send(
                #"{"type":"moderate","ref":7,"room":"lobby","operation":"kick","user":"bob","reason":"enough"}"#)
            for socket in [user, later] {
                let left = try await socket.json("left")
                #expect(left["message"]?.string == "enough" && left["until"]?.string != nil)
            }
        }
    }

    @Test func everybodyModeratesInDevelopmentMode() async throws {
        try await withMemoryNode(protocols: nil) { (port: Int) async throws in
            let path = "/api/rooms/lobby/moderation"
            #expect(try await Self.status(port, "POST", path, body: #"{"operation":"slow","time":5000}"#) == 200)
            #expect(try await Self.status(port, "GET", path) == 200)
        }
    }

    @Test func theIdempotencyKeyIsTheMessagesKey() async throws {
        try await withMemoryNode(protocols: nil) { (port: Int) async throws in
            let path = "/api/rooms/lobby/messages"
            let body = #"{"user":"ana","text":"hi"}"#
            #expect(try await Self.status(port, "POST", path, "Idempotency-Key: \"k1\"\r\n", body: body) == 201)
            #expect(try await Self.status(port, "POST", path, "Idempotency-Key: k1\r\n", body: body) == 200)
            let keyed = #"{"user":"ana","text":"hi","key":"k1"}"#
            #expect(try await Self.status(port, "POST", path, "Idempotency-Key: k1\r\n", body: keyed) == 200)
            #expect(try await Self.status(port, "POST", path, "Idempotency-Key: k2\r\n", body: keyed) == 400)
            #expect(try await Self.status(port, "POST", path, "Idempotency-Key: ~k\r\n", body: body) == 400)
        }
    }

    @Test(arguments: [("read", 403), ("chat", 201)])
    func clientsWithoutATokenMayDoWhatTheSettingSays(mode: String, posting: Int) async throws {
        try await withTokens(["MARTLET_ANONYMOUS": mode]) { port in
            let client = try await TestWebSocket.connect(port: port, "room=lobby")
            let welcome = try await client.json("welcome")
            #expect(welcome["user"]?.string?.hasPrefix("guest-") ?? false)
            _ = try await client.json("joined")
            #expect(try await Self.status(port, "GET", "/api/rooms/lobby/messages") == 200)
            let body = #"{"text":"hi"}"#
            #expect(try await Self.status(port, "POST", "/api/rooms/lobby/messages", body: body) == posting)
        }
    }
}
