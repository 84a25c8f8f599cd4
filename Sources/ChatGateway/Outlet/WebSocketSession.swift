import ChatCore
import ChatWire
import Logging
import NIOCore

/// One WebSocket: the only handler in its channel's pipeline, and the outlet through which the service reaches the
/// session. It holds no rules: the decoder, the close machine and the session machine decide, and this class carries
/// their decisions out.
///
/// Confined to its event loop. Calls into the service are never made from within `send` or `close`, so a service may
/// loop over its members and send to each without any session being removed meanwhile.
final class WebSocketSession: ChannelInboundHandler, GatewayOutlet {
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
    /// Within `send`: the service must not be called now.
    private var isFlushingEarly = false
    private var isGone = false
    private var raw: RawSocket?
    private var queue: OutboundQueue
    private var machine: SessionStateMachine
    // Fields that a delivery does not touch.
    private var context: ChannelHandlerContext?
    private var id: SessionID?
    private let spoken: SpokenProtocol
    private let reader: any ClientReader
    private var decoder: WebSocketDecoder
    let identity: SessionIdentity
    var place: (slot: UInt32, index: UInt32)?
    /// Why the session ends, for the counters; set once.
    private var endReason: String?
    private var cutAt: Moment?
    private var isPausing = false
    /// Bytes that the kernel held at the last check, see ``GatewayCounters/kernelBytes``.
    private var kernelBytes: Int32 = 0

    /// `reader` and `decoder` may have been used before the client was identified.
    init(
        gateway: GatewayLoop, identity: SessionIdentity, speaking spoken: SpokenProtocol, reader: any ClientReader,
        decoder: WebSocketDecoder
    ) {
        self.gateway = gateway
        self.identity = identity
        self.spoken = spoken
        self.reader = reader
        self.decoder = decoder
        protocolID = spoken.id
        machine = SessionStateMachine(common: gateway.sessionRules, now: .now)
        queue = OutboundQueue(limit: gateway.options.limits.outboundBytes)
    }

    var user: UserID { identity.user }

    // MARK: Beginning and end

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
    }

    /// Called after the handshake was answered and the client is known: registers with the service, sends `welcome`,
    /// joins the room that the client named, and performs requests that followed in the same message.
    func open(joining firstRoom: RoomName?, then inputs: [ClientInput] = []) {
        if let context { raw = RawSocket(context, bypasses: gateway.options.writesToDescriptor) }
        gateway.add(self)
        switch gateway.service.openSession(identity, outlet: self, on: gateway.eventLoop) {
        case .failure(let reason):
            gateway.refused(.init(reason), from: nil)
            close(reason)
        case .success(let id):
            self.id = id
            let options = gateway.options
            guard let device = identity.device else { return close(.internalError) }
            send(
                .welcome(
                    Welcome(
                        session: "\(options.nodeID)-\(id.raw)", user: identity.user, device: device,
                        node: options.nodeName,
                        heartbeat: options.heartbeatSeconds, limits: options.limits,
                        expiresIn: identity.identity.grant?.expires(after: WallClock.milliseconds))))
            if let firstRoom {
                let join = ClientRequest(ref: nil, body: .join(room: firstRoom, after: nil, history: nil))
                run(machine.received(join, now: .now))
            }
            for input in inputs { take(input) }
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

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // The peer reset the connection. The node can do nothing about it, and nobody needs to be told.
        context.close(promise: nil)
    }

    private func gone() {
        guard !isGone else { return }
        isGone = true
        closing.disconnected()
        machine.closed()
        setCount(to: 0)
        setKernelBytes(0)
        queue.removeAll()
        endReason = endReason ?? "gone"
        gateway.stopTiming(self)
        gateway.remove(self, reason: endReason ?? "gone")
        gateway.connectionGone()
        if isFlushingEarly { markDirty() } else { leaveService() }
    }

    private func leaveService() {
        guard let id else { return }
        self.id = nil
        gateway.logger.debug(
            "session closed", metadata: ["session.id": "\(id.raw)", "reason": "\(endReason ?? "gone")"])
        gateway.service.sessionClosed(id, on: gateway.eventLoop)
    }

    // MARK: In

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let buffer = unwrapInboundIn(data)
        machine.heard()
        buffer.withUnsafeReadableBytes { bytes in
            var index = 0
            while let event = decoder.next(bytes, &index) { handle(event) }
        }
    }

    private func handle(_ event: WebSocketDecoder.Event) {
        switch event {
        case .text(let bytes): if closing.mayReceive { received(bytes, isText: true) }
        case .binary(let bytes): if closing.mayReceive { received(bytes, isText: false) }
        case .refused(let refusal): refused(refusal)
        case .ping(let payload): enqueue(.control(.pong, payload))
        case .pong: break
        case .close(let code, _):
            switch closing.closeReceived() {
            case .replyAndDisconnect:
                endReason = endReason ?? "peer"
                sayLast(code, reason: "")
            case .disconnect: disconnect()
            case .doNothing: break
            }
        case .failed(let failure):
            gateway.counters.badFrames["websocket", default: 0] += 1
            switch closing.failed() {
            case .sendCloseAndDisconnect:
                endReason = endReason ?? "protocolError"
                sayLast(failure.code, reason: failure.reason)
            case .disconnect: disconnect()
            case .doNothing: break
            }
        }
    }

    private func received(_ bytes: [UInt8], isText: Bool) {
        if bytes.count >= Self.longFrame, let id {
            let pause = gateway.service.heard(bytes: bytes.count, from: id, on: gateway.eventLoop)
            if pause > .zero { pauseReading(for: pause) }
        }
        reader.read(bytes, isText: isText) { take($0) }
    }

    private func take(_ input: ClientInput) {
        guard closing.mayReceive else { return }
        switch input {
        case .request(let request):
            gateway.counters.framesReceived[.init(request.body), default: 0] += 1
            run(machine.received(request, now: .now))
        case .failure(let failure): receivedBadFrame(failure.ref, failure.error)
        case .hello: receivedBadFrame(nil, WireError(.badField, "the session is known already"))
        case .goodbye:
            endReason = endReason ?? "peer"
            switch closing.close() {
            case .sendClose: end(with: .close(.normal))
            case .doNothing: break
            }
        }
    }

    private func refused(_ refusal: WebSocketDecoder.Refusal) {
        guard closing.mayReceive else { return }
        receivedBadFrame(nil, spoken.error(refusal, limits: gateway.options.limits))
    }

    private func receivedBadFrame(_ ref: Ref?, _ error: WireError) {
        gateway.counters.badFrames[error.code.name, default: 0] += 1
        let action = machine.receivedBadFrame(ref: ref, error, now: .now)
        if !machine.isOpen { gateway.counters.limitRefusals[.badFramesPerMinute, default: 0] += 1 }
        run(action)
    }

    private func run(_ action: SessionStateMachine.RequestAction) {
        switch action {
        case .perform(let body, let ref):
            guard let id else { return }
            if case .token(let token) = body { return gateway.renew(id, token: token, ref: ref) }
            gateway.service.perform(body, ref: ref, from: id, on: gateway.eventLoop)
        case .reply(let event):
            if case .error(_, let error) = event, let limit = GatewayCounters.Limit(refusing: error.code) {
                gateway.counters.limitRefusals[limit, default: 0] += 1
                if error.code == .rateLimited { pauseReading() }
            }
            encode(event)
        case .replyAndClose(let event, let reason):
            encode(event)
            close(reason)
        case .doNothing: break
        }
    }

    // MARK: Out

    func send(_ event: ServerEvent) {
        guard let event = machine.outgoing(event) else { return }
        if let room = event.roomLeft { queue.forgetOwed(room) }
        if case .error(_, let error) = event, error.code == .rateLimited { pauseReading() }
        encode(event)
    }

    /// A client that exceeded a limit is read again only after a pause, because a refusal costs the node as much as a
    /// small request.
    private func pauseReading(for time: Duration = WebSocketSession.refusalPause) {
        guard !isPausing, !isGone, let options = context?.channel.syncOptions else { return }
        isPausing = true
        try? options.setOption(.autoRead, value: false)
        gateway.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(time)) { [self] in
            isPausing = false
            guard !isGone else { return }
            try? options.setOption(.autoRead, value: true)
        }
    }

    private static let refusalPause: Duration = .milliseconds(100)
    /// The cost of a shorter frame hardly depends on its length.
    private static let longFrame = 1_024

    func takesPage() -> Bool {
        guard machine.isOpen, closing.maySend else { return false }
        if hasRoomForPage { return true }
        isPageWanted = true
        markDirty()
        return false
    }

    /// At least three quarters of the queue's limit are free, and the peer reads.
    private var hasRoomForPage: Bool { !queue.isBehind && queue.count <= gateway.options.limits.outboundBytes / 4 }

    func send(_ frame: Frame) {
        guard let encoding = frame.encoding(for: protocolID) else { return encode(frame.event) }
        // The type is checked in debug builds only, because this runs once per delivery. The ID guarantees it: for a
        // protocol over WebSocket, ``ProtocolRegistry`` creates nothing else, and the frame returned what was created
        // for this ID.
        enqueue(unsafeDowncast(encoding, to: SharedFrame.self))
    }

    func close(_ reason: CloseReason) {
        switch closing.close() {
        case .sendClose: sayClose(reason)
        case .doNothing: break
        }
    }

    private func encode(_ event: ServerEvent) {
        enqueue(spoken.frame(event, viewer: identity.user))
    }

    private func enqueue(_ frame: SharedFrame) {
        guard closing.maySend, frame.byteCount > 0 else { return }
        switch append(frame) {
        case .queued, .behind: gateway.counters.framesSent += 1
        case .dropped: gateway.counters.framesDropped[frame.kind, default: 0] += 1
        case .overflow:
            // A tick that brings more than the limit is not the fault of a peer that keeps up: what is queued is
            // written first.
            if queue.isBehind {
                // Nor is the peer slow if the node has not written to it yet: the kernel would take more bytes.
                guard raw?.hasRoom ?? false else { return giveUpAsSlow() }
                queue.pardon()
            } else {
                isFlushingEarly = true
                flush()
                isFlushingEarly = false
            }
            guard closing.maySend else { return }
            switch append(frame) {
            case .queued, .behind: gateway.counters.framesSent += 1
            case .dropped: gateway.counters.framesDropped[frame.kind, default: 0] += 1
            case .overflow: giveUpAsSlow()
            }
        }
    }

    /// The close frame is sent after the bytes that the channel has taken already. Queued bytes are dropped, as the
    /// client will reconnect with the last position that it saw.
    private func giveUpAsSlow() {
        discardQueue()
        queue.catchUp()
        close(.slow)
    }

    private func append(_ frame: SharedFrame) -> OutboundQueue.Outcome {
        let before = queue.count
        let outcome = queue.append(frame, joiner: &gateway.joiner)
        gateway.counters.queuedBytes += queue.count - before
        if case .queued = outcome { markDirty() }
        return outcome
    }

    private func markDirty() {
        guard !isDirty else { return }
        isDirty = true
        gateway.markDirty(self)
    }

    private func sayClose(_ reason: CloseReason) {
        endReason = endReason ?? reason.name
        end(with: SharedFrame(bytes: ByteBuffer(bytes: spoken.farewell(reason)), kind: .reply, isShared: false))
    }

    /// Sends the last frame after what is queued; then the peer is expected to close.
    private func end(with frame: SharedFrame) {
        machine.closed()
        startCutting()
        _ = append(frame)
        markDirty()
    }

    /// Sends a close frame ahead of everything that is queued, and nothing after it.
    private func sayLast(_ code: WebSocketCloseCode?, reason: String) {
        machine.closed()
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

    private func discardQueue() {
        setCount(to: 0)
        queue.removeAll()
    }

    private func setKernelBytes(_ count: Int32) {
        gateway.counters.kernelBytes += Int(count - kernelBytes)
        kernelBytes = count
    }

    private func setCount(to count: Int) {
        gateway.counters.queuedBytes += count - queue.count
    }

    func tickEnded() {
        isDirty = false
        flush()
        caughtUp()
        if !machine.isOpen { leaveService() }
    }

    /// Called after a flush: performs what was postponed while the peer was behind, if it has caught up.
    private func caughtUp() {
        guard machine.isOpen, !queue.isBehind else { return }
        for (room, count) in queue.payOwed() ?? [:] {
            encode(.presence(room: room, joined: [], left: [], count: count))
        }
        guard isPageWanted, hasRoomForPage, let id else { return }
        isPageWanted = false
        gateway.service.sessionDrained(id, on: gateway.eventLoop)
    }

    private func flush() {
        guard !isGone else { return }
        let outcome = writeRaw()
        if case .everything = outcome { return }
        guard let context else { return }
        let channel = context.channel
        // Bytes that the kernel did not take are in the channel and have to be flushed. This also applies to a session
        // that was behind until now and whose bytes fill the channel: no event would trigger the flush later.
        if case .nothing = outcome, queue.isBehind, !channel.isWritable { return }
        // Repeated, because flushing can make the channel writable at once, and no event would report that later.
        repeat {
            // Checking writability after each write keeps the channel within its high-water mark. The rest waits in the
            // queue, where it is counted and can be dropped. The TLS handler reaches the channel only with a flush.
            var unflushed = 0
            while channel.isWritable, unflushed < Self.mostUnflushed, let buffer = next() {
                unflushed += buffer.readableBytes
                context.write(wrapOutboundOut(buffer), promise: nil)
            }
            machine.spoke()
            context.flush()
        } while channel.isWritable && !queue.isEmpty
        if channel.isWritable { queue.catchUp() } else { queue.fallBehind() }
    }

    /// The bytes that are written between two flushes, about the channel's high-water mark.
    private static let mostUnflushed = 32_768

    private enum RawOutcome { case everything, part, nothing }

    /// Writes to the descriptor. Afterwards everything is with the kernel, or the kernel has a part and the channel has
    /// the rest of that buffer. Nearly every delivery takes this path: it does not touch the channel, whose memory has
    /// left the caches since the last delivery.
    private func writeRaw() -> RawOutcome {
        if raw?.isThroughChannel ?? true {
            guard let context, raw?.isUsable(context) ?? false else { return .nothing }
        }
        while let buffer = next() {
            guard let rest = raw?.send(buffer) else { continue }
            context?.write(wrapOutboundOut(rest), promise: nil)
            return .part
        }
        machine.spoke()
        queue.catchUp()
        return .everything
    }

    private func next() -> ByteBuffer? {
        guard let buffer = queue.next() else { return nil }
        gateway.counters.queuedBytes -= buffer.readableBytes
        gateway.counters.bytesSent += UInt64(buffer.readableBytes)
        return buffer
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

extension WebSocketSession: TimedConnection {
    func checkDeadline(now: Moment) {
        if let cutAt, now >= cutAt { cut() }
    }

    func cut() {
        context?.close(promise: nil)
    }

    func heartbeatDue(now: Moment) {
        // A peer that takes no bytes for a whole heartbeat interval is not reading, however little is queued for it.
        if machine.isOpen, queue.hasStalled() {
            guard !isGone, raw?.hasRoom ?? false else { return giveUpAsSlow() }
            flush()
        }
        setKernelBytes(queue.isBehind && !isGone ? Int32(clamping: raw?.unsentBytes ?? 0) : 0)
        switch machine.timerFired(now: now) {
        case .ping: enqueue(spoken.ping)
        case .close(let reason): close(reason)
        case .doNothing: break
        }
    }
}
