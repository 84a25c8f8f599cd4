/// Scans the head of a request as its bytes arrive. It reads each byte once, however small the pieces are. Pure; it
/// keeps no bytes, only the positions of the parts in the caller's buffer.
struct HeadScan: Sendable {
    struct RequestLine: Hashable, Sendable {
        var method: Range<Int>
        var target: Range<Int>
        var isOld: Bool
    }

    /// Empty lines before a request are ignored (RFC 9112 §2.2), up to this number.
    private static let maxEmptyLines = 8

    private let maxBytes: Int
    private let maxFields: Int
    /// Relative to the start of the head. Bytes before it were scanned.
    private var scanned = 0
    private var lineStart = 0
    private var emptyLines = 0
    private var line: RequestLine?
    private var places: [RequestHead.Place] = []

    init(maxBytes: Int, maxFields: Int) {
        self.maxBytes = maxBytes
        self.maxFields = maxFields
    }

    /// Scans the received part of a head that begins at `start`. Returns the end of the head; nil if it has not arrived
    /// yet.
    mutating func scan(_ bytes: [UInt8], from start: Int) throws(RequestProblem) -> Int? {
        let outcome = bytes.withUnsafeBytes { all in
            read(UnsafeRawBufferPointer(rebasing: all[start...]))
        }
        switch outcome {
        case .success(let end): return end.map { start + $0 }
        case .failure(let problem): throw problem
        }
    }

    /// The head whose end ``scan(_:from:)`` found, and with which `bytes` begin.
    func head(of bytes: [UInt8]) throws(RequestProblem) -> RequestHead {
        guard let line else { throw RequestProblem(400, "the request is empty") }
        return try RequestHead(bytes: bytes, line: line, places: places)
    }

    private mutating func read(_ bytes: UnsafeRawBufferPointer) -> Result<Int?, RequestProblem> {
        // Bytes that are not text, such as TLS, are refused at once.
        if lineStart == 0, let first = bytes.first, !HTTPBytes.isToken(first), first != HTTPBytes.carriageReturn {
            return .failure(RequestProblem(400, "byte 0: a request begins with a method"))
        }
        while let index = HTTPBytes.firstControl(bytes, from: scanned) {
            guard index < maxBytes else { return .failure(tooLong) }
            switch bytes[index] {
            case HTTPBytes.tab: scanned = index + 1
            case HTTPBytes.carriageReturn:
                scanned = index
                guard index + 1 < bytes.count else { return .success(nil) }
                guard bytes[index + 1] == HTTPBytes.lineFeed else {
                    return .failure(RequestProblem(400, "byte \(index): a carriage return without a line feed"))
                }
                let range = lineStart..<index
                scanned = index + 2
                lineStart = scanned
                do throws(RequestProblem) {
                    if try lineEnded(bytes, range) { return scanned > maxBytes ? .failure(tooLong) : .success(scanned) }
                } catch {
                    return .failure(error)
                }
            case HTTPBytes.lineFeed:
                return .failure(RequestProblem(400, "byte \(index): a line feed without a carriage return"))
            default: return .failure(RequestProblem(400, "byte \(index): a control character"))
            }
        }
        scanned = bytes.count
        return bytes.count > maxBytes ? .failure(tooLong) : .success(nil)
    }

    private var tooLong: RequestProblem {
        line == nil
            ? RequestProblem(414, "the request's first line is longer than \(maxBytes) bytes")
            : RequestProblem(431, "the request's head is longer than \(maxBytes) bytes")
    }

    /// Returns true at the empty line that ends the head.
    private mutating func lineEnded(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) throws(RequestProblem) -> Bool
    {
        if range.isEmpty {
            guard line == nil else { return true }
            emptyLines += 1
            guard emptyLines <= Self.maxEmptyLines else { throw RequestProblem(400, "the request is empty") }
        } else if line == nil {
            line = try Self.requestLine(bytes, range)
        } else {
            guard places.count < maxFields else {
                throw RequestProblem(431, "the request has more than \(maxFields) fields")
            }
            places.append(try HeadScan.field(bytes, range))
        }
        return false
    }

    private static func requestLine(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) throws(RequestProblem)
        -> RequestLine
    {
        let wrong = RequestProblem(
            400, "the first line must be a method, a target and a version, with one space between")
        var first = range.lowerBound
        while first < range.upperBound, HTTPBytes.isToken(bytes[first]) { first += 1 }
        var last = range.upperBound
        while last > first, bytes[last - 1] != HTTPBytes.space { last -= 1 }
        let target = (first + 1)..<max(first + 1, last - 1)
        guard first > range.lowerBound, first < last, bytes[first] == HTTPBytes.space, !target.isEmpty else {
            throw wrong
        }
        for index in target where bytes[index] <= HTTPBytes.space { throw wrong }
        return RequestLine(
            method: range.lowerBound..<first, target: target, isOld: try isOld(bytes, last..<range.upperBound))
    }

    /// True for HTTP/1.0; false for a later HTTP/1, which is read as 1.1 (RFC 9110 §2.5).
    private static func isOld(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) throws(RequestProblem) -> Bool {
        let version = bytes[range]
        guard version.count == 8, zip(version, "HTTP/".utf8).allSatisfy({ $0 == $1 }) else {
            throw RequestProblem(400, "the first line does not end with a version of HTTP")
        }
        let digit = UInt8(ascii: "0")...UInt8(ascii: "9")
        let (major, dot, minor) = (
            bytes[range.lowerBound + 5], bytes[range.lowerBound + 6], bytes[range.lowerBound + 7]
        )
        guard digit.contains(major), dot == UInt8(ascii: "."), digit.contains(minor) else {
            throw RequestProblem(400, "the first line does not end with a version of HTTP")
        }
        guard major == UInt8(ascii: "1") else { throw RequestProblem(505, "only HTTP/1 is supported here") }
        return minor == UInt8(ascii: "0")
    }

    /// Reads a field line, which has no control characters except tabs.
    static func field(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) throws(RequestProblem) -> RequestHead.Place
    {
        var colon = range.lowerBound
        while colon < range.upperBound, HTTPBytes.isToken(bytes[colon]) { colon += 1 }
        guard colon > range.lowerBound, colon < range.upperBound, bytes[colon] == UInt8(ascii: ":") else {
            throw RequestProblem(
                400, "byte \(colon): a field must be a name and a colon, with no white space before it")
        }
        return RequestHead.Place(
            name: range.lowerBound..<colon, value: HTTPBytes.trimmed(bytes, (colon + 1)..<range.upperBound))
    }
}
