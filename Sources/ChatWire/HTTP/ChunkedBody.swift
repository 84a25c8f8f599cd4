import ChatJSON

/// Decodes a chunked body (RFC 9112 §7.1) as it arrives. Extensions and trailer fields are read and discarded.
struct ChunkedBody: Sendable {
    private enum State: Sendable {
        /// → `data`, `trailer` after the chunk of size 0
        case size
        /// The number of bytes of the chunk that are still to come. → `end`
        case data(Int)
        /// The line end after a chunk. → `size`
        case end
        /// → `complete`
        case trailer
        case complete
    }

    /// The limit for a size, its extensions and its line end.
    private static let maxLineBytes = 256
    /// The limit for a trailer line, which is scanned again whenever more of it arrives.
    private static let maxTrailerLineBytes = 1_024

    private let maxBytes: Int
    private var trailerBytes: Int
    private var state = State.size
    private(set) var content: [UInt8] = []

    init(maxBytes: Int, maxTrailerBytes: Int) {
        self.maxBytes = maxBytes
        trailerBytes = maxTrailerBytes
    }

    static func tooLong(_ bytes: Int) -> RequestProblem { RequestProblem(413, "a body may have \(bytes) bytes") }

    /// Reads from `start` on. Returns the index up to which it has read, and whether the body ends there.
    mutating func read(_ bytes: [UInt8], from start: Int) throws(RequestProblem) -> (end: Int, isComplete: Bool) {
        var index = start
        while true {
            switch state {
            case .size:
                guard let end = try Self.line(bytes, index, atMost: Self.maxLineBytes) else { return (index, false) }
                let size = try Self.size(bytes[index..<end])
                index = end + 2
                guard size <= maxBytes - content.count else { throw Self.tooLong(maxBytes) }
                state = size == 0 ? .trailer : .data(size)
            case .data(let left):
                let count = min(left, bytes.count - index)
                content.append(contentsOf: bytes[index..<(index + count)])
                index += count
                guard count == left else {
                    state = .data(left - count)
                    return (index, false)
                }
                state = .end
            case .end:
                guard let end = try Self.line(bytes, index, atMost: 2) else { return (index, false) }
                guard end == index else { throw RequestProblem(400, "a chunk is longer than its size says") }
                index += 2
                state = .size
            case .trailer:
                guard let end = try Self.line(bytes, index, atMost: min(trailerBytes, Self.maxTrailerLineBytes)) else {
                    return (index, false)
                }
                trailerBytes -= end + 2 - index
                defer { index = end + 2 }
                guard end > index else {
                    state = .complete
                    continue
                }
                try Self.checkField(bytes, index..<end)
            case .complete: return (index, true)
            }
        }
    }

    private static func checkField(_ bytes: [UInt8], _ range: Range<Int>) throws(RequestProblem) {
        let result = bytes.withUnsafeBytes { all in
            Result { () throws(RequestProblem) in try HeadScan.field(all, range) }
        }
        _ = try result.get()
    }

    /// The end of the line that begins at `start`; nil if it has not arrived yet.
    private static func line(_ bytes: [UInt8], _ start: Int, atMost most: Int) throws(RequestProblem) -> Int? {
        let found = bytes.withUnsafeBytes { all in
            var index = start
            while let control = HTTPBytes.firstControl(all, from: index), all[control] == HTTPBytes.tab {
                index = control + 1
            }
            return HTTPBytes.firstControl(all, from: index)
        }
        guard let found, found + 1 < bytes.count else {
            guard (found ?? bytes.count) - start <= most else {
                throw RequestProblem(400, "a line within a chunked body is too long")
            }
            if let found, bytes[found] != HTTPBytes.carriageReturn { throw malformed }
            return nil
        }
        guard bytes[found] == HTTPBytes.carriageReturn, bytes[found + 1] == HTTPBytes.lineFeed else { throw malformed }
        guard found + 2 - start <= most else { throw RequestProblem(400, "a line within a chunked body is too long") }
        return found
    }

    private static var malformed: RequestProblem { RequestProblem(400, "the body's chunks are malformed") }

    private static func size(_ line: ArraySlice<UInt8>) throws(RequestProblem) -> Int {
        let digits = line.prefix { hexDigit($0) != nil }
        let rest = line[digits.endIndex...].drop { $0 == HTTPBytes.space || $0 == HTTPBytes.tab }
        guard !digits.isEmpty, digits.count <= 15, rest.isEmpty || rest.first == UInt8(ascii: ";") else {
            throw malformed
        }
        return digits.reduce(0) { $0 << 4 | Int(hexDigit($1) ?? 0) }
    }
}
