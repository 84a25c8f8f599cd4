import ChatCore
import ChatWire

/// A connection of Engine.IO as the application above it sees it, whatever the transport is at the moment. Confined to
/// the event loop on which it was opened.
package protocol EngineConnection: AnyObject {
    /// Sends a message after those before it.
    func send(_ bytes: [UInt8], isText: Bool)
    /// Ends the connection after what was sent. Does nothing if it has ended.
    func close()
}

/// What runs over one connection of Engine.IO. Called on the connection's event loop.
package protocol EngineApplication: AnyObject {
    /// A message of the client.
    func received(_ bytes: [UInt8], isText: Bool)
    /// The connection has ended. Nothing can be sent any more.
    func closed(_ end: EngineStateMachine.End)
    /// When ``timePassed(now:)`` is due; nil if never. Asked after each other call.
    var deadline: Moment? { get }
    func timePassed(now: Moment)
    /// The end of a loop tick for which that was asked for (``EngineSession/asksForTick()``).
    func tickEnded()
    /// The client does not read what it is sent; the connection is closed.
    func fellBehind()
    /// The node is leaving; the connection is closed.
    func nodeLeaves()
}

extension EngineApplication {
    package var deadline: Moment? { nil }
    package func timePassed(now: Moment) {}
    package func tickEnded() {}
    package func fellBehind() {}
    package func nodeLeaves() {}
}

/// What the first request of a connection said.
struct EngineOpening {
    /// The query, as it was received.
    var query: String
    /// The token, if the request had one.
    var credentials: Credentials
    /// The address that failed authentications count against; nil if none does.
    var address: PeerAddress?
}

/// An endpoint for Engine.IO, as registered.
struct EngineRegistration: Sendable {
    enum Kind: Sendable {
        case application(@Sendable (any EngineConnection) -> any EngineApplication)
        /// With the registrations of its two protocols: for the main namespace, and for all others.
        case socketIO(SocketIOProfile, main: Int, other: Int)
    }

    var paths: [String]
    /// Nil: derived from the gateway's options.
    var settings: EngineSettings?
    var kind: Kind
}

/// An endpoint for Engine.IO, as one loop has it.
final class EngineEndpoint {
    let settings: EngineSettings
    /// The same, for the rules of its sessions.
    let common: EngineStateMachine.Common
    let handshake: WebSocketHandshake
    let decoder: WebSocketDecoder
    private let makeApplication: (EngineSession, EngineOpening) -> any EngineApplication

    init(
        settings: EngineSettings, allowedOrigins: Set<String>?,
        _ makeApplication: @escaping (EngineSession, EngineOpening) -> any EngineApplication
    ) {
        self.settings = settings
        common = EngineStateMachine.Common(settings)
        handshake = WebSocketHandshake(subprotocols: [], allowedOrigins: allowedOrigins)
        decoder = WebSocketDecoder(
            options: .init(role: .server, maxMessageBytes: settings.maxPayload, acceptsBinary: true))
        self.makeApplication = makeApplication
    }

    func application(of session: EngineSession, _ opening: EngineOpening) -> any EngineApplication {
        makeApplication(session, opening)
    }
}
