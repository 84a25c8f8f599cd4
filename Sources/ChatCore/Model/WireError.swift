/// The error that a client gets when a request fails: a stable number and name, a sentence for developers, and whether
/// the same request may succeed later.
public struct WireError: Error, Hashable, Sendable {
    /// Numbers are part of the protocol and are never reused or changed. 1xx: the request is wrong; 2xx: a limit; 3xx:
    /// identity; 4xx: the outcome; 5xx: a fault of the node.
    public enum Code: Int, Sendable, CaseIterable {
        /// The frame is not a JSON object, or not UTF-8; the message says at which byte.
        case badFrame = 100
        /// The frame is binary, but martlet.v1 is a text protocol.
        case binaryFrame = 101
        /// The frame is longer than `limits.frameBytes`.
        case frameTooLarge = 102
        /// The `type` is unknown.
        case unknownType = 103
        /// A required field is missing.
        case missingField = 104
        /// A field has a wrong type or value.
        case badField = 105
        /// A room, user or device name breaks the rules of names.
        case badName = 106
        /// The session is not in that room.
        case notJoined = 107
        /// HTTP only: there is no such page.
        case notFound = 108
        /// The room's log holds no message at that position.
        case noSuchMessage = 109
        /// At that position there is an amendment, which cannot be amended.
        case notAMessage = 110
        /// The message was deleted.
        case messageDeleted = 111
        /// The session is in as many rooms as the limit allows.
        case tooManyRooms = 200
        /// Too many requests a second: slow down, then try again.
        case rateLimited = 201
        /// Too many sends of this session or room wait for their answer.
        case tooManyWaiting = 202
        /// Redis has hardly any memory left, so no new room can be created for now. Existing rooms continue.
        case noSpace = 203
        /// The conversation has as many participants as the limit allows.
        case tooManyParticipants = 204
        /// The user is in as many conversations, blocks as many users or has as many stars as the limit allows.
        case tooManyEntries = 205
        /// The message was edited as often as it may be.
        case tooManyEdits = 206
        /// The message has as many kinds of reactions, or of one kind, as it may have.
        case tooManyReactions = 207
        /// No or wrong credentials.
        case unauthenticated = 300
        /// The client is known, but not allowed to do this.
        case forbidden = 301
        /// A moderator has banned the user from the room.
        case banned = 302
        /// A moderator has forbidden the user to send messages in the room.
        case muted = 303
        /// The user's last message in the room was sent too short a time ago.
        case slowMode = 304
        /// Nobody may send messages in the room at present.
        case frozen = 305
        /// Only moderators may send messages in the room.
        case notModerator = 306
        /// The user has sent the same message in the room a short time ago.
        case duplicate = 307
        /// The message has a word that the node's list does not allow.
        case blockedWord = 308
        /// The operator's hook does not allow the message; it may say why.
        case rejected = 309
        /// In a direct conversation: the other one has blocked the user.
        case blocked = 310
        /// The message is of another user, and the right to change those is missing.
        case notAuthor = 311
        /// The time in which users may change their own messages is over.
        case tooLate = 312
        /// The log could not be reached in time, so it is not known whether the send was stored: try again with the
        /// same key and `again`.
        case unavailable = 400
        /// The send was tried too long ago to tell whether it was stored. It was not stored now.
        case outcomeUnknown = 401
        /// Redis refused to store it (out of memory, read only…). It was not stored.
        case notStored = 402
        /// The node is leaving: reconnect and try again.
        case draining = 403
        /// Stored and shown, but fewer replicas than the node waits for (`MARTLET_ACK_REPLICAS`) have it, so a failover
        /// may still lose it. Try again with the same key and `again`; the answer is `sent`, `repeated`, once they have
        /// it.
        case notReplicated = 404
        /// A fault in the node. It is logged with the same words.
        case internalError = 500

        /// The stable name that goes with the number.
        public var name: String { "\(self)" }

        /// Whether the same request may succeed later.
        public var retry: Bool {
            switch self {
            case .rateLimited, .tooManyWaiting, .noSpace, .slowMode, .unavailable, .notStored, .draining,
                .notReplicated, .internalError:
                true
            case .badFrame, .binaryFrame, .frameTooLarge, .unknownType, .missingField, .badField, .badName, .notJoined,
                .notFound, .noSuchMessage, .notAMessage, .messageDeleted, .tooManyEdits, .tooManyReactions, .notAuthor,
                .tooLate, .tooManyRooms, .tooManyParticipants, .tooManyEntries, .unauthenticated, .forbidden, .banned,
                .muted, .frozen, .notModerator,
                .duplicate, .blockedWord, .rejected, .blocked, .outcomeUnknown:
                false
            }
        }
    }

    public var code: Code
    public var message: String
    /// Before that time the same request will fail again, in milliseconds since 1970; nil if no time is known.
    public var until: UInt64?

    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }
}

/// Why the node closes a WebSocket: the close codes of the protocol (RFC 6455 §7.4.2 leaves 4000–4999 to
/// applications). They are never reused or changed.
public enum CloseReason: UInt16, Sendable, CaseIterable {
    /// The node is leaving.
    case draining = 4000
    /// The session did not read what it was sent.
    case slow = 4001
    /// No or wrong credentials.
    case unauthenticated = 4002
    /// The node has reached its limit of sessions.
    case nodeFull = 4003
    /// The user has reached the limit of sessions of one user on this node.
    case tooManySessions = 4004
    /// Too many frames that could not be read, or requests far beyond the rate.
    case abuse = 4005
    /// The client did not answer the node's pings.
    case heartbeatMissed = 4006
    /// The session was ended by an operator.
    case ended = 4007
    /// A fault in the node.
    case internalError = 4008
    /// The user, device or room in the URL breaks the rules of names, or is not percent-encoded UTF-8.
    case badName = 4009
    /// The client is known, but is not allowed to have a session here.
    case forbidden = 4010
    /// The session's token has expired, and no new one came in time.
    case expired = 4011
    /// The session's token was revoked.
    case revoked = 4012
    /// The user is banned from the whole service.
    case banned = 4013

    /// The stable name, sent as the close frame's reason.
    public var name: String { "\(self)" }

    /// Whether a client should reconnect by itself.
    public var reconnect: Bool {
        switch self {
        // Of `expired`: with a new token.
        case .draining, .slow, .nodeFull, .heartbeatMissed, .internalError, .expired: true
        case .unauthenticated, .tooManySessions, .abuse, .ended, .badName, .forbidden, .revoked, .banned: false
        }
    }
}
