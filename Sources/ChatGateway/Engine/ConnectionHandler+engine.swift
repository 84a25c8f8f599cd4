import ChatCore
import ChatWire
import NIOCore

/// Requests of Engine.IO: those of the polling transport, and WebSockets.
extension ConnectionHandler {
    /// Whether a request opens a WebSocket of Engine.IO.
    static func isUpgrade(_ head: RequestHead) -> Bool {
        head.list("upgrade").contains { $0.lowercased() == "websocket" }
    }

    // MARK: Polling

    /// Answers a complete request that opens no WebSocket.
    func answerEngine(_ head: RequestHead, _ body: [UInt8], _ endpoint: EngineEndpoint) {
        guard let context else { return }
        try? context.channel.syncOptions?.setOption(.allowRemoteHalfClosure, value: true)
        clock.answers(now: .now)
        state = .answering(
            Answering(
                isHead: head.method == "HEAD", isPersistent: head.isPersistent && !isDoorway, isOld: head.isOld))
        let origin = head.first("origin")
        let responder = EngineResponder(
            handler: NIOLoopBound(self, eventLoop: context.eventLoop), connection: ObjectIdentifier(self),
            loop: context.eventLoop,
            fields: Self.crossOrigin(origin, head, allowed: gateway.options.allowedOrigins))
        if let allowed = gateway.options.allowedOrigins, let origin, !allowed.contains(origin.lowercased()) {
            return responder.refuse(.forbidden, status: 403)
        }
        if head.method == "OPTIONS" { return responder.answer(204, "text/plain; charset=UTF-8", []) }
        do throws(EngineError) {
            let query = try EngineQuery(head)
            guard query.transport == .polling else { throw .badRequest }
            guard let sid = query.sid else { return try handshake(head, query.mark, endpoint, responder) }
            try forward(head, body, sid, query.mark, responder)
        } catch {
            responder.refuse(error)
        }
    }

    /// A GET without a session opens one.
    private func handshake(
        _ head: RequestHead, _ mark: EngineMark?, _ endpoint: EngineEndpoint, _ responder: EngineResponder
    ) throws(EngineError) {
        guard head.method == "GET" else { throw .badHandshakeMethod }
        guard mayOpen(head) else { return }
        guard gateway.engines.hasRoom else { return refuseAsFull() }
        guard mayAuthenticate(), let opening = engineOpening(head) else { return }
        let session = EngineSession(gateway: gateway, endpoint: endpoint, isPolling: true, mark: mark)
        session.open(opening)
        session.polled(responder)
    }

    /// Passes a request to the session that it names.
    private func forward(
        _ head: RequestHead, _ body: [UInt8], _ text: String, _ mark: EngineMark?, _ responder: EngineResponder
    ) throws(EngineError) {
        let isGet = head.method == "GET"
        guard isGet || head.method == "POST" else { throw .badRequest }
        guard let sid = EngineSessionID(text) else { throw .unknownSession }
        guard sid.node == gateway.engines.node else {
            guard mayForward(head) else { throw .unknownSession }
            return forwardElsewhere(head, body, sid, responder)
        }
        guard let owner = gateway.shared.loop(sid.loop) else { throw .unknownSession }
        if isGet, case .answering(var answering) = state {
            // A poll that its client gives up ends the session.
            let connection = responder.connection
            answering.abandon = { Self.reach(owner, sid) { $0?.pollAborted(connection) } }
            state = .answering(answering)
        }
        Self.reach(owner, sid) { session in
            guard let session else { return responder.refuse(.unknownSession) }
            if isGet {
                session.polled(responder, mark: mark)
            } else {
                session.posted(body, responder, mark: mark)
            }
        }
    }

    /// Calls `body` with a session on its loop; with nil if there is none.
    static func reach(
        _ owner: NIOLoopBound<GatewayLoop>, _ sid: EngineSessionID,
        _ body: @escaping @Sendable (EngineSession?) -> Void
    ) {
        if owner.eventLoop.inEventLoop { return body(owner.value.engines.sessions[sid.text]) }
        owner.eventLoop.execute { body(owner.value.engines.sessions[sid.text]) }
    }

    /// What the first request says; nil if it was refused.
    private func engineOpening(_ head: RequestHead) -> EngineOpening? {
        do throws(WireError) {
            let user = PercentEncoding.query(head.query, only: ["user"])?["user"]
            let credentials = try gateway.carriers.credentials(in: head, Credentials(user: user, token: nil))
            return EngineOpening(query: head.query, credentials: credentials, address: failingAddress)
        } catch {
            refuse(HTTPRoutes.status(of: error.code), error, because: .forbidden)
            return nil
        }
    }

    /// The Fetch standard's fields for pages of other origins. Credentials are allowed to pages that are named.
    private static func crossOrigin(
        _ origin: String?, _ head: RequestHead, allowed: Set<String>?
    ) -> [(name: String, value: String)] {
        guard let origin else { return allowed == nil ? [] : [("Vary", "Origin")] }
        var fields: [(name: String, value: String)] = []
        if let allowed {
            fields.append(("Vary", "Origin"))
            guard allowed.contains(origin.lowercased()) else { return fields }
            fields += [("Access-Control-Allow-Origin", origin), ("Access-Control-Allow-Credentials", "true")]
        } else {
            fields.append(("Access-Control-Allow-Origin", "*"))
        }
        if head.method == "OPTIONS" {
            fields += [
                ("Access-Control-Allow-Methods", "GET, POST, OPTIONS"),
                ("Access-Control-Allow-Headers", "Authorization, Content-Type"), ("Access-Control-Max-Age", "600"),
            ]
        }
        return fields
    }

    // MARK: WebSocket

    /// Opens a WebSocket: for a new session, or as a probe of one that polls.
    func openEngineSocket(_ head: RequestHead, _ endpoint: EngineEndpoint) {
        let query: EngineQuery
        do throws(EngineError) {
            query = try EngineQuery(head)
            guard query.transport == .websocket else { throw .badRequest }
        } catch {
            return refuse(400, WireError(.badField, error.message), because: .noHandshake)
        }
        guard mayOpen(head) else { return }
        let acceptance: WebSocketHandshake.Acceptance
        do throws(WebSocketHandshake.Refusal) {
            acceptance = try endpoint.handshake.judge(head)
        } catch {
            let code: WireError.Code = error.status == 403 ? .forbidden : .badField
            let reason: GatewayCounters.Refusal = error.kind == .origin ? .origin : .noHandshake
            return refuse(error.status, WireError(code, error.message), error.fields, because: reason)
        }
        guard !isDoorway, gateway.engines.hasRoom else { return refuseAsFull() }
        guard mayAuthenticate() else { return }
        guard let text = query.sid else {
            guard let opening = engineOpening(head) else { return }
            let socket = EngineSocket(gateway: gateway, decoder: endpoint.decoder)
            guard become(socket, acceptance) else { return }
            let session = EngineSession(gateway: gateway, endpoint: endpoint, isPolling: false, mark: nil)
            session.open(opening, over: socket)
            return passRest()
        }
        let sid = EngineSessionID(text)
        if let sid, sid.node != gateway.engines.node, mayForward(head) {
            return tunnel(head, sid) { [self] in probe(nil, acceptance, endpoint) }
        }
        probe(sid, acceptance, endpoint)
    }

    /// Opens a WebSocket as a probe of a session of this node.
    private func probe(_ sid: EngineSessionID?, _ acceptance: WebSocketHandshake.Acceptance, _ endpoint: EngineEndpoint)
    {
        let socket = EngineSocket(gateway: gateway, decoder: endpoint.decoder)
        guard become(socket, acceptance) else { return }
        if let sid, sid.node == gateway.engines.node, let owner = gateway.shared.loop(sid.loop) {
            socket.probe(sid, of: owner)
        } else {
            // The handshake is completed, because clients take a refusal for a failure of the network.
            socket.close()
        }
        passRest()
    }

    /// Replaces this handler by a WebSocket's.
    private func become(_ socket: EngineSocket, _ acceptance: WebSocketHandshake.Acceptance) -> Bool {
        guard let context else { return false }
        do {
            try context.pipeline.syncOperations.addHandler(socket, position: .after(self))
        } catch {
            cut()
            return false
        }
        state = .upgraded
        gateway.stopTiming(self)
        stopCounting()
        context.write(wrapOutboundOut(ByteBuffer(string: Self.switching(acceptance))), promise: nil)
        socket.opened()
        return true
    }

    /// Passes on what followed the handshake, and leaves the pipeline.
    private func passRest() {
        guard let context else { return }
        context.flush()
        let rest = reader.takeRest()
        if !rest.isEmpty { context.fireChannelRead(wrapInboundOut(ByteBuffer(bytes: rest))) }
        becomeNarrow(context)
        context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
    }
}
