import ChatCore
import ChatGateway
import ChatJSON
import ChatWire
import NIOCore
import TestSupport
import Testing

/// Bad input is normal input: each frame gets a clear error, the session continues, and no other session is affected.
struct BadFrameTests {
    private func expectError(
        _ client: TestWebSocket, _ name: String, ref: String? = nil, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let error = try await client.json("error")
        #expect(error["name"]?.string == name, sourceLocation: sourceLocation)
        #expect(error["ref"]?.string == ref, sourceLocation: sourceLocation)
        #expect(error["message"]?.string?.isEmpty == false, sourceLocation: sourceLocation)
    }

    private func expectAlive(_ client: TestWebSocket) async throws {
        try await client.send(#"{"type":"ping","ref":"alive"}"#)
        #expect(try await client.json("pong")["ref"]?.string == "alive")
    }

    @Test func framesThatCannotBeReadAreAnsweredAndTheSessionGoesOn() async throws {
        try await withGateway { port, _, server in
            let client = try await TestWebSocket.connect(port: port)
            _ = try await client.json("welcome")
            try await client.send("{")
            try await expectError(client, "badFrame")
            try await client.send("[]")
            try await expectError(client, "badFrame")
            try await client.send(#"{"type":"shout","ref":"r"}"#)
            try await expectError(client, "unknownType", ref: "r")
            try await client.send(#"{"type":"join","ref":"r"}"#)
            try await expectError(client, "missingField", ref: "r")
            try await client.send(#"{"type":"join","ref":"r","room":7}"#)
            try await expectError(client, "badField", ref: "r")
            try await client.send(#"{"type":"join","ref":"r","room":"a\u0007"}"#)
            try await expectError(client, "badName", ref: "r")
            try await client.send(#"{"type":"send","ref":"r","room":"a","text":"x"}"#)
            try await expectError(client, "notJoined", ref: "r")
            try await client.sendFrame(.binary, [1, 2, 3])
            try await expectError(client, "binaryFrame")
            try await expectAlive(client)
            let counters = await server.counters()
            #expect(counters.badFrames["badFrame"] == 2)
            #expect(counters.badFrames["binaryFrame"] == 1)
        }
    }

    @Test func aFrameThatIsTooLargeIsAnsweredAndSkipped() async throws {
        try await withGateway {
            $0.limits.frameBytes = 2_000
        } _: { port, _, _ in
            let client = try await TestWebSocket.connect(port: port)
            let name = String(repeating: "x", count: 1_000_000)
            try await client.send("{\"type\":\"join\",\"room\":\"\(name)\"}")
            try await expectError(client, "frameTooLarge")
            try await expectAlive(client)
        }
    }

    @Test func aMillionCharacterRoomNameIsAnswered() async throws {
        try await withGateway {
            $0.limits.frameBytes = 2_000_000
        } _: { port, _, _ in
            let client = try await TestWebSocket.connect(port: port)
            let name = String(repeating: "é", count: 1_000_000 / 2)
            try await client.send("{\"type\":\"join\",\"ref\":\"r\",\"room\":\"\(name)\"}")
            try await expectError(client, "badName", ref: "r")
            try await expectAlive(client)
        }
    }

    @Test func tenThousandJoinsAreAnsweredEach() async throws {
        try await withGateway {
            $0.limits.roomsPerSession = 100
        } _: { port, service, _ in
            let client = try await TestWebSocket.connect(port: port)
            let other = try await TestWebSocket.connect(port: port, "user=bob&room=quiet")
            _ = try await other.json("joined")
            var bytes: [UInt8] = []
            for number in 0..<10_000 {
                let text = "{\"type\":\"join\",\"ref\":\(number),\"room\":\"room-\(number)\"}"
                WebSocketFrame.append(.text, Array(text.utf8), maskingKey: 9, to: &bytes)
            }
            let all = bytes
            client.socket.channel.writeAndFlush(ByteBuffer(bytes: all), promise: nil)
            _ = try await client.json("welcome")
            for number in 0..<10_000 {
                let answer = try await client.json()
                #expect(answer["ref"]?.integer == number)
                #expect(answer["type"]?.string == (number < 100 ? "joined" : "error"))
                if number >= 100 { #expect(answer["name"]?.string == "tooManyRooms") }
            }
            #expect(service.performed.count == 101)
            try await expectAlive(other)
        }
    }

    @Test func requestsBeyondTheRateAreAnsweredAndTheNextSecondIsFine() async throws {
        try await withGateway {
            $0.limits.requestBurst = 5
            $0.limits.requestsPerSecond = 1
        } _: { port, _, _ in
            let client = try await TestWebSocket.connect(port: port)
            for number in 0..<40 { try await client.send("{\"type\":\"ping\",\"ref\":\(number)}") }
            var refused = 0
            _ = try await client.json("welcome")
            for _ in 0..<40 {
                let answer = try await client.json()
                if answer["name"]?.string == "rateLimited" {
                    refused += 1
                    #expect(answer["retry"]?.bool == true)
                }
            }
            #expect(refused > 0)
            try await eventually("tokens came back") {
                try? await client.send(#"{"type":"ping"}"#)
                return (try? await client.json())?["type"]?.string == "pong"
            }
        }
    }

    @Test func sendsThatWaitAreLimited() async throws {
        try await withGateway {
            $0.limits.waitingSendsPerSession = 2
        } _: { port, service, _ in
            service.hold()
            let client = try await TestWebSocket.connect(port: port, "user=ana&room=a")
            _ = try await client.json("joined")
            for number in 0..<3 {
                try await client.send("{\"type\":\"send\",\"ref\":\(number),\"room\":\"a\",\"text\":\"x\"}")
            }
            let error = try await client.json("error")
            #expect(error["ref"]?.integer == 2)
            #expect(error["name"]?.string == "tooManyWaiting")
            service.release()
            #expect(try await client.json("sent")["ref"]?.integer == 0)
            #expect(try await client.json("sent")["ref"]?.integer == 1)
            try await client.send(#"{"type":"send","ref":3,"room":"a","text":"x"}"#)
            #expect(try await client.json("sent")["ref"]?.integer == 3)
        }
    }

    @Test func manyBadFramesAreAbuse() async throws {
        try await withGateway {
            $0.limits.badFramesPerMinute = 3
        } _: { port, service, server in
            let client = try await TestWebSocket.connect(port: port)
            for _ in 0..<4 { try await client.send("{") }
            // More than are answered, if the connection is still open.
            for _ in 0..<6 { try? await client.send("{") }
            _ = try await client.json("welcome")
            for _ in 0..<4 { try await expectError(client, "badFrame") }
            #expect(await client.next() == .close(WebSocketCloseCode(rawValue: 4005), reason: "abuse"))
            try await eventually("the service was told") { service.sessions == 0 }
            client.socket.channel.close(promise: nil)
            try await eventually("counted") { await server.counters().sessionsClosed == ["abuse": 1] }
        }
    }

    /// Violations of RFC 6455 close the connection with the code of the RFC, and only that connection.
    @Test(
        arguments: [
            ([0x81, 0x01, 0x61], 1002), ([0x81, 0x81, 0, 0, 0, 0, 0xFF], 1007), ([0x83, 0x80, 0, 0, 0, 0], 1002),
            ([0xC1, 0x80, 0, 0, 0, 0], 1002), ([0x80, 0x80, 0, 0, 0, 0], 1002), ([0x88, 0x81, 0, 0, 0, 0, 1], 1002),
            ([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xED], 1002), ([0x81, 0xFF, 0x7F, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1009),
        ] as [([UInt8], UInt16)])
    func whatTheRFCSaysMustCloseClosesThatConnectionAlone(bytes: [UInt8], code: UInt16) async throws {
        try await withGateway { port, service, _ in
            let other = try await TestWebSocket.connect(port: port, "user=bob")
            let client = try await TestWebSocket.connect(port: port)
            try await client.socket.write(bytes)
            guard case .close(let given, _) = await client.closeFrame() else {
                Issue.record("no close frame")
                return
            }
            #expect(given?.rawValue == code)
            #expect(await client.next() == nil, "the server ends its side")
            client.socket.channel.close(promise: nil)
            try await eventually("it is gone") { service.sessions == 1 }
            try await expectAlive(other)
        }
    }

    @Test func fragmentsWithPingsBetweenAreOneRequest() async throws {
        try await withGateway { port, _, _ in
            let client = try await TestWebSocket.connect(port: port)
            _ = try await client.json("welcome")
            let text = Array(#"{"type":"ping","ref":"é"}"#.utf8)
            try await client.sendFrame(.text, Array(text[..<22]), isFinal: false)
            try await client.sendFrame(.ping, [1])
            try await client.sendFrame(.continuation, Array(text[22...]))
            #expect(await client.next() == .pong([1]))
            #expect(try await client.json("pong")["ref"]?.string == "é")
        }
    }
}
