/// Collects a frame's header (RFC 6455 §5.2), byte by byte if necessary. Fixed size, no allocation.
struct HeaderBytes: Sendable {
    struct Parsed {
        var isFinal: Bool
        var reservedBits: UInt8
        var opcode: UInt8
        var length: UInt64
        /// Whether the length uses the smallest of the three forms that can hold it.
        var isShortest: Bool
        var maskingKey: UInt32?
    }

    /// The extended length so far, then the masking key so far.
    private var extended: UInt64 = 0
    private var maskingKey: UInt32 = 0
    private var first: UInt8 = 0
    private var second: UInt8 = 0
    /// At most 14.
    private var count: UInt8 = 0

    /// Reads bytes from `index` on up to the end of the header; nil if it continues in the next piece.
    mutating func take(_ bytes: UnsafeRawBufferPointer, _ index: inout Int) -> Parsed? {
        while index < bytes.count {
            let byte = bytes[index]
            index += 1
            switch count {
            case 0: first = byte
            case 1: second = byte
            case ..<(2 + extendedBytes): extended = extended << 8 | UInt64(byte)
            default: maskingKey = maskingKey << 8 | UInt32(byte)
            }
            count += 1
            if count >= 2, count == total { return parsed }
        }
        return nil
    }

    private var extendedBytes: UInt8 {
        switch second & 0x7F {
        case 126: 2
        case 127: 8
        default: 0
        }
    }

    private var isMasked: Bool { second & 0x80 != 0 }

    private var total: UInt8 { 2 + extendedBytes + (isMasked ? 4 : 0) }

    private var parsed: Parsed {
        let length = extendedBytes == 0 ? UInt64(second & 0x7F) : extended
        let isShortest =
            switch extendedBytes {
            case 2: length > 125
            case 8: length > 0xFFFF
            default: true
            }
        return Parsed(
            isFinal: first & 0x80 != 0, reservedBits: first >> 4 & 0x7, opcode: first & 0xF, length: length,
            isShortest: isShortest, maskingKey: isMasked ? maskingKey : nil)
    }
}
