import ChatCore
import ChatWire
import NIOCore

/// One WebSocket of Engine.IO. The session that it belongs to may be on another loop, as a client upgrades with a new
/// connection; then everything between the two hops.
///
/// Confined to the loop of its channel.
final class EngineSocket: ChannelInboundHandler, FlushedConnection {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum Owner {
        case nobody
        case here(EngineSession)
        indirect case elsewhere(NIOLoopBound<GatewayLoop>, EngineSessionID)
    }

    // The fields that a delivery touches come first.
    private var isGone = false
    private var closing = WebSocketCloseStateMachine()
    var raw: RawSocket?
    private let gateway: GatewayLoop
    private(set) var context: ChannelHandlerContext?
    private var owner = Owner.nobody
    private var cutAt: Moment?
    private let pause = ReadPause()
    private var decoder: WebSocketDecoder

    init(gateway: GatewayLoop, decoder: WebSocketDecoder) {
        self.gateway = gateway
        self.decoder = decoder
    }

    /// How sessions reach it.
    private(set) lazy var link = EngineSocketLink(
        socket: NIOLoopBound(self, eventLoop: gateway.eventLoop),
        id: UInt(bitPattern: ObjectIdentifier(self)))

    // MARK: Beginning and end

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    /// The handshake was answered.
    func opened() {
        if let context { raw = RawSocket(context, bypasses: gateway.options.writesToDescriptor) }
    }

    /// It is the only transport of this session.
    func serve(_ session: EngineSession) { owner = .here(session) }

    /// Offers itself to a session that polls.
    func probe(_ sid: EngineSessionID, of loop: NIOLoopBound<GatewayLoop>) {
        let link = link
        if loop.eventLoop.inEventLoop {
            guard let session = gateway.engines.sessions[sid.text], session.isProbed(by: link) else { return close() }
            owner = .here(session)
        } else {
            owner = .elsewhere(loop, sid)
            ConnectionHandler.reach(loop, sid) { session in
                guard session?.isProbed(by: link) ?? false else { return link.close() }
            }
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        gone()
        context.fireChannelInactive()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        gone()
        self.context = nil
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    private func gone() {
        guard !isGone else { return }
        isGone = true
        closing.disconnected()
        gateway.stopTiming(self)
        gateway.connectionGone()
        lost()
    }

    /// Tells the session that nothing more comes or goes.
    private func lost() {
        let link = link
        tell { $0.socketClosed(link) }
        owner = .nobody
    }

    private func tell(_ body: @escaping @Sendable (EngineSession) -> Void) {
        switch owner {
        case .nobody: break
        case .here(let session): body(session)
        case .elsewhere(let loop, let sid): ConnectionHandler.reach(loop, sid) { $0.map(body) }
        }
    }

    // MARK: In

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        unwrapInboundIn(data).withUnsafeReadableBytes { bytes in
            var index = 0
            while let event = decoder.next(bytes, &index) { handle(event) }
        }
    }

    private func handle(_ event: WebSocketDecoder.Event) {
        switch event {
        case .text(let bytes): received(bytes, isText: true)
        case .binary(let bytes): received(bytes, isText: false)
        case .refused:
            gateway.counters.badFrames["frameTooLarge", default: 0] += 1
            close(.messageTooBig)
            lost()
        case .ping(let payload): answer(.control(.pong, payload))
        case .pong: break
        case .close(let code, _):
            switch closing.closeReceived() {
            case .replyAndDisconnect: sayLast(code, "")
            case .disconnect: disconnect()
            case .doNothing: break
            }
            lost()
        case .failed(let failure):
            gateway.counters.badFrames["websocket", default: 0] += 1
            switch closing.failed() {
            case .sendCloseAndDisconnect: sayLast(failure.code, failure.reason)
            case .disconnect: disconnect()
            case .doNothing: break
            }
            lost()
        }
    }

    /// Sends a control frame. What a session on this loop has queued may bypass the channel, so the frame has to be
    /// queued as well.
    private func answer(_ frame: SharedFrame) {
        if case .here(let session) = owner, session.enqueue(frame, on: link) { return }
        write(frame.bytes)
    }

    private func received(_ bytes: [UInt8], isText: Bool) {
        guard closing.mayReceive else { return }
        switch owner {
        case .nobody: break
        case .here(let session): session.received(bytes, isText: isText, on: link)
        case .elsewhere:
            let link = link
            tell { $0.received(bytes, isText: isText, on: link) }
        }
    }

    /// Reads nothing for a while.
    func pauseReading(for time: Duration) {
        if !isGone { pause.begin(for: time, of: context) }
    }

    // MARK: Out

    /// Whether the kernel would take bytes now.
    var hasRoom: Bool { !isGone && raw?.hasRoom ?? false }

    /// Writes what a session on another loop has queued.
    func write(_ buffer: ByteBuffer) {
        guard !isGone, closing.maySend, let context else { return }
        context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
        guard !context.channel.isWritable, case .elsewhere = owner else { return }
        let link = link
        tell { $0.socketChanged(link, isWritable: false) }
    }

    /// Writes what a session on this loop has queued.
    func flush(_ session: EngineSession) {
        guard !isGone, closing.maySend else { return }
        write(session)
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable {
            let link = link
            tell { $0.socketChanged(link, isWritable: true) }
        }
        context.fireChannelWritabilityChanged()
    }

    /// Closes the WebSocket behind what was written.
    func close(_ code: WebSocketCloseCode = .normal) {
        guard case .sendClose = closing.close() else { return }
        write(last: code, "")
        owner = .nobody
        startCutting()
    }

    private func sayLast(_ code: WebSocketCloseCode?, _ reason: String) {
        write(last: code, reason)
        disconnect()
    }

    private func write(last code: WebSocketCloseCode?, _ reason: String) {
        guard let context else { return }
        var bytes: [UInt8] = []
        WebSocketFrame.appendClose(code, reason: reason, to: &bytes)
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: bytes)), promise: nil)
    }

    private func disconnect() {
        startCutting()
        context?.close(mode: .output, promise: nil)
    }

    private func startCutting() {
        guard cutAt == nil else { return }
        cutAt = Moment.now + gateway.options.closeTimeout
        gateway.startTiming(self)
    }
}

extension EngineSocket: TimedConnection {
    func checkDeadline(now: Moment) {
        if let cutAt, now >= cutAt { cut() }
    }

    func cut() { context?.close(promise: nil) }
}

/// A WebSocket as a session sees it, on its own loop or on another one.
struct EngineSocketLink: Sendable {
    let socket: NIOLoopBound<EngineSocket>
    let id: UInt

    /// The socket, if it is on the loop of the caller.
    var here: EngineSocket? { socket.eventLoop.inEventLoop ? socket.value : nil }

    func write(_ buffer: ByteBuffer) { run { $0.write(buffer) } }

    func close(_ code: WebSocketCloseCode = .normal) { run { $0.close(code) } }

    func cut() { run { $0.cut() } }

    func pauseReading(for time: Duration) { run { $0.pauseReading(for: time) } }

    private func run(_ body: @escaping @Sendable (EngineSocket) -> Void) {
        let loop = socket.eventLoop
        if loop.inEventLoop { return body(socket.value) }
        loop.execute { body(socket.value) }
    }
}
