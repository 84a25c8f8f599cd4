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
        /// No subprotocols if the protocol is used without one.
        case webSocket(subprotocols: [String])
        /// The WebSocket transport of SockJS, below these paths.
        case sockJS
        /// The body of the answer to a GET request.
        case stream
        /// The bytes of a connection to a port of its own.
        case port(name: String)
        /// Engine.IO, see ``ProtocolRegistry/engines``.
        case engine

        var isStream: Bool {
            switch self {
            case .stream, .port: true
            case .webSocket, .sockJS, .engine: false
            }
        }
    }

    struct Registration: Sendable {
        var paths: [String]
        var transport: Transport
        var make: @Sendable (Limits) -> any ClientProtocol
    }

    let limits: Limits
    private(set) var registrations: [Registration] = []
    /// Where SockJS answers plain requests.
    private(set) var sockJS: [SockJSService] = []
    /// Where Engine.IO is spoken.
    private(set) var engines: [EngineRegistration] = []
    /// For the node's encodings; each loop of the gateway has a copy of its own.
    private var spoken: [SpokenProtocol] = []

    /// Creates a registry without protocols.
    public init(limits: Limits) {
        self.limits = limits
    }

    /// The protocols that Martlet speaks.
    public static func standard(limits: Limits, speaksStomp: Bool = true) -> ProtocolRegistry {
        var registry = ProtocolRegistry(limits: limits)
        registry.register(at: HTTPRoutes.webSocketPath, subprotocol: MartletV1Codec.subprotocol) {
            MartletV1(limits: $0)
        }
        registry.registerStream(at: HTTPRoutes.eventsPath) { EventStreams(limits: $0) }
        if speaksStomp { registry.registerStomp() }
        return registry
    }

    /// The name of the port of STOMP.
    public static let stompPort = "stomp"

    /// STOMP at the paths that its servers usually have.
    private mutating func registerStomp() {
        let random = { @Sendable () in UInt64.random(in: 0 ... .max) }
        let services = ["/stomp", "/ws-stomp", "/stomp/chat"].map { SockJSService(at: $0) }
        let ws = SockJSService(at: HTTPRoutes.webSocketPath, greets: false)
        let paths = services.map(\.base) + (services + [ws]).map(\.rawPath) + [HTTPRoutes.webSocketPath]
        register(at: paths, subprotocols: StompProtocol.subprotocols) {
            StompProtocol(limits: $0, random: random)
        }
        registerSockJS(at: services + [ws]) { StompProtocol(limits: $0, isTextOnly: true, random: random) }
        registerPort(Self.stompPort) { StompProtocol(limits: $0, random: random) }
    }

    /// Adds a protocol for WebSockets that are opened at this path. A client that offers several subprotocols gets the
    /// first one in its own list that is registered; one that offers none gets the first one registered for the path.
    ///
    /// `make` is called several times, as event loops do not share a protocol's value.
    public mutating func register(
        at path: String, subprotocol: String?, _ make: @escaping @Sendable (Limits) -> any ClientProtocol
    ) {
        register(at: [path], subprotocols: subprotocol.map { [$0] } ?? [], make)
    }

    /// The same at several paths and for several names of the subprotocol. A message is encoded once for all of them.
    public mutating func register(
        at paths: [String], subprotocols: [String], _ make: @escaping @Sendable (Limits) -> any ClientProtocol
    ) {
        add(Registration(paths: paths, transport: .webSocket(subprotocols: subprotocols), make: make))
    }

    /// Adds a protocol over SockJS's WebSocket transport at these services. `make` returns the protocol inside of
    /// SockJS's framing.
    public mutating func registerSockJS(
        at services: [SockJSService], _ make: @escaping @Sendable (Limits) -> any ClientProtocol
    ) {
        sockJS += services
        let paths = services.filter(\.opensWebSockets).map(\.base)
        add(Registration(paths: paths, transport: .sockJS) { SockJS(make($0)) })
    }

    /// Adds a protocol for the port that ``GatewayOptions/protocolPorts`` has under this name: its bytes are those of
    /// the connection, and the client identifies itself in its first request.
    public mutating func registerPort(
        _ name: String, _ make: @escaping @Sendable (Limits) -> any ClientProtocol
    ) {
        add(Registration(paths: [], transport: .port(name: name), make: make))
    }

    /// Adds a protocol whose messages are the body of the answer to a GET request for this path, as they are. The
    /// request identifies the client.
    public mutating func registerStream(
        at path: String, _ make: @escaping @Sendable (Limits) -> any ClientProtocol
    ) {
        add(Registration(paths: [path], transport: .stream, make: make))
    }

    /// Adds Socket.IO, with the events of a profile.
    public mutating func registerSocketIO(_ profile: SocketIOProfile) {
        let first = registrations.count
        for isMain in [true, false] {
            add(
                Registration(paths: ["/socket.io"], transport: .engine) {
                    SocketIO(profile, isMain: isMain, limits: $0)
                })
        }
        engines.append(
            EngineRegistration(
                paths: ["/socket.io/", "/socket.io"], settings: nil,
                kind: .socketIO(profile, main: first, other: first + 1)))
    }

    /// Adds an application over Engine.IO that is no chat, for tests of the transport.
    package mutating func registerEngine(
        at paths: [String], settings: EngineSettings,
        _ make: @escaping @Sendable (any EngineConnection) -> any EngineApplication
    ) {
        engines.append(EngineRegistration(paths: paths, settings: settings, kind: .application(make)))
    }

    /// A value of the protocol with this index.
    func spoken(at index: Int) -> SpokenProtocol { spoken(registrations[index], index) }

    private mutating func add(_ registration: Registration) {
        precondition(registrations.count <= Int(UInt8.max), "a ProtocolID has eight bits")
        registrations.append(registration)
        spoken.append(spoken(registration, registrations.count - 1))
    }

    /// A value of the registered protocol.
    private func spoken(_ registration: Registration, _ index: Int) -> SpokenProtocol {
        SpokenProtocol(
            id: ProtocolID(rawValue: UInt8(truncatingIfNeeded: index)), implementation: registration.make(limits),
            isStream: registration.transport.isStream, limits: limits)
    }

    public func encode(_ event: ServerEvent, for protocolID: ProtocolID, viewer: UserID?) -> any FrameEncoding {
        guard Int(protocolID.rawValue) < spoken.count else {
            assertionFailure("a protocol of another registry")
            return SharedFrame.nothing
        }
        return spoken[Int(protocolID.rawValue)].frame(event, viewer: viewer)
    }

    /// The endpoints for WebSockets, by path; those of SockJS by ``SockJSService/pattern(of:)``.
    func endpoints(allowedOrigins: Set<String>?) -> [String: WebSocketEndpoint] {
        var endpoints: [String: WebSocketEndpoint] = [:]
        func add(_ spoken: SpokenProtocol, at path: String, _ subprotocols: [String]) {
            var endpoint =
                endpoints[path]
                ?? WebSocketEndpoint(
                    first: spoken, allowedOrigins: allowedOrigins, takesPlainRequests: takesPlain(path))
            for subprotocol in subprotocols { endpoint.add(spoken, for: subprotocol) }
            endpoints[path] = endpoint
        }
        for (index, registration) in registrations.enumerated() {
            switch registration.transport {
            case .stream, .port, .engine: continue
            case .webSocket(let subprotocols):
                let spoken = spoken(registration, index)
                for path in registration.paths { add(spoken, at: path, subprotocols) }
            case .sockJS:
                let spoken = spoken(registration, index)
                for path in registration.paths { add(spoken, at: SockJSService.pattern(below: path), []) }
            }
        }
        return endpoints
    }

    /// Whether a request for this path that opens no WebSocket is answered by ``SockJSRoutes``.
    private func takesPlain(_ path: String) -> Bool {
        sockJS.contains { service in
            path == service.base && service.greets || path == SockJSService.pattern(below: service.base)
                || path == service.rawPath
        }
    }

    /// The protocols over streams, by path.
    func streams() -> [String: SpokenProtocol] {
        var streams: [String: SpokenProtocol] = [:]
        for (index, registration) in registrations.enumerated() {
            guard case .stream = registration.transport else { continue }
            let spoken = spoken(registration, index)
            for path in registration.paths { streams[path] = spoken }
        }
        return streams
    }

    /// The protocols with a port of their own, by its name.
    func ports() -> [String: SpokenProtocol] {
        var ports: [String: SpokenProtocol] = [:]
        for (index, registration) in registrations.enumerated() {
            guard case .port(let name) = registration.transport else { continue }
            ports[name] = spoken(registration, index)
        }
        return ports
    }
}

/// A path at which WebSockets can be opened.
struct WebSocketEndpoint {
    private(set) var handshake: WebSocketHandshake
    /// Whether a request that opens no WebSocket has an answer of its own.
    let takesPlainRequests: Bool
    /// The protocol of clients that can be recognised by their first message only, for those who offer no subprotocol
    /// and do not say who they are.
    private(set) var byFirstWords: SpokenProtocol?
    private let first: SpokenProtocol
    private var bySubprotocol: [String: SpokenProtocol] = [:]

    init(first: SpokenProtocol, allowedOrigins: Set<String>?, takesPlainRequests: Bool) {
        self.first = first
        self.takesPlainRequests = takesPlainRequests
        handshake = WebSocketHandshake(subprotocols: [], allowedOrigins: allowedOrigins)
    }

    mutating func add(_ spoken: SpokenProtocol, for subprotocol: String?) {
        if byFirstWords == nil, spoken.id != first.id, !spoken.implementation.firstWords.isEmpty {
            byFirstWords = spoken
        }
        guard let subprotocol, bySubprotocol[subprotocol] == nil else { return }
        bySubprotocol[subprotocol] = spoken
        handshake.subprotocols.append(subprotocol)
    }

    /// The protocol for a handshake that agreed on this subprotocol; nil means that the client offered none.
    func spoken(_ subprotocol: String?) -> SpokenProtocol { subprotocol.flatMap { bySubprotocol[$0] } ?? first }
}
