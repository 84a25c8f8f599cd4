import ChatCore
import ChatWire
import NIOCore

extension ConnectionHandler {
    /// Judges a request for the WebSocket path. What the client cannot help, or must not learn more of, is answered with a status; what
    /// it must know to stop or to come back is a close code, because a browser shows nothing else to a page.
    func openWebSocket(_ head: RequestHead) {
        guard !gateway.isDraining else {
            return refuse(503, WireError(.draining, "the node is leaving"), [("Retry-After", "1")], because: .draining)
        }
        guard gateway.takesHandshake() else {
            let most = gateway.options.limits.handshakesPerSecond
            let error = WireError(.rateLimited, "this node is asked for more than \(most) handshakes a second")
            return refuse(503, error, [("Retry-After", "1")], because: .handshakeRate)
        }
        let acceptance: WebSocketHandshake.Acceptance
        do throws(WebSocketHandshake.Refusal) {
            acceptance = try gateway.handshake.judge(head)
        } catch {
            let reason: GatewayCounters.Refusal =
                switch error.kind {
                case .noHandshake: .noHandshake
                case .origin: .origin
                case .subprotocol: .subprotocol
                }
            let code: WireError.Code = error.status == 403 ? .forbidden : .badField
            return refuse(error.status, WireError(code, error.message), error.fields, because: reason)
        }
        if isDoorway { return close(acceptance, .nodeFull) }
        authenticate(head, acceptance)
    }

    private func authenticate(_ head: RequestHead, _ acceptance: WebSocketHandshake.Acceptance) {
        let parameters: HandshakeParameters
        do throws(WireError) {
            parameters = try HandshakeParameters(head)
        } catch {
            return close(acceptance, .badName)
        }
        if let result = gateway.authenticator.authenticateAtOnce(parameters.credentials) {
            return authenticated(result, parameters, acceptance)
        }
        state = .authenticating
        let promise = gateway.eventLoop.makePromise(of: Result<UserID, WireError>.self)
        let authenticator = gateway.authenticator
        promise.completeWithTask { await authenticator.authenticate(parameters.credentials) }
        promise.futureResult.assumeIsolated().whenSuccess { [self] result in
            guard case .authenticating = state else { return }
            authenticated(result, parameters, acceptance)
        }
    }

    private func authenticated(
        _ result: Result<UserID, WireError>, _ parameters: HandshakeParameters,
        _ acceptance: WebSocketHandshake.Acceptance
    ) {
        switch result {
        case .success(let user): upgrade(user, parameters, acceptance)
        case .failure(let error): close(acceptance, Self.closeReason(error.code))
        }
    }

    /// What an authenticator's error means for a client that waits for a session.
    private static func closeReason(_ code: WireError.Code) -> CloseReason {
        switch code {
        case .unauthenticated: .unauthenticated
        case .forbidden: .forbidden
        case .badName, .badField, .missingField: .badName
        case .badFrame, .binaryFrame, .frameTooLarge, .unknownType, .notJoined, .notFound, .tooManyRooms, .rateLimited,
            .tooManyWaiting, .noSpace, .unavailable, .outcomeUnknown, .notStored, .draining, .notReplicated,
            .internalError:
            .internalError
        }
    }

    private func upgrade(_ user: UserID, _ parameters: HandshakeParameters, _ acceptance: WebSocketHandshake.Acceptance)
    {
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
        stopCounting()
        // Not flushed: it goes out with the first frame, at the end of this tick.
        context.write(wrapOutboundOut(ByteBuffer(string: Self.switching(acceptance))), promise: nil)
        session.open(joining: parameters.room)
        let rest = reader.takeRest()
        if !rest.isEmpty { context.fireChannelRead(wrapInboundOut(ByteBuffer(bytes: rest))) }
        becomeNarrow(context)
        context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
    }

    /// Accepts the WebSocket and closes it with a code.
    private func close(_ acceptance: WebSocketHandshake.Acceptance, _ reason: CloseReason) {
        gateway.refused(.init(reason), from: peer, isTold: isDoorway)
        var bytes = Array(Self.switching(acceptance).utf8)
        WebSocketFrame.appendClose(WebSocketCloseCode(rawValue: reason.rawValue), reason: reason.name, to: &bytes)
        write(ByteBuffer(bytes: bytes))
        endOutput()
    }

    private static func switching(_ acceptance: WebSocketHandshake.Acceptance) -> String {
        var answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        answer += "Sec-WebSocket-Accept: \(acceptance.accept)\r\n"
        if let subprotocol = acceptance.subprotocol { answer += "Sec-WebSocket-Protocol: \(subprotocol)\r\n" }
        return answer + "\r\n"
    }
}
