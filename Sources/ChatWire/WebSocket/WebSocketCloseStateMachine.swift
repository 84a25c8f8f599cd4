/// The closing handshake of one WebSocket (RFC 6455 §5.5.1, §7.1) on the server's side: who has sent a close frame,
/// what may still be sent, and when to close the TCP connection (the server does that first, §7.1.1, so that the
/// client does not wait).
public struct WebSocketCloseStateMachine: Sendable, Equatable {
    private enum State: Sendable, Equatable {
        /// Frames are sent in both directions. Can transition to `closeSent`, `closed`.
        case open
        /// Our close frame was sent; the peer's is awaited. Can transition to `closed`.
        case closeSent
        /// Both close frames were sent, or the connection has failed or is lost. Final.
        case closed
    }

    private var state = State.open

    public init() {}

    /// Whether messages, pings and pongs may be sent: not after our close frame (§5.5.1).
    public var maySend: Bool { state == .open }
    /// Whether input from the peer is still passed to the application.
    public var mayReceive: Bool { state == .open }
    public var isClosed: Bool { state == .closed }

    public enum CloseAction: Equatable, Sendable {
        /// Send a close frame, then wait for the peer's, for a bounded time.
        case sendClose
        case doNothing
    }

    /// The server wants to close.
    public mutating func close() -> CloseAction {
        switch state {
        case .open:
            state = .closeSent
            return .sendClose
        case .closeSent, .closed: return .doNothing
        }
    }

    public enum CloseReceivedAction: Equatable, Sendable {
        /// Answer with a close frame of the same code, then close the TCP connection.
        case replyAndDisconnect
        /// Our close frame was sent before: the handshake is complete, close the TCP connection.
        case disconnect
        case doNothing
    }

    /// The peer's close frame arrived.
    public mutating func closeReceived() -> CloseReceivedAction {
        switch state {
        case .open:
            state = .closed
            return .replyAndDisconnect
        case .closeSent:
            state = .closed
            return .disconnect
        case .closed: return .doNothing
        }
    }

    public enum FailAction: Equatable, Sendable {
        /// Send a close frame with the reason, then close the TCP connection (§7.1.7: nothing more is read).
        case sendCloseAndDisconnect
        case disconnect
        case doNothing
    }

    /// The peer violated the protocol.
    public mutating func failed() -> FailAction {
        switch state {
        case .open:
            state = .closed
            return .sendCloseAndDisconnect
        case .closeSent:
            state = .closed
            return .disconnect
        case .closed: return .doNothing
        }
    }

    /// The TCP connection is lost, or the wait for the peer's close frame has timed out.
    public mutating func disconnected() {
        state = .closed
    }
}
