/// Makes text from outside safe to show in a log line or a message to an operator.
enum Printable {
    /// Whether `scalar` could move the cursor, end a line or change the writing direction, and so misrepresent a line:
    /// control characters (Unicode Cc), line and paragraph separators, and the bidirectional controls of Unicode
    /// Standard Annex #9.
    static func isTreacherous(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0..<0x20, 0x7F..<0xA0, 0x200E, 0x200F, 0x2028...0x202E, 0x2066...0x2069, 0xFEFF: true
        default: false
        }
    }

    /// `text` with such characters written as `\n`, `\t` or `\u{1B}`. It is cut after `limit` scalars, with the number
    /// of omitted bytes. Backslashes (and quotes, if `quotes`) are escaped too, so that the result is unambiguous.
    static func escaped(_ text: String, limit: Int, quotes: Bool = false) -> String {
        var result = ""
        var left = limit
        var seen = 0
        for scalar in text.unicodeScalars {
            guard left > 0 else {
                return result + "… (\(text.utf8.count - seen) bytes more)"
            }
            left -= 1
            seen += UTF8.width(scalar)
            switch scalar {
            case "\\": result += "\\\\"
            case "\"" where quotes: result += "\\\""
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case _ where isTreacherous(scalar): result += "\\u{\(String(scalar.value, radix: 16, uppercase: true))}"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    /// ``escaped(_:limit:quotes:)`` in double quotes.
    static func quoted(_ text: String, limit: Int = 80) -> String {
        "\"\(escaped(text, limit: limit, quotes: true))\""
    }
}
