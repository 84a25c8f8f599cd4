import ChatCore
import ChatWire
import NIOCore

/// A connection that is about to become a session: the protocol, and how its opening request is answered.
struct Opening {
    let spoken: SpokenProtocol
    /// Nil on a port without HTTP.
    let head: RequestHead?
    /// The head of the answer by which the connection is the protocol's.
    let answer: String
    /// A client that is refused is told by an HTTP status, and not in the protocol's words.
    var isRefusedByStatus = false
}

extension ConnectionHandler {
    /// Validates a request for the path of a WebSocket. A fault that the client cannot fix, or whose details it must
    /// not learn, is answered with an HTTP status. If the client must know whether to stop or to retry, it gets a close
    /// code, because a browser shows nothing else to a page.
    func openWebSocket(_ head: RequestHead, _ endpoint: WebSocketEndpoint) {
        guard mayOpen(head) else { return }
        let acceptance: WebSocketHandshake.Acceptance
        do throws(WebSocketHandshake.Refusal) {
            acceptance = try endpoint.handshake.judge(head)
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
        let opening = Opening(
            spoken: endpoint.spoken(acceptance.subprotocol), head: head, answer: Self.switching(acceptance))
        if isDoorway { return close(opening, .nodeFull) }
        guard mayAuthenticate() else { return }
        do throws(WireError) {
            guard var hello = try opening.spoken.implementation.hello(in: head) else {
                return awaitFirstRequest(opening)
            }
            hello.credentials = try gateway.carriers.credentials(in: head, hello.credentials)
            if acceptance.subprotocol == nil, let other = endpoint.byFirstWords, isNobody(hello.credentials) {
                let opening = Opening(spoken: other, head: head, answer: opening.answer)
                return awaitFirstRequest(opening, insteadOf: endpoint.spoken(nil))
            }
            authenticate(hello, opening)
        } catch {
            close(opening, Self.closeReason(error.code))
        }
    }

    /// Whether the client says nothing about itself, and is no guest either.
    private func isNobody(_ credentials: Credentials) -> Bool {
        guard credentials.user == nil, credentials.token == nil,
            case .failure(let error) = gateway.authenticator.authenticateAtOnce(credentials)
        else { return false }
        return error.code == .unauthenticated
    }

    /// Begins to speak a protocol without HTTP. A connection that is refused is only closed, as the protocol has no
    /// words for that before the client has said anything.
    func openPort(_ name: String) {
        guard let spoken = gateway.ports[name], !isDoorway, mayOpen(nil), mayAuthenticate() else {
            if case .reading = state { cut() }
            return
        }
        awaitFirstRequest(Opening(spoken: spoken, head: nil, answer: ""))
    }

    /// Whether one more session may be opened now; if not, the request is refused.
    func mayOpen(_ head: RequestHead?) -> Bool {
        asker = head.map { client(of: $0) } ?? peer
        guard !gateway.isDraining else {
            refuse(503, WireError(.draining, "the node is leaving"), [("Retry-After", "1")], because: .draining)
            return false
        }
        guard gateway.takesHandshake() else {
            let most = gateway.options.limits.handshakesPerSecond
            let error = WireError(.rateLimited, "this node is asked for more than \(most) handshakes a second")
            refuse(503, error, [("Retry-After", "1")], because: .handshakeRate)
            return false
        }
        return true
    }

    /// Asks the authenticator who the client is; then the connection becomes a session or is closed.
    func authenticate(_ hello: ClientHello, _ opening: Opening) {
        if let result = gateway.authenticator.authenticateAtOnce(hello.credentials) {
            return authenticated(result, hello, opening)
        }
        state = .authenticating
        let promise = gateway.eventLoop.makePromise(of: Result<Identity, WireError>.self)
        let authenticator = gateway.authenticator
        promise.completeWithTask { await authenticator.authenticate(hello.credentials) }
        promise.futureResult.assumeIsolated().whenSuccess { [self] result in
            guard case .authenticating = state else { return }
            authenticated(result, hello, opening)
        }
    }

    private func authenticated(_ result: Result<Identity, WireError>, _ hello: ClientHello, _ opening: Opening) {
        switch result {
        case .success(let identity):
            if let device = identity.grant?.device, hello.device.map({ $0 != device }) ?? false {
                return close(opening, .forbidden)
            }
            if let head = opening.head, let reads = hello.reads,
                let error = identity.grant?.refusal(ofReading: reads)
            {
                return refuseStream(head, error, because: .forbidden)
            }
            upgrade(identity, hello, opening)
        case .failure(let error):
            if let head = opening.head, opening.isRefusedByStatus {
                return refuseStream(head, error, because: .init(Self.closeReason(error.code)))
            }
            if firstRequest != nil { say(.error(ref: nil, error), opening) }
            close(opening, Self.closeReason(error.code))
        }
    }

    /// The close code for an authenticator's error.
    static func closeReason(_ code: WireError.Code) -> CloseReason {
        switch code {
        case .unauthenticated: .unauthenticated
        case .forbidden: .forbidden
        case .banned: .banned
        case .badName, .badField, .missingField: .badName
        case .badFrame, .binaryFrame, .frameTooLarge, .unknownType, .notJoined, .notFound, .noSuchMessage, .notAMessage,
            .messageDeleted, .notAuthor, .tooLate, .tooManyEdits, .tooManyReactions, .tooManyRooms, .rateLimited,
            .tooManyWaiting, .noSpace, .muted, .slowMode, .frozen, .notModerator, .duplicate, .blockedWord, .rejected,
            .blocked, .tooManyParticipants, .tooManyEntries, .unavailable, .outcomeUnknown, .notStored, .draining,
            .notReplicated, .internalError:
            .internalError
        }
    }

    private func upgrade(_ identity: Identity, _ hello: ClientHello, _ opening: Opening) {
        guard let context else { return }
        let spoken = opening.spoken
        let session = ChannelSession(
            gateway: gateway,
            identity: SessionIdentity(
                identity, device: hello.device ?? identity.grant?.device ?? Self.inventedDevice()),
            speaking: spoken, reader: firstRequest?.reader ?? spoken.implementation.makeReader(),
            decoder: firstRequest?.decoder ?? spoken.decoder)
        do {
            try context.pipeline.syncOperations.addHandler(session, position: .after(self))
        } catch {
            return cut()
        }
        state = .upgraded
        gateway.stopTiming(self)
        stopCounting()
        // Not flushed: it is sent with the first frame, at the end of this tick.
        if firstRequest == nil, !opening.isRefusedByStatus {
            context.write(wrapOutboundOut(ByteBuffer(string: opening.answer)), promise: nil)
        }
        session.open(joining: hello.room, by: opening.head, then: firstRequest?.behind ?? [])
        if opening.isRefusedByStatus {
            let answer = session.core.id == nil ? refusal(of: opening, session.core.endReason) : nil
            context.write(wrapOutboundOut(answer ?? ByteBuffer(string: opening.answer)), promise: nil)
        }
        let rest = firstRequest?.rest ?? reader.takeRest()
        if !rest.isEmpty { context.fireChannelRead(wrapInboundOut(ByteBuffer(bytes: rest))) }
        becomeNarrow(context)
        context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
    }

    static func inventedDevice() -> DeviceName? {
        try? DeviceName("d-" + String(UInt64.random(in: 0 ... .max), radix: 36))
    }

    /// Closes the WebSocket with a code. Accepts it first if that was not done before.
    func close(_ opening: Opening, _ reason: CloseReason) {
        if let head = opening.head, opening.isRefusedByStatus {
            return refuseStream(head, Self.error(of: reason), because: .init(reason))
        }
        countFailure(.init(reason))
        gateway.refused(.init(reason), from: peer, isTold: isDoorway)
        var bytes = firstRequest == nil ? Array(opening.answer.utf8) : []
        if let doubted = firstRequest?.doubted {
            bytes += doubted.bytes(of: doubted.implementation.farewell(reason))
        } else {
            let writer = firstRequest?.reader as? any ClientWriter
            let farewell = writer?.farewell(reason) ?? opening.spoken.implementation.farewell(reason)
            bytes += opening.spoken.bytes(of: farewell)
        }
        write(ByteBuffer(bytes: bytes))
        endOutput()
    }

    static func switching(_ acceptance: WebSocketHandshake.Acceptance) -> String {
        var answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        answer += "Sec-WebSocket-Accept: \(acceptance.accept)\r\n"
        if let subprotocol = acceptance.subprotocol { answer += "Sec-WebSocket-Protocol: \(subprotocol)\r\n" }
        return answer + "\r\n"
    }
}
