import ChatCore
import ChatGateway
import ChatJSON
import ChatWire
import NIOCore
import TestSupport
import Testing

/// Clients of Socket.IO against a gateway: polling, WebSockets, the upgrade, and a session that another node has.
struct SocketIOTests {
    private static func registry(_ profile: String = "martlet") throws -> ProtocolRegistry {
        var registry = ProtocolRegistry.standard(limits: Limits())
        registry.registerSocketIO(try SocketIOProfile(Array((SocketIOProfile.shipped[profile] ?? profile).utf8)))
        return registry
    }

    private func with(
        _ profile: String = "martlet", loops: Int = 2, origins: Set<String>? = nil,
        _ body: (_ port: Int, _ service: FakeService, _ server: GatewayServer) async throws -> Void
    ) async throws {
        let registry = try Self.registry(profile)
        try await withGateway(
            service: FakeService(protocols: registry), loops: loops, protocols: registry,
            { $0.allowedOrigins = origins }, body)
    }

    /// One request on a connection of its own: the status, and the body.
    private func ask(
        _ port: Int, _ query: String, post: String? = nil, extra: String = ""
    ) async throws -> (status: Int, body: String) {
        let socket = try await TestSocket.connect(port: port)
        let method = post == nil ? "GET" : "POST"
        let length = post.map { "Content-Length: \($0.utf8.count)\r\n" } ?? ""
        try await socket.write(
            "\(method) /socket.io/?EIO=4&transport=polling\(query) HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
                + "\(extra)\(length)\r\n\(post ?? "")"
        )
        guard let answer = await socket.readAnswer() else { throw TestFailure("no answer") }
        return (Int(answer.head.split(separator: " ")[1]) ?? 0, answer.body)
    }

    private func open(_ port: Int, _ query: String = "") async throws -> String {
        let (status, body) = try await ask(port, query)
        #expect(status == 200 && body.hasPrefix("0"))
        let sid = try JSONValue(parsing: String(body.dropFirst()))["sid"]?.string
        return try #require(sid)
    }

    /// Polls until a packet begins like this, and returns it.
    private func poll(_ port: Int, _ sid: String, for prefix: String) async throws -> String {
        for _ in 0..<20 {
            let (status, body) = try await ask(port, "&sid=\(sid)")
            guard status == 200 else { throw TestFailure("status \(status): \(body)") }
            for packet in body.split(separator: "\u{1E}") where packet.hasPrefix(prefix) { return String(packet) }
        }
        throw TestFailure("\(prefix) did not come")
    }

    private func join(_ port: Int, _ sid: String, user: String) async throws {
        #expect(try await ask(port, "&sid=\(sid)", post: "40{\"user\":\"\(user)\"}") == (200, "ok"))
        _ = try await poll(port, sid, for: "40{\"sid\":")
        #expect(try await ask(port, "&sid=\(sid)", post: "420[\"join\",\"lobby\"]") == (200, "ok"))
        _ = try await poll(port, sid, for: "430[{\"room\":\"lobby\"")
    }

    private func webSocket(_ port: Int, _ query: String = "") async throws -> TestWebSocket {
        try await TestWebSocket.connect(port: port, "EIO=4&transport=websocket\(query)", path: "/socket.io/")
    }

    private func text(_ socket: TestWebSocket, _ prefix: String) async throws -> String {
        while let event = await socket.next() {
            guard case .text(let bytes) = event else { continue }
            let text = String(decoding: bytes, as: UTF8.self)
            if text.hasPrefix(prefix) { return text }
        }
        throw TestFailure("\(prefix) did not come")
    }

    @Test func pollingClientsTalkToClientsOfOtherProtocols() async throws {
        try await with { port, service, server in
            let sid = try await open(port)
            try await join(port, sid, user: "ana")
            let bob = try await TestWebSocket.connect(port: port, "user=bob&room=lobby")
            _ = try await bob.json("joined")
            try await bob.send(#"{"type":"send","ref":1,"room":"lobby","text":"hi"}"#)
            let shown = try await poll(port, sid, for: "42[\"message\"")
            #expect(shown.contains(#""user":"bob""#) && shown.contains(#""text":"hi""#))
            let post = #"427["send",{"room":"lobby","text":"hello"}]"#
            #expect(try await ask(port, "&sid=\(sid)", post: post) == (200, "ok"))
            #expect(try await poll(port, sid, for: "437[{\"position\":\"1-2\"").contains("\"at\""))
            _ = try await bob.json("message")
            #expect(try await bob.json("message")["user"]?.string == "ana")
            #expect(await server.counters().sessions == 2)
            #expect(try await ask(port, "&sid=\(sid)", post: "1") == (200, "ok"))
            try await eventually("ana is gone") { service.sessions == 1 }
            #expect(try await ask(port, "&sid=\(sid)").status == 400)
        }
    }

    @Test(arguments: [1, 2, 4]) func aPollingClientBecomesAWebSocket(loops: Int) async throws {
        try await with(loops: loops) { port, service, server in
            let sid = try await open(port)
            try await join(port, sid, user: "ana")
            let socket = try await webSocket(port, "&sid=\(sid)")
            try await socket.send("2probe")
            #expect(try await text(socket, "3") == "3probe")
            try await socket.send("5")
            try await socket.send(#"421["send",{"room":"lobby","text":"hello"}]"#)
            #expect(try await text(socket, "431").contains("\"position\":\"1-1\""))
            #expect(try await ask(port, "&sid=\(sid)").status == 400)
            let second = try await webSocket(port, "&sid=\(sid)")
            #expect(await second.closeFrame() != nil)
            for round in 2...40 {
                try await socket.send("42\(round)[\"send\",{\"room\":\"lobby\",\"text\":\"\(round)\"}]")
                #expect(try await text(socket, "43\(round)[").contains("\"position\":\"1-\(round)\""))
            }
            socket.socket.channel.close(promise: nil)
            try await eventually("ana is gone") { service.sessions == 0 }
            try await eventually("nothing is queued") { await server.counters().queuedBytes == 0 }
        }
    }

    @Test func namespacesAreSessionsOfTheirOwn() async throws {
        try await with { port, service, _ in
            let socket = try await webSocket(port)
            _ = try await text(socket, "0{")
            try await socket.send(#"40{"user":"ana"}"#)
            _ = try await text(socket, "40{")
            try await socket.send(#"40/a,{"user":"bob"}"#)
            _ = try await text(socket, "40/a,{")
            #expect(service.sessions == 2)
            for (namespace, id) in [("", 1), ("/a,", 2)] {
                try await socket.send("42\(namespace)\(id)[\"join\",\"lobby\"]")
                _ = try await text(socket, "43\(namespace)\(id)[")
            }
            try await socket.send(#"42/a,["send",{"room":"lobby","text":"hi"}]"#)
            let first = try await text(socket, "42")
            let other = try await text(socket, "42")
            #expect(Set([first.prefix(6), other.prefix(6)]) == ["42[\"me", "42/a,["])
            try await socket.send("41/a,")
            try await eventually("one namespace is left") { service.sessions == 1 }
            try await socket.send(#"423["roster","lobby"]"#)
            _ = try await text(socket, "433[")
        }
    }

    @Test func clientsThatSayLaterWhoTheyAre() async throws {
        try await with("chat") { port, service, _ in
            let socket = try await webSocket(port)
            try await socket.send("40")
            _ = try await text(socket, "40{")
            try await socket.send(#"42["new message","too early"]"#)
            #expect(try await text(socket, "42").contains("unauthenticated"))
            #expect(service.sessions == 0)
            try await socket.send(#"42["add user","ana"]"#)
            #expect(try await text(socket, "42") == #"42["login",{"numUsers":0}]"#)
            #expect(service.sessions == 1)
        }
    }

    @Test func aClientThatIsNotKnownIsToldSo() async throws {
        try await with { port, service, _ in
            let socket = try await webSocket(port)
            try await socket.send("40")
            let refusal = try await text(socket, "44")
            #expect(refusal.contains("\"code\":300"))
            // It may try again on the same connection.
            try await socket.send(#"40{"user":"ana"}"#)
            _ = try await text(socket, "40{")
            service.closeSessions(.banned)
            #expect(try await text(socket, "41") == "41")
            try await eventually("it is gone") { service.sessions == 0 }
            let other = try await webSocket(port)
            try await other.send(#"40{"user":"ana"}"#)
            _ = try await text(other, "40{")
            service.closeSessions(.draining)
            #expect(await other.closeFrame() != nil)
            try await eventually("it is gone") { service.sessions == 0 }
        }
    }

    @Test func aSessionMayBePolledThroughAnyNode() async throws {
        try await with { port, _, _ in
            let registry = try Self.registry()
            let service = FakeService(protocols: registry)
            service.know("test-1", at: NodeAddress(host: "127.0.0.1", port: port))
            try await withGateway(service: service, protocols: registry, { $0.nodeID = try NodeID("test-2") }) {
                other, _, _ in
                let sid = try await open(port)
                // Every request through the node that does not have the session.
                try await join(other, sid, user: "ana")
                let post = #"421["send",{"room":"lobby","text":"hello"}]"#
                #expect(try await ask(other, "&sid=\(sid)", post: post) == (200, "ok"))
                _ = try await poll(other, sid, for: "431[")
                let socket = try await webSocket(other, "&sid=\(sid)")
                try await socket.send("2probe")
                #expect(try await text(socket, "3") == "3probe")
                try await socket.send("5")
                try await socket.send(#"422["send",{"room":"lobby","text":"hello"}]"#)
                #expect(try await text(socket, "432").contains("\"position\":\"1-2\""))
                #expect(try await ask(other, "&sid=\(sid)").status == 400)
                #expect(try await ask(other, "&sid=test-9.0.aaaaaaaaaaaaaaaaaaaa").body.contains("\"code\":1"))
                // A request that was passed on is not passed on again.
                let round = try await ask(port, "&sid=test-2.0.aaaaaaaaaaaaaaaaaaaa", extra: "Martlet-Forwarded: 1\r\n")
                #expect(round.status == 400)
            }
        }
    }

    /// As browsers do if a connection that was used before ends without an answer.
    @Test func requestsThatAreSentAgainLoseAndRepeatNothing() async throws {
        try await with { port, service, _ in
            let sid = try await open(port)
            try await join(port, sid, user: "ana")
            let send = "42[\"send\",{\"room\":\"lobby\",\"text\":\"one\"}]"
            for _ in 0..<2 { #expect(try await ask(port, "&sid=\(sid)&t=p1", post: send) == (200, "ok")) }
            let shown = try await ask(port, "&sid=\(sid)&t=g1")
            #expect(shown.status == 200 && shown.body.contains("lobby~1-1") && !shown.body.contains("lobby~1-2"))
            #expect(service.performed.count { if case .send = $0 { true } else { false } } == 1)
            // The answer above is lost: so the session is, and the client goes on from what it has seen.
            #expect(try await ask(port, "&sid=\(sid)&t=g1").status == 400)
            try await eventually("the state is kept") { service.records == 1 }
        }
    }

    @Test func aLostConnectionIsRestored() async throws {
        try await with { port, service, _ in
            let first = try await webSocket(port)
            try await first.send(#"40{"user":"ana"}"#)
            let connected = try await text(first, "40{")
            let pid = try #require(try JSONValue(parsing: String(connected.dropFirst(2)))["pid"]?.string)
            try await first.send(#"421["join","lobby"]"#)
            _ = try await text(first, "431[")
            try await first.send(#"422["send",{"room":"lobby","text":"one"}]"#)
            #expect(try await text(first, "42[").contains("\"lobby~1-1\""))
            first.socket.channel.close(promise: nil)
            try await eventually("the state is kept") { service.records == 1 }
            let bob = try await TestWebSocket.connect(port: port, "user=bob&room=lobby")
            try await bob.send(#"{"type":"send","ref":1,"room":"lobby","text":"two"}"#)
            _ = try await bob.json("sent")
            let second = try await webSocket(port)
            try await second.send("40{\"user\":\"ana\",\"pid\":\"\(pid)\",\"offset\":\"lobby~1-1\"}")
            #expect(try await text(second, "40{").contains("\"pid\":\"\(pid)\""))
            _ = try await text(second, "42[\"joined\"")
            let join = ClientRequest.Body.join(
                room: try RoomName("lobby"), after: Position(epoch: 1, seq: 1), history: nil)
            #expect(service.performed.contains(join))
            #expect(service.records == 0)
            // Another user gets nothing of it, and a client that leaves has no state.
            second.socket.channel.close(promise: nil)
            try await eventually("the state is kept again") { service.records == 1 }
            let third = try await webSocket(port)
            try await third.send("40{\"user\":\"cleo\",\"pid\":\"\(pid)\",\"offset\":\"lobby~1-1\"}")
            #expect(try await !text(third, "40{").contains(pid))
            try await third.send("1")
            #expect(await third.closeFrame() != nil)
            try await eventually("she is gone") { service.sessions == 1 }
            #expect(service.records == 0)
        }
    }

    @Test func pollsOfANodeThatLeavesEnd() async throws {
        try await with { port, service, server in
            let sid = try await open(port)
            try await join(port, sid, user: "ana")
            async let last = ask(port, "&sid=\(sid)")
            let open = try await TestSocket.connect(port: port)
            await server.stopAccepting()
            try await eventually("ana is gone, and her state is kept") { service.sessions == 0 && service.records == 1 }
            // The poll may have come too late, on a connection that was not accepted.
            // What was queued comes first, and the close packet alone with the next poll.
            if let answer = try? await last, answer.status == 200 {
                #expect(answer.body == "1" || !answer.body.contains("\u{1E}1"))
            }
            open.channel.close(promise: nil)
        }
    }

    @Test func faultyRequestsAreRefusedAsEngineIODescribesIt() async throws {
        try await with { port, _, _ in
            for (query, code) in [
                ("&sid=x", 1), ("&sid=test-1.0.aaaaaaaaaaaaaaaaaaaa", 1), ("&sid=test-1.99.aaaaaaaaaaaaaaaaaaaa", 1),
            ] {
                let (status, body) = try await ask(port, query)
                #expect(status == 400 && body.contains("\"code\":\(code)"), "\(query)")
            }
            #expect(try await ask(port, "", post: "40").body.contains("\"code\":2"))
            let sid = try await open(port)
            #expect(try await ask(port, "&sid=\(sid)", post: "abc").status == 400)
            #expect(try await ask(port, "&sid=\(sid)").body.contains("\"code\":1"))
            let large = String(repeating: "4", count: Limits().frameBytes + 1)
            let other = try await open(port)
            #expect(try await ask(port, "&sid=\(other)", post: large).status == 413)
            for packet in ["4abc", "42{}", "42[\"message\"]", "45-1[]", "2", "x"] {
                let socket = try await webSocket(port)
                try await socket.send(packet)
                #expect(await socket.closeFrame() != nil, "\(packet)")
            }
        }
    }

    @Test func twoPollsAtOnceEndTheSession() async throws {
        try await with { port, service, _ in
            let sid = try await open(port)
            try await join(port, sid, user: "ana")
            async let first = ask(port, "&sid=\(sid)")
            var statuses: [Int] = []
            // The first poll may not have come yet: then the other one waits, and is the first.
            async let second = ask(port, "&sid=\(sid)")
            for answer in [try await first, try await second] {
                statuses.append(answer.status)
                if answer.status == 200 { #expect(answer.body == "1") }
            }
            #expect(statuses.sorted() == [200, 400])
            try await eventually("the session is gone") { service.sessions == 0 }
        }
    }

    @Test func pagesOfOtherOriginsAreRefused() async throws {
        try await with(origins: ["https://chat.example"]) { port, _, _ in
            let foreign = try await ask(port, "", extra: "Origin: https://evil.example\r\n")
            #expect(foreign.status == 403)
            #expect(try await ask(port, "", extra: "Origin: https://chat.example\r\n").status == 200)
            await #expect(throws: TestFailure.self) {
                _ = try await TestWebSocket.connect(
                    port: port, "EIO=4&transport=websocket", extra: "Origin: https://evil.example\r\n",
                    path: "/socket.io/")
            }
        }
    }
}
