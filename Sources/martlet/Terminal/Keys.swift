/// A key or an action on the keyboard.
enum Key: Equatable {
    case text(String)
    case enter, backspace, delete, left, right, up, down, home, end, wordLeft, wordRight
    /// Delete to the beginning, to the end, and the word before the cursor.
    case killToStart, killToEnd, killWord
    case tab, redraw, interrupt, endOfInput, suspend
    /// A bracketed paste: its line ends are text, not Enter.
    case paste(String)
}

/// Decodes the bytes of a terminal in raw mode (xterm, "Control Sequences": CSI and SS3 keys, bracketed paste). An
/// incomplete sequence waits for more bytes; an unknown one is ignored.
struct KeyDecoder {
    private var waiting: [UInt8] = []
    private var pasted: [UInt8]?
    /// A paste is cut after this many bytes, because no message is that long.
    static let maxPaste = 1 << 20

    mutating func decode(_ bytes: [UInt8]) -> [Key] {
        waiting += bytes
        var keys: [Key] = []
        var index = 0
        var text: [UInt8] = []
        func flush() {
            if !text.isEmpty { keys.append(.text(String(decoding: text, as: UTF8.self))) }
            text = []
        }
        loop: while index < waiting.count {
            if pasted != nil {
                guard let end = endOfPaste(from: index) else { break loop }
                flush()
                keys.append(.paste(String(decoding: pasted ?? [], as: UTF8.self)))
                pasted = nil
                index = end
                continue
            }
            let byte = waiting[index]
            switch byte {
            case 0x1B:
                switch escape(at: index) {
                case .incomplete: break loop
                case .key(let key, let length):
                    flush()
                    if let key { keys.append(key) }
                    index += length
                case .paste(let length):
                    pasted = []
                    index += length
                }
            case 0..<0x20, 0x7F:
                flush()
                if let key = Self.control(byte) { keys.append(key) }
                index += 1
            default:
                let length = Self.length(ofUTF8: byte)
                guard index + length <= waiting.count else { break loop }
                text += waiting[index..<index + length]
                index += length
            }
        }
        flush()
        waiting.removeFirst(index)
        return keys
    }

    /// Nothing followed an Escape, so it was the key itself, which has no function here.
    mutating func paused() {
        if waiting.first == 0x1B, pasted == nil { waiting.removeAll() }
    }

    private enum Escape {
        case incomplete
        case key(Key?, length: Int)
        case paste(length: Int)
    }

    private func escape(at start: Int) -> Escape {
        guard start + 1 < waiting.count else { return .incomplete }
        switch waiting[start + 1] {
        case UInt8(ascii: "["):
            var index = start + 2
            while index < waiting.count, (0x20...0x3F).contains(waiting[index]) { index += 1 }
            guard index < waiting.count else {
                return index - start > 32 ? .key(nil, length: index - start) : .incomplete
            }
            let sequence = String(decoding: waiting[(start + 2)...index], as: UTF8.self)
            let length = index - start + 1
            return sequence == "200~" ? .paste(length: length) : .key(Self.sequences[sequence], length: length)
        case UInt8(ascii: "O"):
            guard start + 2 < waiting.count else { return .incomplete }
            return .key(Self.sequences[String(decoding: [waiting[start + 2]], as: UTF8.self)], length: 3)
        case UInt8(ascii: "b"): return .key(.wordLeft, length: 2)
        case UInt8(ascii: "f"): return .key(.wordRight, length: 2)
        case 0x7F: return .key(.killWord, length: 2)
        default: return .key(nil, length: 1)
        }
    }

    /// Takes the pasted text from `start` on. Returns the index behind the closing mark, if it has come.
    private mutating func endOfPaste(from start: Int) -> Int? {
        let mark = Array("\u{1B}[201~".utf8)
        let rest = waiting[start...]
        if let end = rest.firstRange(of: mark) {
            take(rest[..<end.lowerBound])
            return end.upperBound
        }
        // The mark may have been split.
        let sure = max(start, waiting.count - mark.count + 1)
        take(waiting[start..<sure])
        waiting.removeSubrange(start..<sure)
        return nil
    }

    private mutating func take(_ bytes: ArraySlice<UInt8>) {
        let room = Self.maxPaste - (pasted?.count ?? 0)
        if room > 0 { pasted?.append(contentsOf: bytes.prefix(room)) }
    }

    private static let sequences: [String: Key] = [
        "A": .up, "B": .down, "C": .right, "D": .left, "H": .home, "F": .end, "1~": .home, "7~": .home, "4~": .end,
        "8~": .end, "3~": .delete, "1;5C": .wordRight, "1;5D": .wordLeft, "1;3C": .wordRight, "1;3D": .wordLeft,
    ]

    private static func control(_ byte: UInt8) -> Key? {
        switch byte {
        case 0x01: .home
        case 0x02: .left
        case 0x03: .interrupt
        case 0x04: .endOfInput
        case 0x05: .end
        case 0x06: .right
        case 0x08, 0x7F: .backspace
        case 0x09: .tab
        case 0x0A, 0x0D: .enter
        case 0x0B: .killToEnd
        case 0x0C: .redraw
        case 0x0E: .down
        case 0x10: .up
        case 0x15: .killToStart
        case 0x17: .killWord
        case 0x1A: .suspend
        default: nil
        }
    }

    private static func length(ofUTF8 first: UInt8) -> Int {
        switch first {
        case 0xC0..<0xE0: 2
        case 0xE0..<0xF0: 3
        case 0xF0..<0xF8: 4
        default: 1
        }
    }
}
