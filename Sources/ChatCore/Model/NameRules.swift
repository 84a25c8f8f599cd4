/// The rules for all names: 1 to `maxBytes` bytes of UTF-8, and only visible content, so that names that look the same
/// are mostly the same, and no name is invisible.
///
/// The rules use Unicode's properties and follow PRECIS (RFC 8264 and 8266, the classes of user names and nicknames). A
/// name must not contain:
///
/// - control characters, line and paragraph separators, private use, unassigned code points and noncharacters;
/// - default-ignorable code points (zero-width space, word joiner, soft hyphen, Hangul fillers, tags …),
///   bidirectional controls and all other format characters, which show nothing by themselves;
/// - blanks that are not white space: U+2800 (Braille) and U+1D159.
///
/// Three kinds of hidden characters are part of normal text and are accepted where they have a meaning: joiners between
/// letters of joining scripts (Arabic, Indic …) and between emoji, variation selectors after characters with two
/// presentations, and the tags of the three flags that use them. At least one character must be visible by itself: a
/// name cannot consist of white space and marks.
enum NameRules {
    /// `reserved`: ASCII characters with another meaning, which are refused. If `mustBeSeen` is false, only control
    /// characters and separators are refused, and the reserved characters.
    static func validate(
        _ text: String, noun: String, maxBytes: Int, reserved: StaticString = "", because reason: String = "",
        mustBeSeen: Bool = true
    ) throws(NameError) {
        let count = text.utf8.count
        guard count > 0 else { throw NameError("\(noun) is empty") }
        guard count <= maxBytes else { throw NameError("\(noun) is \(count) bytes long, the limit is \(maxBytes)") }
        // Fast path: nearly all names consist of visible ASCII characters.
        let isPlain = text.utf8.withContiguousStorageIfAvailable { bytes in
            bytes.allSatisfy { $0 > 0x20 && $0 < 0x7F && !reserved.holds($0) }
        }
        if isPlain == true { return }
        for scalar in text.unicodeScalars {
            switch scalar.value {
            case 0..<0x20, 0x7F..<0xA0, 0x2028, 0x2029:
                throw NameError("\(noun) holds the control character \(code(scalar))")
            default:
                break
            }
        }
        if mustBeSeen { try see(Array(text.unicodeScalars), noun) }
        guard !text.utf8.contains(where: { reserved.holds($0) }) else { throw NameError("\(noun) \(reason)") }
    }

    private static func code(_ scalar: Unicode.Scalar) -> String {
        let digits = String(scalar.value, radix: 16, uppercase: true)
        return "U+" + String(repeating: "0", count: max(0, 4 - digits.count)) + digits
    }

    private static func see(_ scalars: [Unicode.Scalar], _ noun: String) throws(NameError) {
        var visible = false
        var place = 0
        while place < scalars.count {
            let scalar = scalars[place]
            // Looking up a property costs more than everything else here.
            if (0x20..<0x7F).contains(scalar.value) {
                if scalar.value > 0x20 { visible = true }
                place += 1
                continue
            }
            switch look(of: scalar) {
            case .shows:
                visible = true
                place += 1
                if scalar.value == Flag.base { place += Flag.length(of: scalars[place...]) }
            case .blank, .mark:
                place += 1
            case .hidden:
                guard isMeant(scalars, place) else {
                    throw NameError("\(noun) holds \(code(scalar)), which is invisible there")
                }
                place += 1
            case .never:
                throw NameError("\(noun) holds \(code(scalar)), which is not allowed in a name")
            }
        }
        guard visible else { throw NameError("\(noun) consists of white space and marks, or holds nothing visible") }
    }

    private enum Look {
        /// Visible by itself.
        case shows
        case blank
        /// Visible only on another character.
        case mark
        /// Visible only through its effect on its neighbours.
        case hidden
        /// Not the same everywhere, or without any meaning.
        case never
    }

    private static func look(of scalar: Unicode.Scalar) -> Look {
        if scalar.value == 0x2800 || scalar.value == 0x1D159 { return .never }
        let properties = scalar.properties
        if properties.isNoncharacterCodePoint { return .never }
        if properties.isDefaultIgnorableCodePoint || properties.isBidiControl { return .hidden }
        switch properties.generalCategory {
        case .control, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator: return .never
        // Some of these are visible, but no name needs them (PRECIS does not allow them either).
        case .format: return .hidden
        case .spaceSeparator: return .blank
        case .nonspacingMark, .spacingMark, .enclosingMark: return .mark
        default: return properties.isWhitespace ? .blank : .shows
        }
    }

    // MARK: hidden characters with a meaning

    /// Whether the hidden character at that index has its intended effect.
    private static func isMeant(_ scalars: [Unicode.Scalar], _ place: Int) -> Bool {
        guard place > 0 else { return false }
        let before = scalars[place - 1]
        let after = place + 1 < scalars.count ? scalars[place + 1] : nil
        switch scalars[place].value {
        case 0x200C: return joinsLetters(before, after)
        case 0x200D: return joinsLetters(before, after) || joinsEmoji(before, after)
        // They select how the character before is shown, as text or as an emoji. For a digit only the one that a keycap
        // needs is accepted.
        case 0xFE0E, 0xFE0F:
            return before.properties.isEmoji && (!before.isASCII || after?.value == 0x20E3)
        // They select the form of a Mongolian letter.
        case 0x180B...0x180D, 0x180F: return (0x1820...0x18AA).contains(before.value)
        case 0x180E: return (0x1820...0x18AA).contains(before.value) && (0x1820...0x18AA).contains(after?.value ?? 0)
        default: return false
        }
    }

    /// RFC 5892, appendix A.1 and A.2, without its tables of the sides on which each letter joins: a joiner is accepted
    /// after a virama, or between two letters of joining scripts.
    private static func joinsLetters(_ before: Unicode.Scalar, _ after: Unicode.Scalar?) -> Bool {
        guard isOfJoiningScript(before), isLetter(before) else { return false }
        guard let after else { return before.properties.canonicalCombiningClass.rawValue == 9 }
        return isOfJoiningScript(after) && isLetter(after)
            || before.properties.canonicalCombiningClass.rawValue == 9 && !isHidden(after)
    }

    private static func joinsEmoji(_ before: Unicode.Scalar, _ after: Unicode.Scalar?) -> Bool {
        guard let after, after.properties.isEmoji, !after.isASCII else { return false }
        return before.value == 0xFE0F || before.properties.isEmoji && !before.isASCII || before.value == Flag.end
    }

    private static func isHidden(_ scalar: Unicode.Scalar) -> Bool {
        scalar.properties.isDefaultIgnorableCodePoint || scalar.properties.generalCategory == .format
    }

    /// Whether it is a letter, or a mark on one.
    private static func isLetter(_ scalar: Unicode.Scalar) -> Bool {
        guard !isHidden(scalar) else { return false }
        switch scalar.properties.generalCategory {
        case .otherLetter, .modifierLetter, .lowercaseLetter, .uppercaseLetter, .nonspacingMark, .spacingMark:
            return true
        default: return false
        }
    }

    /// Arabic, Syriac, Thaana, N'Ko, Mandaic; the scripts of India, Tibet, Burma and their neighbours; Mongolian,
    /// Khmer; Adlam.
    private static func isOfJoiningScript(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x0600...0x0DFF, 0x0F00...0x109F, 0x1700...0x18AF, 0x1900...0x1CFF, 0xA800...0xA8FF, 0xA930...0xAAFF,
            0xABC0...0xABFF, 0xFB50...0xFDFF, 0xFE70...0xFEFC, 0x10A00...0x10FFF, 0x11000...0x11FFF, 0x1E900...0x1E95F:
            true
        default: false
        }
    }

    /// The flags of England, Scotland and Wales: a black flag, tags that name the region, and a tag that ends them (UTS
    /// #51, "RGI emoji tag sequences"). Other tags could hold any text and would be invisible.
    private enum Flag {
        static let base: UInt32 = 0x1F3F4
        static let end: UInt32 = 0xE007F
        private static let regions = ["gbeng", "gbsct", "gbwls"].map { region in
            region.unicodeScalars.map { 0xE0000 + $0.value } + [end]
        }

        /// The number of scalars after the black flag that are the tags of one of these flags; 0 if there are none.
        static func length(of scalars: ArraySlice<Unicode.Scalar>) -> Int {
            regions.first { region in scalars.prefix(region.count).map(\.value) == region }?.count ?? 0
        }
    }
}

extension StaticString {
    @inline(__always)
    fileprivate func holds(_ byte: UInt8) -> Bool {
        for index in 0..<utf8CodeUnitCount where utf8Start[index] == byte { return true }
        return false
    }
}
