/// Text from outside for a terminal: made harmless, measured in columns, cut and wrapped.
///
/// Widths follow Unicode 15: UAX #11 (East Asian Wide and Fullwidth are two columns) and UTS #51 (emoji presentation is
/// two). Combining marks, format characters and conjoining vowels and finals have no width. Where terminals differ
/// (flags, families), this is the default of xterm, tmux and VTE.
enum TerminalText {
    /// Further marks on one letter are removed: hundreds of them would cover other lines.
    static let maxMarks = 8

    /// `text` without anything that a terminal would obey or that would reorder or hide other text: control characters
    /// (Unicode Cc) are shown as their pictures, bidirectional controls (UAX #9) and line separators as U+FFFD. Tabs
    /// become spaces. The result never contains a line end.
    static func harmless(_ text: some StringProtocol) -> String {
        var result = ""
        var marks = 0
        for scalar in text.unicodeScalars {
            switch scalar.value {
            case 0x09: result += "    "
            case 0..<0x20: result.unicodeScalars.append(Unicode.Scalar(0x2400 + scalar.value) ?? "\u{FFFD}")
            case 0x7F: result += "\u{2421}"
            case 0x80..<0xA0, 0x061C, 0x200E, 0x200F, 0x2028...0x202E, 0x2066...0x2069, 0xFEFF, 0xFFF9...0xFFFB:
                result += "\u{FFFD}"
            default:
                marks = isMark(scalar) ? marks + 1 : 0
                if marks <= maxMarks { result.unicodeScalars.append(scalar) }
            }
        }
        return result
    }

    /// The same for text of several lines, separated by line ends of any kind. At most `limit` lines, of which the last
    /// one says how many are left out.
    static func harmlessLines(_ text: String, limit: Int = 200) -> [String] {
        let lines = text.split(omittingEmptySubsequences: false) {
            $0 == "\n" || $0 == "\r\n" || $0 == "\r" || $0 == "\u{85}" || $0 == "\u{2028}" || $0 == "\u{2029}"
        }
        var shown = lines.prefix(limit).map { harmless($0) }
        if lines.count > limit { shown.append("… (\(lines.count - limit) lines more)") }
        return shown
    }

    // MARK: Widths

    /// The width of harmless text in columns.
    static func width(_ text: some StringProtocol) -> Int {
        text.reduce(0) { $0 + width($1) }
    }

    /// The width of one character as readers see it: 0, 1 or 2 columns.
    static func width(_ character: Character) -> Int {
        let scalars = character.unicodeScalars
        guard let first = scalars.first else { return 0 }
        if first.isASCII, scalars.count == 1 { return first.value < 0x20 || first.value == 0x7F ? 0 : 1 }
        // U+FE0F selects the emoji form of a character that has both, and a flag consists of two letters.
        if scalars.contains(where: { $0.value == 0xFE0F }) { return 2 }
        if (0x1F1E6...0x1F1FF).contains(first.value) { return scalars.count > 1 ? 2 : 1 }
        return scalars.lazy.map(width(of:)).max() ?? 0
    }

    private static func width(of scalar: Unicode.Scalar) -> Int {
        if isMark(scalar) { return 0 }
        switch scalar.value {
        // Vowels and finals join the syllable that the initial before them began.
        case 0x1160...0x11FF, 0xD7B0...0xD7FB, 0x200B...0x200D, 0x2060, 0xFE00...0xFE0F: return 0
        default: return isWide(scalar) ? 2 : 1
        }
    }

    private static func isMark(_ scalar: Unicode.Scalar) -> Bool {
        guard scalar.value >= 0x300 else { return false }
        switch scalar.properties.generalCategory {
        case .nonspacingMark, .enclosingMark: return true
        default: return false
        }
    }

    private static func isWide(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x1100...0x115F, 0x2E80...0x303E, 0x3041...0x33FF, 0x3400...0x4DBF, 0x4E00...0xA4CF, 0xA960...0xA97F,
            0xAC00...0xD7A3, 0xF900...0xFAFF, 0xFE30...0xFE6F, 0xFF01...0xFF60, 0xFFE0...0xFFE6, 0x16FE0...0x18DFF,
            0x1AFF0...0x1B2FF, 0x1F200...0x1F2FF, 0x20000...0x3FFFD:
            true
        default: scalar.properties.isEmojiPresentation
        }
    }

    // MARK: Cutting

    /// `text` in at most `columns` columns. A longer text ends with an ellipsis.
    static func cut(_ text: String, to columns: Int) -> String {
        guard width(text) > columns else { return text }
        guard columns > 0 else { return "" }
        var result = ""
        var used = 0
        for character in text {
            let next = width(character)
            if used + next > columns - 1 { break }
            result.append(character)
            used += next
        }
        return result + "…"
    }

    /// `text` in exactly `columns` columns: cut, or padded with spaces on the right (on the left for numbers).
    static func fit(_ text: String, _ columns: Int, right: Bool = false) -> String {
        let short = cut(text, to: columns)
        let fill = String(repeating: " ", count: max(0, columns - width(short)))
        return right ? fill + short : short + fill
    }

    /// Lines of at most `columns` columns, broken at spaces if possible. Never empty.
    static func wrapped(_ text: String, to columns: Int) -> [String] {
        let columns = max(2, columns)
        var lines: [String] = []
        var line = ""
        var used = 0
        /// Where the line may be broken: behind the last space.
        var breakAt: String.Index?
        for character in text {
            let next = width(character)
            if used + next > columns {
                if character == " " {
                    lines.append(line)
                    (line, used, breakAt) = ("", 0, nil)
                    continue
                }
                let rest = breakAt.map { String(line[$0...]) } ?? ""
                if let place = breakAt { line = String(line[..<place]) }
                while line.last == " " { line.removeLast() }
                lines.append(line)
                (line, used, breakAt) = (rest, width(rest), nil)
            }
            line.append(character)
            used += next
            if character == " " { breakAt = line.endIndex }
        }
        lines.append(line)
        return lines
    }
}
