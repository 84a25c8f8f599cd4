import ChatCore
import ChatWire
import Logging
import NIOCore

/// A session with a connection of its own: the only handler in its channel's pipeline, and the outlet through which the
/// service reaches the session. It holds no rules: the decoder, the close machine and the session machine decide, and
/// this class carries their decisions out. What does not depend on the connection is in ``ClientSession``.
///
/// Its messages are framed as those of a WebSocket, or not at all (``MessageFraming/stream``): then the protocol's
/// bytes are those of the connection.
///
/// Confined to its event loop. Calls into the service are never made from within `send` or `close`, so a service may
/// loop over its members and send to each without any session being removed meanwhile.
final class ChannelSession: ChannelInboundHandler, ClientSession, QueuedSession, FlushedConnection {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    let gateway: GatewayLoop
    let protocolID: ProtocolID
    // The fields that a delivery touches come first and are adjacent: with thousands of sessions, none of them is in a
    // cache when it is written to.
    private var closing = WebSocketCloseStateMachine()
    private var isDirty = false
    /// The service waits until a page can be sent.
    private var isPageWanted = false
    var isFlushingEarly = false
    private var isGone = false
    var raw: RawSocket?
    var queue: OutboundQueue
    var core: SessionCore
    // Fields that a delivery does not touch.
    private(set) var context: ChannelHandlerContext?
    /// Nil if messages are not framed.
    private var decoder: WebSocketDecoder?
    var place: (slot: UInt32, index: UInt32)?
    private var cutAt: Moment?
    private let pause = ReadPause()
    /// Bytes that the kernel held at the last check, see ``GatewayCounters/kernelBytes``.
    private var kernelBytes: Int32 = 0

    /// `reader` and `decoder` may have been used before the client was identified.
    init(
        gateway: GatewayLoop, identity: SessionIdentity, speaking spoken: SpokenProtocol, reader: any ClientReader,
        decoder: WebSocketDecoder?
    ) {
        self.gateway = gateway
        self.decoder = decoder
        protocolID = spoken.id
        core = SessionCore(identity: identity, speaking: spoken, reader: reader, rules: gateway.sessionRules)
        queue = OutboundQueue(limit: gateway.options.limits.outboundBytes)
    }

    // MARK: Beginning and end

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
    }

    /// Called after the handshake was answered and the client is known.
    func open(joining firstRoom: RoomName?, by head: RequestHead?, then inputs: [ClientInput] = []) {
        if let context { raw = RawSocket(context, bypasses: gateway.options.writesToDescriptor) }
        begin(joining: firstRoom, by: head, then: inputs)
        // The answer to the handshake is not flushed. A protocol may have nothing to say at first.
        markDirty()
    }

    func channelInactive(context: ChannelHandlerContext) {
        gone()
        context.fireChannelInactive()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        gone()
        self.context = nil
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // The peer reset the connection. The node can do nothing about it, and nobody needs to be told.
        context.close(promise: nil)
    }

    private func gone() {
        guard !isGone else { return }
        isGone = true
        closing.disconnected()
        core.machine.closed()
        discardQueue()
        setKernelBytes(0)
        core.endReason = core.endReason ?? "gone"
        gateway.stopTiming(self)
        gateway.remove(self, reason: core.endReason ?? "gone")
        gateway.connectionGone()
        if isFlushingEarly { markDirty() } else { leaveService() }
    }

    // MARK: In

    var mayReceive: Bool { closing.mayReceive }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let buffer = unwrapInboundIn(data)
        core.machine.heard()
        guard decoder != nil else {
            if closing.mayReceive { received(Array(buffer.readableBytesView), isText: false) }
            return
        }
        buffer.withUnsafeReadableBytes { bytes in
            var index = 0
            while let event = decoder?.next(bytes, &index) { handle(event) }
        }
    }

    private func handle(_ event: WebSocketDecoder.Event) {
        switch event {
        case .text(let bytes): if closing.mayReceive { received(bytes, isText: true) }
        case .binary(let bytes): if closing.mayReceive { received(bytes, isText: false) }
        case .refused(let refusal):
            guard closing.mayReceive else { return }
            receivedBadFrame(nil, core.spoken.error(refusal, limits: gateway.options.limits))
        case .ping(let payload): enqueue(.control(.pong, payload))
        case .pong: break
        case .close(let code, _):
            switch closing.closeReceived() {
            case .replyAndDisconnect:
                core.endReason = core.endReason ?? "peer"
                sayLast(code, reason: "")
            case .disconnect: disconnect()
            case .doNothing: break
            }
        case .failed(let failure):
            gateway.counters.badFrames["websocket", default: 0] += 1
            switch closing.failed() {
            case .sendCloseAndDisconnect:
                core.endReason = core.endReason ?? "protocolError"
                sayLast(failure.code, reason: failure.reason)
            case .disconnect: disconnect()
            case .doNothing: break
            }
        }
    }

    // MARK: Out

    func forgetOwed(_ room: RoomName) { queue.forgetOwed(room) }

    /// A client that exceeded a limit is read again only after a pause, because a refusal costs the node as much as a
    /// small request.
    func pauseReading(for time: Duration) {
        if !isGone { pause.begin(for: time, of: context) }
    }

    func takesPage() -> Bool {
        guard core.machine.isOpen, closing.maySend else { return false }
        if hasRoomForPage { return true }
        isPageWanted = true
        markDirty()
        return false
    }

    func end(with farewell: ProtocolFarewell, reason: String) {
        switch closing.close() {
        case .sendClose:
            core.endReason = core.endReason ?? reason
            let bytes = ByteBuffer(bytes: core.spoken.bytes(of: farewell))
            end(with: SharedFrame(bytes: bytes, kind: .reply, isShared: false))
        case .doNothing: break
        }
    }

    func enqueue(_ frame: SharedFrame) {
        guard closing.maySend, frame.byteCount > 0 else { return }
        offer(frame)
    }

    var maySend: Bool { closing.maySend }

    var kernelHasRoom: Bool { raw?.hasRoom ?? false }

    func offered(_ outcome: OutboundQueue.Outcome) {
        if case .queued = outcome { markDirty() }
    }

    func spoke() { core.spoke() }

    /// The close frame is sent after the bytes that the channel has taken already. Queued bytes are dropped, as the
    /// client will reconnect with the last position that it saw.
    func giveUpAsSlow() {
        discardQueue()
        queue.catchUp()
        close(.slow)
    }

    private func markDirty() {
        guard !isDirty else { return }
        isDirty = true
        gateway.markDirty(self)
    }

    /// Sends the last frame after what is queued; then the peer is expected to close.
    private func end(with frame: SharedFrame) {
        core.machine.closed()
        startCutting()
        if frame.byteCount > 0 { append(frame) }
        markDirty()
    }

    /// Sends a close frame ahead of everything that is queued, and nothing after it.
    private func sayLast(_ code: WebSocketCloseCode?, reason: String) {
        core.machine.closed()
        startCutting()
        flush()
        discardQueue()
        guard let context else { return }
        var bytes: [UInt8] = []
        WebSocketFrame.appendClose(code, reason: reason, to: &bytes)
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: bytes)), promise: nil)
        disconnect()
        markDirty()
    }

    /// Ends our side once everything was written, and waits (a bounded time) for the peer to end its own (RFC 6455
    /// §7.1.1). If we closed at once, unread bytes from the peer would make the kernel reset the connection, and our
    /// close frame would be lost.
    private func disconnect() {
        startCutting()
        context?.close(mode: .output, promise: nil)
    }

    private func startCutting() {
        guard cutAt == nil else { return }
        cutAt = Moment.now + gateway.options.closeTimeout
        gateway.startTiming(self)
    }

    private func setKernelBytes(_ count: Int32) {
        gateway.counters.kernelBytes += Int(count - kernelBytes)
        kernelBytes = count
    }

    func tickEnded() {
        isDirty = false
        flush()
        caughtUp()
        guard !core.machine.isOpen else { return }
        leaveService()
        // Without frames there is no closing handshake: the end of the connection tells the peer.
        if decoder == nil, queue.isEmpty { disconnect() }
    }

    /// Called after a flush: performs what was postponed while the peer was behind, if it has caught up.
    private func caughtUp() {
        guard core.machine.isOpen, !queue.isBehind else { return }
        for (room, count) in queue.payOwed() ?? [:] {
            encode(.presence(room: room, joined: [], left: [], count: count))
        }
        guard isPageWanted, hasRoomForPage, let id = core.id else { return }
        isPageWanted = false
        gateway.service.sessionDrained(id, on: gateway.eventLoop)
    }

    func flush() {
        guard !isGone else { return }
        write(self)
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable, queue.isBehind {
            flush()
            // At the end of the tick, as this may be called from within a flush.
            markDirty()
        }
        context.fireChannelWritabilityChanged()
    }
}

extension ChannelSession: TimedConnection {
    func checkDeadline(now: Moment) {
        if let cutAt, now >= cutAt { cut() }
    }

    func cut() {
        context?.close(promise: nil)
    }

    func heartbeatDue(now: Moment) {
        // A peer that takes no bytes for a whole heartbeat interval is not reading, however little is queued for it.
        if core.machine.isOpen, queue.hasStalled() {
            guard !isGone, raw?.hasRoom ?? false else { return giveUpAsSlow() }
            flush()
        }
        setKernelBytes(queue.isBehind && !isGone ? Int32(clamping: raw?.unsentBytes ?? 0) : 0)
        askPeer(now: now)
    }
}
