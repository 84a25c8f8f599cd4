/// The line that the user is writing: characters as readers see them (a family of four is one), a cursor, and the lines
/// entered before.
struct LineEditor {
    private(set) var characters: [Character] = []
    /// The number of characters before the cursor.
    private(set) var cursor = 0
    private var history: [String] = []
    /// The index of the earlier line that is shown; `history.count` for the new one.
    private var place = 0
    private var draft = ""
    static let historyLimit = 200

    var text: String { String(characters) }

    enum Action: Equatable {
        case edited
        case entered(String)
        /// Ctrl-D on an empty line, or Ctrl-C.
        case quit
        case redraw
        case suspend
        case complete
        case doNothing
    }

    mutating func handle(_ key: Key) -> Action {
        switch key {
        case .text(let text), .paste(let text): insert(text)
        case .enter: return enter()
        case .backspace:
            guard cursor > 0 else { return .doNothing }
            cursor -= 1
            characters.remove(at: cursor)
        case .delete:
            guard cursor < characters.count else { return .doNothing }
            characters.remove(at: cursor)
        case .left: cursor = max(0, cursor - 1)
        case .right: cursor = min(characters.count, cursor + 1)
        case .home: cursor = 0
        case .end: cursor = characters.count
        case .wordLeft: cursor = wordStart()
        case .wordRight:
            while cursor < characters.count, characters[cursor].isWhitespace { cursor += 1 }
            while cursor < characters.count, !characters[cursor].isWhitespace { cursor += 1 }
        case .killToStart:
            characters.removeSubrange(0..<cursor)
            cursor = 0
        case .killToEnd: characters.removeSubrange(cursor...)
        case .killWord:
            let start = wordStart()
            characters.removeSubrange(start..<cursor)
            cursor = start
        case .up: recall(place - 1)
        case .down: recall(place + 1)
        case .interrupt: return .quit
        case .endOfInput: return characters.isEmpty ? .quit : .doNothing
        case .redraw: return .redraw
        case .suspend: return .suspend
        case .tab: return .complete
        }
        return .edited
    }

    /// Replaces the line by a text and moves the cursor behind it.
    mutating func replace(with text: String) {
        characters = Array(text)
        cursor = characters.count
    }

    private mutating func insert(_ text: String) {
        // Joined again, because the typed text may be the second half of a character (a mark, a joiner, a Korean
        // final).
        let before = String(characters[..<cursor]) + text.replacing("\r\n", with: "\n").replacing("\r", with: "\n")
        let after = characters[cursor...]
        let joined = Array(before)
        characters = joined + after
        cursor = joined.count
    }

    private mutating func enter() -> Action {
        let line = text
        replace(with: "")
        if !line.isEmpty, history.last != line {
            history.append(line)
            if history.count > Self.historyLimit { history.removeFirst() }
        }
        place = history.count
        draft = ""
        return .entered(line)
    }

    private mutating func recall(_ wanted: Int) {
        guard (0...history.count).contains(wanted), wanted != place else { return }
        if place == history.count { draft = text }
        place = wanted
        replace(with: wanted == history.count ? draft : history[wanted])
    }

    private func wordStart() -> Int {
        var start = cursor
        while start > 0, characters[start - 1].isWhitespace { start -= 1 }
        while start > 0, !characters[start - 1].isWhitespace { start -= 1 }
        return start
    }

    /// The part of the line that fits into `columns` and contains the cursor, and the cursor's column in it. A line end
    /// is shown as `⏎`.
    func visible(columns: Int) -> (text: String, column: Int) {
        let shown = characters.map { character -> String in
            character.isNewline ? "⏎" : TerminalText.harmless(String(character))
        }
        let widths = shown.map { TerminalText.width($0) }
        let room = max(2, columns - 1)
        var start = 0
        var used = widths[..<cursor].reduce(0, +)
        // In steps of half the line, so that it does not jump with every key.
        while used > room {
            var step = 0
            while step < room / 2, start < cursor {
                step += widths[start]
                start += 1
            }
            used -= step
        }
        var text = ""
        var total = 0
        for index in start..<shown.count {
            guard total + widths[index] <= room else { break }
            text += shown[index]
            total += widths[index]
        }
        return (text, used)
    }
}
