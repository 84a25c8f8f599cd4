import ChatCore

/// Reads the frames of a node with as little work as possible: where each frame begins and ends, and of a `message`
/// only its position and the stamp of the load generator, at fixed offsets. Pure.
enum BenchFrames {
    struct Frame: Equatable {
        /// The low four bits of a frame's first byte (RFC 6455 §5.2): 1 text, 8 close, 9 ping, 10 pong.
        var opcode: UInt8
        var payload: Range<Int>
    }

    /// The frame that begins at `index`, which is moved behind it; nil if the frame is incomplete.
    static func next(_ bytes: UnsafeRawBufferPointer, _ index: inout Int) -> Frame? {
        guard bytes.count - index >= 2 else { return nil }
        var start = index + 2
        var length = Int(bytes[index + 1] & 0x7F)
        if length == 126 {
            guard bytes.count - index >= 4 else { return nil }
            length = Int(bytes[index + 2]) << 8 | Int(bytes[index + 3])
            start = index + 4
        } else if length == 127 {
            guard bytes.count - index >= 10 else { return nil }
            // A node never sends more than 2³² − 1 bytes in a frame.
            length = 0
            for offset in 6..<10 { length = length << 8 | Int(bytes[index + offset]) }
            start = index + 10
        }
        guard bytes.count - start >= length else { return nil }
        let frame = Frame(opcode: bytes[index] & 0xF, payload: start..<(start + length))
        index = start + length
        return frame
    }

    /// The event of an event stream that begins at `index`, which is moved behind it; nil if it is incomplete. `data`:
    /// the text of its field `data`, if it has one (the HTML standard, "Server-sent events").
    static func nextEvent(_ bytes: UnsafeRawBufferPointer, _ index: inout Int) -> (data: Range<Int>?, end: Int)? {
        guard let end = find("\n\n", bytes, in: index..<bytes.count) else { return nil }
        defer { index = end + 2 }
        guard let field = find("data: ", bytes, in: index..<end) else { return (nil, end) }
        let start = field + 6
        let line = find("\n", bytes, in: start..<end) ?? end
        return (start..<line, end)
    }

    /// The kind of an event, by the first letters of its `type`.
    enum Kind: Equatable {
        case message, sent, joined, left, error, gap, reset, presence, draining, other
    }

    private static let typeStart = #"{"type":""#.utf8.count

    static func kind(_ bytes: UnsafeRawBufferPointer, _ payload: Range<Int>) -> Kind {
        guard payload.count > typeStart + 3 else { return .other }
        let first = bytes[payload.lowerBound + typeStart]
        let second = bytes[payload.lowerBound + typeStart + 1]
        switch (first, second) {
        case (UInt8(ascii: "m"), _): return .message
        case (UInt8(ascii: "s"), UInt8(ascii: "e")): return .sent
        case (UInt8(ascii: "j"), _): return .joined
        case (UInt8(ascii: "l"), _): return .left
        case (UInt8(ascii: "e"), _): return .error
        case (UInt8(ascii: "g"), _): return .gap
        case (UInt8(ascii: "r"), UInt8(ascii: "e")): return .reset
        case (UInt8(ascii: "p"), UInt8(ascii: "r")): return .presence
        case (UInt8(ascii: "d"), _): return .draining
        default: return .other
        }
    }

    /// The position whose text begins at `start`.
    static func position(_ bytes: UnsafeRawBufferPointer, at start: Int, before end: Int) -> Position? {
        var index = start
        var numbers: (UInt64, UInt64) = (0, 0)
        while index < end, let digit = digit(bytes[index]) {
            numbers.0 = numbers.0 &* 10 &+ digit
            index += 1
        }
        guard index > start, index < end, bytes[index] == UInt8(ascii: "-") else { return nil }
        let second = index + 1
        index = second
        while index < end, let digit = digit(bytes[index]) {
            numbers.1 = numbers.1 &* 10 &+ digit
            index += 1
        }
        guard index > second else { return nil }
        return Position(epoch: numbers.0, seq: numbers.1)
    }

    static func digit(_ byte: UInt8) -> UInt64? {
        byte >= 0x30 && byte <= 0x39 ? UInt64(byte &- 0x30) : nil
    }

    /// The number that is written in `count` hexadecimal digits from `start` on; nil if these are not digits.
    static func hex(_ bytes: UnsafeRawBufferPointer, at start: Int, count: Int) -> UInt64? {
        guard start >= 0, start + count <= bytes.count else { return nil }
        var value: UInt64 = 0
        for index in start..<(start + count) {
            let byte = bytes[index]
            switch byte {
            case 0x30...0x39: value = value << 4 | UInt64(byte - 0x30)
            case 0x61...0x66: value = value << 4 | UInt64(byte - 0x61 + 10)
            default: return nil
            }
        }
        return value
    }

    /// Where `text` begins in the range; nil if the range does not contain it.
    static func find(_ text: StaticString, _ bytes: UnsafeRawBufferPointer, in range: Range<Int>) -> Int? {
        let count = text.utf8CodeUnitCount
        guard range.count >= count else { return nil }
        return text.withUTF8Buffer { wanted in
            var start = range.lowerBound
            while start <= range.upperBound - count {
                if bytes[start] == wanted[0] {
                    var length = 1
                    while length < count, bytes[start + length] == wanted[length] { length += 1 }
                    if length == count { return start }
                }
                start += 1
            }
            return nil
        }
    }
}
