import Testing

@testable import martlet

@Suite struct TerminalTextTests {
    @Test func whatATerminalWouldObeyIsOnlyShown() {
        #expect(TerminalText.harmless("\u{1B}[2Jgone\u{7}\r\u{8}") == "␛[2Jgone␇␍␈")
        #expect(TerminalText.harmless("a\u{9B}31mb\u{9D}0;title\u{9C}") == "a\u{FFFD}31mb\u{FFFD}0;title\u{FFFD}")
        #expect(TerminalText.harmless("ana\u{202E}gnp.exe\u{2066}") == "ana\u{FFFD}gnp.exe\u{FFFD}")
        #expect(TerminalText.harmless("line\u{2028}end\u{FEFF}") == "line\u{FFFD}end\u{FFFD}")
        #expect(TerminalText.harmless("a\tb") == "a    b")
    }

    @Test func nothingThatIsHarmlessIsChanged() {
        for text in ["hello", "안녕하세요", "👨‍👩‍👧 🇰🇷 ❤️", "שלום", "é", "e\u{301}"] {
            #expect(TerminalText.harmless(text) == text)
        }
    }

    @Test func noByteThatATerminalObeysIsLeftOfAnyScalar() {
        for value in UInt32(0)...0x30FF {
            guard let scalar = Unicode.Scalar(value) else { continue }
            for left in TerminalText.harmless(String(Character(scalar))).unicodeScalars {
                #expect(left.value >= 0x20 && !(0x7F..<0xA0).contains(left.value), "U+\(String(value, radix: 16))")
            }
        }
    }

    @Test func aHeapOfMarksIsCut() {
        let heap = "a" + String(repeating: "\u{301}", count: 500) + "b"
        #expect(TerminalText.harmless(heap).unicodeScalars.count == 2 + TerminalText.maxMarks)
    }

    @Test func linesEndHoweverTheyEnd() {
        #expect(TerminalText.harmlessLines("a\nb\r\nc\rd\u{2028}e") == ["a", "b", "c", "d", "e"])
        #expect(TerminalText.harmlessLines("\n") == ["", ""])
        #expect(TerminalText.harmlessLines("1\n2\n3", limit: 2) == ["1", "2", "… (1 lines more)"])
    }

    @Test(arguments: [
        ("", 0), ("abc", 3), ("안녕", 4), ("日本", 4), ("ｆ", 2), ("é", 1), ("e\u{301}", 1), ("👍", 2), ("👍🏽", 2), ("👨‍👩‍👧", 2),
        ("🇰🇷", 2), ("❤️", 2), ("❤", 1), ("שלום", 4), ("…", 1), ("ᄒ\u{1161}\u{11AB}", 2),
    ])
    func columnsAreWhatTheEyeSees(text: String, columns: Int) {
        #expect(TerminalText.width(text) == columns)
    }

    @Test func cuttingNeverCutsACharacterNorGoesOver() {
        let text = "ab안녕👨‍👩‍👧cd"
        for columns in 0...12 {
            let cut = TerminalText.cut(text, to: columns)
            #expect(TerminalText.width(cut) <= columns)
            #expect(cut == text || cut.isEmpty || text.hasPrefix(cut.dropLast()))
        }
        #expect(TerminalText.cut("안녕", to: 4) == "안녕")
        #expect(TerminalText.cut("안녕", to: 3) == "안…")
        #expect(TerminalText.fit("안녕", 6) == "안녕  ")
        #expect(TerminalText.fit("7", 3, right: true) == "  7")
    }

    @Test func linesAreWrappedAtSpacesAndLongWordsAnywhere() {
        #expect(TerminalText.wrapped("one two three", to: 8) == ["one two", "three"])
        #expect(TerminalText.wrapped("abcdefghij", to: 4) == ["abcd", "efgh", "ij"])
        #expect(TerminalText.wrapped("한국어도 됩니다", to: 9) == ["한국어도", "됩니다"])
        #expect(TerminalText.wrapped("", to: 9) == [""])
        for columns in 2...20 {
            for line in TerminalText.wrapped("a bb 안녕하세요 ccccccccccccccccc 👨‍👩‍👧👨‍👩‍👧👨‍👩‍👧 d", to: columns) {
                #expect(TerminalText.width(line) <= columns)
            }
        }
    }
}

@Suite struct KeyTests {
    private func keys(_ text: String) -> [Key] {
        var decoder = KeyDecoder()
        return decoder.decode(Array(text.utf8))
    }

    @Test func keysAreReadOutOfTheirBytes() {
        #expect(
            keys("a\u{1B}[D\u{1B}OC\u{1B}[1;5C\u{7F}\r\u{3}") == [
                .text("a"), .left, .right, .wordRight, .backspace, .enter, .interrupt,
            ])
        #expect(keys("\u{1B}[99;9Xb") == [.text("b")], "an unknown key is left out")
    }

    @Test func bytesMayComeInAnyPieces() {
        let text = "안녕\u{1B}[3~👍\u{1B}[200~two\nlines\u{1B}[201~x\r"
        let whole = keys(text)
        #expect(whole == [.text("안녕"), .delete, .text("👍"), .paste("two\nlines"), .text("x"), .enter])
        let bytes = Array(text.utf8)
        for size in 1...7 {
            var decoder = KeyDecoder()
            var typed = ""
            var others: [Key] = []
            var index = 0
            while index < bytes.count {
                for key in decoder.decode(Array(bytes[index..<min(index + size, bytes.count)])) {
                    if case .text(let text) = key { typed += text } else { others.append(key) }
                }
                index += size
            }
            #expect(typed == "안녕👍x", "in pieces of \(size)")
            #expect(others == [.delete, .paste("two\nlines"), .enter], "in pieces of \(size)")
        }
    }

    @Test func aPasteHasABound() {
        var decoder = KeyDecoder()
        _ = decoder.decode(Array("\u{1B}[200~".utf8))
        for _ in 0..<3 { #expect(decoder.decode([UInt8](repeating: 97, count: 1 << 19)).isEmpty) }
        let keys = decoder.decode(Array("\u{1B}[201~".utf8))
        #expect(keys == [.paste(String(repeating: "a", count: KeyDecoder.maxPaste))])
    }
}

@Suite struct LineEditorTests {
    @Test func aCharacterIsWhatTheEyeSees() {
        var editor = LineEditor()
        _ = editor.handle(.text("한👨‍👩‍👧"))
        #expect(editor.cursor == 2)
        _ = editor.handle(.backspace)
        #expect(editor.text == "한")
        // A typed character may continue the one before it.
        _ = editor.handle(.text("e"))
        _ = editor.handle(.text("\u{301}"))
        #expect(editor.characters.count == 2)
    }

    @Test func theLineIsEditedAsInAShell() {
        var editor = LineEditor()
        _ = editor.handle(.text("one two three"))
        _ = editor.handle(.killWord)
        #expect(editor.text == "one two ")
        _ = editor.handle(.wordLeft)
        _ = editor.handle(.text("big "))
        #expect(editor.text == "one big two ")
        _ = editor.handle(.killToEnd)
        _ = editor.handle(.home)
        _ = editor.handle(.delete)
        #expect(editor.text == "ne big ")
        _ = editor.handle(.end)
        _ = editor.handle(.killToStart)
        #expect(editor.text.isEmpty)
        #expect(editor.handle(.backspace) == .doNothing)
        #expect(editor.handle(.endOfInput) == .quit)
    }

    @Test func earlierLinesComeBackAndTheNewOneIsNotLost() {
        var editor = LineEditor()
        for line in ["first", "second"] {
            _ = editor.handle(.text(line))
            #expect(editor.handle(.enter) == .entered(line))
        }
        _ = editor.handle(.text("draft"))
        _ = editor.handle(.up)
        _ = editor.handle(.up)
        #expect(editor.text == "first")
        _ = editor.handle(.up)
        #expect(editor.text == "first")
        _ = editor.handle(.down)
        _ = editor.handle(.down)
        #expect(editor.text == "draft")
    }

    @Test func thePartOfALongLineWithTheCursorIsShown() {
        var editor = LineEditor()
        _ = editor.handle(.text(String(repeating: "안녕하세요 ", count: 40) + "끝"))
        for _ in 0..<120 {
            let (text, column) = editor.visible(columns: 40)
            #expect(TerminalText.width(text) < 40)
            #expect(column < 40)
            _ = editor.handle(.left)
        }
        _ = editor.handle(.home)
        #expect(editor.visible(columns: 40).column == 0)
        #expect(editor.visible(columns: 40).text.hasPrefix("안녕하세요"))
    }

    @Test func whatIsPastedCannotCommandTheTerminal() {
        var editor = LineEditor()
        _ = editor.handle(.paste("a\u{1B}[2J\nb"))
        #expect(editor.visible(columns: 40).text == "a␛[2J⏎b")
    }
}
