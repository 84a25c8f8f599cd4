import ChatCore
import ChatJSON

/// A protocol that clients speak with the node: how bytes become requests, and events bytes. Order, limits, rights and
/// resumption belong to rooms and sessions and are the same for all protocols; names of a protocol stay inside it.
///
/// One value serves many connections. What one connection has to remember is in its ``ClientReader``.
public protocol ClientProtocol: Sendable {
    /// What errors call it, such as the name of its WebSocket subprotocol.
    var name: String { get }
    /// Which kind of WebSocket messages carry it.
    var framing: ProtocolFraming { get }
    /// How a quiet client is asked whether it still lives.
    var ping: ProtocolPing { get }

    /// What the opening HTTP request says of the client. Nil: the client says who it is in a request of the protocol, which
    /// its reader gives as ``ClientInput/hello(_:)``. Throws what is wrong with the names in the request.
    func hello(in head: RequestHead) throws(WireError) -> ClientHello?
    /// Reads what one connection brings.
    func makeReader() -> any ClientReader
    /// Appends the payload that tells a client of the event. Appends nothing if the protocol has no words for it: then
    /// nothing is sent. `viewer`: the only user who will see it; then messages in lists include the keys of that user's own
    /// sends. Called once for all sessions that speak the protocol in a room, so it cannot depend on a connection.
    func encode(_ event: ServerEvent, viewer: UserID?, into bytes: inout ByteWriter)
    /// How a client is told that its session ends.
    func farewell(_ reason: CloseReason) -> ProtocolFarewell
}

extension ClientProtocol {
    public var framing: ProtocolFraming { ProtocolFraming() }
    public var ping: ProtocolPing { .transport }

    public func farewell(_ reason: CloseReason) -> ProtocolFarewell {
        ProtocolFarewell(code: WebSocketCloseCode(rawValue: reason.rawValue), text: reason.name)
    }
}

/// Which kind of WebSocket messages carry a protocol.
public struct ProtocolFraming: Sendable, Hashable {
    /// What the node sends.
    public var sends: WebSocketOpcode
    /// Whether a client may send binary messages as well as text. If not, each is answered with an error.
    public var takesBinary: Bool

    public init(sends: WebSocketOpcode = .text, takesBinary: Bool = false) {
        self.sends = sends
        self.takesBinary = takesBinary
    }
}

public enum ProtocolPing: Sendable, Hashable {
    /// A ping of the WebSocket.
    case transport
    /// A message of the protocol. Anything at all that the client sends counts as its answer.
    case payload([UInt8])
}

/// How a client is told that its session ends.
public struct ProtocolFarewell: Sendable, Hashable {
    /// A last message before the WebSocket is closed; empty: none.
    public var payload: [UInt8]
    /// What the WebSocket's close frame says.
    public var code: WebSocketCloseCode
    public var text: String

    public init(payload: [UInt8] = [], code: WebSocketCloseCode, text: String) {
        self.payload = payload
        self.code = code
        self.text = text
    }
}

/// What a client wants, in the node's words.
public enum ClientInput: Sendable, Hashable {
    /// Who the client is. Asked once; for protocols whose opening request does not say it.
    case hello(ClientHello)
    case request(ClientRequest)
    /// Bytes that are no request: answered with the error, in the protocol's form.
    case failure(RequestFailure)
    /// The client ends its session.
    case goodbye
}

/// Reads what one connection of a ``ClientProtocol`` brings. Confined to the connection's event loop.
public protocol ClientReader: AnyObject {
    /// Sent as soon as the connection is open, before the client has said anything; empty: nothing.
    var greeting: [UInt8] { get }
    /// Takes a message of the transport and gives what it holds, in order: usually one input, or none yet. The bytes of a
    /// text message are UTF-8.
    func read(_ bytes: [UInt8], isText: Bool, _ body: (ClientInput) -> Void)
}

extension ClientReader {
    public var greeting: [UInt8] { [] }
}
