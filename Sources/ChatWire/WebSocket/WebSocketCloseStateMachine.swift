/// The closing handshake of one WebSocket (RFC 6455 §5.5.1, §7.1), seen from the server: who has sent a close frame,
/// what may still be sent, and when the TCP connection is to be closed (by the server, §7.1.1, so that the client does
/// not wait).
public struct WebSocketCloseStateMachine: Sendable, Equatable {
    private enum State: Sendable, Equatable {
        /// Frames go both ways. Can transition to `closeSent`, `closed`.
        case open
        /// Our close frame went out; the peer's is awaited. Can transition to `closed`.
        case closeSent
        /// Both went, or the connection has failed or gone. Final.
        case closed
    }

    private var state = State.open

    public init() {}

    /// Whether messages, pings and pongs may be sent: not after our close frame (§5.5.1).
    public var maySend: Bool { state == .open }
    /// Whether what the peer sends still means something to the application.
    public var mayReceive: Bool { state == .open }
    public var isClosed: Bool { state == .closed }

    public enum CloseAction: Equatable, Sendable {
        /// Send a close frame, then wait for the peer's, for a bounded time.
        case sendClose
        case doNothing
    }

    /// We want to close.
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
        /// Ours had gone before: the handshake is complete, close the TCP connection.
        case disconnect
        case doNothing
    }

    /// The peer's close frame came.
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
        /// Send a close frame that says why, then close the TCP connection (§7.1.7: nothing more is read).
        case sendCloseAndDisconnect
        case disconnect
        case doNothing
    }

    /// The peer broke the protocol.
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

    /// The TCP connection has gone, or the wait for the peer's close frame is over.
    public mutating func disconnected() {
        state = .closed
    }
}
