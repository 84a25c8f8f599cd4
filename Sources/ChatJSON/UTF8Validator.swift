/// Validates UTF-8 (RFC 3629) piece by piece: no overlong forms, no surrogates, nothing above U+10FFFF. A character may
/// be split between two pieces at any byte, as in WebSocket fragments.
public struct UTF8Validator: Sendable, Equatable {
    /// The number of continuation bytes that the current character still needs, and the valid range of the next one.
    private var needed: UInt8 = 0
    private var low: UInt8 = 0x80
    private var high: UInt8 = 0xBF

    public init() {}

    /// Whether the bytes so far end with a complete character.
    @inlinable
    public var isComplete: Bool { pending == 0 }

    /// The number of bytes that the last character still needs.
    public var pending: Int { Int(needed) }

    /// Checks the next piece. Returns the offset in it of the first invalid byte; nil if all bytes so far are valid.
    public mutating func check(_ bytes: UnsafeRawBufferPointer) -> Int? {
        var index = 0
        let count = bytes.count
        while index < count {
            if needed == 0 {
                index = Self.skipASCII(bytes, from: index)
                if index == count { return nil }
            }
            guard take(bytes[index]) else { return index }
            index += 1
        }
        return nil
    }

    /// The offset of the first byte that is not ASCII, at or after `start`; checks eight bytes at a time.
    private static func skipASCII(_ bytes: UnsafeRawBufferPointer, from start: Int) -> Int {
        var index = start
        while index + 8 <= bytes.count {
            let word = bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self)
            if word & 0x8080_8080_8080_8080 != 0 { break }
            index += 8
        }
        while index < bytes.count, bytes[index] < 0x80 { index += 1 }
        return index
    }

    /// The table of RFC 3629 §4 (Unicode 15, table 3-7).
    private mutating func take(_ byte: UInt8) -> Bool {
        if needed > 0 {
            guard byte >= low, byte <= high else { return false }
            needed -= 1
            (low, high) = (0x80, 0xBF)
            return true
        }
        switch byte {
        case 0x00..<0x80: return true
        case 0xC2...0xDF: (needed, low, high) = (1, 0x80, 0xBF)
        case 0xE0: (needed, low, high) = (2, 0xA0, 0xBF)
        case 0xE1...0xEC, 0xEE, 0xEF: (needed, low, high) = (2, 0x80, 0xBF)
        case 0xED: (needed, low, high) = (2, 0x80, 0x9F)
        case 0xF0: (needed, low, high) = (3, 0x90, 0xBF)
        case 0xF1...0xF3: (needed, low, high) = (3, 0x80, 0xBF)
        case 0xF4: (needed, low, high) = (3, 0x80, 0x8F)
        default: return false
        }
        return true
    }
}
