import ChatCore
import ChatWire
import NIOCore

/// One connection of Engine.IO: its rules (``EngineStateMachine``), what is queued for the client, and the requests and
/// WebSockets that carry it. What is queued are WebSocket frames, whatever the transport: so a message of a room is
/// queued by reference, an upgrade changes nothing that waits, and an answer to a poll is made from the frames.
///
/// Confined to the loop on which it was opened. Requests and WebSockets may be on other loops of the node.
final class EngineSession: EngineConnection, FlushedOutlet, QueuedSession {
    // The fields that a delivery touches come first.
    let gateway: GatewayLoop
    private var isDirty = false
    private var isTickWanted = false
    private var isListed = true
    var isFlushingEarly = false
    /// The WebSocket, if it is on this loop.
    private var local: EngineSocket?
    private var machine: EngineStateMachine
    var queue: OutboundQueue
    let sid: EngineSessionID
    private let endpoint: EngineEndpoint
    private var settings: EngineSettings { endpoint.settings }
    private var application: (any EngineApplication)?
    /// The GET that waits.
    private var waiting: EngineResponder?
    private var socket: EngineSocketLink? {
        didSet { local = socket?.here }
    }
    /// The WebSocket that may replace polling.
    private var probe: EngineSocketLink?
    private var timerDue: Moment?
    private var pausedUntil: Moment?

    /// `mark`: of the request that opens it.
    init(gateway: GatewayLoop, endpoint: EngineEndpoint, isPolling: Bool, mark: EngineMark?) {
        self.gateway = gateway
        self.endpoint = endpoint
        sid = gateway.engines.makeID()
        machine = EngineStateMachine(common: endpoint.common, isPolling: isPolling, mark: mark, now: .now)
        queue = OutboundQueue(limit: max(gateway.options.limits.outboundBytes, 2 * endpoint.settings.maxPayload))
    }

    /// Begins. `socket`: the WebSocket that carries it; nil if it is polled.
    func open(_ opening: EngineOpening, over socket: EngineSocket? = nil) {
        gateway.engines.add(self)
        if let socket {
            self.socket = socket.link
            socket.serve(self)
        }
        enqueue(settings.open(sid: sid.text, mayUpgrade: socket == nil))
        application = endpoint.application(of: self, opening)
        keepTime()
    }

    /// Whether the client can be sent messages.
    var isOpen: Bool { machine.isOpen }

    // MARK: Polling

    /// `mark`: nil for the answer to the handshake.
    func polled(_ responder: EngineResponder, mark: EngineMark? = nil) {
        run(machine.polled(hasQueued: hasQueued, mark: mark, now: .now), responder)
        keepTime()
    }

    /// The connection of a GET is lost.
    func pollAborted(_ connection: ObjectIdentifier) {
        // The client may have sent the GET again meanwhile.
        guard waiting?.connection == connection else { return }
        waiting = nil
        run(machine.pollAborted())
    }

    func posted(_ body: [UInt8], _ responder: EngineResponder, mark: EngineMark?) {
        let began = machine.postBegan(mark: mark, now: .now)
        run(began, responder)
        guard !began.contains(.refuseRequest), !began.contains(.acceptRequest) else { return keepTime() }
        guard body.count <= settings.maxPayload else {
            machine.postEnded()
            return responder.refuse(.badRequest, status: 413)
        }
        let isWhole =
            Self.isUTF8(body)
            && EnginePayload.read(body) { packet in
                run(machine.received(packet, now: .now))
                return machine.isOpen
            }
        if !isWhole, machine.isOpen {
            machine.postEnded()
            gateway.counters.badFrames["engine", default: 0] += 1
            run(machine.receivedNoPacket(), responder)
            return keepTime()
        }
        accept(responder)
        keepTime()
    }

    /// A client that exceeded a limit is kept waiting, and may not post anything meanwhile.
    private func accept(_ responder: EngineResponder) {
        let now = Moment.now
        guard let until = pausedUntil, until > now else {
            machine.postEnded()
            return responder.accept()
        }
        gateway.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(until - now)) { [weak self] in
            self?.machine.postEnded()
            responder.accept()
        }
    }

    private static func isUTF8(_ bytes: [UInt8]) -> Bool { bytes.withUnsafeBytes(Self.isUTF8) }

    private static func isUTF8(_ bytes: UnsafeRawBufferPointer) -> Bool {
        String(validating: bytes, as: UTF8.self) != nil
    }

    // MARK: WebSocket

    /// Whether the WebSocket may replace polling. If so, it is the probe from now on.
    func isProbed(by link: EngineSocketLink) -> Bool {
        guard machine.webSocketOpened(now: .now) else { return false }
        probe = link
        keepTime()
        return true
    }

    func received(_ bytes: [UInt8], isText: Bool, on link: EngineSocketLink) {
        let packet = isText ? EnginePacket(text: bytes[...]) : .binary(bytes)
        if link.id == socket?.id {
            guard let packet else {
                gateway.counters.badFrames["engine", default: 0] += 1
                return run(machine.receivedNoPacket())
            }
            run(machine.received(packet, now: .now))
        } else if link.id == probe?.id {
            run(machine.receivedOnProbe(packet, now: .now))
        }
        keepTime()
    }

    /// The WebSocket has ended, or can carry nothing more.
    func socketClosed(_ link: EngineSocketLink) {
        guard link.id == socket?.id || link.id == probe?.id else { return }
        if link.id == socket?.id { socket = nil } else { probe = nil }
        run(machine.webSocketClosed())
        keepTime()
    }

    /// The WebSocket, which is on another loop or was behind, takes more bytes or no more.
    func socketChanged(_ link: EngineSocketLink, isWritable: Bool) {
        guard link.id == socket?.id else { return }
        if isWritable {
            if link.here == nil { queue.catchUp() }
            flush()
            markDirty()
        } else {
            queue.fallBehind()
        }
    }

    /// Queues a control frame, if the WebSocket is the session's. Returns false if it is not.
    func enqueue(_ frame: SharedFrame, on link: EngineSocketLink) -> Bool {
        guard link.id == socket?.id else { return false }
        enqueue(frame)
        return true
    }

    // MARK: What is decided

    private func run(_ actions: [EngineStateMachine.Action], _ request: EngineResponder? = nil) {
        for action in actions {
            switch action {
            case .answerRequest(let answer): request.map { respond($0, answer) }
            case .answerWaiting(let answer):
                let responder = waiting
                waiting = nil
                responder.map { respond($0, answer) }
            case .refuseRequest: request?.refuse(machine.isOver && !isListed ? .unknownSession : .badRequest)
            case .acceptRequest: request.map { accept($0) }
            case .holdRequest: waiting = request
            case .deliver(let bytes, let isText):
                if machine.isOpen { application?.received(bytes, isText: isText) }
            case .send(let packet): enqueue(packet)
            case .sendOnProbe(let packet): probe?.write(SharedFrame(packet.content, as: .webSocket(.text)).bytes)
            case .closeProbe:
                probe?.close()
                probe = nil
            case .useWebSocket:
                socket = probe
                probe = nil
                queue.catchUp()
                markDirty()
            case .closeWebSocket:
                flush()
                socket?.close()
                socket = nil
            case .end(let end):
                application?.closed(end)
                markDirty()
            }
        }
        guard machine.isOver, isListed else { return }
        isListed = false
        gateway.engines.remove(self)
        markDirty()
    }

    private func respond(_ responder: EngineResponder, _ answer: EngineStateMachine.PollAnswer) {
        switch answer {
        case .noop: responder.answer(.noop)
        case .close: responder.answer(.close)
        case .queued:
            var payload = EnginePayload()
            while let buffer = next() {
                SharedFrame.forEachMessage(in: buffer) { content, isText in
                    payload.append(content, isBinary: !isText)
                }
            }
            queue.catchUp()
            responder.answer(payload.isEmpty ? EnginePayload([.noop]) : payload)
            markDirty()
        }
    }

    // MARK: Out

    package func send(_ bytes: [UInt8], isText: Bool) {
        if isText {
            enqueue(SharedFrame([EnginePacket.Kind.message.rawValue] + bytes, as: .webSocket(.text)))
        } else {
            enqueue(SharedFrame(bytes, as: .webSocket(.binary)))
        }
    }

    private func enqueue(_ packet: EnginePacket) {
        enqueue(SharedFrame(packet.content, as: .webSocket(packet.isBinary ? .binary : .text)), isLast: true)
    }

    /// Queues a message. Returns false if it was dropped. `isLast`: also if the session is ending.
    @discardableResult
    func enqueue(_ frame: SharedFrame, isLast: Bool = false) -> Bool {
        guard machine.isOpen || isLast, frame.byteCount > 0 else { return true }
        return offer(frame)
    }

    var maySend: Bool { !machine.isOver }

    var kernelHasRoom: Bool { socket?.here?.hasRoom ?? false }

    func offered(_ outcome: OutboundQueue.Outcome) {
        // Between two polls a client that keeps up is behind as well, so only half of the limit makes it so.
        if !machine.isOverWebSocket, queue.count > gateway.options.limits.outboundBytes / 2 { queue.fallBehind() }
        markDirty()
    }

    func spoke() {}

    func giveUpAsSlow() {
        discardQueue()
        queue.catchUp()
        application?.fellBehind()
        close()
    }

    package func close() {
        run(machine.close(hasQueued: hasQueued, now: .now))
        keepTime()
    }

    /// The node is leaving.
    func leaveNode() {
        application?.nodeLeaves()
        close()
    }

    var isOverWebSocket: Bool { machine.isOverWebSocket }

    /// Ends everything at once.
    func cut() {
        socket?.cut()
        probe?.cut()
    }

    private var hasQueued: Bool { !queue.isEmpty }
    var isBehind: Bool { queue.isBehind }

    /// Writes what is queued to the WebSocket, or answers the GET that waits.
    func flush() {
        guard machine.isOverWebSocket || socket != nil else {
            if hasQueued, !isFlushingEarly { run(machine.queued()) }
            return
        }
        if let local { return local.flush(self) }
        guard let socket else { return }
        while !queue.isBehind, let buffer = next() { socket.write(buffer) }
    }

    func markDirty() {
        guard !isDirty else { return }
        isDirty = true
        gateway.markDirty(self)
    }

    /// The application is told of the end of this tick.
    func asksForTick() {
        isTickWanted = true
        markDirty()
    }

    func tickEnded() {
        isDirty = false
        flush()
        _ = queue.payOwed()
        if isTickWanted {
            isTickWanted = false
            application?.tickEnded()
        }
        guard machine.isOver, !isListed else { return }
        discardQueue()
        application = nil
    }

    // MARK: Time

    /// Reads nothing from the client for a while.
    func pauseReading(for time: Duration) {
        if let socket { return socket.pauseReading(for: time) }
        pausedUntil = Moment.now + time
    }

    /// Called about once in a heartbeat interval: a peer that takes no bytes for a whole one is not reading.
    func checkStalled() {
        guard machine.isOverWebSocket, queue.hasStalled() else { return }
        guard kernelHasRoom else { return giveUpAsSlow() }
        flush()
    }

    /// Schedules what is due next, unless a scheduled task covers it.
    func keepTime() {
        let deadlines = [machine.deadline, machine.isOpen ? application?.deadline : nil].compactMap { $0 }
        guard let deadline = deadlines.min(), timerDue.map({ deadline < $0 }) ?? true else { return }
        timerDue = deadline
        let delay = max(.zero, deadline - .now)
        gateway.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(delay)) { [weak self] in
            self?.timePassed(deadline)
        }
    }

    private func timePassed(_ due: Moment) {
        // An earlier deadline has replaced this one.
        guard timerDue == due else { return }
        timerDue = nil
        let now = Moment.now
        run(machine.timePassed(now: now))
        if machine.isOpen, let deadline = application?.deadline, deadline <= now { application?.timePassed(now: now) }
        keepTime()
    }
}
