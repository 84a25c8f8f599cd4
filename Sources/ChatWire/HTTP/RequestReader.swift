/// Splits the bytes of one connection into consecutive requests. Pure: bytes in, events out.
///
/// The caller reads the events of a request up to `body`, answers it, and then continues; bytes that arrive meanwhile
/// wait. After `head` the caller may stop for good and take the remaining bytes, as for a WebSocket.
public struct RequestReader: Sendable {
    public enum Event: Sendable, Equatable {
        /// A request has begun, and its head is complete. `mayWait`: no byte of its body has arrived.
        case head(RequestHead, mayWait: Bool)
        /// Its body is complete; empty if it has none.
        case body([UInt8])
        /// The request is refused, and nothing more can be read.
        case refused(RequestProblem)
    }

    public struct Limits: Hashable, Sendable {
        public var headBytes: Int
        public var headFields: Int
        public var bodyBytes: Int

        public init(headBytes: Int, headFields: Int, bodyBytes: Int) {
            self.headBytes = headBytes
            self.headFields = headFields
            self.bodyBytes = bodyBytes
        }
    }

    private enum State: Sendable {
        /// → `length`, `chunked`, `failed`, or itself for a request without a body
        case head(HeadScan)
        /// The body of the last head is due, and is complete when this many bytes have arrived. → `head`
        case length(Int)
        /// → `head`, `failed`
        case chunked(ChunkedBody)
        /// Final.
        case failed
    }

    private let limits: Limits
    private var state: State
    private var bytes: [UInt8] = []
    /// An index into `bytes`: everything before it was read.
    private var start = 0

    public init(limits: Limits) {
        self.limits = limits
        state = .head(Self.scan(limits))
    }

    private static func scan(_ limits: Limits) -> HeadScan {
        HeadScan(maxBytes: limits.headBytes, maxFields: limits.headFields)
    }

    /// The number of received bytes that were not read.
    public var waiting: Int { bytes.count - start }

    /// Whether a request has begun and is not complete.
    public var isWithinRequest: Bool {
        switch state {
        case .head, .failed: waiting > 0
        case .length, .chunked: true
        }
    }

    public mutating func received(_ piece: UnsafeRawBufferPointer) {
        if case .failed = state { return }
        bytes.append(contentsOf: piece)
    }

    /// The bytes after the last head, which are not HTTP any more. Nothing can be read afterwards.
    public mutating func takeRest() -> [UInt8] {
        state = .failed
        defer { discard() }
        return Array(bytes[start...])
    }

    /// The next event; nil if more bytes are needed.
    public mutating func next() -> Event? {
        switch state {
        case .head(var scan):
            guard waiting > 0 else { return nil }
            // So that `scan` holds the only reference while it is modified.
            state = .failed
            do throws(RequestProblem) {
                guard let end = try scan.scan(bytes, from: start) else {
                    state = .head(scan)
                    return nil
                }
                let head = try scan.head(of: Array(bytes[start..<end]))
                advance(to: end)
                return try begin(head)
            } catch {
                return refuse(error)
            }
        case .length(let length):
            guard waiting >= length else { return nil }
            let body = Array(bytes[start..<(start + length)])
            advance(to: start + length)
            return end(body)
        case .chunked(var body):
            state = .failed
            do throws(RequestProblem) {
                let (end, isComplete) = try body.read(bytes, from: start)
                advance(to: end)
                state = .chunked(body)
                return isComplete ? self.end(body.content) : nil
            } catch {
                return refuse(error)
            }
        case .failed: return nil
        }
    }

    private mutating func begin(_ head: RequestHead) throws(RequestProblem) -> Event {
        switch head.framing {
        case .none: state = .length(0)
        case .length(let length):
            guard length <= limits.bodyBytes else { throw ChunkedBody.tooLong(limits.bodyBytes) }
            state = .length(length)
        case .chunked: state = .chunked(ChunkedBody(maxBytes: limits.bodyBytes, maxTrailerBytes: limits.headBytes))
        }
        return .head(head, mayWait: waiting == 0)
    }

    private mutating func end(_ body: [UInt8]) -> Event {
        state = .head(Self.scan(limits))
        return .body(body)
    }

    private mutating func refuse(_ problem: RequestProblem) -> Event {
        state = .failed
        discard()
        return .refused(problem)
    }

    private mutating func advance(to end: Int) {
        start = end
        if start == bytes.count {
            discard()
        } else if start > bytes.count / 2 {
            bytes.removeSubrange(..<start)
            start = 0
        }
    }

    /// Frees the memory, as most connections are idle most of the time.
    private mutating func discard() {
        bytes = []
        start = 0
    }
}
