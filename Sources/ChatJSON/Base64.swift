/// Base64 (RFC 4648). There are two ways to read it: strictly, where signatures are, so that exactly one text stands
/// for a sequence of bytes and no other text has a token's signature; and as lenient as clients need it.
public enum Base64 {
    // MARK: strict

    /// Decodes base64url without padding, as in JWS (RFC 7515 §2). Nil for any other character, including padding and
    /// white space, for a length that no bytes have, and if unused bits of the last character are set.
    public static func decodeURL(_ text: UnsafeRawBufferPointer) -> [UInt8]? {
        decode(text, urlValues, unusedBits: false)
    }

    /// The same for text.
    public static func decodeURL(_ text: String) -> [UInt8]? {
        var text = text
        return text.withUTF8 { decodeURL(UnsafeRawBufferPointer($0)) }
    }

    /// Decodes base64 with padding, as in PEM.
    public static func decodePadded(_ text: [UInt8]) -> [UInt8]? {
        guard text.count % 4 == 0 else { return nil }
        return text.withUnsafeBytes { decode(withoutPadding($0), standardValues, unusedBits: false) }
    }

    // MARK: lenient

    /// Decodes base64 whose padding may be missing, as some clients leave it out. Nil for any other character, and for
    /// a length that no bytes have.
    public static func decode(_ text: ArraySlice<UInt8>) -> [UInt8]? {
        text.withUnsafeBytes { bytes in
            let digits = withoutPadding(bytes)
            guard digits.count == bytes.count || bytes.count % 4 == 0 else { return nil }
            return decode(digits, standardValues, unusedBits: true)
        }
    }

    private static func withoutPadding(_ text: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        var count = text.count
        while count > text.count - 2, count > 0, text[count - 1] == UInt8(ascii: "=") { count -= 1 }
        return UnsafeRawBufferPointer(rebasing: text[..<count])
    }

    /// `unusedBits`: whether those of the last character may be set.
    private static func decode(_ text: UnsafeRawBufferPointer, _ values: [UInt8], unusedBits: Bool) -> [UInt8]? {
        guard text.count % 4 != 1 else { return nil }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.count / 4 * 3 + 2)
        var bits: UInt32 = 0
        var held: UInt32 = 0
        for letter in text {
            let value = values[Int(letter)]
            guard value != invalid else { return nil }
            bits = bits << 6 | UInt32(value)
            held += 6
            guard held >= 8 else { continue }
            held -= 8
            bytes.append(UInt8(truncatingIfNeeded: bits >> held))
        }
        return unusedBits || bits & ((1 << held) - 1) == 0 ? bytes : nil
    }

    // MARK: encoding

    /// Encodes as base64url without padding.
    public static func encodeURL(_ bytes: some Collection<UInt8>) -> String {
        var text: [UInt8] = []
        append(bytes, urlAlphabet, to: &text)
        return String(decoding: text, as: UTF8.self)
    }

    /// Encodes as base64 with padding.
    public static func encodePadded(_ bytes: some Collection<UInt8>) -> String {
        var text: [UInt8] = []
        appendPadded(bytes, to: &text)
        return String(decoding: text, as: UTF8.self)
    }

    /// Appends base64 with padding.
    public static func appendPadded(_ bytes: some Collection<UInt8>, to text: inout [UInt8]) {
        append(bytes, standardAlphabet, to: &text)
        for _ in 0..<(3 - bytes.count % 3) % 3 { text.append(UInt8(ascii: "=")) }
    }

    private static func append(_ bytes: some Collection<UInt8>, _ alphabet: [UInt8], to text: inout [UInt8]) {
        text.reserveCapacity(text.count + (bytes.count + 2) / 3 * 4)
        var bits: UInt32 = 0
        var held: UInt32 = 0
        for byte in bytes {
            bits = bits << 8 | UInt32(byte)
            held += 8
            while held >= 6 {
                held -= 6
                text.append(alphabet[Int(bits >> held & 0x3F)])
            }
        }
        if held > 0 { text.append(alphabet[Int(bits << (6 - held) & 0x3F)]) }
    }

    // MARK: alphabets

    /// The digits of base64 (RFC 4648 §4).
    public static let standardAlphabet = alphabet("+/")
    /// The digits of base64url (RFC 4648 §5).
    public static let urlAlphabet = alphabet("-_")
    private static let standardValues = values(standardAlphabet)
    private static let urlValues = values(urlAlphabet)
    private static let invalid: UInt8 = 0xFF

    private static func alphabet(_ last: String) -> [UInt8] {
        Array(("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789" + last).utf8)
    }

    private static func values(_ alphabet: [UInt8]) -> [UInt8] {
        var values = [UInt8](repeating: invalid, count: 256)
        for (value, letter) in alphabet.enumerated() { values[Int(letter)] = UInt8(value) }
        return values
    }
}
