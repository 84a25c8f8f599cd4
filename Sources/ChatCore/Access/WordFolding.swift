/// Folds text so that spellings that look alike become the same sequence of units, which ``WordFilter`` compares: NFKC
/// and case folding (Unicode's `NFKC_Casefold`, in decomposed form), without characters that are not seen
/// (`Default_Ignorable_Code_Point`, among them zero-width ones), and with Hangul in the letters of a keyboard: a
/// syllable, its conjoining jamo, its compatibility jamo and their half-width forms are the same letters, and a cluster
/// or diphthong is the letters that it consists of.
///
/// A unit is a UTF-16 code unit.
enum WordFolding {
    /// What a code point means for the ends of words.
    enum Kind {
        /// A letter or digit of a script that puts something between words, such as Latin.
        static let letter: UInt8 = 1
        /// A mark, which belongs to the character before it.
        static let mark: UInt8 = 2
        static let ignored: UInt8 = 3
        static let other: UInt8 = 0
    }

    /// The most units that replace one byte of UTF-8: U+FDFA has three bytes and becomes eighteen.
    static let mostUnitsPerByte = 6

    /// Receives the units of a text in their order, each with the place in UTF-8 of the code point that it comes from.
    struct Writer {
        let units: UnsafeMutablePointer<UInt16>
        let origins: UnsafeMutablePointer<UInt32>
        /// The first unit of each code point that has any.
        let starts: UnsafeMutablePointer<UInt32>
        var count = 0
        var startCount = 0

        /// Room for the units of a text of that many bytes, of which most have one unit for a byte.
        static func withRoom(for bytes: Int, _ body: (Writer) -> Void) {
            let most = (bytes + 1) * mostUnitsPerByte
            // One more unit than there can be, as a letter is written as two before it is known to be one.
            withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 3 * most) { room in
                guard let base = room.baseAddress else { return }
                (base + 2 * most).withMemoryRebound(to: UInt16.self, capacity: 2 * most) {
                    body(Writer(units: $0, origins: base, starts: base + most))
                }
            }
        }

        /// A code point begins.
        @inline(__always)
        mutating func begin() { starts[startCount] = UInt32(truncatingIfNeeded: count) }

        /// A code point has ended.
        @inline(__always)
        mutating func end() { startCount += starts[startCount] < count ? 1 : 0 }

        /// No, one or two letters: the lower and the upper 16 bits, where zero is none. Without a branch, as which it
        /// is cannot be predicted.
        @inline(__always)
        mutating func append(letters: UInt32, _ origin: Int) {
            let origin = UInt32(truncatingIfNeeded: origin)
            units[count] = UInt16(truncatingIfNeeded: letters)
            units[count + 1] = UInt16(truncatingIfNeeded: letters >> 16)
            origins[count] = origin
            origins[count + 1] = origin
            count += (letters & 0xFFFF == 0 ? 0 : 1) + (letters >> 16 == 0 ? 0 : 1)
        }

        @inline(__always)
        mutating func append(_ unit: UInt16, _ origin: Int) {
            units[count] = unit
            origins[count] = UInt32(truncatingIfNeeded: origin)
            count += 1
        }

        @inline(__always)
        mutating func append(scalar: UInt32, _ origin: Int) {
            if scalar < 0x1_0000 {
                append(UInt16(truncatingIfNeeded: scalar), origin)
            } else {
                append(UInt16(truncatingIfNeeded: 0xD7C0 + scalar >> 10), origin)
                append(UInt16(truncatingIfNeeded: 0xDC00 | scalar & 0x3FF), origin)
            }
        }
    }

    /// Folds valid UTF-8. The writer has room for ``mostUnitsPerByte`` units for each byte.
    static func fold(_ text: UnsafeBufferPointer<UInt8>, _ tables: Tables, _ writer: inout Writer) {
        var place = 0
        var hasPairs = false
        while place < text.count {
            let byte = text[place]
            writer.begin()
            defer { writer.end() }
            if byte < 0x80 {
                writer.append(UInt16(lower(byte)), place)
                place += 1
                continue
            }
            let (scalar, length) = decode(text, place)
            if scalar &- 0xAC00 < 11_172 {
                syllable(scalar &- 0xAC00, tables, place, &writer)
            } else {
                let kind = tables.kind(scalar)
                if tables.staysAsItIs(scalar), kind != Kind.mark, kind != Kind.ignored {
                    writer.append(scalar: scalar, place)
                } else if kind != Kind.ignored, other(scalar, tables, place, &writer) {
                    hasPairs = true
                }
            }
            place += length
        }
        if hasPairs { order(tables, &writer) }
    }

    @inline(__always)
    static func lower(_ byte: UInt8) -> UInt8 { byte &- 0x41 < 26 ? byte | 0x20 : byte }

    /// The code point at that place in valid UTF-8, and the number of its bytes.
    @inline(__always)
    static func decode(_ text: UnsafeBufferPointer<UInt8>, _ place: Int) -> (scalar: UInt32, length: Int) {
        let byte = UInt32(text[place])
        func rest(_ offset: Int) -> UInt32 {
            place + offset < text.count ? UInt32(text[place + offset]) & 0x3F : 0
        }
        if byte < 0x80 { return (byte, 1) }
        if byte < 0xE0 { return ((byte & 0x1F) << 6 | rest(1), 2) }
        if byte < 0xF0 { return ((byte & 0xF) << 12 | rest(1) << 6 | rest(2), 3) }
        return ((byte & 7) << 18 | rest(1) << 12 | rest(2) << 6 | rest(3), 4)
    }

    // MARK: Hangul

    /// Decomposes a syllable (Unicode, section 3.12) into letters.
    @inline(__always)
    private static func syllable(_ index: UInt32, _ tables: Tables, _ place: Int, _ writer: inout Writer) {
        writer.append(letters: tables.leads[Int(index / 588)], place)
        writer.append(letters: tables.vowels[Int(index % 588 / 28)], place)
        writer.append(letters: tables.tails[Int(index % 28)], place)
    }

    /// Whether the code point continues the syllable that the jamo before it begins.
    static func continuesSyllable(_ scalar: UInt32) -> Bool { (0x1160...0x11FF).contains(scalar) }

    // MARK: Everything else

    /// Appends what the code point is folded to. Returns whether a mark in it follows another one.
    private static func other(_ scalar: UInt32, _ tables: Tables, _ place: Int, _ writer: inout Writer) -> Bool {
        var hasPair = false
        tables.forEachFolded(scalar) { folded in
            if let jamo = tables.jamo(folded) { return writer.append(letters: jamo, place) }
            let kind = tables.kind(folded)
            guard kind != Kind.ignored else { return }
            if kind == Kind.mark, writer.count > 0, tables.kind(UInt32(writer.units[writer.count - 1])) == Kind.mark {
                hasPair = true
            }
            writer.append(scalar: folded, place)
        }
        return hasPair
    }

    /// Puts marks that follow each other in the order of their classes (Unicode, D109). A message may be nothing but
    /// marks, so each run of them is sorted.
    private static func order(_ tables: Tables, _ writer: inout Writer) {
        func combining(_ index: Int) -> UInt8 {
            let unit = writer.units[index]
            guard tables.kind(UInt32(unit)) == Kind.mark, let scalar = Unicode.Scalar(unit) else { return 0 }
            return scalar.properties.canonicalCombiningClass.rawValue
        }
        var marks: [(class: UInt8, unit: UInt16, origin: UInt32)] = []
        for index in 0...writer.count {
            let own = index < writer.count ? combining(index) : 0
            if own > 0 {
                marks.append((own, writer.units[index], writer.origins[index]))
            } else if !marks.isEmpty {
                if marks.count > 1 {
                    // Swift's sort is stable, which the rule asks for.
                    marks.sort { $0.class < $1.class }
                    for (place, mark) in zip((index - marks.count)..., marks) {
                        writer.units[place] = mark.unit
                        writer.origins[place] = mark.origin
                    }
                }
                marks.removeAll(keepingCapacity: true)
            }
        }
        writer.startCount = 0
        for index in 0..<writer.count where index == 0 || writer.origins[index] != writer.origins[index - 1] {
            writer.starts[writer.startCount] = UInt32(truncatingIfNeeded: index)
            writer.startCount += 1
        }
    }
}

extension WordFolding {
    /// What folding has to look up, made once for a process.
    final class Tables: Sendable {
        static let shared = Tables()

        /// The letters of the jamo of syllables: the first in the lower 16 bits, the second, if any, above. The first
        /// of `tails` is that of a syllable without one.
        let leads: [UInt32]
        let vowels: [UInt32]
        let tails: [UInt32]

        /// Code points from here on are of ``Kind/other`` and are not folded, except those of the table.
        private static let limit = 0x2_0000
        /// The kind of each code point below `limit`, and in the upper bits whether it is folded: 4.
        private let kinds: [UInt8]
        /// For each 256 code points, where theirs begin in `places`; 0: none of them is folded.
        private let pages: [UInt16]
        /// What code points are folded to: an index into `folded`, with the count in the upper eight bits; 0 if the
        /// code point is not folded.
        private let places: [UInt32]
        private let folded: [UInt32]

        private init() {
            // In the order of the jamo U+1100, U+1161 and U+11A8.
            leads = Self.letters("ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ")
            vowels = Self.letters("ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ")
            tails = [0] + Self.letters("ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ")
            var pages = [UInt16](repeating: 0, count: 0x11_0000 >> 8)
            var (places, folded) = ([UInt32](repeating: 0, count: 256), [UInt32]())
            Self.readTable { scalar, replacements in
                let page = Int(scalar >> 8)
                if pages[page] == 0 {
                    pages[page] = UInt16(places.count >> 8)
                    places += repeatElement(0, count: 256)
                }
                places[Int(pages[page]) << 8 | Int(scalar & 0xFF)] =
                    UInt32(replacements.count) << 24 | UInt32(folded.count)
                folded += replacements
            }
            (self.pages, self.places, self.folded) = (pages, places, folded)
            kinds = (0..<UInt32(Self.limit)).map { scalar in
                let place = places[Int(pages[Int(scalar >> 8)]) << 8 | Int(scalar & 0xFF)]
                return Self.kind(of: scalar) | (place == 0 ? 0 : 4)
            }
        }

        @inline(__always)
        func kind(_ scalar: UInt32) -> UInt8 {
            if scalar < Self.limit { return kinds[Int(scalar)] & 3 }
            // Tags and variation selectors.
            return (0xE_0000...0xE_0FFF).contains(scalar) ? Kind.ignored : Kind.other
        }

        /// Whether the code point is certainly not folded, and no jamo.
        @inline(__always)
        func staysAsItIs(_ scalar: UInt32) -> Bool {
            scalar < Self.limit && kinds[Int(scalar)] & 4 == 0 && scalar &- 0x1100 >= 0x100
        }

        /// What the code point is folded to.
        @inline(__always)
        func forEachFolded(_ scalar: UInt32, _ body: (UInt32) -> Void) {
            if scalar < Self.limit, kinds[Int(scalar)] & 4 == 0 { return body(scalar) }
            let place = places[Int(pages[Int(scalar >> 8)]) << 8 | Int(scalar & 0xFF)]
            guard place > 0 else { return body(scalar) }
            let start = Int(place & 0xFF_FFFF)
            for index in start..<(start + Int(place >> 24)) { body(folded[index]) }
        }

        /// The letters of a jamo: conjoining, or of a keyboard.
        @inline(__always)
        func jamo(_ scalar: UInt32) -> UInt32? {
            if scalar &- 0x1100 < 19 { return leads[Int(scalar - 0x1100)] }
            if scalar &- 0x1161 < 21 { return vowels[Int(scalar - 0x1161)] }
            if scalar &- 0x11A8 < 27 { return tails[Int(scalar - 0x11A7)] }
            return nil
        }

        /// The letters of a cluster or diphthong.
        private static let parts: [Character: (Character, Character)] = [
            "ㄳ": ("ㄱ", "ㅅ"), "ㄵ": ("ㄴ", "ㅈ"), "ㄶ": ("ㄴ", "ㅎ"), "ㄺ": ("ㄹ", "ㄱ"), "ㄻ": ("ㄹ", "ㅁ"),
            "ㄼ": ("ㄹ", "ㅂ"), "ㄽ": ("ㄹ", "ㅅ"), "ㄾ": ("ㄹ", "ㅌ"), "ㄿ": ("ㄹ", "ㅍ"), "ㅀ": ("ㄹ", "ㅎ"),
            "ㅄ": ("ㅂ", "ㅅ"), "ㅘ": ("ㅗ", "ㅏ"), "ㅙ": ("ㅗ", "ㅐ"), "ㅚ": ("ㅗ", "ㅣ"), "ㅝ": ("ㅜ", "ㅓ"),
            "ㅞ": ("ㅜ", "ㅔ"), "ㅟ": ("ㅜ", "ㅣ"), "ㅢ": ("ㅡ", "ㅣ"),
        ]

        private static func letters(_ jamo: String) -> [UInt32] {
            func value(_ letter: Character) -> UInt32 { letter.unicodeScalars.first?.value ?? 0 }
            return jamo.map { letter in
                guard let (first, second) = parts[letter] else { return value(letter) }
                return value(second) << 16 | value(first)
            }
        }

        private static func kind(of value: UInt32) -> UInt8 {
            guard let scalar = Unicode.Scalar(value) else { return Kind.other }
            let properties = scalar.properties
            if properties.isDefaultIgnorableCodePoint { return Kind.ignored }
            if properties.canonicalCombiningClass != .notReordered { return Kind.mark }
            guard properties.isAlphabetic || properties.numericType != nil, !isWithoutSpaces(value) else {
                return Kind.other
            }
            return Kind.letter
        }

        /// The scripts that put nothing between words: Thai, Lao, Myanmar, Khmer, Hangul, kana, Chinese.
        private static func isWithoutSpaces(_ value: UInt32) -> Bool {
            switch value {
            case 0x0E00...0x0EFF, 0x1000...0x109F, 0x1100...0x11FF, 0x1780...0x17FF, 0x2E80...0x9FFF, 0xA960...0xA97F,
                0xAC00...0xD7FF, 0xF900...0xFAFF, 0xFF65...0xFFDC, 0x1_6FE0...0x1_8CFF, 0x1_B000...0x1_B2FF:
                true
            default: false
            }
        }

        /// Reads ``WordFolding/table``.
        private static func readTable(_ body: (UInt32, [UInt32]) -> Void) {
            let digits = table.withUTF8Buffer { $0.compactMap(digit) }
            var place = 0
            func number() -> Int {
                var (value, shift) = (0, 0)
                while place < digits.count {
                    let digit = digits[place]
                    place += 1
                    value |= (digit & 31) << shift
                    shift += 5
                    if digit < 32 { break }
                }
                return value
            }
            func difference() -> Int {
                let value = number()
                return value & 1 == 0 ? value >> 1 : -(value >> 1) - 1
            }
            var last = 0
            while place < digits.count {
                var scalar = last + number()
                let count = number()
                if count == 0 {
                    let (length, step, distance) = (number(), number(), difference())
                    for index in 0..<length {
                        scalar += index == 0 ? 0 : step
                        body(UInt32(scalar), [UInt32(scalar + distance)])
                    }
                } else {
                    var (target, all) = (scalar, [UInt32]())
                    for _ in 0..<count {
                        target += difference()
                        all.append(UInt32(target))
                    }
                    body(UInt32(scalar), all)
                }
                last = scalar
            }
        }

        private static func digit(_ byte: UInt8) -> Int? {
            switch byte {
            case 0x41...0x5A: Int(byte) - 0x41
            case 0x61...0x7A: Int(byte) - 0x61 + 26
            case 0x30...0x39: Int(byte) - 0x30 + 52
            case 0x2B: 62
            case 0x2D: 63
            default: nil
            }
        }
    }
}
