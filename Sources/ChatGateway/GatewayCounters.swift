import ChatCore

/// What the gateway counts. Each loop has its own, touched by nobody else, so counting costs an addition and no lock;
/// ``GatewayServer/counters()`` adds them up when somebody asks.
public struct GatewayCounters: Sendable {
    /// Open now.
    public var sessions = 0
    /// Open now, of all kinds.
    public var connections = 0
    /// Waiting now in the sessions' outbound queues.
    public var queuedBytes = 0
    /// Waiting in the kernel's buffers for sessions that are behind, as of their last heartbeats.
    public var kernelBytes = 0
    public var sessionsOpened: UInt64 = 0
    /// By reason: a ``CloseReason``'s name, `peer` (the client closed), `gone` (the connection was lost),
    /// `protocolError`.
    public var sessionsClosed: [String: UInt64] = [:]
    /// By type of request.
    public var framesReceived: [RequestType: UInt64] = [:]
    /// By the code's name.
    public var badFrames: [String: UInt64] = [:]
    /// Frames given to sessions, shared ones once for each session.
    public var framesSent: UInt64 = 0
    /// Presence changes and signals that a session which is behind was not sent.
    public var framesDropped: [Frame.Kind: UInt64] = [:]
    public var bytesSent: UInt64 = 0
    /// Requests that ended their connection, handshakes among them, by HTTP status.
    public var handshakesRefused: [Int: UInt64] = [:]
    /// Connections and requests refused before there was a session.
    public var refusals: [Refusal: UInt64] = [:]
    /// Connections that took too long over their request or handshake.
    public var connectionsTimedOut: UInt64 = 0
    /// Connections to a node that was full.
    public var connectionsRefused: UInt64 = 0
    /// Whether the node is full: new connections are sent away.
    public var isFull = false
    /// How often it became so.
    public var timesFull: UInt64 = 0
    /// How often the kernel could not give a connection that had come.
    public var acceptErrors: UInt64 = 0

    /// Refused because of a limit that the gateway itself looks at.
    public var limitRefusals: [Limit: UInt64] = [:]

    public init() {}

    /// Named like the fields of ``Limits``.
    public enum Limit: String, Sendable, CaseIterable {
        case roomsPerSession, requestsPerSecond, waitingSendsPerSession, badFramesPerMinute, handshakesPerSecond
        case costOfAddress
        case headBytes, connectionsPerAddress, bytesPerSecondPerAddress

        /// The limit behind what the session machine refused; nil: it was none.
        init?(refusing code: WireError.Code) {
            switch code {
            case .tooManyRooms: self = .roomsPerSession
            case .rateLimited: self = .requestsPerSecond
            case .tooManyWaiting: self = .waitingSendsPerSession
            case .badFrame, .binaryFrame, .frameTooLarge, .unknownType, .missingField, .badField, .badName, .notJoined,
                .notFound, .unauthenticated, .forbidden, .unavailable, .outcomeUnknown, .notStored, .draining,
                .notReplicated, .noSpace, .internalError:
                return nil
            }
        }
    }

    /// Why somebody was sent away before there was a session.
    public enum Refusal: String, Sendable, CaseIterable {
        /// Not HTTP, or not as it must be; its head or body is too long; it did not come in time.
        case badRequest, headTooLarge, bodyTooLarge, timeout
        /// A request for the WebSocket's path that opens none, a page of another origin, an unknown subprotocol.
        case noHandshake, origin, subprotocol
        /// The names in the URL, and who the client is.
        case badName, unauthenticated, forbidden
        /// What the node has too much of.
        case nodeFull, tooManySessions, handshakeRate, addressConnections
        case draining, internalError

        init(_ reason: CloseReason) {
            self =
                switch reason {
                case .draining: .draining
                case .unauthenticated: .unauthenticated
                case .nodeFull: .nodeFull
                case .tooManySessions: .tooManySessions
                case .badName: .badName
                case .forbidden: .forbidden
                case .abuse: .badRequest
                case .slow, .heartbeatMissed, .ended, .internalError: .internalError
                }
        }
    }

    public enum RequestType: String, Sendable, CaseIterable {
        case join, leave, send, signal, history, roster, ping

        init(_ body: ClientRequest.Body) {
            self =
                switch body {
                case .join: .join
                case .leave: .leave
                case .send: .send
                case .signal: .signal
                case .history: .history
                case .roster: .roster
                case .ping: .ping
                }
        }
    }

    mutating func add(_ other: GatewayCounters) {
        sessions += other.sessions
        connections += other.connections
        queuedBytes += other.queuedBytes
        kernelBytes += other.kernelBytes
        sessionsOpened += other.sessionsOpened
        sessionsClosed.merge(other.sessionsClosed, uniquingKeysWith: +)
        framesReceived.merge(other.framesReceived, uniquingKeysWith: +)
        badFrames.merge(other.badFrames, uniquingKeysWith: +)
        framesSent += other.framesSent
        framesDropped.merge(other.framesDropped, uniquingKeysWith: +)
        bytesSent += other.bytesSent
        handshakesRefused.merge(other.handshakesRefused, uniquingKeysWith: +)
        refusals.merge(other.refusals, uniquingKeysWith: +)
        connectionsTimedOut += other.connectionsTimedOut
        connectionsRefused += other.connectionsRefused
        limitRefusals.merge(other.limitRefusals, uniquingKeysWith: +)
    }
}
