/// A list of words as text: one word a line, `#` at the beginning of a line for comments.
public enum WordList {
    /// Why a list cannot be used.
    public struct Problem: Error, Hashable, CustomStringConvertible {
        /// The line, from 1 on; nil if it is the list as a whole.
        public var line: Int?
        public var text: String

        public init(line: Int?, _ text: String) {
            self.line = line
            self.text = text
        }

        public var description: String { line.map { "line \($0): \(text)" } ?? text }
    }

    /// Reads the list. Spaces around words, and lines without any, mean nothing. A list without words is one that finds
    /// nothing.
    public static func read(_ text: String) throws(Problem) -> WordFilter {
        var words: [String] = []
        var lines: [Int] = []
        // (A mark of the byte order is what some editors begin a file with.)
        let content =
            text.unicodeScalars.first == "\u{FEFF}" ? text.unicodeScalars.dropFirst() : text.unicodeScalars[...]
        for (index, line) in content.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            guard let first = line.firstIndex(where: { !isSpace($0) }), line[first] != "#",
                let last = line.lastIndex(where: { !isSpace($0) })
            else { continue }
            let word = line[first...last]
            guard !word.contains(where: { $0.value < 0x20 || $0.value == 0x7F }) else {
                throw Problem(line: index + 1, "the word holds a control character")
            }
            words.append(String(word))
            lines.append(index + 1)
        }
        do throws(WordFilter.Problem) {
            return try WordFilter(words)
        } catch {
            throw Problem(line: error.index.flatMap { lines.indices.contains($0) ? lines[$0] : nil }, error.text)
        }
    }

    private static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
        scalar == " " || scalar == "\t" || scalar == "\r" || scalar == "\u{3000}" || scalar == "\u{A0}"
    }
}
