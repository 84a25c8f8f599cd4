import ChatCore

/// The gateway's counters. Each loop has its own, which nothing else accesses, so counting costs an addition and no
/// lock; ``GatewayServer/counters()`` adds them up on request.
public struct GatewayCounters: Sendable {
    /// The number of sessions that are open now.
    public var sessions = 0
    /// The sessions that are open now, by the name of their protocol.
    public var sessionsByProtocol: [String: Int] = [:]
    /// The number of connections of all kinds that are open now.
    public var connections = 0
    /// Bytes that are waiting in the sessions' outbound queues now.
    public var queuedBytes = 0
    /// Bytes in the kernel's buffers of sessions that are behind, as of their last heartbeats.
    public var kernelBytes = 0
    public var sessionsOpened: UInt64 = 0
    /// By reason: a ``CloseReason``'s name, `peer` (the client closed), `gone` (the connection was lost),
    /// `protocolError`.
    public var sessionsClosed: [String: UInt64] = [:]
    /// By type of request.
    public var framesReceived: [RequestType: UInt64] = [:]
    /// By the code's name.
    public var badFrames: [String: UInt64] = [:]
    /// Frames sent to sessions; a shared frame counts once for each session.
    public var framesSent: UInt64 = 0
    /// Presence changes and signals that were dropped because the session was behind.
    public var framesDropped: [Frame.Kind: UInt64] = [:]
    public var bytesSent: UInt64 = 0
    /// Requests that ended their connection, handshakes among them, by HTTP status.
    public var handshakesRefused: [Int: UInt64] = [:]
    /// Connections and requests that were refused before there was a session.
    public var refusals: [Refusal: UInt64] = [:]
    /// Connections that exceeded the time limit of their request or handshake.
    public var connectionsTimedOut: UInt64 = 0
    /// Connections that were refused because the node was full.
    public var connectionsRefused: UInt64 = 0
    /// Whether the node is full and refuses new connections.
    public var isFull = false
    /// How often the node became full.
    public var timesFull: UInt64 = 0
    /// How often the kernel failed to accept a connection.
    public var acceptErrors: UInt64 = 0
    /// When the TLS certificate in use expires, in seconds since 1970 (UTC); nil without TLS.
    public var certificateExpires: Int64?

    /// Refusals because of limits that the gateway itself checks.
    public var limitRefusals: [Limit: UInt64] = [:]

    public init() {}

    /// Named like the fields of ``Limits``.
    public enum Limit: String, Sendable, CaseIterable {
        case roomsPerSession, requestsPerSecond, waitingSendsPerSession, badFramesPerMinute, handshakesPerSecond
        case costOfAddress
        case headBytes, connectionsPerAddress, bytesPerSecondPerAddress, failuresPerMinutePerAddress
        case ticketsPerMinutePerUser

        /// The limit that made the session machine refuse something; nil if it was none.
        init?(refusing code: WireError.Code) {
            switch code {
            case .tooManyRooms: self = .roomsPerSession
            case .rateLimited: self = .requestsPerSecond
            case .tooManyWaiting: self = .waitingSendsPerSession
            case .badFrame, .binaryFrame, .frameTooLarge, .unknownType, .missingField, .badField, .badName, .notJoined,
                .notFound, .unauthenticated, .forbidden, .banned, .muted, .slowMode, .frozen, .notModerator, .duplicate,
                .blockedWord, .rejected, .blocked, .tooManyParticipants, .tooManyEntries, .noSuchMessage, .notAMessage,
                .messageDeleted, .notAuthor, .tooLate,
                .tooManyEdits, .tooManyReactions, .unavailable, .outcomeUnknown,
                .notStored, .draining, .notReplicated,
                .noSpace, .internalError:
                return nil
            }
        }
    }

    /// Why a client was refused before there was a session.
    public enum Refusal: String, Sendable, CaseIterable {
        /// The request is not valid HTTP; its head or body is too long; or it did not arrive in time.
        case badRequest, headTooLarge, bodyTooLarge, timeout
        /// A request for the WebSocket's path that is not a handshake; a page of another origin; an unknown
        /// subprotocol.
        case noHandshake, origin, subprotocol
        /// Invalid names in the URL, and failed authentication or authorisation.
        case badName, unauthenticated, forbidden, expired, revoked, banned
        /// A limit of the node was reached.
        case nodeFull, tooManySessions, handshakeRate, addressConnections, addressCost, addressFailures
        /// A client that does not speak TLS on a port that does; a TLS handshake that failed.
        case notTLS, tlsHandshake
        /// A header of the PROXY protocol that cannot be read.
        case proxyHeader
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
                case .expired: .expired
                case .revoked: .revoked
                case .banned: .banned
                case .abuse: .badRequest
                case .slow, .heartbeatMissed, .ended, .internalError: .internalError
                }
        }
    }

    public enum RequestType: String, Sendable, CaseIterable {
        case join, leave, send, signal, history, roster, ping, moderate, conversation, amend, token
        case read, inbox, watch, unwatch, online, lastSeen

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
                case .moderate: .moderate
                case .conversation: .conversation
                case .amend: .amend
                case .token: .token
                case .inbox(let inbox):
                    switch inbox {
                    case .read: .read
                    case .list: .inbox
                    case .watch: .watch
                    case .unwatch: .unwatch
                    case .online: .online
                    case .showLastSeen: .lastSeen
                    }
                }
        }
    }

    mutating func add(_ other: GatewayCounters) {
        sessions += other.sessions
        sessionsByProtocol.merge(other.sessionsByProtocol, uniquingKeysWith: +)
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
