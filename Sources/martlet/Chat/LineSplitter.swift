/// Splits bytes into lines of text.
struct LineSplitter {
    enum Line: Equatable {
        case text(String)
        /// The line is longer than ``LineSplitter/maxLine``. Nothing of it is returned, because half a line has another
        /// meaning.
        case tooLong
    }

    /// No node accepts a longer line by default.
    static let maxLine = 1 << 20
    private static let byteOrderMark: [UInt8] = [0xEF, 0xBB, 0xBF]

    private var bytes: [UInt8] = []
    /// No line has ended yet. A byte order mark may stand before the first one (PowerShell writes one into a pipe).
    private var isFirst = true
    private var isTooLong = false

    mutating func add(_ more: [UInt8]) -> [Line] {
        var lines: [Line] = []
        for byte in more {
            if byte == UInt8(ascii: "\n") {
                lines.append(take())
            } else if bytes.count >= Self.maxLine {
                isTooLong = true
            } else {
                bytes.append(byte)
            }
        }
        return lines
    }

    /// The last line, if it has no line end.
    mutating func rest() -> Line? { bytes.isEmpty ? nil : take() }

    private mutating func take() -> Line {
        defer {
            bytes.removeAll(keepingCapacity: true)
            isFirst = false
            isTooLong = false
        }
        if isTooLong { return .tooLong }
        if bytes.last == UInt8(ascii: "\r") { bytes.removeLast() }
        let hasMark = isFirst && bytes.starts(with: Self.byteOrderMark)
        return .text(String(decoding: bytes.dropFirst(hasMark ? Self.byteOrderMark.count : 0), as: UTF8.self))
    }
}
