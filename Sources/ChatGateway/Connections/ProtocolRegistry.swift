import ChatCore
import ChatWire

/// The client protocols of a gateway. The path and the subprotocol of a WebSocket handshake select one of them, or the
/// path of a request that a stream answers. A protocol's ``ProtocolID`` is its index in the list.
///
/// A protocol is added with one line:
///
///     registry.register(at: "/ws", subprotocol: "lines.v1") { LineProtocol(limits: $0) }
public struct ProtocolRegistry: FrameEncoder {
    enum Transport: Sendable {
        /// Nil if the protocol is used without a subprotocol.
        case webSocket(subprotocol: String?)
        /// The body of the answer to a GET request.
        case stream
    }

    struct Registration: Sendable {
        var path: String
        var transport: Transport
        var make: @Sendable (Limits) -> any ClientProtocol
    }

    let limits: Limits
    private(set) var registrations: [Registration] = []
    /// For the node's encodings; each loop of the gateway has a copy of its own.
    private var spoken: [SpokenProtocol] = []

    /// Creates a registry without protocols.
    public init(limits: Limits) {
        self.limits = limits
    }

    /// The protocols that Martlet speaks.
    public static func standard(limits: Limits) -> ProtocolRegistry {
        var registry = ProtocolRegistry(limits: limits)
        registry.register(at: HTTPRoutes.webSocketPath, subprotocol: MartletV1Codec.subprotocol) {
            MartletV1(limits: $0)
        }
        registry.registerStream(at: HTTPRoutes.eventsPath) { EventStreams(limits: $0) }
        return registry
    }

    /// Adds a protocol for WebSockets that are opened at this path. A client that offers several subprotocols gets the
    /// first one in its own list that is registered; one that offers none gets the first one registered for the path.
    ///
    /// `make` is called several times, as event loops do not share a protocol's value.
    public mutating func register(
        at path: String, subprotocol: String?, _ make: @escaping @Sendable (Limits) -> any ClientProtocol
    ) {
        add(Registration(path: path, transport: .webSocket(subprotocol: subprotocol), make: make))
    }

    /// Adds a protocol whose messages are the body of the answer to a GET request for this path, as they are. The
    /// request identifies the client.
    public mutating func registerStream(
        at path: String, _ make: @escaping @Sendable (Limits) -> any ClientProtocol
    ) {
        add(Registration(path: path, transport: .stream, make: make))
    }

    private mutating func add(_ registration: Registration) {
        precondition(registrations.count <= Int(UInt8.max), "a ProtocolID has eight bits")
        registrations.append(registration)
        spoken.append(spoken(registration, registrations.count - 1))
    }

    /// A value of the registered protocol.
    private func spoken(_ registration: Registration, _ index: Int) -> SpokenProtocol {
        let isStream = if case .stream = registration.transport { true } else { false }
        return SpokenProtocol(
            id: ProtocolID(rawValue: UInt8(truncatingIfNeeded: index)), implementation: registration.make(limits),
            isStream: isStream, limits: limits)
    }

    public func encode(_ event: ServerEvent, for protocolID: ProtocolID, viewer: UserID?) -> any FrameEncoding {
        guard Int(protocolID.rawValue) < spoken.count else {
            assertionFailure("a protocol of another registry")
            return SharedFrame.nothing
        }
        return spoken[Int(protocolID.rawValue)].frame(event, viewer: viewer)
    }

    /// The endpoints for WebSockets, by path.
    func endpoints(allowedOrigins: Set<String>?) -> [String: WebSocketEndpoint] {
        var endpoints: [String: WebSocketEndpoint] = [:]
        for (index, registration) in registrations.enumerated() {
            guard case .webSocket(let subprotocol) = registration.transport else { continue }
            let spoken = spoken(registration, index)
            var endpoint =
                endpoints[registration.path] ?? WebSocketEndpoint(first: spoken, allowedOrigins: allowedOrigins)
            endpoint.add(spoken, for: subprotocol)
            endpoints[registration.path] = endpoint
        }
        return endpoints
    }

    /// The protocols over streams, by path.
    func streams() -> [String: SpokenProtocol] {
        var streams: [String: SpokenProtocol] = [:]
        for (index, registration) in registrations.enumerated() {
            guard case .stream = registration.transport else { continue }
            streams[registration.path] = spoken(registration, index)
        }
        return streams
    }
}

/// A path at which WebSockets can be opened.
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

    /// The protocol for a handshake that agreed on this subprotocol; nil means that the client offered none.
    func spoken(_ subprotocol: String?) -> SpokenProtocol { subprotocol.flatMap { bySubprotocol[$0] } ?? first }
}
