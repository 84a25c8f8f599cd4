import ChatCore
import ChatWire
import NIOCore

/// How the bytes of a message become bytes of a connection.
enum MessageFraming: Sendable, Hashable {
    /// Each message is one unfragmented WebSocket message of this kind.
    case webSocket(WebSocketOpcode)
    /// The bytes as they are: the protocol marks the end of its messages itself.
    case stream
}

/// A registered protocol, with the data that its sessions share.
final class SpokenProtocol: Sendable {
    let id: ProtocolID
    let implementation: any ClientProtocol
    /// The initial decoder of all connections; nil if they are no WebSockets.
    let decoder: WebSocketDecoder?
    /// The message that asks a quiet client whether it is there; nil if the protocol does that by itself.
    let ping: SharedFrame?
    /// The framing of what the node sends.
    let framing: MessageFraming
    /// Whether the readers of its connections are ``ClientWriter``s.
    let hasWriters: Bool

    init(id: ProtocolID, implementation: any ClientProtocol, isStream: Bool = false, limits: Limits) {
        self.id = id
        self.implementation = implementation
        let kinds = implementation.framing
        let framing = isStream ? MessageFraming.stream : .webSocket(kinds.sends)
        self.framing = framing
        hasWriters = implementation.makeReader() is any ClientWriter
        decoder =
            isStream
            ? nil
            : WebSocketDecoder(
                options: .init(role: .server, maxMessageBytes: limits.frameBytes, acceptsBinary: kinds.takesBinary))
        switch implementation.ping {
        case .transport: ping = isStream ? nil : .control(.ping)
        case .payload(let payload): ping = SharedFrame(payload, as: framing)
        case .none: ping = nil
        }
    }

    /// The framing of a message to one session.
    func framing(isText: Bool) -> MessageFraming {
        switch framing {
        case .webSocket: .webSocket(isText ? .text : .binary)
        case .stream: .stream
        }
    }

    /// The event as one frame. `viewer` is the only user who receives it.
    func frame(_ event: ServerEvent, viewer: UserID?) -> SharedFrame {
        let implementation = implementation
        return SharedFrame(event, as: framing, isShared: viewer == nil) { bytes in
            implementation.encode(event, viewer: viewer, into: &bytes)
        }
    }

    /// The last bytes of a session, including the close frame of a WebSocket.
    func bytes(of farewell: ProtocolFarewell) -> [UInt8] {
        switch framing {
        case .stream: return farewell.payload
        case .webSocket(let opcode):
            var bytes: [UInt8] = []
            if !farewell.payload.isEmpty { WebSocketFrame.append(opcode, farewell.payload, to: &bytes) }
            WebSocketFrame.appendClose(farewell.code, reason: farewell.text, to: &bytes)
            return bytes
        }
    }

    /// The error for a client whose message is refused before it is read.
    func error(_ refusal: WebSocketDecoder.Refusal, limits: Limits) -> WireError {
        switch refusal {
        case .tooLarge: WireError(.frameTooLarge, "a frame may have \(limits.frameBytes) bytes")
        case .binary: WireError(.binaryFrame, "a binary frame; \(implementation.name) is text")
        }
    }
}
