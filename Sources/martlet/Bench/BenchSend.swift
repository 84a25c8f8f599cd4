/// The label at the beginning of every text that the generator sends, in hexadecimal digits. It suffices to compare
/// what arrives with what was sent, whatever the server.
struct BenchLabel: Equatable {
    static let stampDigits = 16
    static let nodeDigits = 2
    static let roomDigits = 6
    static let numberDigits = 8
    static let size = stampDigits + nodeDigits + roomDigits + numberDigits

    /// When the message was due, in nanoseconds of the monotonic clock.
    var stamp: UInt64
    /// The sender's node, modulo 256.
    var node: Int
    /// The room's number, modulo 2²⁴.
    var room: Int
    /// The number of the message in its room, from 0, in the order of sending.
    var number: Int

    init(stamp: UInt64, node: Int, room: Int, number: Int) {
        self.stamp = stamp
        self.node = node & 0xFF
        self.room = room & 0xFF_FFFF
        self.number = number & 0xFFFF_FFFF
    }

    /// Nil if there is no label at that place.
    init?(_ bytes: UnsafeRawBufferPointer, at start: Int) {
        guard let stamp = BenchFrames.hex(bytes, at: start, count: Self.stampDigits),
            let place = BenchFrames.hex(
                bytes, at: start + Self.stampDigits, count: Self.nodeDigits + Self.roomDigits),
            let number = BenchFrames.hex(bytes, at: start + Self.size - Self.numberDigits, count: Self.numberDigits)
        else { return nil }
        self.stamp = stamp
        node = Int(place >> UInt64(4 * Self.roomDigits))
        room = Int(place & 0xFF_FFFF)
        self.number = Int(number)
    }
}

/// A frame that sends a message to one room. It is made once, and each message writes its label into it.
struct BenchSend {
    private(set) var bytes: [UInt8] = []
    private let labelAt: Int

    /// `size`: the bytes of the text, at least ``BenchLabel/size``.
    init(_ dialect: BenchDialect, room: String, size: Int) {
        let (head, tail) = dialect.send(in: room)
        let length = head.utf8.count + size + tail.utf8.count
        bytes = dialect.posts ? BenchPoster.requestHead(room: room, length: length) : Self.frameHead(length)
        bytes += head.utf8
        labelAt = bytes.count
        bytes += Array(repeating: UInt8(ascii: "x"), count: size)
        bytes += tail.utf8
    }

    mutating func write(_ label: BenchLabel) {
        write(label.stamp, digits: BenchLabel.stampDigits, at: labelAt)
        var start = labelAt + BenchLabel.stampDigits
        write(UInt64(label.node), digits: BenchLabel.nodeDigits, at: start)
        start += BenchLabel.nodeDigits
        write(UInt64(label.room), digits: BenchLabel.roomDigits, at: start)
        start += BenchLabel.roomDigits
        write(UInt64(label.number), digits: BenchLabel.numberDigits, at: start)
    }

    private mutating func write(_ value: UInt64, digits: Int, at start: Int) {
        for index in 0..<digits {
            let digit = UInt8(value >> UInt64(4 * (digits - 1 - index)) & 0xF)
            bytes[start + index] = digit < 10 ? 0x30 + digit : 0x57 + digit
        }
    }

    /// Any other text as a frame of a client.
    static func frame(_ text: String) -> [UInt8] { frameHead(text.utf8.count) + text.utf8 }

    /// A client must mask (RFC 6455 §5.3); the key 0 leaves the bytes as they are.
    private static func frameHead(_ length: Int) -> [UInt8] {
        var bytes: [UInt8] = [0x81]
        if length < 126 {
            bytes.append(0x80 | UInt8(length))
        } else if length < 65_536 {
            bytes += [0x80 | 126, UInt8(length >> 8), UInt8(length & 0xFF)]
        } else {
            bytes.append(0x80 | 127)
            for shift in stride(from: 56, through: 0, by: -8) { bytes.append(UInt8(length >> shift & 0xFF)) }
        }
        return bytes + [0, 0, 0, 0]
    }
}
