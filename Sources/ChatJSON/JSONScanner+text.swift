extension JSONScanner {
    /// The value of a string that this scanner has found, with its escapes resolved.
    public func string(_ slice: JSONSlice) -> String {
        let inner = inside(slice)
        guard slice.kind == .string(escaped: true) else { return String(decoding: inner, as: UTF8.self) }
        return String(decoding: Self.unescape(inner), as: UTF8.self)
    }

    /// The raw bytes between a string's quotes.
    public func inside(_ slice: JSONSlice) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: bytes[slice.range.lowerBound + 1..<slice.range.upperBound - 1])
    }

    /// The raw text of a value.
    public func text(_ slice: JSONSlice) -> String {
        String(decoding: UnsafeRawBufferPointer(rebasing: bytes[slice.range]), as: UTF8.self)
    }

    /// Whether the value of a string that this scanner has found is `text`.
    public func string(_ slice: JSONSlice, equals text: StaticString) -> Bool {
        if slice.kind == .string(escaped: true) { return string(slice) == text.description }
        let count = text.utf8CodeUnitCount
        guard slice.range.count == count + 2 else { return false }
        let start = slice.range.lowerBound + 1
        let wanted = text.utf8Start
        for index in 0..<count where bytes[start &+ index] != wanted[index] { return false }
        return true
    }

    /// The value of a number that is written without fraction and exponent and fits; nil for any other.
    public func integer(_ slice: JSONSlice) -> Int? {
        guard slice.kind == .number else { return nil }
        return Int(text(slice))
    }

    /// Resolves escapes whose syntax the scanner has already checked.
    private static func unescape(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count)
        var index = 0
        while index < bytes.count {
            guard bytes[index] == UInt8(ascii: "\\"), index + 1 < bytes.count else {
                result.append(bytes[index])
                index += 1
                continue
            }
            let letter = bytes[index + 1]
            index += 2
            switch letter {
            case UInt8(ascii: "b"): result.append(0x08)
            case UInt8(ascii: "f"): result.append(0x0C)
            case UInt8(ascii: "n"): result.append(0x0A)
            case UInt8(ascii: "r"): result.append(0x0D)
            case UInt8(ascii: "t"): result.append(0x09)
            case UInt8(ascii: "u"):
                var scalar = unit(bytes, at: index)
                index += 4
                if scalar >= 0xD800, scalar < 0xDC00 {
                    scalar = 0x10000 + (scalar - 0xD800) << 10 + (unit(bytes, at: index + 2) - 0xDC00)
                    index += 6
                }
                result.append(contentsOf: String(Unicode.Scalar(scalar) ?? "\u{FFFD}").utf8)
            default: result.append(letter)
            }
        }
        return result
    }

    private static func unit(_ bytes: UnsafeRawBufferPointer, at index: Int) -> UInt32 {
        var unit: UInt32 = 0
        for place in index..<(index + 4) where place < bytes.count { unit = unit << 4 | (hexDigit(bytes[place]) ?? 0) }
        return unit
    }
}
