import ChatCore
import ChatWire
import NIOCore

/// A WebSocket that is open and whose client has not identified itself, for protocols that do so in their first
/// request.
final class FirstRequest {
    let opening: Opening
    let reader: any ClientReader
    /// Nil if messages are not framed.
    var decoder: WebSocketDecoder?
    /// Requests that followed the client's hello in the same message.
    var behind: [ClientInput] = []
    /// Bytes that followed the message with the hello.
    var rest: [UInt8] = []
    /// The number of refused messages.
    var failures = 0
    /// The protocol of the path, whose words refuse a client that does not begin like one of the opening's protocol.
    /// Nil if there is no doubt which one it speaks.
    var doubted: SpokenProtocol?

    init(_ opening: Opening, insteadOf doubted: SpokenProtocol? = nil) {
        self.opening = opening
        self.doubted = doubted
        reader = opening.spoken.implementation.makeReader()
        decoder = opening.spoken.decoder
    }
}

/// Reading up to the client's first request. The client must identify itself within the time limit for a handshake, and
/// may send as many bad frames as a session may in a minute.
extension ConnectionHandler {
    /// Accepts the WebSocket and waits for the client to identify itself. `doubted`: see ``FirstRequest/doubted``.
    func awaitFirstRequest(_ opening: Opening, insteadOf doubted: SpokenProtocol? = nil) {
        let first = FirstRequest(opening, insteadOf: doubted)
        if doubted != nil { clock.shorten(to: Self.doubtTime, now: .now) }
        write(ByteBuffer(string: opening.answer))
        let greeting = first.reader.greeting
        if !greeting.isEmpty { write(SharedFrame(greeting, as: opening.spoken.framing).bytes) }
        firstRequest = first
        state = .identifying
        let rest = reader.takeRest()
        rest.withUnsafeBytes { identify($0) }
    }

    /// How long a client may take to show which protocol it speaks. One that cannot be served waits for its refusal as
    /// long as that.
    private static let doubtTime: Duration = .seconds(3)

    /// Whether the client's first message begins as the protocol demands. If not, it is refused.
    private func isKnown(by bytes: [UInt8], _ first: FirstRequest) -> Bool {
        guard first.doubted != nil else { return true }
        guard first.opening.spoken.implementation.firstWords.contains(where: { bytes.starts(with: $0.utf8) }) else {
            close(first.opening, .unauthenticated)
            return false
        }
        first.doubted = nil
        return true
    }

    /// Processes bytes of a client that has not identified itself.
    func identify(_ bytes: UnsafeRawBufferPointer) {
        guard let first = firstRequest else { return }
        var index = 0
        var hello: ClientHello?
        if first.decoder == nil {
            index = bytes.count
            hello = read(Array(bytes), isText: false, first)
        } else {
            while hello == nil, case .identifying = state, let event = first.decoder?.next(bytes, &index) {
                hello = take(event, first)
            }
        }
        guard var hello, case .identifying = state else { return }
        first.rest = Array(bytes[index...])
        if let head = first.opening.head, hello.credentials.token == nil {
            // What the first request does not prove, the opening one may.
            do throws(WireError) {
                hello.credentials = try gateway.carriers.credentials(in: head, hello.credentials)
            } catch {
                say(.error(ref: nil, error), first.opening)
                return close(first.opening, .forbidden)
            }
        }
        if hello.credentials.user == nil, hello.credentials.token == nil { hello.credentials.user = hello.guest }
        authenticate(hello, first.opening)
    }

    private func take(_ event: WebSocketDecoder.Event, _ first: FirstRequest) -> ClientHello? {
        switch event {
        case .text(let bytes): return read(bytes, isText: true, first)
        case .binary(let bytes): return read(bytes, isText: false, first)
        case .refused(let refusal):
            fail(RequestFailure(ref: nil, error: first.opening.spoken.error(refusal, limits: gateway.options.limits)))
        case .ping(let payload): write(SharedFrame.control(.pong, payload).bytes)
        case .pong: break
        case .close(let code, _): end(code, "")
        case .failed(let failure):
            gateway.counters.badFrames["websocket", default: 0] += 1
            end(failure.code, failure.reason)
        }
        return nil
    }

    private func read(_ bytes: [UInt8], isText: Bool, _ first: FirstRequest) -> ClientHello? {
        guard isKnown(by: bytes, first) else { return nil }
        var hello: ClientHello?
        first.reader.read(bytes, isText: isText) { input in
            guard case .identifying = state else { return }
            guard hello == nil else { return first.behind.append(input) }
            switch input {
            case .hello(let said): hello = said
            case .request(let request):
                fail(
                    RequestFailure(
                        ref: request.ref, error: WireError(.unauthenticated, "the client has not said who it is")))
            case .failure(let failure): fail(failure)
            case .goodbye, .restart: end(ProtocolFarewell(code: .normal, text: ""))
            case .say(let bytes, let isText):
                write(SharedFrame(bytes, as: first.opening.spoken.framing(isText: isText)).bytes)
            case .end(let farewell, let reason):
                gateway.counters.badFrames[reason, default: 0] += 1
                end(farewell)
            }
        }
        return hello
    }

    private func fail(_ failure: RequestFailure) {
        guard let first = firstRequest else { return }
        gateway.counters.badFrames[failure.error.code.name, default: 0] += 1
        say(.error(ref: failure.ref, failure.error), first.opening)
        first.failures += 1
        guard first.failures > gateway.options.limits.badFramesPerMinute else { return }
        gateway.counters.limitRefusals[.badFramesPerMinute, default: 0] += 1
        close(first.opening, .abuse)
    }

    /// Sends an event to a client that has no session.
    func say(_ event: ServerEvent, _ opening: Opening) {
        if case .error(_, let error) = event, let writer = firstRequest?.reader as? any ClientWriter,
            let bytes = writer.refusal(error)
        {
            return write(SharedFrame(bytes, as: opening.spoken.framing).bytes)
        }
        let frame = opening.spoken.frame(event, viewer: nil)
        if frame.byteCount > 0 { write(frame.bytes) }
    }

    private func end(_ farewell: ProtocolFarewell) {
        guard let first = firstRequest else { return }
        write(ByteBuffer(bytes: first.opening.spoken.bytes(of: farewell)))
        endOutput()
    }

    private func end(_ code: WebSocketCloseCode?, _ reason: String) {
        var bytes: [UInt8] = []
        WebSocketFrame.appendClose(code, reason: reason, to: &bytes)
        write(ByteBuffer(bytes: bytes))
        endOutput()
    }
}
