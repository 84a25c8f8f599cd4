/// Base64 (RFC 4648), decoded strictly: there is exactly one text for each sequence of bytes. So no text that differs
/// from a token's can have the same signature.
enum Base64 {
    /// Decodes base64url without padding, as in JWS (RFC 7515 §2). Nil for any other character, including padding and
    /// white space, for a length that no bytes have, and if unused bits of the last character are set.
    static func decodeURL(_ text: UnsafeRawBufferPointer) -> [UInt8]? { decode(text, urlValues) }

    static func decodeURL(_ text: String) -> [UInt8]? {
        var text = text
        return text.withUTF8 { decodeURL(UnsafeRawBufferPointer($0)) }
    }

    /// Decodes base64 with padding, as in PEM.
    static func decodePadded(_ text: [UInt8]) -> [UInt8]? {
        guard text.count % 4 == 0 else { return nil }
        var count = text.count
        while count > text.count - 2, count > 0, text[count - 1] == UInt8(ascii: "=") { count -= 1 }
        return text.withUnsafeBytes { decode(UnsafeRawBufferPointer(rebasing: $0[..<count]), standardValues) }
    }

    /// Encodes as base64url without padding.
    static func encodeURL(_ bytes: [UInt8]) -> String { String(decoding: encode(bytes, urlAlphabet), as: UTF8.self) }

    /// Encodes as base64 with padding, as in PEM.
    static func encodePadded(_ bytes: [UInt8]) -> String {
        let text = String(decoding: encode(bytes, standardAlphabet), as: UTF8.self)
        return text + String(repeating: "=", count: (4 - text.utf8.count % 4) % 4)
    }

    private static let urlAlphabet = alphabet("-", "_")
    private static let standardAlphabet = alphabet("+", "/")
    private static let urlValues = values(urlAlphabet)
    private static let standardValues = values(standardAlphabet)
    private static let invalid: UInt8 = 0xFF

    private static func alphabet(_ last: String...) -> [UInt8] {
        Array(("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789" + last.joined()).utf8)
    }

    private static func values(_ alphabet: [UInt8]) -> [UInt8] {
        var values = [UInt8](repeating: invalid, count: 256)
        for (value, letter) in alphabet.enumerated() { values[Int(letter)] = UInt8(value) }
        return values
    }

    private static func decode(_ text: UnsafeRawBufferPointer, _ values: [UInt8]) -> [UInt8]? {
        guard text.count % 4 != 1 else { return nil }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.count / 4 * 3 + 2)
        var bits: UInt32 = 0
        var held = 0
        for letter in text {
            let value = values[Int(letter)]
            guard value != invalid else { return nil }
            bits = bits << 6 | UInt32(value)
            held += 6
            if held >= 8 {
                held -= 8
                bytes.append(UInt8(truncatingIfNeeded: bits >> UInt32(held)))
            }
        }
        return bits & ((1 << UInt32(held)) - 1) == 0 ? bytes : nil
    }

    private static func encode(_ bytes: [UInt8], _ alphabet: [UInt8]) -> [UInt8] {
        var text: [UInt8] = []
        text.reserveCapacity(bytes.count / 3 * 4 + 4)
        var bits: UInt32 = 0
        var held = 0
        for byte in bytes {
            bits = bits << 8 | UInt32(byte)
            held += 8
            while held >= 6 {
                held -= 6
                text.append(alphabet[Int(bits >> UInt32(held)) & 0x3F])
            }
        }
        if held > 0 { text.append(alphabet[Int(bits << UInt32(6 - held)) & 0x3F]) }
        return text
    }
}
