import Synchronization
import Testing

@testable import ChatCore

/// Frames with encodings for several protocols, and the counts that say for which.
@Suite struct FrameTests {
    private final class Encoding: FrameEncoding {
        let protocolID: ProtocolID

        init(_ protocolID: ProtocolID) {
            self.protocolID = protocolID
        }

        func copied() -> any FrameEncoding { Encoding(protocolID) }
    }

    private final class Encoder: FrameEncoder {
        let count = Atomic<Int>(0)

        func encode(_ event: ServerEvent, for protocolID: ProtocolID, viewer: UserID?) -> any FrameEncoding {
            count.add(1, ordering: .relaxed)
            return Encoding(protocolID)
        }
    }

    private func id(_ number: Int) -> ProtocolID { ProtocolID(rawValue: UInt8(number)) }

    private func encodedID(_ frame: Frame, _ number: Int) -> ProtocolID? {
        (frame.encoding(for: id(number)) as? Encoding)?.protocolID
    }

    @Test func eachProtocolThatIsSpokenIsEncodedOnce() {
        let encoder = Encoder()
        var counts = ProtocolCounts()
        for number in [3, 1, 3, 2, 1] { counts.add(id(number)) }
        let frame = Frame(.pong(ref: nil), for: counts, by: encoder)
        #expect(encoder.count.load(ordering: .relaxed) == 3)
        for number in 1...3 { #expect(encodedID(frame, number) == id(number)) }
        #expect(frame.encoding(for: id(0)) == nil && frame.encoding(for: id(4)) == nil)

        let copy = frame.copied()
        for number in 1...3 {
            #expect(encodedID(copy, number) == id(number))
            #expect(copy.encoding(for: id(number)) !== frame.encoding(for: id(number)))
        }
        #expect(encoder.count.load(ordering: .relaxed) == 3, "a copy encodes nothing")
    }

    @Test func aMissingProtocolIsAddedAndAKnownOneIsNot() {
        let encoder = Encoder()
        let frame = Frame(.pong(ref: nil), for: id(1), by: encoder)
        #expect(frame.encoded(for: id(1), by: encoder) === frame)
        let both = frame.encoded(for: id(2), by: encoder)
        #expect(encoder.count.load(ordering: .relaxed) == 2)
        #expect(both.encoding(for: id(1)) === frame.encoding(for: id(1)) && encodedID(both, 2) == id(2))
        let fromNothing = Frame(.pong(ref: nil), for: ProtocolCounts(), by: encoder).encoded(for: id(0), by: encoder)
        #expect(encodedID(fromNothing, 0) == id(0) && encodedID(fromNothing, 1) == nil)
    }

    /// A dictionary beside it must count the same, whatever comes and goes.
    @Test func protocolsAreThoseOfTheSessionsThatAreThere() throws {
        var generator = SystemRandomNumberGenerator()
        var counts = ProtocolCounts()
        var expected: [ProtocolID: Int] = [:]
        for step in 0..<2_000 {
            let id = id(Int.random(in: 0..<4, using: &generator))
            if Bool.random(using: &generator) {
                counts.add(id)
                expected[id, default: 0] += 1
            } else if let count = expected[id] {
                counts.remove(id)
                expected[id] = count > 1 ? count - 1 : nil
            }
            let found = (counts.first.map { [$0] } ?? []) + counts.others
            try #require(found.count == expected.count && Set(found) == Set(expected.keys), "step \(step)")
            try #require(counts.isEmpty == expected.isEmpty, "step \(step)")
        }
    }
}
