import ChatCore

/// Parses a stream of STOMP frames. Pure: bytes in, events out, in pieces of any size, because a WebSocket message may
/// hold several frames, or a part of one. An idle parser holds no memory of its own.
///
/// - Lines end with LF or CR LF. A lone end of line between frames is a heart-beat. A NUL between frames is ignored, as
///   RabbitMQ does.
/// - `content-length` counts octets, and wins over NUL.
/// - Escapes are those of the version; an undefined one ends the stream. CONNECT has none. Only 1.0 trims headers.
/// - The bytes of the head, the number of headers and the bytes of the body are bounded.
///
/// After a fault nothing more is parsed.
public struct StompParser: Sendable {
    public struct Bounds: Sendable, Hashable {
        /// Command and headers, with the ends of their lines.
        public var headBytes: Int
        public var headers: Int
        public var bodyBytes: Int

        public init(headBytes: Int, headers: Int, bodyBytes: Int) {
            self.headBytes = headBytes
            self.headers = headers
            self.bodyBytes = bodyBytes
        }

        public init(_ limits: Limits) {
            self.init(headBytes: limits.headBytes, headers: limits.headFields, bodyBytes: limits.frameBytes)
        }
    }

    public enum Event: Sendable, Hashable {
        case frame(StompFrame)
        case heartBeat
        case fault(StompFault)
    }

    private enum State: Sendable {
        /// Between frames. Can transition to `head`, `ended`.
        case idle
        /// Inside of the head: bytes up to `scanned` are whole lines, and none of them is empty. Can transition to
        /// `body`, `ended`.
        case head(scanned: Int)
        /// The head is known. `length`: of the body; nil if a NUL ends it, which is not before `scanned`. Can
        /// transition to `idle`, `ended`.
        case body(StompFrame, length: Int?, scanned: Int)
        /// A fault was reported. Final.
        case ended
    }

    /// The version that was agreed on; nil before CONNECT.
    public var version: StompVersion?
    private let bounds: Bounds
    private var state = State.idle
    private var buffer: [UInt8] = []
    /// The bytes before it were consumed.
    private var start = 0

    public init(bounds: Bounds) {
        self.bounds = bounds
    }

    private static let lf: UInt8 = 0x0A
    private static let cr: UInt8 = 0x0D

    /// Adds bytes, in order.
    public mutating func append(_ bytes: [UInt8]) {
        if case .ended = state { return }
        if start == buffer.count {
            buffer = bytes
            start = 0
        } else {
            buffer += bytes
        }
    }

    /// The next event; nil if more bytes are needed for it.
    public mutating func next() -> Event? {
        while true {
            switch state {
            case .idle:
                guard start < buffer.count else {
                    release()
                    return nil
                }
                switch buffer[start] {
                case Self.lf:
                    start += 1
                    return .heartBeat
                case Self.cr:
                    guard start + 1 < buffer.count else { return nil }
                    guard buffer[start + 1] == Self.lf else { return fault("a carriage return between frames") }
                    start += 2
                    return .heartBeat
                case 0: start += 1
                default: state = .head(scanned: start)
                }
            case .head(let scanned):
                do throws(StompFault) {
                    guard try readHead(scanned) else { return nil }
                } catch {
                    return end(error)
                }
            case .body(let frame, let length, let scanned):
                guard let range = bodyRange(length, scanned, frame) else { return nil }
                switch range {
                case .failure(let fault): return end(fault)
                case .success(let range):
                    var whole = frame
                    whole.body = Array(buffer[range])
                    start = range.upperBound + 1
                    state = .idle
                    return .frame(whole)
                }
            case .ended: return nil
            }
        }
    }

    private mutating func release() {
        buffer = []
        start = 0
    }

    /// Removes consumed bytes while the rest of a frame is awaited.
    private mutating func compact() -> Int {
        let gone = start
        guard gone > 0 else { return 0 }
        buffer.removeFirst(gone)
        start = 0
        return gone
    }

    private mutating func fault(_ detail: String) -> Event { end(StompFault("Malformed frame", detail + "\n")) }

    private mutating func end(_ fault: StompFault) -> Event {
        state = .ended
        release()
        return .fault(fault)
    }

    /// Finds the end of the head and reads it. False if bytes are missing.
    private mutating func readHead(_ scanned: Int) throws(StompFault) -> Bool {
        var line = scanned
        while let end = buffer[line...].firstIndex(of: Self.lf) {
            guard end + 1 - start <= bounds.headBytes else { throw tooLong }
            let isEmpty = end == line || end == line + 1 && buffer[line] == Self.cr
            if isEmpty, line > start {
                let frame = try head(start..<line)
                let length = try Self.length(of: frame, bounds)
                start = end + 1
                state = .body(frame, length: length, scanned: start)
                return true
            }
            line = end + 1
        }
        guard buffer.count - start <= bounds.headBytes else { throw tooLong }
        state = .head(scanned: line - compact())
        return false
    }

    private var tooLong: StompFault {
        StompFault("Frame too large", "Command and headers of a frame may have \(bounds.headBytes) bytes.\n")
    }

    /// The frame whose command and headers are these bytes.
    private func head(_ range: Range<Int>) throws(StompFault) -> StompFrame {
        var frame: StompFrame?
        var index = range.lowerBound
        while index < range.upperBound {
            var end = buffer[index..<range.upperBound].firstIndex(of: Self.lf) ?? range.upperBound
            let next = end + 1
            if end > index, buffer[end - 1] == Self.cr { end -= 1 }
            if frame == nil {
                frame = StompFrame(try Self.text(buffer[index..<end]))
            } else if frame?.headers.count ?? 0 < bounds.headers {
                let isConnect = frame?.command == "CONNECT" || frame?.command == "STOMP"
                let header = try header(buffer[index..<end], version: isConnect ? nil : version)
                frame?.headers.append(header)
            } else {
                throw StompFault("Frame too large", "A frame may have \(bounds.headers) headers.\n")
            }
            index = next
        }
        guard let frame else { throw StompFault("Malformed frame", "the command is missing\n") }
        return frame
    }

    private func header(_ line: ArraySlice<UInt8>, version: StompVersion?) throws(StompFault) -> StompFrame.Header {
        guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else {
            throw StompFault("Malformed frame", "a header without a colon\n")
        }
        let (name, value) = (line[..<colon], line[(colon + 1)...])
        guard !name.isEmpty else { throw StompFault("Malformed frame", "a header without a name\n") }
        switch version {
        case nil: return StompFrame.Header(try Self.text(name), try Self.text(value))
        case .v10:
            return StompFrame.Header(try Self.text(name).trimmingBlanks, try Self.text(value).trimmingBlanks)
        case .v11, .v12:
            return StompFrame.Header(
                try Self.text(Self.unescape(name, isNewest: version == .v12)),
                try Self.text(Self.unescape(value, isNewest: version == .v12)))
        }
    }

    private static func unescape(_ bytes: ArraySlice<UInt8>, isNewest: Bool) throws(StompFault) -> ArraySlice<UInt8> {
        guard bytes.contains(UInt8(ascii: "\\")) else { return bytes }
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count)
        var index = bytes.startIndex
        while index < bytes.endIndex {
            guard bytes[index] == UInt8(ascii: "\\") else {
                result.append(bytes[index])
                index += 1
                continue
            }
            switch index + 1 < bytes.endIndex ? bytes[index + 1] : 0 {
            case UInt8(ascii: "n"): result.append(lf)
            case UInt8(ascii: "c"): result.append(UInt8(ascii: ":"))
            case UInt8(ascii: "\\"): result.append(UInt8(ascii: "\\"))
            case UInt8(ascii: "r") where isNewest: result.append(cr)
            default: throw StompFault("Malformed frame", "a header has an escape that STOMP does not define\n")
            }
            index += 2
        }
        return result[...]
    }

    private static func text(_ bytes: ArraySlice<UInt8>) throws(StompFault) -> String {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw StompFault("Malformed frame", "the command or a header is not UTF-8\n")
        }
        return text
    }

    private static func length(of frame: StompFrame, _ bounds: Bounds) throws(StompFault) -> Int? {
        guard let text = frame["content-length"] else { return nil }
        let digits = text.trimmingBlanks.utf8
        guard !digits.isEmpty, digits.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else {
            throw StompFault("Malformed frame", "content-length must be a number of octets\n")
        }
        // A number with more digits than any limit is too large in any case.
        let length = Int(String(decoding: Array(digits), as: UTF8.self)) ?? .max
        guard length <= bounds.bodyBytes else { throw tooLarge(bounds) }
        return length
    }

    private static func tooLarge(_ bounds: Bounds) -> StompFault {
        StompFault("Frame too large", "The body of a frame may have \(bounds.bodyBytes) bytes.\n")
    }

    /// The range of the body, which a NUL follows; nil if bytes are missing.
    private mutating func bodyRange(
        _ length: Int?, _ scanned: Int, _ frame: StompFrame
    ) -> Result<Range<Int>, StompFault>? {
        if let length {
            guard buffer.count - start > length else {
                _ = compact()
                return nil
            }
            guard buffer[start + length] == 0 else {
                return .failure(StompFault("Malformed frame", "the body does not end where content-length says\n"))
            }
            return .success(start..<start + length)
        }
        if let end = buffer[scanned...].firstIndex(of: 0) {
            return end - start <= bounds.bodyBytes ? .success(start..<end) : .failure(Self.tooLarge(bounds))
        }
        guard buffer.count - start <= bounds.bodyBytes else { return .failure(Self.tooLarge(bounds)) }
        _ = compact()
        state = .body(frame, length: nil, scanned: buffer.count)
        return nil
    }
}
