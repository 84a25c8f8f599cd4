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
    /// What every client's first message begins with, one of these, if that tells the protocol from others; empty if it
    /// does not.
    var firstWords: [String] { get }
    /// The fields of the answer whose body the messages are, for a protocol over a stream.
    var streamFields: [(name: String, value: String)] { get }

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
    public var firstWords: [String] { [] }
    public var streamFields: [(name: String, value: String)] { [] }

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
    /// None: the protocol has heart-beats of its own, see ``ClientWriter/deadline``.
    case none
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
    /// A message to this client, behind what is queued for it: an answer that is no event of the node, such as that to
    /// a heart-beat.
    case say([UInt8], isText: Bool)
    /// The client broke the protocol, so that its session cannot go on. `reason`: a short label for metrics.
    case end(ProtocolFarewell, reason: String)
    /// The node cannot go on with the session, and the client is to connect anew. `reason`: a short label for metrics.
    case restart(reason: String)
}

/// Reads the input of one connection of a ``ClientProtocol``. Confined to the connection's event loop.
public protocol ClientReader: AnyObject {
    /// Sent as soon as the connection is open, before the client has sent anything; nothing if it is empty.
    var greeting: [UInt8] { get }
    /// Reads a message of the transport and returns its inputs in order: usually one, or none yet. The bytes of a text
    /// message are UTF-8.
    func read(_ bytes: [UInt8], isText: Bool, _ body: (ClientInput) -> Void)
    /// The session is open and was sent its `welcome`. `head`: the request that opened the connection, whose further
    /// wishes are inputs, such as rooms to join.
    func begin(_ head: RequestHead, _ body: (ClientInput) -> Void)
}

extension ClientReader {
    public var greeting: [UInt8] { [] }

    public func begin(_ head: RequestHead, _ body: (ClientInput) -> Void) {}
}

/// A reader that also words what its connection is sent, for protocols in which that depends on the connection: on the
/// names that the client chose for its subscriptions, say. All sessions of other protocols get the shared encoding of
/// ``ClientProtocol/encode(_:viewer:into:)``.
public protocol ClientWriter: ClientReader {
    /// How this connection is sent an event that was encoded once for all sessions of the room that use the protocol.
    func form(of event: ServerEvent) -> SharedForm
    /// Passes the messages for an event that is for this connection alone, or whose form is ``SharedForm/own``: any
    /// number of them.
    func write(_ event: ServerEvent, viewer: UserID, _ body: (_ bytes: [UInt8], _ isText: Bool) -> Void)
    /// How this client is told that its session ends. Nil: as ``ClientProtocol/farewell(_:)`` says.
    func farewell(_ reason: CloseReason) -> ProtocolFarewell?
    /// The error for a client that gets no session. Nil: as ``ClientProtocol/encode(_:viewer:into:)`` says.
    func refusal(_ error: WireError) -> [UInt8]?
    /// When ``timePassed(now:lastWritten:_:)`` wants to be called; nil for never. The session asks after each input and
    /// after each such call.
    var deadline: Moment? { get }
    /// The deadline has passed. `lastWritten`: when anything was last written to this connection.
    func timePassed(now: Moment, lastWritten: Moment, _ body: (ClientInput) -> Void)
}

extension ClientWriter {
    public var deadline: Moment? { nil }

    public func farewell(_ reason: CloseReason) -> ProtocolFarewell? { nil }
    public func refusal(_ error: WireError) -> [UInt8]? { nil }
    public func timePassed(now: Moment, lastWritten: Moment, _ body: (ClientInput) -> Void) {}
}

/// How one connection is sent an event that many sessions share.
public enum SharedForm {
    /// The shared bytes.
    case whole
    /// The prefix and the shared bytes, as one message. Sessions with the same prefix object share the joined bytes.
    case prefixed(FramePrefix)
    /// In messages of its own, see ``ClientWriter/write(_:viewer:_:)``.
    case own
    /// Not at all.
    case nothing
}

/// Bytes that precede shared ones. A connection keeps the object as long as the bytes stay the same, because joined
/// bytes are found by the object's identity.
public final class FramePrefix: Sendable {
    public let bytes: [UInt8]

    public init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }
}
