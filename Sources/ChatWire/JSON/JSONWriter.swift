/// Writing JSON into a byte array without strings in between: what runs once for each message.
extension [UInt8] {
    /// Appends text that is JSON already.
    @inline(__always)
    public mutating func appendText(_ text: StaticString) {
        append(contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    /// Appends text that is JSON already.
    public mutating func appendRaw(_ text: String) {
        append(contentsOf: text.utf8)
    }

    /// Appends a decimal number.
    public mutating func appendJSON(_ number: UInt64) {
        if number < 10 {
            append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: number))
            return
        }
        var rest = number
        var digits = 0
        while rest > 0 {
            rest /= 10
            digits += 1
        }
        let start = count
        append(contentsOf: repeatElement(UInt8(ascii: "0"), count: digits))
        rest = number
        var place = start + digits
        while place > start {
            place -= 1
            self[place] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
            rest /= 10
        }
    }

    /// Appends a decimal number.
    public mutating func appendJSON(_ number: Int) {
        if number < 0 { append(UInt8(ascii: "-")) }
        appendJSON(UInt64(number.magnitude))
    }

    /// Appends a string in quotes, escaped as RFC 8259 §7 demands and no more.
    public mutating func appendJSON(_ text: String) {
        append(UInt8(ascii: "\""))
        let done: Void? = text.utf8.withContiguousStorageIfAvailable { appendEscaped($0) }
        if done == nil {
            for byte in text.utf8 { appendEscaped(byte) }
        }
        append(UInt8(ascii: "\""))
    }

    private mutating func appendEscaped(_ bytes: UnsafeBufferPointer<UInt8>) {
        var start = 0
        for index in 0..<bytes.count where Self.needsEscape(bytes[index]) {
            if index > start { append(contentsOf: UnsafeBufferPointer(rebasing: bytes[start..<index])) }
            appendEscaped(bytes[index])
            start = index + 1
        }
        if start < bytes.count { append(contentsOf: UnsafeBufferPointer(rebasing: bytes[start...])) }
    }

    @inline(__always)
    private static func needsEscape(_ byte: UInt8) -> Bool {
        byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\")
    }

    private mutating func appendEscaped(_ byte: UInt8) {
        switch byte {
        case UInt8(ascii: "\""): appendText("\\\"")
        case UInt8(ascii: "\\"): appendText("\\\\")
        case 0x0A: appendText("\\n")
        case 0x0D: appendText("\\r")
        case 0x09: appendText("\\t")
        case 0..<0x20:
            appendText("\\u00")
            append(byte < 0x10 ? UInt8(ascii: "0") : UInt8(ascii: "1"))
            let low = byte & 0x0F
            append(low < 10 ? UInt8(ascii: "0") + low : UInt8(ascii: "a") + low - 10)
        default: append(byte)
        }
    }
}
