import ChatJSON

/// A compact sequence of numbers and texts. Numbers are in base 128, low digits first (LEB128). Epochs and other times
/// are written as their difference from an ``anchor``, and a name that was written before as its index.
struct PackedBytesWriter {
    private(set) var bytes: [UInt8] = []
    /// The number from which the difference of `near` numbers is taken.
    var anchor: UInt64 = 0
    private var names: [String]

    /// `known`: a name that reader and writer have in common.
    init(known: String) {
        names = [known]
        bytes.reserveCapacity(512)
    }

    mutating func add(_ number: UInt64) {
        var rest = number
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(truncatingIfNeeded: rest))
    }

    /// Takes fewer bytes the less the number differs from the anchor, in either direction.
    mutating func add(near number: UInt64) {
        let difference = Int64(bitPattern: number &- anchor)
        add(UInt64(bitPattern: difference << 1 ^ difference >> 63))
    }

    /// The highest number is never a real moment.
    mutating func add(_ moment: Moment?) { add(moment.map { $0.nanoseconds &+ 1 } ?? 0) }

    mutating func add(_ flag: Bool) { bytes.append(flag ? 1 : 0) }

    mutating func add(_ position: Position) {
        add(near: position.epoch)
        add(position.seq)
    }

    mutating func add(name: String) {
        if let place = names.firstIndex(where: { $0.isSame(as: name) }) { return add(UInt64(place + 1)) }
        add(0)
        add(text: name)
        if names.count < mostNames { names.append(name) }
    }

    mutating func add(text: String?) {
        guard let text else { return add(0) }
        add(UInt64(text.utf8.count) + 1)
        bytes.append(contentsOf: text.utf8)
    }
}

/// The number of names that have an index. It is small because the search among them is linear.
private let mostNames = 64

/// Reads what a ``PackedBytesWriter`` wrote. Past the end, which a reader of such bytes does not reach, all bytes are
/// zero.
struct PackedBytesReader {
    private let bytes: [UInt8]
    private var place = 0
    var anchor: UInt64 = 0
    private var names: [String]

    init(_ bytes: [UInt8], known: String) {
        self.bytes = bytes
        names = [known]
    }

    private mutating func byte() -> UInt8 {
        guard place < bytes.count else { return 0 }
        defer { place += 1 }
        return bytes[place]
    }

    mutating func number() -> UInt64 {
        var number: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 64, by: 7) {
            let next = byte()
            number |= UInt64(next & 0x7F) << shift
            if next < 0x80 { break }
        }
        return number
    }

    mutating func near() -> UInt64 {
        let number = number()
        return anchor &+ (number >> 1 ^ (0 &- (number & 1)))
    }

    mutating func moment() -> Moment? {
        let number = number()
        return number == 0 ? nil : Moment(nanoseconds: number - 1)
    }

    mutating func flag() -> Bool { byte() != 0 }

    mutating func position() -> Position {
        let epoch = near()
        return Position(epoch: epoch, seq: number())
    }

    mutating func name() -> String {
        let index = number()
        if index > 0 { return index <= UInt64(names.count) ? names[Int(index) - 1] : "" }
        let name = text() ?? ""
        if names.count < mostNames { names.append(name) }
        return name
    }

    mutating func text() -> String? {
        let count = number()
        guard count > 0 else { return nil }
        let end = min(bytes.count, place + Int(clamping: count - 1))
        defer { place = end }
        return String(decoding: bytes[place..<end], as: UTF8.self)
    }
}
