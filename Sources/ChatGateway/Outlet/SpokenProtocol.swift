import ChatCore
import ChatWire
import NIOCore

/// A registered protocol, with the data that its sessions share.
final class SpokenProtocol: Sendable {
    let id: ProtocolID
    let implementation: any ClientProtocol
    /// The initial decoder of all connections.
    let decoder: WebSocketDecoder
    let ping: SharedFrame
    /// The kind of WebSocket messages that the node sends.
    let sends: WebSocketOpcode

    init(id: ProtocolID, implementation: any ClientProtocol, limits: Limits) {
        self.id = id
        self.implementation = implementation
        let framing = implementation.framing
        sends = framing.sends
        decoder = WebSocketDecoder(
            options: .init(role: .server, maxMessageBytes: limits.frameBytes, acceptsBinary: framing.takesBinary))
        switch implementation.ping {
        case .transport: ping = .control(.ping)
        case .payload(let payload): ping = SharedFrame(payload, as: framing.sends)
        }
    }

    /// The event as one frame. `viewer` is the only user who receives it.
    func frame(_ event: ServerEvent, viewer: UserID?) -> SharedFrame {
        let implementation = implementation
        return SharedFrame(event, as: sends, isShared: viewer == nil) { bytes in
            implementation.encode(event, viewer: viewer, into: &bytes)
        }
    }

    /// The last bytes of a session that ends for this reason, including the close frame.
    func farewell(_ reason: CloseReason) -> [UInt8] {
        let farewell = implementation.farewell(reason)
        var bytes: [UInt8] = []
        if !farewell.payload.isEmpty {
            WebSocketFrame.append(sends, farewell.payload, to: &bytes)
        }
        WebSocketFrame.appendClose(farewell.code, reason: farewell.text, to: &bytes)
        return bytes
    }

    /// The error for a client whose message is refused before it is read.
    func error(_ refusal: WebSocketDecoder.Refusal, limits: Limits) -> WireError {
        switch refusal {
        case .tooLarge: WireError(.frameTooLarge, "a frame may have \(limits.frameBytes) bytes")
        case .binary: WireError(.binaryFrame, "a binary frame; \(implementation.name) is text")
        }
    }
}
