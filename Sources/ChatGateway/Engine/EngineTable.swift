import ChatCore
import ChatWire
import NIOCore

/// The connections of Engine.IO that one loop has, by name, and the endpoints where they are opened. A request for a
/// connection may come to any loop of the node; the connection's name says which loop has it.
final class EngineTable {
    /// The index of this loop among the node's.
    let loop: Int
    let node: String
    private(set) var endpoints: [String: EngineEndpoint] = [:]
    private(set) var sessions: [String: EngineSession] = [:]
    private let most: Int
    private var generator = SystemRandomNumberGenerator()

    init(loop: Int, options: GatewayOptions) {
        self.loop = loop
        node = "\(options.nodeID)"
        most = options.limits.allConnections
    }

    /// Called once, before any connection comes.
    func add(_ endpoint: EngineEndpoint, at paths: [String]) {
        for path in paths { endpoints[path] = endpoint }
    }

    /// Whether there is room for one more connection. Those whose clients never identify themselves are no sessions,
    /// and so are bounded here.
    var hasRoom: Bool { sessions.count < most }

    func makeID() -> EngineSessionID { EngineSessionID(node: node, loop: loop, using: &generator) }

    /// A random name of a socket, and a secret.
    func makeToken() -> String {
        let id = EngineSessionID(node: "", loop: 0, using: &generator).text
        return String(id.suffix(20))
    }

    func add(_ session: EngineSession) { sessions[session.sid.text] = session }

    func remove(_ session: EngineSession) { sessions[session.sid.text] = nil }

    /// The node accepts no more connections, so nobody can poll it: other nodes could not pass polls on to it.
    func endPolling() {
        for session in sessions.values where !session.isOverWebSocket { session.leaveNode() }
    }

    /// Closes all connections at once, as the gateway stops.
    func cutAll() {
        for session in sessions.values { session.cut() }
    }
}

extension GatewayLoop {
    /// Creates the endpoints that are registered.
    func addEngines(_ protocols: ProtocolRegistry) {
        for registration in protocols.engines {
            let settings = registration.settings ?? options.engineSettings
            let endpoint: EngineEndpoint
            switch registration.kind {
            case .application(let make):
                endpoint = EngineEndpoint(settings: settings, allowedOrigins: options.allowedOrigins) { session, _ in
                    make(session)
                }
            case .socketIO(let profile, let main, let other):
                let kinds = SocketProtocols(
                    profile: profile, main: protocols.spoken(at: main), other: protocols.spoken(at: other))
                endpoint = EngineEndpoint(settings: settings, allowedOrigins: options.allowedOrigins) {
                    SocketIOApplication($0, kinds, $1)
                }
            }
            engines.add(endpoint, at: registration.paths)
        }
    }
}

extension GatewayOptions {
    /// How Engine.IO is spoken: with the heartbeats and the limits of other sessions. A poll ends with the next ping,
    /// and so before the time limit for answers.
    var engineSettings: EngineSettings {
        EngineSettings(
            pingInterval: min(.seconds(heartbeatSeconds), responseTimeout * 3 / 4), pingTimeout: .seconds(20),
            maxPayload: limits.frameBytes)
    }
}
