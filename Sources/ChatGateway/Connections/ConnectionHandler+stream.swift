import ChatCore
import ChatWire
import NIOCore

/// Requests that are answered by a stream of a protocol's messages.
extension ConnectionHandler {
    /// Validates a GET request that a stream answers. All faults are told by an HTTP status.
    func openStream(_ head: RequestHead, _ spoken: SpokenProtocol) {
        asker = client(of: head)
        guard !gateway.isDraining else {
            return refuseStream(head, Self.error(of: .draining), because: .draining)
        }
        guard gateway.takesHandshake() else {
            let most = gateway.options.limits.handshakesPerSecond
            let error = WireError(.rateLimited, "this node is asked for more than \(most) streams a second")
            return refuseStream(head, error, because: .handshakeRate)
        }
        if isDoorway { return refuseStream(head, Self.error(of: .nodeFull), because: .nodeFull) }
        guard mayAuthenticate() else { return }
        let opening = Opening(
            spoken: spoken, head: head, answer: streamHead(head, spoken), isRefusedByStatus: true)
        do throws(WireError) {
            guard var hello = try spoken.implementation.hello(in: head) else {
                throw WireError(.unauthenticated, "the request does not say who the client is")
            }
            hello.credentials = try gateway.carriers.credentials(in: head, hello.credentials, isStream: true)
            authenticate(hello, opening)
        } catch {
            refuseStream(head, error, because: .init(Self.closeReason(error.code)))
        }
    }

    /// The head of the answer whose body is the stream.
    private func streamHead(_ head: RequestHead, _ spoken: SpokenProtocol) -> String {
        var answer = "HTTP/1.1 200 OK\r\n"
        for field in spoken.implementation.streamFields + crossOriginFields(head) + port.routes.security.fields {
            answer += "\(field.name): \(field.value)\r\n"
        }
        return answer + "Connection: close\r\n\r\n"
    }

    private func crossOriginFields(_ head: RequestHead) -> [(name: String, value: String)] {
        CrossOrigin.fields(for: head, allowed: gateway.options.allowedOrigins)
    }

    /// Refuses a request for a stream, and ends the connection.
    func refuseStream(_ head: RequestHead, _ error: WireError, because reason: GatewayCounters.Refusal) {
        guard let patience = patience(head, error) else {
            let fields = crossOriginFields(head) + Self.fields(of: error)
            if error.code == .banned { return refuse(with: noContent(head), status: 204, because: reason) }
            return refuse(HTTPRoutes.status(of: error.code), error, fields, because: reason)
        }
        refuse(with: patience, status: 200, because: reason)
    }

    /// The answer for a client that the service does not take, which was found after its request was read; nil if the
    /// session goes on, or was told why it ends.
    func refusal(of opening: Opening, _ reason: String?) -> ByteBuffer? {
        guard let head = opening.head, let reason = CloseReason.allCases.first(where: { $0.name == reason }) else {
            return nil
        }
        let error = Self.error(of: reason)
        if let patience = patience(head, error) { return patience }
        guard error.code != .banned else { return noContent(head) }
        let fields = crossOriginFields(head) + Self.fields(of: error) + port.routes.security.fields
        return HTTPAnswer.refusal(HTTPRoutes.status(of: error.code), error, fields)
    }

    private static func fields(of error: WireError) -> [(name: String, value: String)] {
        if error.code.retry { return [("Retry-After", "1")] }
        return error.code == .unauthenticated ? [("WWW-Authenticate", "Bearer")] : []
    }

    /// A stream that ends at once and tells when to come back; nil if the client is not told so. An EventSource of a
    /// browser comes back after a stream that ends, but never after a status such as 503.
    private func patience(_ head: RequestHead, _ error: WireError) -> ByteBuffer? {
        guard error.code.retry, head.list("accept").contains(where: { $0.hasPrefix("text/event-stream") }),
            let spoken = gateway.streams[head.path]
        else { return nil }
        var buffer = ByteBuffer(string: streamHead(head, spoken))
        buffer.writeBytes(spoken.implementation.farewell(error.code == .draining ? .draining : .nodeFull).payload)
        return buffer
    }

    /// Tells an EventSource to stop.
    private func noContent(_ head: RequestHead) -> ByteBuffer {
        var answer = "HTTP/1.1 204 No Content\r\nCache-Control: no-store\r\n"
        for field in crossOriginFields(head) + port.routes.security.fields {
            answer += "\(field.name): \(field.value)\r\n"
        }
        return ByteBuffer(string: answer + "Connection: close\r\n\r\n")
    }

    /// The error that tells a client of a stream why it has no session.
    static func error(of reason: CloseReason) -> WireError {
        switch reason {
        case .draining: WireError(.draining, "the node is leaving")
        case .nodeFull: WireError(.unavailable, "the node has as many sessions as it may have")
        case .tooManySessions: WireError(.tooManyWaiting, "the user has as many sessions as one may have on this node")
        case .banned: WireError(.banned, "the user is banned")
        case .unauthenticated, .expired, .revoked: WireError(.unauthenticated, "the credentials are not accepted")
        case .badName: WireError(.badName, "a name breaks the rules of names")
        case .forbidden, .abuse, .ended: WireError(.forbidden, "the client may have no session here")
        case .slow, .heartbeatMissed, .internalError: WireError(.internalError, "a fault of the node")
        }
    }
}
