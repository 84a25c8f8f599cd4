import ChatAccess
import ChatCore
import ChatJSON
import ChatNode
import ChatWire
import NIOCore
import TestSupport
import Testing

@testable import ChatGateway

/// Requests that wait for messages, through a whole node.
@Suite struct LongPollTests {
    /// Settings with which one address may ask a great deal.
    private static let rich = [
        "MARTLET_LIMIT_COST_PER_SECOND": "10000000", "MARTLET_LIMIT_COST_BURST": "100000000",
    ]

    private struct Answer {
        var status: Int
        var head: String
        var body: JSONValue

        var texts: [String?] { body["messages"]?.array?.map { $0["text"]?.string } ?? [] }
        var newest: String { body["newest"]?.string ?? "" }
    }

    private static func begin(
        _ port: Int, _ query: String, room: String = "lobby", fields: String = "", keeps: Bool = false
    ) async throws -> TestSocket {
        let socket = try await TestSocket.connect(port: port)
        let end = keeps ? "" : "Connection: close\r\n"
        try await socket.write(
            "GET /api/rooms/\(room)/messages?\(query) HTTP/1.1\r\nHost: localhost\r\n\(end)\(fields)\r\n")
        return socket
    }

    private static func answer(_ socket: TestSocket) async throws -> Answer {
        let answer = try #require(await socket.readAnswer())
        let status = try #require(Int(answer.head.split(separator: " ")[1]))
        return Answer(
            status: status, head: answer.head, body: (try? JSONValue(parsing: Array(answer.body.utf8))) ?? .null)
    }

    private static func poll(_ port: Int, _ query: String, room: String = "lobby") async throws -> Answer {
        try await answer(try await begin(port, query, room: room))
    }

    @discardableResult
    private static func say(
        _ port: Int, _ text: String, room: String = "lobby", fields: String = ""
    ) async throws -> String {
        let socket = try await TestSocket.connect(port: port)
        let body = #"{"user":"bo","text":"\#(text)"}"#
        try await socket.write(
            "POST /api/rooms/\(room)/messages HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\(fields)"
                + "Content-Length: \(body.utf8.count)\r\n\r\n\(body)")
        let said = try await answer(socket)
        #expect(said.status == 201, "\(said)")
        return try #require(said.body["position"]?.string)
    }

    /// Waits until that many requests wait.
    private static func waiting(_ port: Int, _ count: Int) async throws {
        try await eventually("\(count) requests wait") {
            let socket = try await TestSocket.connect(port: port)
            try await socket.write("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return await socket.readToEnd().contains("\nmartlet_polls \(count)\n")
        }
    }

    @Test func whatIsThereIsAnsweredAtOnceAndWhatComesWhenItComes() async throws {
        try await withMemoryNode { port in
            let first = try await Self.say(port, "one")
            let second = try await Self.say(port, "two")
            let missed = try await Self.poll(port, "after=\(first)&wait=20s")
            #expect(missed.status == 200 && missed.texts == ["two"] && missed.newest == second)
            #expect(missed.body["room"]?.string == "lobby" && missed.body["newer"]?.bool == false)
            let later = try await Self.begin(port, "after=\(second)&wait=20s")
            let fromNow = try await Self.begin(port, "wait=20")
            try await Self.waiting(port, 2)
            let third = try await Self.say(port, "three")
            for socket in [later, fromNow] {
                let answer = try await Self.answer(socket)
                #expect(answer.texts == ["three"] && answer.newest == third)
            }
            try await Self.waiting(port, 0)
        }
    }

    @Test func theEndOfTheWaitIsAnEmptyPageWithAPlaceToGoOnFrom() async throws {
        try await withMemoryNode { port in
            let position = try await Self.say(port, "one")
            let nothing = try await Self.poll(port, "wait=50ms")
            #expect(nothing.status == 200 && nothing.texts.isEmpty && nothing.newest == position)
            let bounded = try await Self.poll(port, "after=\(position)&wait=0")
            #expect(bounded.status == 200 && bounded.texts.isEmpty, "an ordinary page")
        }
        try await withMemoryNode(["MARTLET_LIMIT_POLL_WAIT": "100ms"]) { port in
            let answer = try await Self.poll(port, "wait=10m")
            #expect(answer.status == 200, "no longer than the setting says")
        }
    }

    @Test func aPageIsBoundedAndTheNextRequestGoesOn() async throws {
        try await withMemoryNode { port in
            var position = try await Self.say(port, "0")
            for number in 1...5 { try await Self.say(port, "\(number)") }
            var seen: [String?] = []
            while seen.count < 5 {
                let page = try await Self.poll(port, "after=\(position)&limit=2&wait=5s")
                #expect((1...2).contains(page.texts.count))
                #expect(page.body["newer"]?.bool == (seen.count + page.texts.count < 5))
                seen += page.texts
                position = try #require(page.body["messages"]?.array?.last?["position"]?.string)
            }
            #expect(seen == ["1", "2", "3", "4", "5"])
        }
    }

    @Test func aPositionOfAnotherHistoryIsAReset() async throws {
        try await withMemoryNode { port in
            let position = try await Self.say(port, "one")
            let epoch = try #require(Position(position)?.epoch)
            for lost in ["\(epoch + 1_000)-9", "\(epoch)-77", "1-5"] {
                let answer = try await Self.poll(port, "after=\(lost)&wait=10s")
                #expect(answer.status == 200 && answer.texts.isEmpty, "\(lost)")
                #expect(answer.body["reset"]?["reason"]?.string == "rewound", "\(lost): \(answer.body.text)")
                #expect(answer.body["reset"]?["position"]?.string == answer.newest)
            }
        }
    }

    @Test func whatTheLogForgotIsAGap() async throws {
        try await withMemoryNode(Self.rich.merging(["MARTLET_HISTORY_LENGTH": "10"]) { $1 }) { port in
            let first = try await Self.say(port, "first")
            for number in 0..<300 { try await Self.say(port, "\(number)") }
            let page = try await Self.poll(port, "after=\(first)&wait=5s&limit=100")
            let gap = try #require(page.body["gap"], "\(page.body.text.prefix(300))")
            #expect(gap["after"]?.string == first)
            let next = try #require(page.body["messages"]?.array?.first?["position"]?.string)
            #expect(gap["before"]?.string == next)
        }
    }

    @Test func badWaitsAreRefused() async throws {
        try await withMemoryNode { port in
            for query in [
                "wait=", "wait=x", "wait=-1", "wait=1h", "wait=1.5s", "wait=9999999999s", "wait=5s&before=1-1",
                "wait=5s&around=1-1", "wait=5s&time=1", "wait=5s&after=1", "wait=5s&limit=0",
            ] {
                let answer = try await Self.poll(port, query)
                #expect(answer.status == 400, "\(query)")
                #expect(answer.body["error"]?["name"]?.string == "badField", "\(query)")
            }
        }
    }

    @Test func whoWaitsIsNotPresent() async throws {
        try await withMemoryNode { port in
            let waiting = try await Self.begin(port, "wait=20s")
            try await Self.waiting(port, 1)
            let ana = try await TestWebSocket.connect(port: port, "user=ana&room=lobby")
            let joined = try await ana.json("joined")
            #expect(joined["count"]?.integer == 1 && joined["roster"]?.array?.count == 1)
            try await ana.send(#"{"type":"send","room":"lobby","text":"alone?","key":"k"}"#)
            let answer = try await Self.answer(waiting)
            #expect(answer.texts == ["alone?"])
            #expect(answer.body["messages"]?.array?.first?["key"] == nil, "keys are for their senders")
        }
    }

    @Test func aThousandRequestsForOneRoomGetTheSame() async throws {
        try await withMemoryNode(Self.rich) { port in
            let position = try await Self.say(port, "zero")
            var sockets: [TestSocket] = []
            for _ in 0..<1_000 { sockets.append(try await Self.begin(port, "after=\(position)&wait=50s")) }
            try await Self.waiting(port, 1_000)
            let next = try await Self.say(port, "one")
            for socket in sockets {
                let answer = try await Self.answer(socket)
                #expect(answer.texts == ["one"] && answer.newest == next)
            }
            try await Self.waiting(port, 0)
        }
    }

    @Test func aClientThatHasGoneLeavesItsPlace() async throws {
        try await withMemoryNode(["MARTLET_LIMIT_POLLS_PER_NODE": "2"]) { port in
            let first = try await Self.begin(port, "wait=50s", keeps: true)
            let second = try await Self.begin(port, "wait=50s", keeps: true)
            try await Self.waiting(port, 2)
            let third = try await Self.poll(port, "wait=50s")
            #expect(third.status == 429 && third.body["error"]?["name"]?.string == "tooManyWaiting")
            try await first.channel.close().get()
            try await Self.waiting(port, 1)
            // A client that only ends its own side gets an answer.
            let half = try await Self.begin(port, "wait=50s", keeps: true)
            try await Self.waiting(port, 2)
            try await half.channel.close(mode: .output).get()
            #expect(try await Self.answer(half).status == 200)
            try await second.channel.close().get()
            try await Self.waiting(port, 0)
        }
    }

    @Test func aBanASanctionARevocationAndTheEndOfATokenCountWhileOneWaits() async throws {
        let key = "a key of the back end"
        let keys = "backend:\(APIKeys.hash(of: key)):admin"
        try await withMemoryNode(["MARTLET_TOKEN_HMAC_SECRET": TestTokens.secret, "MARTLET_API_KEYS": keys]) { port in
            let admin = "Authorization: Bearer \(key)\r\n"
            func bearer(_ user: String, _ rooms: [String: [String]] = ["lobby": ["read"]]) throws -> String {
                "Authorization: Bearer \(try TestTokens.make(user, rooms))\r\n"
            }
            func order(_ path: String, _ body: String) async throws -> Int {
                let socket = try await TestSocket.connect(port: port)
                try await socket.write(
                    "POST \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\(admin)"
                        + "Content-Length: \(body.utf8.count)\r\n\r\n\(body)")
                return try await Self.answer(socket).status
            }
            try await Self.say(port, "zero", fields: admin)
            let foreign = try await Self.answer(
                try await Self.begin(port, "wait=5s", room: "secret", fields: try bearer("ana")))
            #expect(foreign.status == 403)
            #expect(try await Self.answer(try await Self.begin(port, "wait=5s")).status == 401)
            // Made now, as a token of a later second would not be revoked.
            let (eve, dan) = (try bearer("eve"), try bearer("dan"))
            let banned = try await Self.begin(port, "wait=50s", fields: try bearer("ana"))
            let revoked = try await Self.begin(port, "wait=50s", fields: eve)
            let sanctioned = try await Self.begin(port, "wait=50s", fields: dan)
            let fine = try await Self.begin(port, "wait=50s", fields: try bearer("cat"))
            try await Self.waiting(port, 4)
            #expect(try await order("/api/rooms/lobby/moderation", #"{"operation":"ban","user":"ana"}"#) == 200)
            #expect(try await order("/api/revocations", #"{"user":"eve"}"#) == 200)
            #expect(try await order("/api/users/dan/sanctions", #"{"operation":"ban"}"#) == 200)
            for (user, fields, status) in [("eve", eve, 401), ("dan", dan, 403)] {
                try await eventually("\(user) may not read any more") {
                    try await Self.answer(try await Self.begin(port, "limit=1", fields: fields)).status == status
                }
            }
            try await Self.say(port, "secret", fields: admin)
            #expect(try await Self.answer(banned).status == 403)
            #expect(try await Self.answer(revoked).status == 401)
            #expect(try await Self.answer(sanctioned).status == 403)
            #expect(try await Self.answer(fine).texts == ["secret"])
        }
    }

    @Test func aNodeThatLeavesAnswersAtOnce() async throws {
        var sockets: [TestSocket] = []
        try await withMemoryNode { port in
            for _ in 0..<20 { sockets.append(try await Self.begin(port, "wait=50s", keeps: true)) }
            try await Self.waiting(port, 20)
        }
        for socket in sockets {
            let answer = try await Self.answer(socket)
            #expect(answer.status == 200 && answer.texts.isEmpty)
            #expect(answer.head.contains("Connection: close"), "the next one goes elsewhere")
        }
    }
}
