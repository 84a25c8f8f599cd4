import ChatCore
import ChatGateway
import ChatJSON
import ChatWire
import NIOCore
import TestSupport
import Testing

struct SlowSessionTests {
    /// One reader stalls and three continue: each of those gets every message once and in order, and the stalled one is
    /// closed as slow.
    @Test func aStalledReaderIsClosedAsSlowAndTheOthersGoOn() async throws {
        try await withGateway {
            $0.limits.outboundBytes = 200_000
            $0.sendBufferBytes = 16_384
            $0.closeTimeout = .milliseconds(300)
        } _: { port, service, server in
            let room = try RoomName("busy")
            let stalled = try await TestWebSocket.connect(port: port, "user=slow&room=busy", autoRead: false)
            var others: [TestWebSocket] = []
            for number in 0..<3 {
                others.append(try await TestWebSocket.connect(port: port, "user=u\(number)&room=busy"))
                _ = try await others[number].json("joined")
            }
            try await eventually("all are in the room") { service.members(of: room) == 4 }
            let content = MessageContent(user: try UserID("bot"), at: 0, text: String(repeating: "x", count: 4_000))
            // In batches that the others read before the next one, because this test is not about flooding them.
            var seq = 0
            while seq < 1_000, service.sessions == 4 || seq < 100 {
                for _ in 0..<20 { _ = try await service.say(room: room, content: content, by: nil) }
                for client in others {
                    for number in 1...20 {
                        #expect(try await client.json("message")["position"]?.string == "1-\(seq + number)")
                    }
                }
                seq += 20
            }
            try await eventually("the stalled one is closed") { await server.counters().sessionsClosed["slow"] == 1 }
            #expect(service.sessions == 3)
            #expect(await server.counters().queuedBytes == 0)
            _ = stalled.socket.channel
        }
    }

    @Test func aSlowSessionThatReadsAtLastFindsTheNumberedClose() async throws {
        try await withGateway {
            $0.limits.outboundBytes = 100_000
            $0.sendBufferBytes = 16_384
            $0.closeTimeout = .seconds(20)
        } _: { port, service, server in
            let room = try RoomName("busy")
            let client = try await joinWithoutReading(room, port: port, service)
            let content = MessageContent(user: try UserID("bot"), at: 0, text: String(repeating: "x", count: 10_000))
            try await eventually("it is found slow") {
                for _ in 0..<50 { _ = try? await service.say(room: room, content: content, by: nil) }
                return service.sessions == 0
            }
            #expect(await server.counters().sessions == 1)
            try await client.socket.readOn()
            _ = await client.socket.readAnswer(hasBody: false)
            #expect(await client.closeFrame() == .close(WebSocketCloseCode(rawValue: 4001), reason: "slow"))
        }
    }

    @Test func aSessionTakesAPageOnlyWhenItHasReadWhatCameBefore() async throws {
        try await withGateway {
            $0.limits.outboundBytes = 400_000
            $0.sendBufferBytes = 16_384
        } _: { port, service, _ in
            let room = try RoomName("busy")
            let client = try await joinWithoutReading(room, port: port, service)
            #expect(try await service.takesPage())
            let content = MessageContent(user: try UserID("bot"), at: 0, text: String(repeating: "x", count: 10_000))
            for _ in 0..<25 { _ = try await service.say(room: room, content: content, by: nil) }
            try await eventually("it is behind") { (try? await service.takesPage()) == false }
            #expect(service.drained.isEmpty)
            try await client.socket.readOn()
            try await eventually("it is said to take a page") { service.drained.count == 1 }
            #expect(try await service.takesPage())
            #expect(service.drained.count == 1)
        }
    }

    @Test func aPeerThatReadsNothingForAHeartbeatIsSlowHoweverLittleWaits() async throws {
        try await withGateway {
            $0.heartbeatSeconds = 1
            $0.limits.outboundBytes = 10_000_000
            $0.sendBufferBytes = 16_384
            $0.closeTimeout = .milliseconds(100)
        } _: { port, service, server in
            let room = try RoomName("busy")
            let client = try await joinWithoutReading(room, port: port, service)
            let content = MessageContent(user: try UserID("bot"), at: 0, text: String(repeating: "x", count: 10_000))
            for _ in 0..<30 { _ = try await service.say(room: room, content: content, by: nil) }
            try await eventually("it is closed") { await server.counters().sessionsClosed["slow"] == 1 }
            _ = client.socket.channel
        }
    }

    @Test func handshakesBeyondTheRateAreRefusedAndCounted() async throws {
        try await withGateway {
            $0.limits.handshakesPerSecond = 2
        } _: { port, service, server in
            var sockets: [TestSocket] = []
            for _ in 0..<20 { sockets.append(try await TestSocket.connect(port: port)) }
            for socket in sockets { try await socket.write(TestWebSocket.handshake()) }
            var statuses: [String: Int] = [:]
            for socket in sockets {
                let answer = try #require(await socket.readAnswer(hasBody: false))
                statuses[String(answer.head.prefix(12)), default: 0] += 1
                if answer.head.hasPrefix("HTTP/1.1 503") { #expect(answer.head.contains("Retry-After: 1")) }
            }
            let refused = statuses["HTTP/1.1 503"] ?? 0
            #expect(refused > 0, "\(statuses)")
            #expect((statuses["HTTP/1.1 101"] ?? 0) > 0, "\(statuses)")
            #expect(await server.counters().limitRefusals[.handshakesPerSecond] == UInt64(refused))
        }
    }

    @Test func aQuietSessionIsPingedAndASilentOneIsClosed() async throws {
        try await withGateway {
            // Beside hundreds of other tests an answer may take a second.
            $0.heartbeatSeconds = 3
        } _: { port, service, _ in
            let client = try await TestWebSocket.connect(port: port)
            _ = try await client.json("welcome")
            let first = await client.next()
            #expect(first == .ping([]))
            try await client.sendFrame(.pong, [])
            #expect(await client.next() == .ping([]))
            #expect(await client.closeFrame() == .close(WebSocketCloseCode(rawValue: 4006), reason: "heartbeatMissed"))
            try await eventually("the service was told") { service.sessions == 0 }
        }
    }

    @Test func drainingTellsEachSessionItsOwnTimeAndClosesItThen() async throws {
        try await withGateway { port, service, server in
            var clients: [TestWebSocket] = []
            for number in 0..<10 { clients.append(try await TestWebSocket.connect(port: port, "user=u\(number)")) }
            try await eventually("all are there") { service.sessions == 10 }
            await server.stopAccepting()
            await #expect(throws: (any Error).self) { try await TestWebSocket.connect(port: port) }
            async let closing: Void = server.closeAll(.draining, spread: .milliseconds(400))
            var times: Set<Int> = []
            for client in clients {
                guard let time = try await client.json("draining")["reconnectAfter"]?.integer else { continue }
                #expect((0..<400).contains(time))
                times.insert(time)
                #expect(await client.closeFrame() == .close(WebSocketCloseCode(rawValue: 4000), reason: "draining"))
                try await client.sendFrame(.close, [0x0F, 0xA0])
                client.socket.channel.close(promise: nil)
            }
            #expect(times.count >= 5)
            await closing
            #expect(await server.counters().sessions == 0)
        }
    }

    @Test func aCloseFrameThatIsNotAnsweredIsFollowedByACut() async throws {
        try await withGateway {
            $0.closeTimeout = .milliseconds(100)
        } _: { port, service, server in
            let client = try await TestWebSocket.connect(port: port)
            _ = try await client.json("welcome")
            service.closeSessions(.ended)
            #expect(await client.closeFrame() == .close(WebSocketCloseCode(rawValue: 4007), reason: "ended"))
            #expect(await client.next() == nil)
            try await eventually("cut") { await server.counters().connections == 0 }
        }
    }
}
