import ChatCore
import FoundationEssentials
import Testing

@testable import ChatWire

/// Changed and random packets: they are read or refused, and nothing traps. MARTLET_FUZZ is the number of inputs for
/// each decoder; the seeds are fixed.
struct EngineFuzzTests {
    private let rounds = ProcessInfo.processInfo.environment["MARTLET_FUZZ"].flatMap { Int($0) } ?? 20_000

    private static let originals = [
        "0{\"token\":\"123\"}", "0/admin,", "2/admin,456[\"a\",{\"b\":[1,\"\\u00e9\"]}]", "3/admin,456[]",
        "52-/admin,7[\"a\",{\"_placeholder\":true,\"num\":0}]", "61-789[{}]", "1/a",
        "4hello\u{1E}bAQIDBA==\u{1E}2probe",
    ].map { Array($0.utf8) }

    private func mutated(_ generator: inout SplitMix64) -> [UInt8] {
        var bytes = Self.originals[Int(generator.next() % UInt64(Self.originals.count))]
        for _ in 0...Int(generator.next() % 3) {
            let place = bytes.isEmpty ? 0 : Int(generator.next() % UInt64(bytes.count))
            switch generator.next() % 5 {
            case 0 where !bytes.isEmpty: bytes[place] = UInt8(truncatingIfNeeded: generator.next())
            case 1 where !bytes.isEmpty: bytes.remove(at: place)
            case 2: bytes.insert(Array("0123456789-,/[]{}\"b\u{1E}".utf8)[Int(generator.next() % 20)], at: place)
            case 3: bytes = Array(bytes.prefix(place))
            default: bytes += Self.originals[Int(generator.next() % UInt64(Self.originals.count))]
            }
        }
        return bytes
    }

    @Test func packetsOfSocketIO() {
        var generator = SplitMix64(seed: 50)
        var accepted = 0
        for _ in 0..<rounds {
            let bytes = mutated(&generator)
            guard let packet = SocketPacket(bytes, maxAttachments: 10) else { continue }
            accepted += 1
            // What was accepted is written so that it is read as the same packet.
            #expect(SocketPacket(packet.content, maxAttachments: 10) == packet)
        }
        #expect(accepted > rounds / 100)
    }

    @Test func payloadsOfEngineIO() {
        var generator = SplitMix64(seed: 51)
        var accepted = 0
        for _ in 0..<rounds {
            let bytes = mutated(&generator)
            var packets: [EnginePacket] = []
            guard
                EnginePayload.read(
                    bytes,
                    {
                        packets.append($0)
                        return true
                    })
            else { continue }
            accepted += 1
            var again: [EnginePacket] = []
            _ = EnginePayload.read(EnginePayload(packets).bytes) {
                again.append($0)
                return true
            }
            #expect(again.count == packets.count)
        }
        #expect(accepted > rounds / 100)
    }

    /// Whole conversations: a connection that is over takes nothing more.
    @Test func conversations() {
        var generator = SplitMix64(seed: 52)
        let now = Moment(nanoseconds: 1_000_000_000)
        for _ in 0..<rounds / 20 {
            var machine = SocketStateMachine(limits: .init(), now: now)
            var isOver = false
            for step in 0..<20 {
                let text = step == 0 ? Array("0".utf8) : mutated(&generator)
                let action = machine.received(text, isText: generator.next() % 8 != 0)
                if isOver { #expect(action == .doNothing) }
                switch action {
                case .connect(let namespace, _): if generator.next() % 4 != 0 { _ = machine.connected(namespace) }
                case .end: isOver = true
                default: break
                }
            }
        }
    }
}
