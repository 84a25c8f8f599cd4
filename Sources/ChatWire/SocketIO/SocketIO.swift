import ChatCore
import ChatJSON

/// Socket.IO with one profile as a client protocol. The messages are those of Engine.IO: its packets of type 4.
///
/// Events of a room are encoded once. Most clients use the main namespace, so there are two such protocols: in one the
/// shared bytes are complete for the main namespace, in the other they are the JSON alone, behind a prefix of the
/// connection.
public final class SocketIO: ClientProtocol {
    public let profile: SocketIOProfile
    /// Whether this is the protocol of sockets in the main namespace.
    public let isMain: Bool
    let historyPage: Int

    public init(_ profile: SocketIOProfile, isMain: Bool, limits: Limits) {
        self.profile = profile
        self.isMain = isMain
        historyPage = limits.historyPage
    }

    public var name: String { "socket.io" }
    public var framing: ProtocolFraming { ProtocolFraming(sends: .text, takesBinary: true) }
    public var ping: ProtocolPing { .none }

    /// A client says who it is when it connects to a namespace.
    public func hello(in head: RequestHead) throws(WireError) -> ClientHello? { nil }

    public func makeReader() -> any ClientReader {
        SocketIOReader(self, SocketHandshake(namespace: SocketPacket.mainNamespace, id: ""))
    }

    public func encode(_ event: ServerEvent, viewer: UserID?, into bytes: inout ByteWriter) {
        guard let template = profile.template(for: event) else { return }
        if isMain { Self.eventPrefix.withUnsafeBytes { bytes.append(contentsOf: $0) } }
        template.write(ProfileValues(event: event, viewer: viewer), to: &bytes)
    }

    private static let eventPrefix = [EnginePacket.Kind.message.rawValue] + SocketPacket.prefix(.event)
}

extension SocketIOProfile {
    /// The event by which a client is told of an event of the node; nil if it is not told.
    func template(for event: ServerEvent) -> ProfileTemplate? {
        switch event {
        case .message(_, let message, _): template(message.content.amendment == nil ? .message : .changed)
        case .signal(_, _, let name, _): template(signal: name)
        case .presence: template(.presence)
        case .joined: template(.joined)
        case .left: template(.left)
        case .gap: template(.gap)
        case .reset: template(.reset)
        case .draining: template(.draining)
        case .removed: template(.removed)
        case .rules: template(.rules)
        case .sanction: template(.sanction)
        case .participants: template(.participants)
        case .expiring: template(.expiring)
        case .error: template(.error)
        case .inbox(.receipts): template(.receipts)
        case .inbox(.head): template(.head)
        case .inbox(.notice): template(.notice)
        case .welcome, .sent, .history, .roster, .pong, .renewed, .moderated, .conversation, .amended, .inbox: nil
        }
    }
}

/// What a client said when it connected to a namespace.
public struct SocketHandshake: Sendable {
    public var namespace: String
    /// The socket's ID, unique over all nodes.
    public var id: String
    /// The ID that the socket had when the client came for the first time.
    public var firstID: String
    /// What the client sent with it.
    public var auth: SocketValue?
    /// The fields of the URL's query that the profile refers to, each once. (An array of two takes less than a
    /// dictionary, and each socket has one.)
    public var query: [(name: String, value: String)]

    /// The secret names of states: the socket's first ID, a dot, and a secret.
    public static let privateIDMark: Character = "."

    public init(
        namespace: String, id: String, firstID: String? = nil, auth: SocketValue? = nil,
        query: [(name: String, value: String)] = []
    ) {
        self.namespace = namespace
        self.id = id
        self.firstID = firstID ?? id
        self.auth = auth
        self.query = query
    }
}
