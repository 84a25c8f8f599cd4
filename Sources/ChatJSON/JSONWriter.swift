/// Writes JSON without intermediate strings.
extension ByteWriter {
    /// Appends a decimal number.
    public mutating func appendJSON(_ number: UInt64) {
        reserve(20)
        var size = 1
        var bound: UInt64 = 10
        while size < 20, number >= bound {
            size += 1
            bound = size < 20 ? bound &* 10 : .max
        }
        var rest = number
        var place = written &+ size
        written = place
        while rest >= 100 {
            place &-= 2
            let next = rest / 100
            start.storeBytes(of: UInt16.digits(rest &- next &* 100), toByteOffset: place, as: UInt16.self)
            rest = next
        }
        if rest >= 10 {
            start.storeBytes(of: UInt16.digits(rest), toByteOffset: place &- 2, as: UInt16.self)
        } else {
            start.storeBytes(of: UInt8(truncatingIfNeeded: 0x30 &+ rest), toByteOffset: place &- 1, as: UInt8.self)
        }
    }

    /// Appends a decimal number.
    public mutating func appendJSON(_ number: Int) {
        if number < 0 { append(UInt8(ascii: "-")) }
        appendJSON(UInt64(number.magnitude))
    }

    /// Appends a string in quotes. It escapes what RFC 8259 §7 requires, and no more.
    public mutating func appendJSON(_ text: String) {
        text.withBytes { appendQuoted($0) }
    }

    private mutating func appendQuoted(_ text: UnsafeRawBufferPointer) {
        let size = text.count
        // Words are stored whole, even if some of their bytes do not count.
        reserve(size &+ 10)
        start.storeBytes(of: UInt8(ascii: "\""), toByteOffset: written, as: UInt8.self)
        written &+= 1
        var index = 0
        while index < size {
            // Eight bytes at a time as long as none of them needs an escape.
            if index &+ 8 <= size {
                let word = text.loadUnaligned(fromByteOffset: index, as: UInt64.self)
                start.storeBytes(of: word, toByteOffset: written, as: UInt64.self)
                let plain = word.plainJSONBytes
                written &+= plain
                index &+= plain
                if plain == 8 { continue }
            } else if size >= 8 {
                // The last bytes of the last word; the zeros behind them would need an escape.
                let word = text.loadUnaligned(fromByteOffset: size &- 8, as: UInt64.self) >> (8 * (8 &+ index &- size))
                start.storeBytes(of: word, toByteOffset: written, as: UInt64.self)
                let plain = word.plainJSONBytes
                written &+= plain
                index &+= plain
                if index == size { break }
            }
            let byte = text[index]
            index &+= 1
            if byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") {
                appendEscape(byte)
                reserve(size &- index &+ 9)
            } else {
                start.storeBytes(of: byte, toByteOffset: written, as: UInt8.self)
                written &+= 1
            }
        }
        append(UInt8(ascii: "\""))
    }

    private mutating func appendEscape(_ byte: UInt8) {
        switch byte {
        case UInt8(ascii: "\""): appendText("\\\"")
        case UInt8(ascii: "\\"): appendText("\\\\")
        case 0x0A: appendText("\\n")
        case 0x0D: appendText("\\r")
        case 0x09: appendText("\\t")
        default:
            appendText(byte < 0x10 ? "\\u000" : "\\u001")
            let low = byte & 0x0F
            append(low < 10 ? UInt8(ascii: "0") + low : UInt8(ascii: "a") + low - 10)
        }
    }
}

extension UInt16 {
    /// A number below 100 as two adjacent digits.
    @inline(__always)
    fileprivate static func digits(_ number: UInt64) -> UInt16 {
        let tens = number / 10
        return UInt16(truncatingIfNeeded: (0x30 &+ tens) | (0x30 &+ number &- tens &* 10) << 8).littleEndian
    }
}

extension UInt64 {
    /// The number of bytes in this word, in memory order, before the first quote, backslash or control character; each
    /// of these ends a run of plain text in a JSON string. The tests for zero bytes and for bytes below a number are
    /// from S. E. Anderson, "Bit Twiddling Hacks". They may flag a byte wrongly, but only after one that they flag
    /// rightly.
    @inline(__always)
    var plainJSONBytes: Int {
        let word = littleEndian
        let ones: UInt64 = 0x0101_0101_0101_0101
        let quote = word ^ (ones &* 0x22)
        let backslash = word ^ (ones &* 0x5C)
        let found =
            (word &- ones &* 0x20) & ~word | (quote &- ones) & ~quote | (backslash &- ones) & ~backslash
        return (found & (ones &* 0x80)).trailingZeroBitCount / 8
    }
}
