import ChatCore
import ChatWire
import HTTPTypes
import Hummingbird
import HummingbirdCore
import NIOConcurrencyHelpers
import NIOCore
import Synchronization

/// A request that the routes are answering.
struct Answering {
    var isHead: Bool
    /// Whether another request may follow.
    var isPersistent: Bool
    /// Whether it is HTTP/1.0, which has no chunks.
    var isOld: Bool
    var isChunked = false
    /// The request waits for messages: it is answered at once if the client closes its side.
    var isPoll = false
    var task: Task<Void, Never>?
    /// Called if the connection is lost before the answer; then the end of the client's side counts as such.
    var abandon: (() -> Void)?
}

extension ConnectionHandler {
    /// Has the routes answer a complete request; the next one waits.
    func answer(_ head: RequestHead, _ body: [UInt8]) {
        guard let context, let request = HTTPRequest(head) else {
            return refuse(RequestProblem(400, "the method or the name of a field is invalid"))
        }
        // A client may close its side after the request and still get the answer.
        try? context.channel.syncOptions?.setOption(.allowRemoteHalfClosure, value: true)
        let wait = RoomsAPI.wait(of: head)
        clock.answers(now: .now, longer: min(wait ?? .zero, gateway.options.limits.pollWait))
        let isPersistent = head.isPersistent && !isDoorway
        var answering = Answering(isHead: head.method == "HEAD", isPersistent: isPersistent, isOld: head.isOld)
        answering.isPoll = wait != nil
        let source = GatewayRequestContext.Source(logger: gateway.logger, client: client(of: head))
        let routes = port.routes
        let shared = gateway.shared
        let outlet = AnswerOutlet(handler: NIOLoopBound(self, eventLoop: context.eventLoop), loop: context.eventLoop)
        let whole = Request(head: request, body: RequestBody(buffer: ByteBuffer(bytes: body)))
        shared.answering.add(1, ordering: .relaxed)
        answering.task = Task {
            await outlet.send(await routes.respond(to: whole, context: GatewayRequestContext(source: source)))
            shared.answering.subtract(1, ordering: .relaxed)
        }
        state = .answering(answering)
    }

    /// Writes a complete answer, or the beginning of a streamed one.
    func answered(_ response: Response, _ body: ByteBuffer?) {
        guard case .answering(var answering) = state else { return }
        answering.isPersistent = answering.isPersistent && !gateway.isDraining && !isInputClosed
        answering.isChunked = body == nil && !answering.isOld && response.headers[.contentLength] == nil
        // Without a length or chunks, the end of the connection marks the end of the body.
        if body == nil, !answering.isChunked, response.headers[.contentLength] == nil { answering.isPersistent = false }
        state = .answering(answering)
        write(HTTPAnswer.bytes(response, body, answering))
        if body != nil { answerEnded() }
    }

    /// Writes the next part of a body; the future completes when it was written.
    fileprivate func answerGoesOn(_ part: ByteBuffer) -> EventLoopFuture<Void> {
        guard case .answering(let answering) = state, let context, part.readableBytes > 0 else {
            let error = ChannelError.ioOnClosedChannel
            return gateway.eventLoop.makeCompletedFuture(part.readableBytes > 0 ? .failure(error) : .success(()))
        }
        clock.answerGoesOn(now: .now)
        if answering.isHead { return context.eventLoop.makeSucceededVoidFuture() }
        return context.writeAndFlush(wrapOutboundOut(answering.isChunked ? HTTPAnswer.chunk(part) : part))
    }

    fileprivate func answerEnded(isWhole: Bool = true) {
        guard case .answering(let answering) = state else { return }
        guard isWhole else { return cut() }
        if answering.isChunked, !answering.isHead { write(ByteBuffer(string: "0\r\n\r\n")) }
        guard answering.isPersistent else { return endOutput() }
        state = .reading
        clock.waits(isWithinRequest: reader.isWithinRequest, now: .now)
        pump()
    }
}

/// Passes an answer from the task that produces it to its connection.
private struct AnswerOutlet: Sendable {
    /// A body of known length up to this size is collected and written at once.
    private static let mostAtOnce = 1_048_576

    let handler: NIOLoopBound<ConnectionHandler>
    let loop: any EventLoop

    func send(_ response: Response) async {
        do {
            if let length = response.body.contentLength, length <= Self.mostAtOnce {
                let gathered = GatheredBody()
                try await response.body.write(gathered)
                let body = gathered.buffer.withLockedValue { $0 }
                loop.execute { handler.value.answered(response, body) }
            } else {
                loop.execute { handler.value.answered(response, nil) }
                try await response.body.write(StreamedBody(handler: handler, loop: loop))
                loop.execute { handler.value.answerEnded() }
            }
        } catch {
            // The beginning may have been sent; only closing the connection tells the client that the rest is missing.
            loop.execute { handler.value.answerEnded(isWhole: false) }
        }
    }
}

private struct StreamedBody: ResponseBodyWriter {
    let handler: NIOLoopBound<ConnectionHandler>
    let loop: any EventLoop

    func write(_ buffer: ByteBuffer) async throws {
        try await loop.flatSubmit { handler.value.answerGoesOn(buffer) }.get()
    }

    consuming func finish(_ trailingHeaders: HTTPFields?) async throws {}
}
