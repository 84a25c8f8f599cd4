import Testing

@testable import ChatCore

/// Names and keys are compared by their bytes, as in Redis: two spellings of a letter are different.
struct NamesTests {
    private static let one = "caf\u{E9}"
    private static let two = "cafe\u{301}"

    @Test func namesOfOtherBytesAreOthers() throws {
        #expect(Self.one == Self.two, "Swift takes them for the same text")
        #expect(try RoomName(Self.one) != RoomName(Self.two) && RoomName(Self.one) == RoomName(Self.one))
        #expect(try UserID(Self.one) != UserID(Self.two) && DeviceName(Self.one) != DeviceName(Self.two))
        #expect(try NodeID(Self.one) != NodeID(Self.two))
        // The same marks in another order take the same number of bytes.
        #expect(try RoomName("q\u{307}\u{323}") != RoomName("q\u{323}\u{307}"))
        let rooms = try Set([RoomName(Self.one), RoomName(Self.two), RoomName(Self.one)])
        #expect(rooms.count == 2)
    }

    /// Bytes are compared eight at a time, and the rest one by one.
    @Test(arguments: 0..<35) func eachByteCounts(length: Int) {
        let bytes = (0..<length).map { UInt8(0x41 + $0 % 26) }
        let text = String(decoding: bytes, as: UTF8.self)
        #expect(text.isSame(as: String(decoding: bytes, as: UTF8.self)))
        #expect(!text.isSame(as: text + "x") && !(text + "x").isSame(as: text))
        for place in bytes.indices {
            var others = bytes
            others[place] ^= 0x20
            #expect(!text.isSame(as: String(decoding: others, as: UTF8.self)), "byte \(place)")
        }
    }

    @Test func aKeyOfOtherBytesIsNoRepetition() throws {
        var room = try RoomHarness()
        try room.goInside()
        room.send(1, "first", key: Self.one)
        let waiting = room.send(1, "second", key: Self.two)
        #expect(waiting.appended == ["second"])
        room.answer(.append, .success(.appended(room.position(100, 1))))
        room.answer(.append, .success(.appended(room.position(100, 2))))
        let repeated = room.send(1, "second", key: Self.two).repeated
        #expect(repeated == [room.position(100, 2)])
    }

    @Test func restingRoomsKeepTheBytes() {
        var writer = PackedBytesWriter(known: "me")
        for name in [Self.one, Self.two, Self.one] { writer.add(name: name) }
        var reader = PackedBytesReader(writer.bytes, known: "me")
        let read = (0..<3).map { _ in Array(reader.name().utf8) }
        #expect(read == [Self.one, Self.two, Self.one].map { Array($0.utf8) })
    }
}
