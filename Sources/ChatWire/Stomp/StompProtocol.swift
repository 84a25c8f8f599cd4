import ChatCore
import ChatJSON

/// STOMP 1.0, 1.1 and 1.2, over WebSockets and over any stream of bytes. A destination stands for a room
/// (``StompDestination``); the rules of a connection are in ``StompConnection``.
public final class StompProtocol: ClientProtocol {
    /// The names of the WebSocket subprotocol.
    public static let subprotocols = ["v12.stomp", "v11.stomp", "v10.stomp"]

    let limits: Limits
    let prefixes = StompPrefixes()
    let objects = StompObjects()
    /// Whether the transport carries text only, as SockJS does: a binary body is then sent as base64.
    let isTextOnly: Bool
    /// For names that must not occur twice.
    private let random: @Sendable () -> UInt64

    public init(limits: Limits, isTextOnly: Bool = false, random: @escaping @Sendable () -> UInt64) {
        self.limits = limits
        self.isTextOnly = isTextOnly
        self.random = random
    }

    /// A name that no other one has.
    func newName(_ prefix: String) -> String { prefix + String(random(), radix: 36) }

    public var name: String { Self.subprotocols[0] }
    public var framing: ProtocolFraming { ProtocolFraming(sends: .text, takesBinary: true) }

    public var firstWords: [String] { ["CONNECT\n", "CONNECT\r\n", "STOMP\n", "STOMP\r\n"] }

    /// The client identifies itself in CONNECT.
    public func hello(in head: RequestHead) throws(WireError) -> ClientHello? { nil }

    public func makeReader() -> any ClientReader { StompConnection(self) }

    /// The part of a MESSAGE that all members of a room share, with the escapes of 1.1 and 1.2. An error is one for a
    /// client without a session; everything else is up to the connection.
    public func encode(_ event: ServerEvent, viewer: UserID?, into bytes: inout ByteWriter) {
        switch event {
        case .message(let room, let message, let showKey):
            StompMessage.append(message, showKey: showKey, in: room, .v12, to: &bytes)
        case .error(_, let error):
            let fault = StompFault("Bad CONNECT", error.message + "\n")
            StompAnswer.error(fault, receipt: nil, code: error.code.name, .v10).withUnsafeBytes {
                bytes.append(contentsOf: $0)
            }
        case .welcome, .joined, .left, .sent, .presence, .signal, .gap, .reset, .draining, .history, .roster, .pong,
            .renewed, .expiring, .removed, .moderated, .conversation, .amended, .inbox, .rules, .sanction,
            .participants:
            break
        }
    }

    /// For a client without a session.
    public func farewell(_ reason: CloseReason) -> ProtocolFarewell {
        let payload: [UInt8]
        switch reason {
        case .nodeFull, .draining, .abuse, .slow, .ended, .heartbeatMissed, .tooManySessions, .expired, .revoked:
            payload = Self.goodbye(reason, .v10)
        // The error was sent before.
        case .unauthenticated, .forbidden, .banned, .badName, .internalError: payload = []
        }
        return ProtocolFarewell(
            payload: payload, code: WebSocketCloseCode(rawValue: reason.rawValue), text: reason.name)
    }

    /// The ERROR for a session that the node ends.
    static func goodbye(_ reason: CloseReason, _ version: StompVersion) -> [UInt8] {
        let detail: String =
            switch reason {
            case .draining: "The node is leaving: connect again."
            case .slow: "The connection did not read what it was sent."
            case .unauthenticated: "No or wrong credentials, or no CONNECT in time."
            case .nodeFull: "The node has reached its limit of sessions."
            case .tooManySessions: "The user has reached the limit of sessions on this node."
            case .abuse: "Too many faulty frames, or requests far beyond the rate."
            case .heartbeatMissed: "The client did not answer."
            case .ended: "An operator has ended the session."
            case .internalError: "A fault in the node."
            case .badName: "The name of the user breaks the rules of names."
            case .forbidden: "The user may not have a session here."
            case .expired: "The token has expired."
            case .revoked: "The token was revoked."
            case .banned: "The user is banned."
            }
        return StompAnswer.error(StompFault(reason.name, detail + "\n"), receipt: nil, code: reason.name, version)
    }
}
