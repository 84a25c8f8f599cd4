import ChatCore
import ChatWire

/// The client protocols that a gateway speaks, and how a connection is recognised as one of them: by the path and the
/// subprotocol of its WebSocket handshake. A protocol's ``ProtocolID`` is its place in the list.
///
/// A protocol is added with one line:
///
///     registry.register(at: "/ws", subprotocol: "lines.v1") { LineProtocol(limits: $0) }
public struct ProtocolRegistry: FrameEncoder {
    struct Registration: Sendable {
        var path: String
        /// Nil: the protocol is spoken without one.
        var subprotocol: String?
        var make: @Sendable (Limits) -> any ClientProtocol
    }

    let limits: Limits
    private(set) var registrations: [Registration] = []
    /// For the node's encodings; each loop of the gateway has its own.
    private var spoken: [SpokenProtocol] = []

    /// No protocol is registered yet.
    public init(limits: Limits) {
        self.limits = limits
    }

    /// The protocols that Martlet speaks.
    public static func standard(limits: Limits) -> ProtocolRegistry {
        var registry = ProtocolRegistry(limits: limits)
        registry.register(at: HTTPRoutes.webSocketPath, subprotocol: MartletV1Codec.subprotocol) {
            MartletV1(limits: $0)
        }
        return registry
    }

    /// Adds a protocol for WebSockets that are opened at this path. A client that offers several subprotocols gets the
    /// first of its own that is spoken; one that offers none gets what was registered first for the path.
    ///
    /// `make` is called a few times: event loops do not share a protocol's value.
    public mutating func register(
        at path: String, subprotocol: String?, _ make: @escaping @Sendable (Limits) -> any ClientProtocol
    ) {
        precondition(registrations.count <= Int(UInt8.max), "a ProtocolID has eight bits")
        registrations.append(Registration(path: path, subprotocol: subprotocol, make: make))
        spoken.append(
            SpokenProtocol(
                id: ProtocolID(rawValue: UInt8(registrations.count - 1)), implementation: make(limits), limits: limits))
    }

    public func encode(_ event: ServerEvent, for protocolID: ProtocolID, viewer: UserID?) -> any FrameEncoding {
        guard Int(protocolID.rawValue) < spoken.count else {
            assertionFailure("a protocol of another registry")
            return SharedFrame.nothing
        }
        return spoken[Int(protocolID.rawValue)].frame(event, viewer: viewer)
    }

    /// What WebSockets are opened for, by path.
    func endpoints(allowedOrigins: Set<String>?) -> [String: WebSocketEndpoint] {
        var endpoints: [String: WebSocketEndpoint] = [:]
        for (index, registration) in registrations.enumerated() {
            let spoken = SpokenProtocol(
                id: ProtocolID(rawValue: UInt8(truncatingIfNeeded: index)), implementation: registration.make(limits),
                limits: limits)
            var endpoint =
                endpoints[registration.path] ?? WebSocketEndpoint(first: spoken, allowedOrigins: allowedOrigins)
            endpoint.add(spoken, for: registration.subprotocol)
            endpoints[registration.path] = endpoint
        }
        return endpoints
    }
}

/// A path at which WebSockets are opened.
struct WebSocketEndpoint {
    private(set) var handshake: WebSocketHandshake
    private let first: SpokenProtocol
    private var bySubprotocol: [String: SpokenProtocol] = [:]

    init(first: SpokenProtocol, allowedOrigins: Set<String>?) {
        self.first = first
        handshake = WebSocketHandshake(subprotocols: [], allowedOrigins: allowedOrigins)
    }

    mutating func add(_ spoken: SpokenProtocol, for subprotocol: String?) {
        guard let subprotocol, bySubprotocol[subprotocol] == nil else { return }
        bySubprotocol[subprotocol] = spoken
        handshake.subprotocols.append(subprotocol)
    }

    /// What is spoken after a handshake that agreed on this subprotocol; nil: the client offered none.
    func spoken(_ subprotocol: String?) -> SpokenProtocol { subprotocol.flatMap { bySubprotocol[$0] } ?? first }
}
