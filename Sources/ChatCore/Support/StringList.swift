/// A JSON array of strings, as amendments keep names and positions. (ChatCore does not import ChatJSON.)
public enum StringList {
    /// The strings of the array; those before the first thing that is not a string of such an array.
    public static func read(_ text: String) -> [String] {
        var bytes = Substring(text).utf8
        func skip(_ wanted: UInt8) -> Bool {
            while let first = bytes.first, first == 0x20 || first == 0x0A || first == 0x0D || first == 0x09 {
                bytes.removeFirst()
            }
            guard bytes.first == wanted else { return false }
            bytes.removeFirst()
            return true
        }
        var strings: [String] = []
        guard skip(UInt8(ascii: "[")) else { return [] }
        while skip(UInt8(ascii: "\"")) {
            guard let string = string(&bytes) else { break }
            strings.append(string)
            guard skip(UInt8(ascii: ",")) else { break }
        }
        return strings
    }

    /// The string up to its quotation mark, which is removed; nil if it has none.
    private static func string(_ bytes: inout Substring.UTF8View) -> String? {
        var result: [UInt8] = []
        var units: [UInt16] = []
        func flush() {
            result.append(contentsOf: String(decoding: units, as: UTF16.self).utf8)
            units = []
        }
        while let byte = bytes.popFirst() {
            switch byte {
            case UInt8(ascii: "\""):
                flush()
                return String(decoding: result, as: UTF8.self)
            case UInt8(ascii: "\\"):
                guard let escaped = bytes.popFirst() else { return nil }
                if escaped == UInt8(ascii: "u") {
                    let digits = bytes.prefix(4)
                    guard digits.count == 4, let unit = UInt16(String(Substring(digits)), radix: 16) else { return nil }
                    bytes.removeFirst(4)
                    units.append(unit)
                } else {
                    flush()
                    result.append(contentsOf: plain(escaped))
                }
            default:
                flush()
                result.append(byte)
            }
        }
        return nil
    }

    private static func plain(_ escaped: UInt8) -> [UInt8] {
        switch escaped {
        case UInt8(ascii: "n"): [0x0A]
        case UInt8(ascii: "r"): [0x0D]
        case UInt8(ascii: "t"): [0x09]
        case UInt8(ascii: "b"): [0x08]
        case UInt8(ascii: "f"): [0x0C]
        default: [escaped]
        }
    }

    /// The array as JSON text.
    public static func write(_ strings: some Sequence<String>) -> String {
        "[" + strings.map(quoted).joined(separator: ",") + "]"
    }

    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case _ where scalar.value < 0x20 || scalar.value == 0x7F:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
