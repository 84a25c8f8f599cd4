import ChatCore
import ChatJSON
import Synchronization

/// The framing of SockJS's WebSocket transport around any protocol: `o` at the beginning, messages in `a["…"]`, a
/// heart-beat `h` every 25 seconds, and `c[code,"reason"]` at the end. A client sends an array of strings, or one
/// string; each is a message of the protocol.
///
/// The transport carries text: a message of the protocol that is not UTF-8 is repaired.
public final class SockJS: ClientProtocol {
    let base: any ClientProtocol
    let heartBeat: Duration
    private let prefixes = Mutex<[[UInt8]: WeakPrefix]>([:])

    private struct WeakPrefix {
        weak var prefix: FramePrefix?
    }

    public init(_ base: any ClientProtocol, heartBeat: Duration = .seconds(25)) {
        self.base = base
        self.heartBeat = heartBeat
    }

    public var name: String { base.name }

    public var ping: ProtocolPing {
        switch base.ping {
        case .transport: .transport
        case .payload(let payload): .payload(SockJSFrame.message(payload))
        case .none: .none
        }
    }

    public func hello(in head: RequestHead) throws(WireError) -> ClientHello? { try base.hello(in: head) }

    public func makeReader() -> any ClientReader { SockJSConnection(self) }

    /// The second half of a frame, whose first half is ``SockJSFrame/open`` and the prefix of a connection.
    public func encode(_ event: ServerEvent, viewer: UserID?, into bytes: inout ByteWriter) {
        var payload = ByteWriter()
        base.encode(event, viewer: viewer, into: &payload)
        guard payload.count > 0 else { return }
        payload.withBytes { SockJSFrame.appendEscaped($0, to: &bytes) }
        bytes.appendText("\"]")
    }

    public func farewell(_ reason: CloseReason) -> ProtocolFarewell { SockJSFrame.farewell(base.farewell(reason)) }

    /// The beginning of a frame with this prefix of the protocol: one object for all connections that have it.
    func prefix(_ bytes: [UInt8]) -> FramePrefix {
        prefixes.withLock { prefixes in
            if let known = prefixes[bytes]?.prefix { return known }
            var whole = ByteWriter()
            whole.appendText("a[\"")
            bytes.withUnsafeBytes { SockJSFrame.appendEscaped($0, to: &whole) }
            let prefix = FramePrefix(whole.array)
            if prefixes.count >= 4_096 { prefixes = prefixes.filter { $0.value.prefix != nil } }
            if prefixes.count < 4_096 { prefixes[bytes] = WeakPrefix(prefix: prefix) }
            return prefix
        }
    }
}

enum SockJSFrame {
    static let opening = Array("o".utf8)
    static let heartBeat = Array("h".utf8)

    /// One message of the protocol.
    static func message(_ payload: [UInt8]) -> [UInt8] {
        var bytes = ByteWriter(capacity: payload.count + 16)
        bytes.appendText("a[\"")
        payload.withUnsafeBytes { appendEscaped($0, to: &bytes) }
        bytes.appendText("\"]")
        return bytes.array
    }

    /// The inside of a JSON string.
    static func appendEscaped(_ payload: UnsafeRawBufferPointer, to bytes: inout ByteWriter) {
        var quoted = ByteWriter(capacity: payload.count + 16)
        quoted.appendJSON(String(decoding: payload, as: UTF8.self))
        quoted.withBytes { bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: $0[1..<($0.count - 1)])) }
    }

    /// `c[code,"reason"]`, and the close frame of the WebSocket.
    static func farewell(_ farewell: ProtocolFarewell) -> ProtocolFarewell {
        var bytes = ByteWriter(capacity: 64)
        bytes.appendText("c[")
        bytes.appendJSON(Int(farewell.code.rawValue))
        bytes.append(UInt8(ascii: ","))
        bytes.appendJSON(farewell.text)
        bytes.append(UInt8(ascii: "]"))
        return ProtocolFarewell(payload: bytes.array, code: farewell.code, text: farewell.text)
    }

    /// The messages in what a client sent. Nil if it is neither an array of strings nor a string.
    static func read(_ bytes: [UInt8]) -> [[UInt8]]? {
        guard !bytes.isEmpty else { return [] }
        return bytes.withUnsafeBytes { raw in
            var scanner = JSONScanner(raw)
            let names = JSONScanner(raw)
            var messages: [[UInt8]] = []
            do throws(JSONError) {
                scanner.skipSpace()
                let start = scanner.offset
                guard start < raw.count else { return nil }
                if raw[start] == UInt8(ascii: "[") {
                    var isValid = true
                    try scanner.elements { element in
                        guard case .string = element.kind else {
                            isValid = false
                            return
                        }
                        messages.append(Array(names.string(element).utf8))
                    }
                    guard isValid else { return nil }
                } else {
                    let value = try scanner.value()
                    guard case .string = value.kind else { return nil }
                    messages.append(Array(names.string(value).utf8))
                }
                try scanner.end()
                return messages
            } catch {
                return nil
            }
        }
    }
}

/// One connection over SockJS.
final class SockJSConnection: ClientWriter {
    private let shared: SockJS
    private let reader: any ClientReader
    private let writer: (any ClientWriter)?
    private let opening: FramePrefix
    /// The prefix of the protocol that was seen last, and the one that we make of it.
    private var known: (base: FramePrefix, prefix: FramePrefix)?
    private var nextBeat: Moment?
    private var isOpened = false
    private var isOver = false

    init(_ shared: SockJS) {
        self.shared = shared
        reader = shared.base.makeReader()
        writer = reader as? any ClientWriter
        opening = shared.prefix([])
    }

    /// Asked for where the client has yet to identify itself; otherwise the first message of the session follows it.
    var greeting: [UInt8] {
        isOpened = true
        return SockJSFrame.opening
    }

    // MARK: In

    func read(_ bytes: [UInt8], isText: Bool, _ body: (ClientInput) -> Void) {
        guard !isOver else { return }
        guard let messages = SockJSFrame.read(bytes) else {
            isOver = true
            return body(.end(ProtocolFarewell(code: .invalidPayload, text: "Broken framing."), reason: "sockjs"))
        }
        for message in messages where !isOver { reader.read(message, isText: true) { pass($0, body) } }
    }

    func begin(_ head: RequestHead, _ body: (ClientInput) -> Void) {
        if !isOpened {
            isOpened = true
            body(.say(SockJSFrame.opening, isText: true))
        }
        let greeting = reader.greeting
        if !greeting.isEmpty { body(.say(SockJSFrame.message(greeting), isText: true)) }
        reader.begin(head) { pass($0, body) }
    }

    private func pass(_ input: ClientInput, _ body: (ClientInput) -> Void) {
        switch input {
        case .hello, .request, .failure: body(input)
        case .say(let bytes, _): body(.say(SockJSFrame.message(bytes), isText: true))
        case .goodbye, .restart:
            isOver = true
            let farewell = ProtocolFarewell(code: .normal, text: "Normal closure")
            body(.say(SockJSFrame.farewell(farewell).payload, isText: true))
            body(input)
        case .end(let farewell, let reason):
            isOver = true
            if !farewell.payload.isEmpty { body(.say(SockJSFrame.message(farewell.payload), isText: true)) }
            body(.end(SockJSFrame.farewell(farewell), reason: reason))
        }
    }

    // MARK: Time

    var deadline: Moment? {
        let beat = nextBeat ?? Moment(nanoseconds: 0)
        return isOver ? nil : min(writer?.deadline ?? beat, beat)
    }

    func timePassed(now: Moment, lastWritten: Moment, _ body: (ClientInput) -> Void) {
        guard !isOver else { return }
        if let writer, let due = writer.deadline, due <= now {
            writer.timePassed(now: now, lastWritten: lastWritten) { pass($0, body) }
        }
        guard !isOver else { return }
        if let due = nextBeat, due <= now { body(.say(SockJSFrame.heartBeat, isText: true)) }
        if nextBeat.map({ $0 <= now }) ?? true { nextBeat = now + shared.heartBeat }
    }

    // MARK: Out

    func form(of event: ServerEvent) -> SharedForm {
        guard let writer else { return .prefixed(opening) }
        switch writer.form(of: event) {
        case .whole: return .prefixed(opening)
        case .prefixed(let base):
            if let known, known.base === base { return .prefixed(known.prefix) }
            let prefix = shared.prefix(base.bytes)
            known = (base, prefix)
            return .prefixed(prefix)
        case .own: return .own
        case .nothing: return .nothing
        }
    }

    func write(_ event: ServerEvent, viewer: UserID, _ body: (_ bytes: [UInt8], _ isText: Bool) -> Void) {
        if !isOpened {
            isOpened = true
            body(SockJSFrame.opening, true)
        }
        guard let writer else {
            var payload = ByteWriter()
            shared.base.encode(event, viewer: viewer, into: &payload)
            if payload.count > 0 { body(SockJSFrame.message(payload.array), true) }
            return
        }
        writer.write(event, viewer: viewer) { bytes, _ in body(SockJSFrame.message(bytes), true) }
    }

    func refusal(_ error: WireError) -> [UInt8]? {
        if let bytes = writer?.refusal(error) { return SockJSFrame.message(bytes) }
        var payload = ByteWriter()
        shared.base.encode(.error(ref: nil, error), viewer: nil, into: &payload)
        return payload.count > 0 ? SockJSFrame.message(payload.array) : []
    }

    func farewell(_ reason: CloseReason) -> ProtocolFarewell? {
        isOver = true
        return SockJSFrame.farewell(writer?.farewell(reason) ?? shared.base.farewell(reason))
    }
}
