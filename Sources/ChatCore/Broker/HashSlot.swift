/// Where a Redis Cluster keeps a key: one of 16,384 slots, each of which one master serves (Redis Cluster
/// specification, "Key distribution model").
public struct HashSlot: Hashable, Sendable {
    public static let count = 16_384

    /// Below ``count``.
    public let number: Int

    /// Nil if there is no such slot.
    public init?(_ number: Int) {
        guard (0..<Self.count).contains(number) else { return nil }
        self.number = number
    }

    /// The nearest slot there is.
    init(clamping number: Int) {
        self.number = min(max(number, 0), Self.count - 1)
    }

    /// The slot of a key or of a sharded channel: that of the text between its first `{` and the next `}` unless that
    /// is empty, else that of the whole name (Redis Cluster specification, "Hash tags").
    public init(ofKey key: String) {
        let bytes = key.utf8
        if let open = bytes.firstIndex(of: UInt8(ascii: "{")) {
            let rest = bytes[bytes.index(after: open)...]
            if let close = rest.firstIndex(of: UInt8(ascii: "}")), close != rest.startIndex {
                self.init(hashing: rest[..<close])
                return
            }
        }
        self.init(hashing: bytes)
    }

    /// The slot of all keys of a room, and of its channel: its name is their hash tag, and holds no brace.
    public init(of room: RoomName) {
        self.init(hashing: room.text.utf8)
    }

    /// The slot of keys with this hash tag, which holds no brace.
    public init(ofTag tag: String) {
        self.init(hashing: tag.utf8)
    }

    /// CRC16-CCITT (XMODEM): polynomial 0x1021, initial value 0, neither input nor output reflected.
    private init(hashing bytes: some Sequence<UInt8>) {
        let crc = Self.table.withUnsafeBufferPointer { table in
            func check(_ bytes: some Sequence<UInt8>) -> UInt16 {
                bytes.reduce(0) { $0 << 8 ^ table[Int(UInt8(truncatingIfNeeded: $0 >> 8) ^ $1)] }
            }
            return bytes.withContiguousStorageIfAvailable { check($0) } ?? check(bytes)
        }
        number = Int(crc) % Self.count
    }

    /// The smallest decimal number whose slot this is: a hash tag for keys that have to be in this slot.
    public var tag: String { String(Self.tags[number]) }

    /// By slot. Numbers are spread evenly over the slots, so less than 300,000 of them reach all.
    private static let tags: [UInt32] = {
        var tags = [UInt32](repeating: .max, count: count)
        var missing = count
        var number: UInt32 = 0
        while missing > 0, number < 4_000_000 {
            let slot = HashSlot(ofTag: String(number)).number
            if tags[slot] == .max {
                tags[slot] = number
                missing -= 1
            }
            number += 1
        }
        return tags
    }()

    private static let table: [UInt16] = (0..<256).map { byte in
        (0..<8).reduce(UInt16(byte) << 8) { crc, _ in crc & 0x8000 == 0 ? crc << 1 : crc << 1 ^ 0x1021 }
    }
}

/// A set of ``HashSlot``s.
public struct SlotSet: Hashable, Sendable, CustomStringConvertible {
    /// A bit for each slot.
    private var words: [UInt64]

    public init() { words = Array(repeating: 0, count: HashSlot.count / 64) }

    public init(_ slots: some Sequence<HashSlot>) {
        self.init()
        for slot in slots { insert(slot) }
    }

    public static let all: SlotSet = {
        var all = SlotSet()
        for index in all.words.indices { all.words[index] = .max }
        return all
    }()

    public var isEmpty: Bool { words.allSatisfy { $0 == 0 } }
    public var count: Int { words.reduce(0) { $0 + $1.nonzeroBitCount } }

    public func contains(_ slot: HashSlot) -> Bool { words[slot.number >> 6] >> UInt64(slot.number & 63) & 1 == 1 }

    public mutating func insert(_ slot: HashSlot) { words[slot.number >> 6] |= 1 << UInt64(slot.number & 63) }

    public mutating func formUnion(_ other: SlotSet) {
        for index in words.indices { words[index] |= other.words[index] }
    }

    public func union(_ other: SlotSet) -> SlotSet {
        var both = self
        both.formUnion(other)
        return both
    }

    public mutating func subtract(_ other: SlotSet) {
        for index in words.indices { words[index] &= ~other.words[index] }
    }

    public func subtracting(_ other: SlotSet) -> SlotSet {
        var rest = self
        rest.subtract(other)
        return rest
    }

    public func intersection(_ other: SlotSet) -> SlotSet {
        var both = self
        for index in both.words.indices { both.words[index] &= other.words[index] }
        return both
    }

    /// The lowest slot of the set.
    public var first: HashSlot? {
        words.firstIndex { $0 != 0 }.flatMap { HashSlot($0 << 6 | words[$0].trailingZeroBitCount) }
    }

    /// The slots of the set, in ascending order.
    public var slots: [HashSlot] {
        var slots: [HashSlot] = []
        for (index, word) in words.enumerated() {
            var rest = word
            while rest != 0 {
                if let slot = HashSlot(index << 6 | rest.trailingZeroBitCount) { slots.append(slot) }
                rest &= rest - 1
            }
        }
        return slots
    }

    /// The ranges as Redis writes them, `0-5460 7000`, cut after the first eight: for people who read logs.
    public var summary: String {
        let ranges = ranges
        return ranges.count <= 8
            ? ranges.joined(separator: " ") : ranges.prefix(8).joined(separator: " ") + " … (\(count) slots)"
    }

    /// The ranges as Redis writes them: `0-5460 7000`.
    public var description: String { ranges.joined(separator: " ") }

    private var ranges: [String] {
        var parts: [String] = []
        var rest = slots.map(\.number)[...]
        while let first = rest.first {
            let run = rest.enumerated().prefix { $0.element == first + $0.offset }.count
            parts.append(run == 1 ? "\(first)" : "\(first)-\(first + run - 1)")
            rest = rest.dropFirst(run)
        }
        return parts
    }
}
