import ChatCore
import ChatWire
import Hummingbird
import HummingbirdCore
import NIOCore
import NIOHTTP1
import Synchronization

/// The first handler of every connection: reads until it is clear whether this is a WebSocket or HTTP. For a WebSocket
/// it answers the handshake, puts the session in its place and goes; for HTTP it puts the HTTP server behind itself and
/// stays, to watch the clock.
final class ConnectionHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum State {
        /// Can transition to all others.
        case sniffing(RequestSniffer)
        /// The handshake is fine, who the client is is being asked; what it sends meanwhile is kept. Can transition to
        /// `upgraded`, `refused`.
        case authenticating(rest: [UInt8])
        /// Can transition to `gone`.
        case http(HTTPClock)
        /// The session has the connection. Final.
        case upgraded
        /// Answered with an error; waiting for the peer to close. Can transition to `gone`.
        case refused
        case gone
    }

    private let gateway: GatewayLoop
    private var state: State
    private var deadline: Moment
    private var context: ChannelHandlerContext?

    init(gateway: GatewayLoop) {
        self.gateway = gateway
        state = .sniffing(RequestSniffer(maxHeaderBytes: gateway.options.maxHeaderBytes))
        deadline = Moment.now + gateway.options.handshakeTimeout
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        gateway.startTiming(self)
        if !gateway.connectionCame() {
            gateway.counters.connectionsRefused += 1
            refuse(503, WireError(.unavailable, "the node has as many connections as it may have"), [])
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        gone()
        self.context = nil
    }

    func channelInactive(context: ChannelHandlerContext) {
        gone()
        context.fireChannelInactive()
    }

    private func gone() {
        gateway.stopTiming(self)
        switch state {
        case .sniffing, .authenticating, .http, .refused: gateway.connectionGone()
        case .upgraded, .gone: return
        }
        state = .gone
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        switch state {
        case .http: context.fireErrorCaught(error)
        case .sniffing, .authenticating, .upgraded, .refused, .gone: context.close(promise: nil)
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let buffer = unwrapInboundIn(data)
        switch state {
        case .sniffing(var sniffer):
            state = .refused
            let outcome = sniffer.received(buffer.readableBytesView)
            state = .sniffing(sniffer)
            run(outcome, context)
        case .authenticating(var rest):
            rest.append(contentsOf: buffer.readableBytesView)
            state = .authenticating(rest: rest)
            if rest.count > gateway.options.maxHeaderBytes {
                refuse(400, WireError(.badFrame, "too many bytes before the handshake was answered"), [])
            }
        case .http(let clock):
            clock.bytesCame(now: .now)
            context.fireChannelRead(data)
        case .upgraded: context.fireChannelRead(data)
        case .refused, .gone: break
        }
    }

    private func run(_ outcome: RequestSniffer.Outcome, _ context: ChannelHandlerContext) {
        switch outcome {
        case .needsMore: break
        case .http(let bytes): becomeHTTP(bytes, context)
        case .webSocket(let head, let rest): judge(head, rest)
        case .refuse(let status, let message): refuse(status, WireError(.badField, message), [])
        }
    }

    // MARK: WebSocket

    private func judge(_ head: RequestHead, _ rest: [UInt8]) {
        guard !gateway.isDraining else {
            return refuse(503, WireError(.draining, "the node is leaving"), [("Retry-After", "1")])
        }
        guard gateway.takesHandshake() else {
            let most = gateway.options.limits.handshakesPerSecond
            let error = WireError(.rateLimited, "this node is asked for more than \(most) handshakes a second")
            return refuse(503, error, [("Retry-After", "1")])
        }
        do throws(WebSocketHandshake.Refusal) {
            let acceptance = try gateway.handshake.judge(head)
            authenticate(head, acceptance, rest)
        } catch {
            refuse(error.status, WireError(error.status == 403 ? .forbidden : .badField, error.message), error.fields)
        }
    }

    private func authenticate(_ head: RequestHead, _ acceptance: WebSocketHandshake.Acceptance, _ rest: [UInt8]) {
        let parameters: HandshakeParameters
        do throws(WireError) {
            parameters = try HandshakeParameters(head)
        } catch {
            return refuse(400, error, [])
        }
        if let result = gateway.authenticator.authenticateAtOnce(parameters.credentials) {
            return authenticated(result, parameters, acceptance, rest)
        }
        state = .authenticating(rest: rest)
        let promise = gateway.eventLoop.makePromise(of: Result<UserID, WireError>.self)
        let authenticator = gateway.authenticator
        promise.completeWithTask { await authenticator.authenticate(parameters.credentials) }
        promise.futureResult.assumeIsolated().whenSuccess { [self] result in
            guard case .authenticating(let rest) = state else { return }
            authenticated(result, parameters, acceptance, rest)
        }
    }

    private func authenticated(
        _ result: Result<UserID, WireError>, _ parameters: HandshakeParameters,
        _ acceptance: WebSocketHandshake.Acceptance, _ rest: [UInt8]
    ) {
        switch result {
        case .success(let user): upgrade(user, parameters, acceptance, rest)
        case .failure(let error):
            let status = HTTPRoutes.status(of: error.code)
            refuse(status, error, status == 401 ? [("WWW-Authenticate", "Bearer")] : [])
        }
    }

    private func upgrade(
        _ user: UserID, _ parameters: HandshakeParameters, _ acceptance: WebSocketHandshake.Acceptance, _ rest: [UInt8]
    ) {
        guard let context else { return }
        let identity = SessionIdentity(user: user, device: parameters.device)
        let session = WebSocketSession(gateway: gateway, identity: identity)
        do {
            try context.pipeline.syncOperations.addHandler(session, position: .after(self))
        } catch {
            return cut()
        }
        state = .upgraded
        gateway.stopTiming(self)
        var answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        answer += "Sec-WebSocket-Accept: \(acceptance.accept)\r\n"
        if let subprotocol = acceptance.subprotocol { answer += "Sec-WebSocket-Protocol: \(subprotocol)\r\n" }
        answer += "\r\n"
        // Not flushed: it goes out with the first frame, at the end of this tick.
        context.write(wrapOutboundOut(ByteBuffer(string: answer)), promise: nil)
        session.open(joining: parameters.room)
        if !rest.isEmpty { context.fireChannelRead(wrapInboundOut(ByteBuffer(bytes: rest))) }
        context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
    }

    /// Answers with an error and ends our side of the connection; the peer has `closeTimeout` to end its own.
    private func refuse(_ status: Int, _ error: WireError, _ fields: [(name: String, value: String)]) {
        guard let context else { return }
        gateway.counters.handshakesRefused[status, default: 0] += 1
        state = .refused
        deadline = Moment.now + gateway.options.closeTimeout
        let body = HTTPRoutes.body(of: error)
        var head = "HTTP/1.1 \(status) \(HTTPResponseStatus(statusCode: status).reasonPhrase)\r\n"
        for field in fields { head += "\(field.name): \(field.value)\r\n" }
        head += "Content-Type: application/json; charset=utf-8\r\nContent-Length: \(body.count)\r\n"
        head += "Connection: close\r\n\r\n"
        var buffer = ByteBuffer(string: head)
        buffer.writeBytes(body)
        context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
        context.close(mode: .output, promise: nil)
    }

    // MARK: HTTP

    private func becomeHTTP(_ bytes: [UInt8], _ context: ChannelHandlerContext) {
        let clock = HTTPClock(options: gateway.options, now: .now)
        clock.bytesCame(now: .now)
        state = .http(clock)
        let channel = context.channel
        let server = gateway.routes.connection
        let logger = gateway.logger
        do {
            try channel.syncOptions?.setOption(.maxMessagesPerRead, value: 4)
            try channel.syncOptions?.setOption(.recvAllocator, value: AdaptiveRecvByteBufferAllocator())
            try channel.syncOptions?.setOption(.allowRemoteHalfClosure, value: true)
            let ready = server.setup(channel: channel, logger: logger)
            let last = try channel.pipeline.syncOperations.handler(type: HTTPConnectionStateHandler.self)
            try channel.pipeline.syncOperations.addHandler(HTTPWatch(clock: clock), position: .before(last))
            ready.whenSuccess { [shared = gateway.shared] connection in
                shared.answering.add(1, ordering: .relaxed)
                Task {
                    await server.handle(value: connection, logger: logger)
                    shared.answering.subtract(1, ordering: .relaxed)
                }
            }
        } catch {
            return cut()
        }
        context.fireChannelRead(wrapInboundOut(ByteBuffer(bytes: bytes)))
    }
}

extension ConnectionHandler: TimedConnection {
    func checkDeadline(now: Moment) {
        switch state {
        case .sniffing, .authenticating:
            guard now >= deadline else { return }
            gateway.counters.connectionsTimedOut += 1
            refuse(408, WireError(.badField, "the request was not complete in time"), [])
        case .http(let clock):
            guard clock.isOver(now: now) else { return }
            gateway.counters.connectionsTimedOut += 1
            cut()
        case .refused: if now >= deadline { cut() }
        case .upgraded, .gone: break
        }
    }

    func cut() {
        context?.close(promise: nil)
    }
}
