import ChatCore
import TestSupport
import Testing

/// Which words are found, and where, also by a slow matcher that knows nothing of the filter's folding.
@Suite struct WordFilterTests {
    private static func filter(_ words: String...) throws -> WordFilter { try WordFilter(words) }

    @Test(arguments: [
        ("an ass!", true), ("ASS", true), ("class", false), ("assed", false), ("_ass_", true), ("ass2", false),
        ("Ａｓｓ", true), ("clａss", false), ("𝐚𝐬𝐬", true), ("ⓐⓢⓢ", true), ("a\u{200B}s\u{AD}s", true),
        ("cl\u{200B}ass", false), ("éass", false), ("e\u{301}ass", false), ("assé", false), ("그ass는", true),
        ("ass\u{301}", false), ("", false), ("as", false), ("as s", false), ("аss", false),
    ])
    func latinWordsAreFoundAsWholeWords(text: String, isFound: Bool) throws {
        #expect(try Self.filter("ass").matches(text) == isFound)
    }

    @Test(arguments: [
        ("바보야", true), ("이바보", true), ("바봉", false), ("ㅂㅏㅂㅗ", true), ("바\u{200B}보", true),
        ("\u{1107}\u{1161}\u{1107}\u{1169}", true), ("\u{1107}\u{1161}\u{1107}\u{1169}\u{11BC}", false),
        ("ﾲￂﾲￌ", true), ("바 보", false), ("바ㅂㅗ", true), ("나바", false), ("바\u{3164}보", true),
    ])
    func hangulIsFoundAnywhereButNotInsideOfASyllable(text: String, isFound: Bool) throws {
        #expect(try Self.filter("바보").matches(text) == isFound)
    }

    @Test(arguments: [
        ("ㅅㅂ", "아 ㅅㅂ", true), ("ㅅㅂ", "ᄉᄇ", true), ("ㅅㅂ", "ᄉ바", false), ("값", "ㄱㅏㅂㅅ", true), ("과자", "ㄱㅗㅏㅈㅏ", true),
        ("cafe", "café", false), ("café", "CAFE\u{301}", true), ("strasse", "Straße", true),
        ("Straße", "STRASSE", true),
        ("バカ", "ﾊﾞｶ!", true), ("バカ", "ハカ", false), ("か", "が", false), ("笨蛋", "他是笨蛋吗", true), ("σας", "ΣΑΣ", true),
        ("ﬁn", "FIN", true), ("good bye", "Good\u{3000}bye", true), ("good bye", "goodbye", false),
        ("$$", "a$$b", true),
        ("a.b", "xa.b", false), ("😀", "ha😀ha", true), ("q\u{307}\u{323}", "q\u{323}\u{307}", true),
    ])
    func spellingsThatLookAlikeAreTheSame(word: String, text: String, isFound: Bool) throws {
        #expect(try Self.filter(word).matches(text) == isFound)
    }

    @Test func eachCharacterOfAWordIsMasked() throws {
        let filter = try Self.filter("ass", "바보", "bo", "보bo")
        #expect(filter.masked("그 ASS 는 바\u{200B}보! 👩‍👩‍👧 ass") == "그 *** 는 ***! 👩‍👩‍👧 ***")
        #expect(filter.masked("바보bo") == "****", "words that overlap are one")
        #expect(filter.ranges(in: "바보bo x bo") == [0..<8, 11..<13])
        #expect(filter.masked("nothing") == nil && filter.masked("아무것도") == nil)
        #expect(filter.masked("e\u{301} bo") == "e\u{301} **")
    }

    /// Each of the lower marks once moved past all of the upper ones, which took minutes.
    @Test(.timeLimit(.minutes(1))) func aMessageMayBeNothingButMarks() throws {
        let (upper, lower) = (String(repeating: "\u{301}", count: 25_000), String(repeating: "\u{323}", count: 25_000))
        let filter = try Self.filter("q\u{323}\u{307}", "ass")
        #expect(!filter.matches("q" + upper + lower + "\u{307}"))
        #expect(filter.matches(upper + lower + " ass"))
        #expect(filter.matches("\u{301}\u{323}\u{301}\u{323} q\u{307}\u{323}"))
    }

    @Test func aListThatCannotBeUsedIsRefused() throws {
        let many = (0...WordFilter.maxWords).lazy.map { "w\($0)" }
        #expect(throws: WordFilter.Problem.self) { try WordFilter(many) }
        for word in ["", "\u{200B}", " ", String(repeating: "a", count: WordFilter.maxWordBytes + 1)] {
            #expect(throws: WordFilter.Problem.self) { try WordFilter(["good", word]) }
        }
        #expect(try !WordFilter([String]()).matches("ab"))
        #expect(try WordFilter(["Ass", "ass", "ＡＳＳ"]).count == 1)
        #expect(try WordFilter(many.prefix(WordFilter.maxWords)).matches("a w19999 b"))
    }

    @Test func memoryIsBoundedByTheUnitsOfTheWords() throws {
        var random = SplitMix64(seed: 3)
        let letters = Array("abcdefghijklmnopqrstuvwxyz")
        let words = (0..<2_000).map { _ in
            String((0..<WordFilter.maxWordBytes).map { _ in letters[Int(random.next() % 26)] })
        }
        let filter = try WordFilter(words)
        #expect(filter.memoryBytes < 2_000 * WordFilter.maxWordBytes * 14 + 200_000)
        #expect(words.allSatisfy { filter.ranges(in: "x \($0)!") == [2..<(2 + WordFilter.maxWordBytes)] })
    }

    // MARK: against a slow matcher

    /// Code points with what they are folded to, and whether they are letters between which words do not end.
    private static let alphabet: [(scalar: Unicode.Scalar, folded: String, kind: Character)] = [
        ("a", "a", "L"), ("A", "a", "L"), ("Ａ", "a", "L"), ("b", "b", "L"), ("7", "7", "L"), ("é", "e\u{301}", "L"),
        ("e", "e", "L"), ("\u{301}", "\u{301}", "M"), ("가", "ㄱㅏ", "O"), ("각", "ㄱㅏㄱ", "O"), ("과", "ㄱㅗㅏ", "O"),
        ("ㄱ", "ㄱ", "O"), ("ㅏ", "ㅏ", "O"), ("\u{1100}", "ㄱ", "O"), ("\u{1161}", "ㅏ", "J"), ("\u{11A8}", "ㄱ", "J"),
        ("\u{200B}", "", "I"), ("\u{AD}", "", "I"), (" ", " ", "O"), ("!", "!", "O"), ("か", "か", "O"),
        ("が", "か\u{3099}", "O"), ("笨", "笨", "O"), ("ß", "ss", "L"), ("s", "s", "L"), ("𝐛", "b", "L"),
    ]

    private struct Sampled {
        var text = ""
        var parts: [(folded: [Unicode.Scalar], kind: Character, place: Int, bytes: Int)] = []
        var folded: [Unicode.Scalar] { parts.flatMap(\.folded) }

        init(_ count: Int, _ random: inout SplitMix64, isPlain: Bool) {
            for _ in 0..<count {
                let choice = isPlain ? [0, 1, 3, 4, 6, 18, 19, 24][Int(random.next() % 8)] : Int(random.next() % 26)
                let (scalar, folded, kind) = WordFilterTests.alphabet[choice]
                let place = text.utf8.count
                text.unicodeScalars.append(scalar)
                // What is ignored is not there.
                if kind == "I" { continue }
                parts.append((Array(folded.unicodeScalars), kind, place, text.utf8.count - place))
            }
        }
    }

    /// All places of the word: every run of whole code points is compared with it.
    private static func naive(_ word: Sampled, in text: Sampled) -> [Range<Int>] {
        let wanted = word.folded
        let marks: Set<Unicode.Scalar> = ["\u{301}", "\u{3099}"]
        func isLetter(_ scalar: Unicode.Scalar) -> Bool {
            scalar.isASCII && (scalar.properties.isAlphabetic || scalar.properties.numericType != nil)
        }
        var found: [Range<Int>] = []
        for first in text.parts.indices {
            var units: [Unicode.Scalar] = []
            for last in first..<text.parts.count where units.count < wanted.count {
                units += text.parts[last].folded
                guard units == wanted else { continue }
                let before = text.parts[..<first].flatMap(\.folded).last { !marks.contains($0) }
                let next = last + 1 < text.parts.count ? text.parts[last + 1] : nil
                if let unit = next?.folded.first {
                    if marks.contains(unit) || next?.kind == "J" { continue }
                    if let end = wanted.last(where: { !marks.contains($0) }), isLetter(end), isLetter(unit) { continue }
                }
                if first > 0, text.parts[first].kind == "J" { continue }
                if let before, isLetter(before), isLetter(wanted[0]) { continue }
                found.append(text.parts[first].place..<(text.parts[last].place + text.parts[last].bytes))
            }
        }
        return found
    }

    @Test(arguments: 1...8)
    func aSlowMatcherFindsTheSame(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var hits = 0
        for round in 0..<400 {
            let isPlain = round % 3 == 0
            let words = (0..<(1 + Int(random.next() % 6))).map { _ in
                Sampled(1 + Int(random.next() % 4), &random, isPlain: isPlain)
            }.filter { word in word.folded.contains { $0 != " " } }
            let filter = try WordFilter(words.map(\.text))
            let text = Sampled(Int(random.next() % 24), &random, isPlain: isPlain)
            let all = Set(words.flatMap { Self.naive($0, in: text) })
            let found = filter.ranges(in: text.text)
            #expect(filter.matches(text.text) == !all.isEmpty, "\(words.map(\.text)) in \(text.text)")
            let bytes = Set(all.flatMap { Array($0) })
            #expect(Set(found.flatMap { Array($0) }) == bytes, "\(words.map(\.text)) in \(text.text)")
            hits += all.isEmpty ? 0 : 1
        }
        #expect(hits > 40, "the words are found often enough")
    }

    @Test(arguments: 1...4)
    func anyTextIsTakenAsItIs(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let filter = try Self.filter("a", "가", "\u{FDFA}", "😀", "ﬃ")
        for _ in 0..<300 {
            var text = ""
            for _ in 0..<(random.next() % 40) {
                let limit: UInt32 = random.next() % 2 == 0 ? 0x3000 : 0x11_0000
                if let scalar = Unicode.Scalar(UInt32(random.next() % UInt64(limit))) {
                    text.unicodeScalars.append(scalar)
                }
            }
            let ranges = filter.ranges(in: text)
            #expect(ranges.allSatisfy { $0.lowerBound >= 0 && $0.upperBound <= text.utf8.count && !$0.isEmpty })
            #expect(zip(ranges, ranges.dropFirst()).allSatisfy { $0.upperBound <= $1.lowerBound })
            #expect(filter.matches(text) == !ranges.isEmpty)
            #expect(filter.masked(text).map { $0.count == text.count } ?? ranges.isEmpty)
        }
    }
}
