/// Finds words of a list in a message. Made once for a list, then shared; pure.
///
/// Both the words and the message are folded first (``WordFolding``), so case, width, styles of letters, composition of
/// Hangul and characters that are not seen make no difference. Where a word begins or ends:
///
/// - A letter or digit of a script that puts something between words (Latin, Greek, Cyrillic, Arabic …) at the edge of
///   a word must not have another one beside it: `ass` is not found in `class`, and is found in `그 ass는`.
/// - Hangul, Chinese, kana and all others may have anything beside them: `바보` is found in `바보야`. But a word is
///   never a part of a syllable, or of a letter with its marks: `바보` is not found in `바봉`, nor `cafe` in `café`.
///
/// The words are the branches of a tree in a double array (Aoe, 1989). Where a word may begin in the message, the tree
/// is followed as far as it goes: one look-up for each unit, however many words there are, and never more units than
/// the longest word has. Its memory is 12 bytes for each unit of all words that do not begin alike, a tenth more for
/// gaps, and 128 KiB; with the most words of the greatest length, 20 MB.
public struct WordFilter: Sendable {
    /// Words in one list.
    public static let maxWords = 20_000
    /// Bytes of one word.
    public static let maxWordBytes = 64
    /// Units of all words together, after folding.
    static let maxUnits = maxWords * maxWordBytes

    /// Why a list cannot be used.
    public struct Problem: Error, Equatable, CustomStringConvertible {
        /// The word, from 0 on; nil if it is the list as a whole.
        public let index: Int?
        public let text: String

        public var description: String { index.map { "word \($0 + 1): \(text)" } ?? text }
    }

    /// A node of the tree. The node after it with a unit is at `base` plus the number of the unit, if that node's
    /// `parent` is this one.
    private struct Node {
        var base: Int32 = 0
        /// -1: the place is free.
        var parent: Int32 = -1
        /// 1: a word ends here; 2: and its last character is a ``WordFolding/Kind/letter``.
        var end: Int32 = 0
    }

    private var nodes: [Node] = []
    /// The number of each unit; 0 for units that are in no word.
    private var numbers: [UInt16]
    /// The same for the bytes of ASCII, after folding.
    private var asciiNumbers: [UInt16]
    private let tables = WordFolding.Tables.shared

    /// The number of different words, after folding.
    public private(set) var count = 0

    /// Bytes that the filter holds in memory, without what all filters share.
    public var memoryBytes: Int {
        nodes.count * MemoryLayout<Node>.stride + (numbers.count + asciiNumbers.count) * MemoryLayout<UInt16>.stride
    }

    /// Throws ``Problem`` if there are too many words, or one is too long, or holds nothing that is seen.
    public init(_ words: some Sequence<String>) throws(Problem) {
        numbers = Array(repeating: 0, count: 65_536)
        asciiNumbers = Array(repeating: 0, count: 128)
        var folded: [[UInt16]] = []
        var units = 0
        for (index, word) in words.enumerated() {
            guard index < Self.maxWords else {
                throw Problem(index: index, text: "there are more than \(Self.maxWords) words")
            }
            guard word.utf8.count <= Self.maxWordBytes else {
                throw Problem(index: index, text: "the word is longer than \(Self.maxWordBytes) bytes")
            }
            let own = Self.units(of: word, tables)
            guard own.contains(where: { $0 != 0x20 }) else {
                throw Problem(index: index, text: "the word holds no character that is seen")
            }
            units += own.count
            guard units <= Self.maxUnits else {
                throw Problem(index: index, text: "the words are longer than \(Self.maxUnits) units together")
            }
            folded.append(own)
        }
        folded.sort { $0.lexicographicallyPrecedes($1) }
        number(folded)
        build(folded)
    }

    // MARK: Looking for words

    /// Whether a word is in the text.
    public func matches(_ text: String) -> Bool {
        var isFound = false
        forEachMatch(in: text) { _ in
            isFound = true
            return false
        }
        return isFound
    }

    /// The parts of the text that are words, as places in UTF-8, in their order. Words that overlap are one part.
    public func ranges(in text: String) -> [Range<Int>] {
        var found: [Range<Int>] = []
        forEachMatch(in: text) { range in
            found.append(range)
            return true
        }
        guard found.count > 1 else { return found }
        found.sort { ($0.lowerBound, $0.upperBound) < ($1.lowerBound, $1.upperBound) }
        var merged = [found[0]]
        for range in found.dropFirst() {
            let last = merged.count - 1
            if range.lowerBound < merged[last].upperBound {
                merged[last] = merged[last].lowerBound..<max(merged[last].upperBound, range.upperBound)
            } else {
                merged.append(range)
            }
        }
        return merged
    }

    /// The text with each character of each word replaced by `*`; nil if there is no word in it.
    public func masked(_ text: String) -> String? {
        let ranges = ranges(in: text)
        guard !ranges.isEmpty else { return nil }
        var (masked, place, next) = ("", 0, 0)
        for character in text {
            let end = place + character.utf8.count
            while next < ranges.count, ranges[next].upperBound <= place { next += 1 }
            masked.append(next < ranges.count && ranges[next].lowerBound < end ? "*" : character)
            place = end
        }
        return masked
    }

    /// Calls the body with the place of each word in the text, until it returns false.
    private func forEachMatch(in text: String, _ body: (Range<Int>) -> Bool) {
        guard count > 0 else { return }
        var text = text
        text.withUTF8 { bytes in
            if Self.isASCII(bytes) {
                findInASCII(bytes, body)
            } else {
                WordFolding.Writer.withRoom(for: bytes.count) { writer in
                    var writer = writer
                    WordFolding.fold(bytes, tables, &writer)
                    find(bytes, writer, body)
                }
            }
        }
    }

    private static func isASCII(_ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
        let raw = UnsafeRawBufferPointer(bytes)
        var (place, seen) = (0, UInt64(0))
        while place + 8 <= raw.count {
            seen |= raw.loadUnaligned(fromByteOffset: place, as: UInt64.self)
            place += 8
        }
        while place < raw.count {
            seen |= UInt64(raw[place])
            place += 1
        }
        return seen & 0x8080_8080_8080_8080 == 0
    }

    /// The node that follows `node` with the unit of that number; 0 if there is none.
    @inline(__always)
    private static func next(_ nodes: UnsafeBufferPointer<Node>, _ node: Int32, _ number: UInt16) -> Int32 {
        // No place of a node is beyond the array, as that has a place for every number behind each base.
        let place = nodes[Int(node)].base + Int32(number)
        return nodes[Int(place)].parent == node ? place : 0
    }

    private func findInASCII(_ bytes: UnsafeBufferPointer<UInt8>, _ body: (Range<Int>) -> Bool) {
        nodes.withUnsafeBufferPointer { nodes in
            asciiNumbers.withUnsafeBufferPointer { numbers in
                var isInWord = false
                for start in 0..<bytes.count {
                    let first = bytes[start]
                    let wasInWord = isInWord
                    isInWord = Self.isLetter(first)
                    if isInWord, wasInWord { continue }
                    var (node, place) = (Int32(0), start)
                    while place < bytes.count {
                        let number = numbers[Int(bytes[place] & 0x7F)]
                        guard number > 0 else { break }
                        node = Self.next(nodes, node, number)
                        guard node > 0 else { break }
                        place += 1
                        let end = nodes[Int(node)].end
                        guard end > 0 else { continue }
                        if end == 2, place < bytes.count, Self.isLetter(bytes[place]) { continue }
                        if !body(start..<place) { return }
                    }
                }
            }
        }
    }

    @inline(__always)
    private static func isLetter(_ byte: UInt8) -> Bool { byte &- 0x30 < 10 || (byte | 0x20) &- 0x61 < 26 }

    private func find(
        _ bytes: UnsafeBufferPointer<UInt8>, _ text: WordFolding.Writer, _ body: (Range<Int>) -> Bool
    ) {
        nodes.withUnsafeBufferPointer { nodes in
            numbers.withUnsafeBufferPointer { numbers in
                for index in 0..<text.startCount {
                    let start = Int(text.starts[index])
                    var (node, place) = (Int32(0), start)
                    while place < text.count {
                        let number = numbers[Int(text.units[place])]
                        guard number > 0 else { break }
                        node = Self.next(nodes, node, number)
                        guard node > 0 else { break }
                        place += 1
                        let end = nodes[Int(node)].end
                        guard end > 0, let range = range(bytes, text, start, place, endsWithLetter: end == 2) else {
                            continue
                        }
                        if !body(range) { return }
                    }
                }
            }
        }
    }

    /// The place in the message of the units from `start` to `end`; nil if no word is there but parts of words or of
    /// characters.
    private func range(
        _ bytes: UnsafeBufferPointer<UInt8>, _ text: WordFolding.Writer, _ start: Int, _ end: Int, endsWithLetter: Bool
    ) -> Range<Int>? {
        if end < text.count {
            let kind = kind(text.units[end])
            if text.origins[end] == text.origins[end - 1] || kind == WordFolding.Kind.mark { return nil }
            if endsWithLetter, kind == WordFolding.Kind.letter { return nil }
            if WordFolding.continuesSyllable(WordFolding.decode(bytes, Int(text.origins[end])).scalar) { return nil }
        }
        if start > 0 {
            if kind(text.units[start]) == WordFolding.Kind.letter, isAfterLetter(text, start) { return nil }
            if WordFolding.continuesSyllable(WordFolding.decode(bytes, Int(text.origins[start])).scalar) { return nil }
        }
        // Marks may have been put in another order.
        var (first, last) = (text.origins[start], text.origins[start])
        for place in start..<end {
            first = min(first, text.origins[place])
            last = max(last, text.origins[place])
        }
        return Int(first)..<(Int(last) + WordFolding.decode(bytes, Int(last)).length)
    }

    /// Whether a letter, with its marks if it has any, is before that place.
    private func isAfterLetter(_ text: WordFolding.Writer, _ start: Int) -> Bool {
        var place = start - 1
        while place > 0, kind(text.units[place]) == WordFolding.Kind.mark { place -= 1 }
        return kind(text.units[place]) == WordFolding.Kind.letter
    }

    private func kind(_ unit: UInt16) -> UInt8 { tables.kind(UInt32(unit)) }

    // MARK: Making it

    private static func units(of word: String, _ tables: WordFolding.Tables) -> [UInt16] {
        var word = word
        return word.withUTF8 { bytes in
            var units: [UInt16] = []
            WordFolding.Writer.withRoom(for: bytes.count) { writer in
                var writer = writer
                WordFolding.fold(bytes, tables, &writer)
                units = Array(UnsafeBufferPointer(start: writer.units, count: writer.count))
            }
            return units
        }
    }

    /// Numbers the units, the most frequent ones first, so that the nodes of a parent are close to each other.
    private mutating func number(_ words: [[UInt16]]) {
        var counts: [UInt16: Int] = [:]
        for word in words { for unit in word { counts[unit, default: 0] += 1 } }
        let order = counts.sorted { ($0.value, $1.key) > ($1.value, $0.key) }
        for (index, entry) in order.enumerated() { numbers[Int(entry.key)] = UInt16(clamping: index + 1) }
        for byte in 0..<UInt8(128) { asciiNumbers[Int(byte)] = numbers[Int(WordFolding.lower(byte))] }
    }

    /// The children of a node that is still to be placed: words from `first` to before `last` begin with it.
    private struct Branch {
        var node: Int32
        var depth: Int
        var first: Int
        var last: Int
    }

    private mutating func build(_ words: [[UInt16]]) {
        guard !words.isEmpty else { return }
        let most = Int(numbers.max() ?? 0) + 1
        nodes = Array(repeating: Node(), count: most + 1)
        nodes[0].parent = 0
        var places = FreePlaces()
        var queue = [Branch(node: 0, depth: 0, first: 0, last: words.count)]
        var head = 0
        while head < queue.count {
            let branch = queue[head]
            head += 1
            var children: [(number: Int, first: Int, last: Int)] = []
            var index = branch.first
            // Sorted, so a word that ends here comes first.
            while index < branch.last, words[index].count == branch.depth { index += 1 }
            while index < branch.last {
                let unit = words[index][branch.depth]
                let first = index
                while index < branch.last, words[index][branch.depth] == unit { index += 1 }
                children.append((Int(numbers[Int(unit)]), first, index))
            }
            let word = words[branch.first]
            if branch.depth > 0, word.count == branch.depth {
                let last = word.last { kind($0) != WordFolding.Kind.mark } ?? 0
                nodes[Int(branch.node)].end = kind(last) == WordFolding.Kind.letter ? 2 : 1
                count += 1
            }
            guard !children.isEmpty else { continue }
            let base = places.base(for: children.map(\.number), in: &nodes, most: most)
            nodes[Int(branch.node)].base = Int32(base)
            for child in children {
                let node = Int32(base + child.number)
                nodes[Int(node)].parent = branch.node
                queue.append(Branch(node: node, depth: branch.depth + 1, first: child.first, last: child.last))
            }
            if head > 4_096 {
                queue.removeFirst(head)
                head = 0
            }
        }
    }

    /// Finds places for the children of nodes.
    private struct FreePlaces {
        /// All places before it are taken, or not worth looking at.
        private var first = 1
        /// Places that are tried before the array grows.
        private static let tries = 64

        /// A base at which none of the places of these numbers is taken. The array has a place for every number behind
        /// each base.
        mutating func base(for numbers: [Int], in nodes: inout [Node], most: Int) -> Int {
            let least = numbers.min() ?? 1
            var place = max(first, least)
            var tried = 0
            while place < nodes.count, tried < Self.tries {
                if nodes[place].parent < 0 {
                    let base = place - least
                    if numbers.allSatisfy({ base + $0 >= nodes.count || nodes[base + $0].parent < 0 }) {
                        return grown(base, &nodes, most)
                    }
                    tried += 1
                } else if place == first {
                    first += 1
                }
                place += 1
            }
            // Places that did not suit several times are left to be gaps.
            if tried == Self.tries { first = max(first, place - Self.tries / 2) }
            return grown(max(0, nodes.count - least), &nodes, most)
        }

        private func grown(_ base: Int, _ nodes: inout [Node], _ most: Int) -> Int {
            let missing = base + most + 1 - nodes.count
            if missing > 0 { nodes.append(contentsOf: repeatElement(Node(), count: missing)) }
            return base
        }
    }
}
