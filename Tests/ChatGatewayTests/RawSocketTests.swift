import ChatCore
import ChatGateway
import ChatJSON
import ChatWire
import NIOCore
import TestSupport
import Testing

/// Writing directly to the descriptor is an optimisation: the client receives the same bytes as through the channel.
@Suite(.serialized)
struct RawSocketTests {
    /// Reads `count` messages of the test and expects that they are numbers `from`, `from + 1`, ….
    private func read(_ count: Int, from: Int, _ client: TestWebSocket) async throws {
        var expected = from
        while expected < from + count {
            guard case .text(let bytes)? = await client.next() else { throw TestFailure("ended at \(expected)") }
            guard let number = Self.number(bytes) else { continue }
            guard number == expected else { throw TestFailure("\(number) came when \(expected) was due") }
            expected += 1
        }
    }

    /// The number at the beginning of a message's text, if the text is complete; nil for another event.
    private static func number(_ bytes: [UInt8]) -> Int? {
        let mark = Array(#""text":"#.utf8) + [UInt8(ascii: "\"")]
        guard bytes.starts(with: Array(#"{"type":"message""#.utf8)), let start = bytes.firstRange(of: mark) else {
            return nil
        }
        let text = bytes[start.upperBound...].dropLast(2)
        let parts = text.split(separator: UInt8(ascii: ":"))
        guard parts.count >= 2, let number = Int(String(decoding: parts[0], as: UTF8.self)),
            let length = Int(String(decoding: parts[1], as: UTF8.self)), text.count == length
        else { return nil }
        return number
    }

    private func content(_ number: Int, bytes: Int) throws -> MessageContent {
        var text = "\(number):\(bytes):"
        text += String(repeating: "x", count: max(0, bytes - text.utf8.count))
        return MessageContent(user: try UserID("bot"), at: 0, text: text)
    }

    enum Path: CaseIterable { case descriptor, channel, tls }

    @Test(arguments: Path.allCases)
    func aReaderThatStallsAndGoesOnGetsEverythingWholeAndInOrder(_ path: Path) async throws {
        let own = path == .tls ? try PrivateCertificate.make() : nil
        try await withGateway {
            $0.writesToDescriptor = path != .channel
            $0.certificate = own?.files
            $0.limits.outboundBytes = 64 << 20
        } _: { port, service, server in
            let room = try RoomName("busy")
            let client = try await TestWebSocket.connect(port: port, "user=slow&room=busy", tls: try own?.client())
            _ = try await client.json("joined")
            let channel = client.socket.channel
            var sent = 0
            for part in 0..<6 {
                try await channel.setOption(.autoRead, value: part % 2 == 1).get()
                for _ in 0..<300 {
                    _ = try await service.say(room: room, content: try content(sent, bytes: 4_000), by: nil)
                    sent += 1
                }
            }
            try await channel.setOption(.autoRead, value: true).get()
            try await read(1_800, from: 0, client)
            #expect(await server.counters().queuedBytes == 0)
            #expect(service.sessions == 1)
        }
    }

    /// Sizes, pauses and buffers are chosen by a seed.
    @Test(arguments: 0..<4)
    func whateverTheKernelTakesAtATimeNothingIsLostOrSwapped(_ round: Int) async throws {
        let seed = UInt64.random(in: 0 ... .max)
        var seeded = SplitMix64(seed: seed)
        let sendBuffer = [2_048, 4_608, 16_384, 100_000][Int(seeded.next() % 4)]
        try await withGateway {
            $0.limits.outboundBytes = 64 << 20
            $0.sendBufferBytes = Int32(sendBuffer)
        } _: { port, service, server in
            let room = try RoomName("busy")
            let client = try await joinWithoutReading(room, port: port, service)
            let channel = client.socket.channel
            var sent = 0
            for _ in 0..<40 {
                switch seeded.next() % 4 {
                case 0: try await channel.setOption(.autoRead, value: true).get()
                case 1: try await channel.setOption(.autoRead, value: false).get()
                case 2: try await Task.sleep(for: .milliseconds(Int(seeded.next() % 4)))
                default: break
                }
                for _ in 0..<Int(seeded.next() % 12) {
                    let bytes =
                        seeded.next() % 3 == 0 ? Int(seeded.next() % 40_000) + 20 : Int(seeded.next() % 300) + 20
                    _ = try await service.say(room: room, content: try content(sent, bytes: bytes), by: nil)
                    sent += 1
                }
            }
            try await client.socket.readOn()
            _ = await client.socket.readAnswer(hasBody: false)
            do {
                try await read(sent, from: 0, client)
            } catch {
                Issue.record("\(error), seed \(seed), round \(round), send buffer \(sendBuffer)")
            }
            #expect(await server.counters().queuedBytes == 0)
        }
    }

    /// The channel of a slow session may become empty at once. Bytes that are then written to the descriptor and do not
    /// fit must leave through the channel, although that is full again at once.
    @Test func aBacklogOfLargeMessagesLeavesToItsEnd() async throws {
        try await withGateway {
            $0.limits.outboundBytes = 64 << 20
            $0.sendBufferBytes = 100_000
        } _: { port, service, server in
            let room = try RoomName("busy")
            let client = try await joinWithoutReading(room, port: port, service)
            for number in 0..<60 {
                _ = try await service.say(
                    room: room, content: try content(number, bytes: 150_000 + number * 3_001), by: nil)
            }
            try await client.socket.readOn()
            _ = await client.socket.readAnswer(hasBody: false)
            try await read(60, from: 0, client)
            #expect(await server.counters().queuedBytes == 0)
        }
    }

    @Test func aCloseFrameComesBehindEverythingThatWasSentBefore() async throws {
        try await withGateway {
            $0.limits.outboundBytes = 64 << 20
            $0.sendBufferBytes = 4_608
        } _: { port, service, _ in
            let room = try RoomName("busy")
            let client = try await joinWithoutReading(room, port: port, service)
            for number in 0..<100 {
                _ = try await service.say(room: room, content: try content(number, bytes: 4_000), by: nil)
            }
            service.closeSessions(.ended)
            try await client.socket.readOn()
            _ = await client.socket.readAnswer(hasBody: false)
            try await read(100, from: 0, client)
            #expect(await client.next() == .close(WebSocketCloseCode(rawValue: 4007), reason: "ended"))
        }
    }
}
