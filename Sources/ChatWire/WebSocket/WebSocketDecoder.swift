import ChatJSON

/// Parses a stream of WebSocket frames (RFC 6455 §5–§8) into whole messages and control frames. Pure: bytes in,
/// events out, in pieces of any size. An idle decoder holds no memory of its own.
///
/// It checks the mask (§5.1), reserved bits and opcodes and the shortest length form (§5.2), fragmentation (§5.4),
/// control frames (§5.5), close bodies (§5.5.1, §7.4) and UTF-8 (§8.1), as early as the bytes allow.
///
/// A message that is too large, or binary where only text is accepted, does not fail the connection. It is *refused*,
/// once, as soon as a header shows it, and its remaining bytes are skipped. They are not interpreted, so §8.1 does not
/// apply to them. A message so large that skipping it would itself be abuse (`maxSkippedBytes`) fails the connection
/// with 1009, as described in §7.4.1.
///
/// After a close frame or a failure nothing more is decoded (§5.5.1, §7.1.7: further bytes are discarded).
public struct WebSocketDecoder: Sendable {
    public enum Role: Sendable {
        /// Reads frames of clients: every frame must be masked.
        case server
        /// Reads frames of a server: no frame may be masked.
        case client
    }

    public struct Options: Sendable {
        public var role: Role
        /// The longest message, all fragments together, in bytes.
        public var maxMessageBytes: Int
        /// If false, binary messages are refused.
        public var acceptsBinary: Bool
        /// If skipping a refused message would exceed this many bytes, the connection fails.
        public var maxSkippedBytes: Int

        public init(role: Role, maxMessageBytes: Int, acceptsBinary: Bool = true, maxSkippedBytes: Int? = nil) {
            self.role = role
            self.maxMessageBytes = maxMessageBytes
            self.acceptsBinary = acceptsBinary
            self.maxSkippedBytes = maxSkippedBytes ?? max(16 * maxMessageBytes, 1 << 20)
        }
    }

    public enum Refusal: Hashable, Sendable {
        case tooLarge
        case binary
    }

    /// Why the connection must be closed, and with which code.
    public struct Failure: Error, Hashable, Sendable {
        public var code: WebSocketCloseCode
        public var reason: String

        public init(code: WebSocketCloseCode, reason: String) {
            self.code = code
            self.reason = reason
        }
    }

    public enum Event: Hashable, Sendable {
        /// A whole text message; it is UTF-8.
        case text([UInt8])
        case binary([UInt8])
        case ping([UInt8])
        case pong([UInt8])
        /// The peer closes; the code is nil if its close frame had no body.
        case close(WebSocketCloseCode?, reason: String)
        /// A message was refused; the connection continues.
        case refused(Refusal)
        case failed(Failure)
    }

    /// Between frames or inside one.
    private enum State: Sendable {
        /// Collecting a header. Can transition to `payload`, `ended`.
        case header
        /// Inside a frame's payload. Can transition to `header`, `ended`.
        case payload(FrameInProgress)
        /// A close frame or a failure was returned. Final.
        case ended
    }

    private struct FrameInProgress: Sendable {
        var length: Int
        var done = 0
        var maskingKey: UInt32?
        var opcode: WebSocketOpcode
        var isFinal: Bool
    }

    /// The current data message, over all its fragments (§5.4).
    private struct MessageInProgress: Sendable {
        var bytes: [UInt8] = []
        /// Set for a refused message, whose remaining bytes are skipped.
        var skipped: Int?
        var isText: Bool
        var validator = UTF8Validator()
    }

    /// Allocated once for a decoder and all its copies: copying an unused decoder is the cheapest way to create one,
    /// and a node has many.
    private final class Shared: Sendable {
        let options: Options

        init(_ options: Options) {
            self.options = options
        }
    }

    private let shared: Shared
    private var options: Options { shared.options }
    private var state = State.header
    private var header = HeaderBytes()
    private var message: MessageInProgress?
    private var control: [UInt8] = []

    public init(options: Options) {
        shared = Shared(options)
    }

    /// Whether a close frame or a failure was returned.
    public var hasEnded: Bool {
        guard case .ended = state else { return false }
        return true
    }

    /// Reads bytes from `index` on until an event is complete. Returns nil if all bytes were read without one.
    public mutating func next(_ bytes: UnsafeRawBufferPointer, _ index: inout Int) -> Event? {
        while true {
            switch state {
            case .ended:
                index = bytes.count
                return nil
            case .header:
                guard let parsed = header.take(bytes, &index) else { return nil }
                header = HeaderBytes()
                do throws(Failure) {
                    if let event = try begin(parsed) { return event }
                } catch {
                    return fail(error)
                }
            case .payload(var frame):
                let count = min(bytes.count - index, frame.length - frame.done)
                guard count > 0 || frame.done == frame.length else { return nil }
                let piece = UnsafeRawBufferPointer(rebasing: bytes[index..<(index + count)])
                do throws(Failure) {
                    try take(piece, of: frame)
                    index += count
                    frame.done += count
                    state = frame.done == frame.length ? .header : .payload(frame)
                    if frame.done == frame.length, let event = try finish(frame) { return event }
                } catch {
                    return fail(error)
                }
            }
        }
    }

    private mutating func fail(_ failure: Failure) -> Event {
        state = .ended
        message = nil
        control = []
        return .failed(failure)
    }

    /// Checks a complete header; returns an event if it refuses the message.
    private mutating func begin(_ header: HeaderBytes.Parsed) throws(Failure) -> Event? {
        guard header.reservedBits == 0 else {
            throw Self.broken("a reserved bit is set and no extension was negotiated")
        }
        guard let opcode = WebSocketOpcode(rawValue: header.opcode) else {
            throw Self.broken("opcode \(header.opcode) is reserved")
        }
        switch options.role {
        case .server: if header.maskingKey == nil { throw Self.broken("a frame of a client must be masked") }
        case .client: if header.maskingKey != nil { throw Self.broken("a frame of a server must not be masked") }
        }
        guard header.isShortest else { throw Self.broken("the length is not in its shortest form") }
        guard header.length <= UInt64(Int64.max) else {
            throw Self.broken("the most significant bit of the length is set")
        }
        if opcode.isControl {
            guard header.isFinal else { throw Self.broken("a control frame must not be fragmented") }
            guard header.length <= 125 else { throw Self.broken("a control frame is longer than 125 bytes") }
        }
        let frame = FrameInProgress(
            length: Int(header.length), maskingKey: header.maskingKey, opcode: opcode, isFinal: header.isFinal)
        state = .payload(frame)
        return opcode.isControl ? nil : try beginData(frame)
    }

    private mutating func beginData(_ frame: FrameInProgress) throws(Failure) -> Event? {
        if frame.opcode == .continuation {
            guard message != nil else { throw Self.broken("a continuation frame without a message to continue") }
        } else {
            guard message == nil else { throw Self.broken("a new message inside a fragmented one") }
            message = MessageInProgress(isText: frame.opcode == .text)
        }
        var event: Event?
        if message?.skipped == nil {
            if frame.opcode == .binary, !options.acceptsBinary {
                event = .refused(.binary)
            } else if frame.length > options.maxMessageBytes - (message?.bytes.count ?? 0) {
                event = .refused(.tooLarge)
            }
            if event != nil {
                message?.skipped = 0
                message?.bytes = []
            }
        }
        if let skipped = message?.skipped {
            guard frame.length <= options.maxSkippedBytes - skipped else {
                throw Failure(code: .messageTooBig, reason: "a message far beyond \(options.maxMessageBytes) bytes")
            }
            message?.skipped = skipped + frame.length
        }
        return event
    }

    /// Unmasks a piece of a payload into its destination, and checks UTF-8 as it arrives.
    private mutating func take(_ piece: UnsafeRawBufferPointer, of frame: FrameInProgress) throws(Failure) {
        if frame.opcode.isControl {
            Self.append(piece, unmaskedFor: frame, to: &control)
            return
        }
        // Moved out and put back, so that the array is modified in place and never copied.
        guard var current = message, current.skipped == nil else { return }
        message = nil
        defer { message = current }
        let start = current.bytes.count
        if start == 0, frame.isFinal { current.bytes.reserveCapacity(frame.length) }
        Self.append(piece, unmaskedFor: frame, to: &current.bytes)
        guard current.isText else { return }
        var validator = current.validator
        let wrong = current.bytes.withUnsafeBytes { validator.check(UnsafeRawBufferPointer(rebasing: $0[start...])) }
        current.validator = validator
        if let wrong { throw Failure(code: .invalidPayload, reason: "not UTF-8 at byte \(start + wrong)") }
    }

    private static func append(
        _ piece: UnsafeRawBufferPointer, unmaskedFor frame: FrameInProgress, to bytes: inout [UInt8]
    ) {
        let start = bytes.count
        bytes.append(contentsOf: piece)
        guard let key = frame.maskingKey, key != 0 else { return }
        bytes.withUnsafeMutableBytes { all in
            for index in 0..<piece.count { all[start + index] ^= WebSocketFrame.maskByte(key, frame.done + index) }
        }
    }

    /// The payload of a frame is complete: returns the event that it completes, if any.
    private mutating func finish(_ frame: FrameInProgress) throws(Failure) -> Event? {
        switch frame.opcode {
        case .ping: return .ping(takeControl())
        case .pong: return .pong(takeControl())
        case .close:
            let body = takeControl()
            let event = try Self.close(body)
            state = .ended
            message = nil
            return event
        case .continuation, .text, .binary:
            guard frame.isFinal, let finished = message else { return nil }
            message = nil
            guard finished.skipped == nil else { return nil }
            guard finished.isText else { return .binary(finished.bytes) }
            guard finished.validator.isComplete else {
                throw Failure(code: .invalidPayload, reason: "the text ends inside a UTF-8 character")
            }
            return .text(finished.bytes)
        }
    }

    private mutating func takeControl() -> [UInt8] {
        defer { control = [] }
        return control
    }

    private static func close(_ body: [UInt8]) throws(Failure) -> Event {
        guard !body.isEmpty else { return .close(nil, reason: "") }
        guard body.count >= 2 else { throw broken("a close body of one byte") }
        let code = WebSocketCloseCode(rawValue: UInt16(body[0]) << 8 | UInt16(body[1]))
        guard code.mayBeSent else { throw broken("close code \(code.rawValue) must not be sent") }
        guard let reason = String(validating: body[2...], as: UTF8.self) else {
            throw Failure(code: .invalidPayload, reason: "the close reason is not UTF-8")
        }
        return .close(code, reason: reason)
    }

    private static func broken(_ reason: String) -> Failure { Failure(code: .protocolError, reason: reason) }
}
