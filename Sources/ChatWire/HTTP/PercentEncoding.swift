/// Percent-encoding of URLs (RFC 3986 §2.1).
public enum PercentEncoding {
    /// Decodes strictly: nil for a `%` without two hexadecimal digits and for bytes that are not UTF-8. In a query `+`
    /// is a space, as browsers write it.
    public static func decode(_ text: some StringProtocol, isQuery: Bool = false) -> String? {
        var bytes: [UInt8] = []
        var input = text.utf8.makeIterator()
        while let byte = input.next() {
            switch byte {
            case UInt8(ascii: "%"):
                guard let high = input.next().flatMap(hexDigit), let low = input.next().flatMap(hexDigit) else {
                    return nil
                }
                bytes.append(UInt8(high << 4 | low))
            case UInt8(ascii: "+") where isQuery: bytes.append(UInt8(ascii: " "))
            default: bytes.append(byte)
            }
        }
        return String(validating: bytes, as: UTF8.self)
    }

    /// Encodes everything but the unreserved characters of RFC 3986 §2.3.
    public static func encode(_ text: String) -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        var bytes: [UInt8] = []
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "~"):
                bytes.append(byte)
            default: bytes += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 0xF)]]
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// The fields of a query string; of fields with the same name the first one counts. Nil if any is not properly
    /// encoded.
    public static func query(_ text: some StringProtocol) -> [String: String]? {
        var fields: [String: String] = [:]
        for part in text.split(separator: "&") {
            let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = pair.first.flatMap({ decode($0, isQuery: true) }),
                let value = pair.count > 1 ? decode(pair[1], isQuery: true) : ""
            else { return nil }
            if fields[name] == nil { fields[name] = value }
        }
        return fields
    }
}
