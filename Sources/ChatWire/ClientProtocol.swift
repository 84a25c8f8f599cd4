import ChatCore
import ChatJSON

/// A protocol between clients and the node: it translates bytes into requests, and events into bytes. Order, limits,
/// rights and resumption are up to rooms and sessions and are the same for all protocols; the vocabulary of a protocol
/// is confined to its own code.
///
/// One value serves many connections. The state of a single connection is in its ``ClientReader``.
public protocol ClientProtocol: Sendable {
    /// The name in error messages, such as that of its WebSocket subprotocol.
    var name: String { get }
    /// The kind of WebSocket messages that it uses.
    var framing: ProtocolFraming { get }
    /// How to check whether a quiet client is still alive.
    var ping: ProtocolPing { get }

    /// The identity in the opening HTTP request. Nil if the client identifies itself in a request of the protocol,
    /// which the reader returns as ``ClientInput/hello(_:)``. Throws if names in the request are invalid.
    func hello(in head: RequestHead) throws(WireError) -> ClientHello?
    /// Creates the reader of one connection.
    func makeReader() -> any ClientReader
    /// Appends the payload for an event. Appends nothing if the protocol cannot express the event: then nothing is
    /// sent. `viewer` is the only user who will see it; messages in lists then include the keys of that user's own
    /// sends. Called once for all sessions of a room that use the protocol, so it cannot depend on a connection.
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

/// The kind of WebSocket messages that a protocol uses.
public struct ProtocolFraming: Sendable, Hashable {
    /// The kind that the node sends.
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
    /// A message of the protocol. Anything that the client sends counts as its answer.
    case payload([UInt8])
}

/// How a client is told that its session ends.
public struct ProtocolFarewell: Sendable, Hashable {
    /// A last message before the WebSocket is closed; none if it is empty.
    public var payload: [UInt8]
    /// The code in the WebSocket's close frame.
    public var code: WebSocketCloseCode
    public var text: String

    public init(payload: [UInt8] = [], code: WebSocketCloseCode, text: String) {
        self.payload = payload
        self.code = code
        self.text = text
    }
}

/// A client's input, independent of the protocol.
public enum ClientInput: Sendable, Hashable {
    /// The client's identity. Sent once, in protocols whose opening request does not contain it.
    case hello(ClientHello)
    case request(ClientRequest)
    /// Bytes that are not a valid request: answered with the error, in the protocol's form.
    case failure(RequestFailure)
    /// The client ends its session.
    case goodbye
}

/// Reads the input of one connection of a ``ClientProtocol``. Confined to the connection's event loop.
public protocol ClientReader: AnyObject {
    /// Sent as soon as the connection is open, before the client has sent anything; nothing if it is empty.
    var greeting: [UInt8] { get }
    /// Reads a message of the transport and returns its inputs in order: usually one, or none yet. The bytes of a text
    /// message are UTF-8.
    func read(_ bytes: [UInt8], isText: Bool, _ body: (ClientInput) -> Void)
}

extension ClientReader {
    public var greeting: [UInt8] { [] }
}
