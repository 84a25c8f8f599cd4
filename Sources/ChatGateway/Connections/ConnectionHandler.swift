import ChatCore
import ChatWire
import NIOCore
import NIOTLS
import Synchronization

/// The first handler of every connection, and the only one until it becomes a WebSocket. It reads requests one after
/// the other, has the routes answer HTTP requests, and is replaced by a session when any request opens a WebSocket.
/// Requests that arrive before an answer is sent wait, so answers are in order.
///
/// The rules are in ``RequestReader`` and ``RequestClock``. What follows a request is in
/// `ConnectionHandler+http.swift`, `ConnectionHandler+webSocket.swift` and, for protocols that identify the client in
/// their first request, `ConnectionHandler+firstRequest.swift`.
final class ConnectionHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    enum State {
        /// A request is being received or awaited. Can transition to all others.
        case reading
        /// The routes are producing an answer. Can transition to `reading`, `closing`, `gone`.
        case answering(Answering)
        /// The WebSocket is open, and the client has not identified itself. Can transition to `authenticating`,
        /// `upgraded`, `closing`, `gone`.
        case identifying
        /// The client has identified itself, and the authenticator was asked. Can transition to `upgraded`, `closing`,
        /// `gone`.
        case authenticating
        /// A session has taken over the connection. Final.
        case upgraded
        /// Everything was sent; waiting for the peer to close. Can transition to `gone`.
        case closing
        case gone
    }

    /// The size of a read while requests are longer than a session's frames usually are.
    private static let wideReadBytes = 8_192

    let gateway: GatewayLoop
    let port: GatewayPort
    var state = State.reading
    var reader: RequestReader
    /// The head of the request whose body is being received.
    var head: RequestHead?
    var clock: RequestClock
    /// Set while a client has yet to identify itself after the handshake.
    var firstRequest: FirstRequest?
    private(set) var context: ChannelHandlerContext?
    /// The node is full: this connection is refused, or answered a health request.
    private(set) var isDoorway = false
    /// The peer has closed its side.
    var isInputClosed = false
    /// The address under which this connection is counted; nil if it is not counted (any more).
    private(set) var counted: PeerAddress?
    private(set) var peer: PeerAddress?
    /// The client that asks for a WebSocket, as trusted proxies state it. Set with the handshake.
    var asker: PeerAddress?
    /// The TLS handshake is not complete, so nothing can be said to the client.
    var isTLSPending: Bool

    private var isCounted = false
    private var isWide = false
    /// Reading is paused, because too much is waiting here or too much came from this address.
    private var mayNotRead = false
    private var isReadHeld = false
    private var isThrottled = false

    /// Without `port`, the connection is to the port for everybody, in plaintext.
    init(gateway: GatewayLoop, port: GatewayPort? = nil) {
        self.gateway = gateway
        let port = port ?? GatewayPort(routes: gateway.routes)
        self.port = port
        isTLSPending = port.tls != nil
        reader = RequestReader(limits: gateway.options.requestLimits)
        clock = RequestClock(times: gateway.options.requestTimes, now: .now)
    }

    // MARK: Beginning and end

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive { begin(context) }
    }

    func channelActive(context: ChannelHandlerContext) {
        begin(context)
        context.fireChannelActive()
    }

    private func begin(_ context: ChannelHandlerContext) {
        guard !isCounted else { return }
        isCounted = true
        gateway.startTiming(self)
        let isTooMany = !gateway.connectionCame()
        let descriptor = descriptor(context)
        if let budget = gateway.options.descriptors, let descriptor, descriptor >= budget.doorwayEnd {
            gateway.counters.connectionsRefused += 1
            return cut()
        }
        peer = PeerAddress(context.channel.remoteAddress)
        isDoorway = isTooMany || gateway.options.descriptors.map { (descriptor ?? 0) >= $0.end } ?? false
        if isDoorway {
            gateway.counters.connectionsRefused += 1
            clock.shorten(to: gateway.options.doorwayTime, now: .now)
            context.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(gateway.options.doorwayTime)) {
                [weak self] in
                self?.checkDeadline(now: .now)
            }
        } else {
            countForAddress()
        }
    }

    /// Counts this connection for the limits of its peer's address, or refuses it.
    private func countForAddress() {
        guard let peer, !gateway.isTrusted(peer) else { return }
        guard gateway.shared.addresses.enter(peer.network, now: .now) else {
            gateway.counters.limitRefusals[.connectionsPerAddress, default: 0] += 1
            let most = gateway.options.limits.connectionsPerAddress
            return refuse(
                429, WireError(.rateLimited, "your address has \(most) connections that are no sessions"),
                because: .addressConnections)
        }
        counted = peer.network
    }

    /// A trusted proxy, which opened the connection, has named the client. From now on the connection is treated like
    /// one from the client's address.
    func becomeClient(_ client: PeerAddress) {
        peer = client
        if !isDoorway { countForAddress() }
    }

    private func descriptor(_ context: ChannelHandlerContext) -> Int? {
        let handle = try? context.pipeline.syncOperations.withUnsafeTransportIfAvailable(of: NIOBSDSocket.Handle.self) {
            $0
        }
        return handle.map(Int.init)
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
        guard isCounted else { return }
        gateway.stopTiming(self)
        stopCounting()
        switch state {
        case .answering(let answering):
            answering.task?.cancel()
            answering.abandon?()
        case .reading, .identifying, .authenticating, .closing: break
        case .upgraded, .gone: return
        }
        gateway.connectionGone()
        state = .gone
    }

    /// Stops counting this connection for the limits of its address.
    func stopCounting() {
        guard let address = counted else { return }
        counted = nil
        gateway.shared.addresses.leave(address)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        tlsFailed(error)
        context.close(promise: nil)
    }

    // MARK: In

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let buffer = unwrapInboundIn(data)
        if case .reading = state, let name = port.protocolName { openPort(name) }
        switch state {
        case .identifying:
            count(buffer.readableBytes, context)
            buffer.withUnsafeReadableBytes { identify($0) }
        case .authenticating where firstRequest != nil:
            count(buffer.readableBytes, context)
            firstRequest?.rest += buffer.readableBytesView
            if let first = firstRequest, first.rest.count > gateway.options.maxHeaderBytes { mayNotRead = true }
        case .reading, .answering, .authenticating:
            count(buffer.readableBytes, context)
            buffer.withUnsafeReadableBytes { reader.received($0) }
            if case .reading = state {
                clock.bytesCame(now: .now)
                pump()
                if case .reading = state, reader.isWithinRequest { widen(context) }
            } else if reader.waiting > gateway.options.maxHeaderBytes {
                mayNotRead = true
            }
        case .upgraded: context.fireChannelRead(data)
        case .closing, .gone: break
        }
    }

    /// Processes the bytes that were received, up to the next answer that takes time.
    func pump() {
        while case .reading = state, let event = reader.next() {
            switch event {
            case .head(let head, let mayWait): begin(head, mayWait: mayWait)
            case .body(let body):
                guard let head else { return cut() }
                self.head = nil
                if port.opensWebSockets, let endpoint = gateway.engines.endpoints[head.path] {
                    answerEngine(head, body, endpoint)
                } else {
                    answer(head, body)
                }
            case .refused(let problem): refuse(problem)
            }
        }
        if case .reading = state {
            clock.waits(isWithinRequest: reader.isWithinRequest, now: .now)
            mayNotRead = false
            readOn()
        }
    }

    private func begin(_ head: RequestHead, mayWait: Bool) {
        if port.opensWebSockets, let endpoint = gateway.endpoint(for: head) { return openWebSocket(head, endpoint) }
        if port.opensWebSockets, head.method == "GET", let spoken = gateway.streams[head.path] {
            return openStream(head, spoken)
        }
        if port.opensWebSockets, let endpoint = gateway.engines.endpoints[head.path], Self.isUpgrade(head) {
            return openEngineSocket(head, endpoint)
        }
        if isDoorway, !HTTPRoutes.isAnsweredWhenFull(head) { return refuseAsFull() }
        if let expected = head.list("expect").first(where: { $0.lowercased() != "100-continue" }), !head.isOld {
            return refuse(RequestProblem(417, "unsupported expectation: \(expected.prefix(40))"))
        }
        self.head = head
        if mayWait, head.expectsContinue { write(ByteBuffer(string: "HTTP/1.1 100 Continue\r\n\r\n")) }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .handshakeCompleted? = event as? TLSUserEvent { isTLSPending = false }
        guard event as? NIOCore.ChannelEvent == .inputClosed else {
            return context.fireUserInboundEventTriggered(event)
        }
        isInputClosed = true
        switch state {
        // A client that has gone does not occupy a place among those that wait.
        case .answering(let answering) where answering.isPoll: answering.task?.cancel()
        case .answering(let answering): if answering.abandon != nil { cut() }
        case .reading, .identifying, .authenticating, .closing: cut()
        case .upgraded, .gone: break
        }
    }

    // MARK: Reading

    func read(context: ChannelHandlerContext) {
        if mayNotRead || isThrottled { isReadHeld = true } else { context.read() }
    }

    private func readOn() {
        guard isReadHeld, !mayNotRead, !isThrottled else { return }
        isReadHeld = false
        context?.read()
    }

    /// Counts bytes of clients that are not authenticated: a connection pauses when its address has sent too many.
    private func count(_ bytes: Int, _ context: ChannelHandlerContext) {
        guard let counted, !isThrottled else { return }
        let wait = gateway.shared.addresses.take(bytes, from: counted, now: .now)
        guard wait > .zero else { return }
        gateway.counters.limitRefusals[.bytesPerSecondPerAddress, default: 0] += 1
        isThrottled = true
        context.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(wait)) { [weak self] in
            self?.isThrottled = false
            self?.readOn()
        }
    }

    /// Makes reads larger if a request did not arrive in one read.
    private func widen(_ context: ChannelHandlerContext) {
        guard !isWide else { return }
        isWide = true
        try? context.channel.syncOptions?.setOption(.recvAllocator, value: BriefReads(capacity: Self.wideReadBytes))
    }

    /// Sets the read size of a session.
    func becomeNarrow(_ context: ChannelHandlerContext) {
        mayNotRead = false
        isThrottled = false
        readOn()
        if isWide {
            isWide = false
            let capacity = gateway.options.receiveBufferBytes
            try? context.channel.syncOptions?.setOption(.recvAllocator, value: BriefReads(capacity: capacity))
        }
        try? context.channel.syncOptions?.setOption(.allowRemoteHalfClosure, value: false)
    }

    /// The origin of a request: as trusted proxies state it, or else the peer's address.
    func client(of head: RequestHead) -> PeerAddress? {
        PeerAddress.client(peer, forwardedFor: head.list("x-forwarded-for"), trusted: gateway.options.trustedAddresses)
    }

    // MARK: Out

    func write(_ buffer: ByteBuffer) {
        context?.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
    }

    /// Ends our side of the connection. The peer has `closeTimeout` to end its own; if we closed at once, the kernel
    /// could discard what was sent.
    func endOutput() {
        state = .closing
        clock.closes(now: .now)
        mayNotRead = false
        isThrottled = false
        readOn()
        // A full node has no descriptors for connections that wait. Everything that this peer has sent was read.
        guard !isInputClosed, !isDoorway else { return cut() }
        context?.close(mode: .output, promise: nil)
    }

    func refuse(_ problem: RequestProblem) {
        let code: WireError.Code = problem.status == 413 ? .frameTooLarge : .badField
        let reason: GatewayCounters.Refusal
        switch problem.status {
        case 413: reason = .bodyTooLarge
        case 414, 431:
            reason = .headTooLarge
            gateway.counters.limitRefusals[.headBytes, default: 0] += 1
        default: reason = .badRequest
        }
        refuse(problem.status, WireError(code, "not a request: \(problem.text)"), because: reason)
    }

    /// Answers with an error and ends the connection.
    func refuse(
        _ status: Int, _ error: WireError, _ fields: [(name: String, value: String)] = [],
        because reason: GatewayCounters.Refusal
    ) {
        countFailure(reason)
        // A full node logs one warning for all connections that it refuses.
        gateway.refused(reason, from: peer, isTold: isDoorway)
        gateway.counters.handshakesRefused[status, default: 0] += 1
        if isTLSPending { return closeBeforeTLS() }
        // Nobody there reads HTTP.
        if port.protocolName != nil { return endOutput() }
        write(HTTPAnswer.refusal(status, error, fields + port.routes.security.fields))
        endOutput()
    }

    /// Answers with these bytes and ends the connection.
    func refuse(with answer: ByteBuffer, status: Int, because reason: GatewayCounters.Refusal) {
        countFailure(reason)
        gateway.refused(reason, from: peer, isTold: isDoorway)
        gateway.counters.handshakesRefused[status, default: 0] += 1
        write(answer)
        endOutput()
    }

    func refuseAsFull() {
        refuse(
            503, WireError(.unavailable, "the node has as many connections as it may have"), [("Retry-After", "1")],
            because: .nodeFull)
    }
}

extension ConnectionHandler: TimedConnection {
    func checkDeadline(now: Moment) {
        guard let over = clock.over(now: now) else { return }
        switch state {
        case .reading, .identifying, .authenticating:
            if let firstRequest {
                gateway.counters.connectionsTimedOut += 1
                return close(firstRequest.opening, .unauthenticated)
            }
            switch over {
            case .idle: cut()
            case .receiving where isDoorway: refuseAsFull()
            case .receiving, .answering, .closing:
                gateway.counters.connectionsTimedOut += 1
                refuse(408, WireError(.badField, "the request was not complete in time"), because: .timeout)
            }
        case .answering:
            gateway.counters.connectionsTimedOut += 1
            cut()
        case .closing: cut()
        case .upgraded, .gone: break
        }
    }

    func cut() {
        context?.close(promise: nil)
    }
}
