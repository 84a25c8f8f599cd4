import ChatJSON

/// How an endpoint speaks Engine.IO. A client learns these values from the first packet.
public struct EngineSettings: Sendable, Hashable {
    /// How often the server pings, and how long a client may take to answer.
    public var pingInterval: Duration
    public var pingTimeout: Duration
    /// The most bytes of one payload of a client, and of one message over a WebSocket.
    public var maxPayload: Int
    /// How long a client may take from the opening of a WebSocket to the end of the upgrade.
    public var upgradeTimeout: Duration = .seconds(10)
    /// How long a session that was ended may still be polled for its last packets.
    public var closeTimeout: Duration = .seconds(5)

    public init(
        pingInterval: Duration = .seconds(25), pingTimeout: Duration = .seconds(20), maxPayload: Int = 1_000_000
    ) {
        self.pingInterval = pingInterval
        self.pingTimeout = pingTimeout
        self.maxPayload = maxPayload
    }

    /// The first packet: `sid`, `upgrades`, `pingInterval`, `pingTimeout`, `maxPayload`, and no other key.
    /// `mayUpgrade`: the session was opened by polling.
    public func open(sid: String, mayUpgrade: Bool) -> EnginePacket {
        var bytes = ByteWriter(capacity: 192)
        bytes.field("{\"sid\":", sid)
        bytes.appendText(mayUpgrade ? ",\"upgrades\":[\"websocket\"]" : ",\"upgrades\":[]")
        bytes.field(",\"pingInterval\":", Self.milliseconds(pingInterval))
        bytes.field(",\"pingTimeout\":", Self.milliseconds(pingTimeout))
        bytes.field(",\"maxPayload\":", maxPayload)
        bytes.append(UInt8(ascii: "}"))
        return .open(bytes.array)
    }

    private static func milliseconds(_ duration: Duration) -> Int {
        let (seconds, attoseconds) = duration.components
        return Int(clamping: seconds) &* 1_000 &+ Int(clamping: attoseconds / 1_000_000_000_000_000)
    }
}

/// Why a request was refused: the body of the answer, with status 400.
public enum EngineError: Int, Error, Sendable, CaseIterable {
    case unknownTransport = 0
    case unknownSession = 1
    case badHandshakeMethod = 2
    case badRequest = 3
    case forbidden = 4
    case unsupportedVersion = 5

    public var message: String {
        switch self {
        case .unknownTransport: "Transport unknown"
        case .unknownSession: "Session ID unknown"
        case .badHandshakeMethod: "Bad handshake method"
        case .badRequest: "Bad request"
        case .forbidden: "Forbidden"
        case .unsupportedVersion: "Unsupported protocol version"
        }
    }

    /// `{"code":1,"message":"Session ID unknown"}`
    public var body: [UInt8] {
        var bytes = ByteWriter(capacity: 64)
        bytes.field("{\"code\":", rawValue)
        bytes.field(",\"message\":", message)
        bytes.append(UInt8(ascii: "}"))
        return bytes.array
    }
}

/// What the query of a request says. Other fields, such as `t`, are for the application.
public struct EngineQuery: Sendable, Hashable {
    public enum Transport: String, Sendable {
        case polling, websocket
    }

    public var transport: Transport
    /// Nil for a handshake.
    public var sid: String?
    /// Nil if the client gives its requests no `t`.
    public var mark: EngineMark?

    /// Throws what is wrong with the request.
    public init(_ head: RequestHead) throws(EngineError) {
        guard let query = PercentEncoding.query(head.query, only: ["EIO", "transport", "sid", "t"]) else {
            throw .badRequest
        }
        guard let name = query["transport"], let transport = Transport(rawValue: name) else { throw .unknownTransport }
        guard query["EIO"] == "4" else { throw .unsupportedVersion }
        self.transport = transport
        sid = query["sid"]
        mark = query["t"].map { EngineMark($0) }
    }
}

/// What tells a request from the others of its session: its parameter `t`, of which clients send another with each
/// request, against caches. A request with the mark of the one before it is that request, sent again: browsers repeat a
/// GET and a POST by themselves if a connection that was used before ends without an answer (RFC 9110 §9.2.2 allows it
/// of a GET), and a proxy whose connection to the node ended so closes the client's, in order that the client does.
public struct EngineMark: Sendable, Hashable {
    private let value: UInt32

    public init(_ text: String) {
        value = UInt32(truncatingIfNeeded: text.hashValue)
    }
}
