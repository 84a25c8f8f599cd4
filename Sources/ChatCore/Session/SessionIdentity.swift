/// The credentials with which a client identifies itself.
public struct Credentials: Sendable, Hashable {
    /// `?user=`, `user` of an HTTP request's body, or the name in a protocol's first frame: a claim, not a proof.
    public var user: String?
    /// A token, a key or a ticket that proves who the client is; nil if it has sent none.
    public var token: String?
    /// How the token was sent.
    public var carrier: TokenCarrier

    public init(user: String?, token: String?, carrier: TokenCarrier = .field) {
        self.user = user
        self.token = token
        self.carrier = carrier
    }
}

/// How a client sends its token, in the order in which the node looks for one.
public enum TokenCarrier: String, Sendable, Hashable, CaseIterable {
    /// A field of the protocol, such as that of its first frame.
    case field
    /// `Authorization: Bearer …`
    case authorization
    /// The WebSocket subprotocol `bearer.<token>`.
    case subprotocol
    /// `?ticket=`: a ``Ticket`` in place of a token.
    case ticket
    case cookie
    /// `?token=`: it is written to the logs of proxies.
    case query
}

/// The first request of a client, from its URL or its first frame, with its claimed identity. The answer is an
/// ``Identity``.
public struct ClientHello: Sendable, Hashable {
    public var credentials: Credentials
    /// Nil if the client names no device; then it is given a name.
    public var device: DeviceName?
    /// A room that is joined at once.
    public var room: RoomName?
    /// All rooms that the session is for, if the opening request says so: a client that may read none of them is
    /// refused.
    public var reads: [RoomName]?
    /// The user's name if the client neither names nor proves one, for protocols whose clients may do so.
    public var guest: String?

    public init(
        credentials: Credentials, device: DeviceName? = nil, room: RoomName? = nil, reads: [RoomName]? = nil,
        guest: String? = nil
    ) {
        self.credentials = credentials
        self.device = device
        self.room = room
        self.reads = reads
        self.guest = guest
    }
}

extension Grant {
    /// Why the bearer may have no session that is for these rooms alone; nil if it may read one of them.
    public func refusal(ofReading rooms: [RoomName]) -> WireError? {
        let mayRead = rooms.isEmpty ? !permissions.rules.isEmpty : rooms.contains { rights(in: $0).contains(.read) }
        return mayRead ? nil : WireError(.forbidden, "the token gives no right to read any of the rooms")
    }
}

/// The identity of a client, as the authenticator answered. Whatever else an answer grants becomes a field here, and so
/// reaches everything that knows the session.
public struct Identity: Sendable, Hashable {
    public var user: UserID
    /// What the client may do; nil in development mode, where everybody may do everything.
    public var grant: Grant?

    public init(user: UserID, grant: Grant? = nil) {
        self.user = user
        self.grant = grant
    }
}

/// The identity of a session: the client's identity, on one of its devices.
public struct SessionIdentity: Sendable, Hashable {
    public var identity: Identity
    /// Nil if the session named no device.
    public var device: DeviceName?

    public var user: UserID { identity.user }

    public init(_ identity: Identity, device: DeviceName?) {
        self.identity = identity
        self.device = device
    }

    /// An identity that grants nothing but a name.
    public init(user: UserID, device: DeviceName?) {
        self.init(Identity(user: user), device: device)
    }
}
