import ChatCore
import Testing

/// How a file of words is read, and what is said about one that cannot be used.
@Suite struct WordListTests {
    @Test func aLineIsAWordACommentOrNothing() throws {
        let filter = try WordList.read("\u{FEFF}# bad words\r\nass\r\n\n   \t\n  바보 \n#tag\n  # more\ngood bye\n")
        #expect(filter.count == 3)
        for text in ["an ass", "바보야", "good bye"] { #expect(filter.matches(text), "\(text)") }
        for text in ["tag", "bad words", "more", "good"] { #expect(!filter.matches(text), "\(text)") }
    }

    @Test(arguments: ["", "\n\n", "# nothing\n", "\u{FEFF}"])
    func aListWithoutWordsFindsNothing(text: String) throws {
        let filter = try WordList.read(text)
        #expect(filter.count == 0 && !filter.matches("anything"))
    }

    @Test(arguments: [
        ("good\n\nzero\u{200B}\n\u{200B}\n", 4), ("a\nb\u{1}c\n", 2), ("\(String(repeating: "a", count: 65))", 1),
        ("# x\n\(String(repeating: "가", count: 22))\n", 2),
    ])
    func aWordThatCannotBeUsedIsNamedByItsLine(text: String, line: Int) {
        let problem = #expect(throws: WordList.Problem.self) { try WordList.read(text) }
        #expect(problem?.line == line)
        #expect(problem?.description.hasPrefix("line \(line): ") == true)
    }

    @Test func tooManyWordsAreRefused() {
        let text = (0...WordFilter.maxWords).map { "w\($0)" }.joined(separator: "\n")
        let problem = #expect(throws: WordList.Problem.self) { try WordList.read(text) }
        #expect(problem?.line == WordFilter.maxWords + 1)
    }
}
