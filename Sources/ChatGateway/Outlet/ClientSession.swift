import ChatCore
import ChatWire
import Logging
import NIOCore

/// A session of the gateway without its transport: inputs of the client's reader become requests to the service, and
/// the service's events become messages. A transport reads, queues and writes bytes.
///
/// Confined to its event loop.
protocol ClientSession: GatewayOutlet {
    var gateway: GatewayLoop { get }
    var core: SessionCore { get set }
    /// Whether input from the client still counts.
    var mayReceive: Bool { get }
    /// Queues a message, in the transport's framing.
    func enqueue(_ frame: SharedFrame)
    /// Tells the client that its session ends, behind what is queued, and then ends the connection. Does nothing if
    /// that was done before.
    func end(with farewell: ProtocolFarewell, reason: String)
    /// Reads nothing from the client for a while.
    func pauseReading(for time: Duration)
    /// The session has left the room, so that no presence count of it is owed.
    func forgetOwed(_ room: RoomName)
}

/// The cost of a shorter message hardly depends on its length.
private let longMessage = 1_024

extension ClientSession {
    var user: UserID { core.identity.user }
    var protocolName: String { core.spoken.implementation.name }

    // MARK: Beginning and end

    /// Registers with the service, sends `welcome`, joins the room that the client named, performs what its opening
    /// request asks for, and then what followed that request.
    func begin(joining firstRoom: RoomName?, by head: RequestHead?, then inputs: [ClientInput]) {
        gateway.add(self)
        switch gateway.service.openSession(core.identity, outlet: self, on: gateway.eventLoop) {
        case .failure(let reason):
            gateway.refused(.init(reason), from: nil)
            close(reason)
        case .success(let id):
            core.id = id
            let options = gateway.options
            guard let device = core.identity.device else { return close(.internalError) }
            send(
                .welcome(
                    Welcome(
                        session: "\(options.nodeID)-\(id.raw)", user: user, device: device, node: options.nodeName,
                        heartbeat: options.heartbeatSeconds, limits: options.limits,
                        expiresIn: core.identity.identity.grant?.expires(after: WallClock.milliseconds))))
            if let firstRoom {
                let join = ClientRequest(ref: nil, body: .join(room: firstRoom, after: nil, history: nil))
                run(core.machine.received(join, now: .now))
            }
            if let head { core.reader.begin(head) { take($0) } }
            for input in inputs { take(input) }
            keepTime()
        }
    }

    /// Tells the service that the session is over, once.
    func leaveService() {
        guard let id = core.id else { return }
        core.id = nil
        gateway.logger.debug(
            "session closed", metadata: ["session.id": "\(id.raw)", "reason": "\(core.endReason ?? "gone")"])
        gateway.service.sessionClosed(id, on: gateway.eventLoop)
    }

    func close(_ reason: CloseReason) {
        let farewell = core.wording?.writer.farewell(reason) ?? core.spoken.implementation.farewell(reason)
        end(with: farewell, reason: reason.name)
    }

    // MARK: In

    /// A message of the transport came in.
    func received(_ bytes: [UInt8], isText: Bool) {
        if bytes.count >= longMessage, let id = core.id {
            let pause = gateway.service.heard(bytes: bytes.count, from: id, on: gateway.eventLoop)
            if pause > .zero { pauseReading(for: pause) }
        }
        core.reader.read(bytes, isText: isText) { take($0) }
        keepTime()
    }

    private func take(_ input: ClientInput) {
        guard mayReceive else { return }
        switch input {
        case .request(let request):
            gateway.counters.framesReceived[.init(request.body), default: 0] += 1
            run(core.machine.received(request, now: .now))
        case .failure(let failure): receivedBadFrame(failure.ref, failure.error)
        case .hello: receivedBadFrame(nil, WireError(.badField, "the session is known already"))
        case .goodbye: end(with: ProtocolFarewell(code: .normal, text: ""), reason: "peer")
        case .say(let bytes, let isText): enqueue(SharedFrame(bytes, as: core.spoken.framing(isText: isText)))
        case .end(let farewell, let reason):
            gateway.counters.badFrames[reason, default: 0] += 1
            end(with: farewell, reason: "protocolError")
        case .restart(let reason): end(with: ProtocolFarewell(code: .normal, text: reason), reason: reason)
        }
    }

    /// A message that is no request was answered with an error, which counts against a limit.
    func receivedBadFrame(_ ref: Ref?, _ error: WireError) {
        gateway.counters.badFrames[error.code.name, default: 0] += 1
        let action = core.machine.receivedBadFrame(ref: ref, error, now: .now)
        if !core.machine.isOpen { gateway.counters.limitRefusals[.badFramesPerMinute, default: 0] += 1 }
        run(action)
    }

    /// A refusal costs the node as much as a small request, so who is refused pays for it, and is not read meanwhile.
    private func pauseAfterRefusal() {
        guard let id = core.id else { return }
        pauseReading(for: gateway.service.refused(id, on: gateway.eventLoop))
    }

    private func run(_ action: SessionStateMachine.RequestAction) {
        switch action {
        case .perform(let body, let ref):
            guard let id = core.id else { return }
            if case .token(let token) = body { return gateway.renew(id, token: token, ref: ref) }
            gateway.service.perform(body, ref: ref, from: id, on: gateway.eventLoop)
        case .reply(let event):
            if case .error(_, let error) = event, let limit = GatewayCounters.Limit(refusing: error.code) {
                gateway.counters.limitRefusals[limit, default: 0] += 1
                if error.code == .rateLimited { pauseAfterRefusal() }
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
        guard let event = core.machine.outgoing(event) else { return }
        if let room = event.roomLeft { forgetOwed(room) }
        if case .error(_, let error) = event, error.code == .rateLimited { pauseAfterRefusal() }
        encode(event)
    }

    func send(_ frame: Frame) {
        if let wording = core.wording { return send(frame, in: wording.writer) }
        guard let encoding = frame.encoding(for: protocolID) else { return encode(frame.event) }
        // The type is checked in debug builds only, because this runs once per delivery. The ID guarantees it:
        // ``ProtocolRegistry`` creates nothing else, and the frame returned what was created for this ID.
        enqueue(unsafeDowncast(encoding, to: SharedFrame.self))
    }

    /// Sends a shared event as the connection's writer says.
    private func send(_ frame: Frame, in writer: any ClientWriter) {
        let form = writer.form(of: frame.event)
        switch form {
        case .nothing: return
        case .own: return encode(frame.event)
        case .whole, .prefixed: break
        }
        let encoding =
            frame.encoding(for: protocolID).map { unsafeDowncast($0, to: SharedFrame.self) }
            ?? core.spoken.frame(frame.event, viewer: nil)
        guard case .prefixed(let prefix) = form else { return enqueue(encoding) }
        enqueue(gateway.prefixer.join(prefix, encoding, framing: core.spoken.framing))
    }

    /// Sends an event to this session alone.
    func encode(_ event: ServerEvent) {
        guard let writer = core.wording?.writer else { return enqueue(core.spoken.frame(event, viewer: user)) }
        writer.write(event, viewer: user) { bytes, isText in
            enqueue(SharedFrame(bytes, of: event, as: core.spoken.framing(isText: isText)))
        }
        keepTime()
    }

    // MARK: Time

    /// Asks a quiet client whether it is there, or gives it up. Called about once in a heartbeat interval.
    func askPeer(now: Moment) {
        guard let ping = core.spoken.ping else { return }
        switch core.machine.timerFired(now: now) {
        case .ping: enqueue(ping)
        case .close(let reason): close(reason)
        case .doNothing: break
        }
    }

    /// Schedules the writer's deadline, if it has one that no scheduled task covers.
    private func keepTime() {
        guard let wording = core.wording, let deadline = wording.writer.deadline else { return }
        guard wording.timerDue.map({ deadline < $0 }) ?? true else { return }
        wording.timerDue = deadline
        let delay = max(.zero, deadline - .now)
        gateway.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(delay)) { [weak self] in
            self?.timePassed(deadline)
        }
    }

    private func timePassed(_ due: Moment) {
        // An earlier deadline has replaced this one.
        guard let wording = core.wording, wording.timerDue == due else { return }
        wording.timerDue = nil
        guard mayReceive else { return }
        let now = Moment.now
        if let deadline = wording.writer.deadline, deadline <= now {
            wording.writer.timePassed(now: now, lastWritten: wording.lastWritten) { take($0) }
        }
        keepTime()
    }
}
