import ChatCore
import ChatJSON
import ChatWire
import NIOCore

/// The encoding of an event for a protocol over WebSocket: a complete frame, including its header. A server's frames
/// are not masked (RFC 6455 §5.1), so they are the same for all receivers; sending one to a session costs a reference,
/// not a copy.
final class SharedFrame: FrameEncoding {
    let kind: Frame.Kind
    /// Empty if the protocol cannot express the event; then nothing is sent.
    let bytes: ByteBuffer
    /// False for a frame that is sent to one session only; joins with it are not cached.
    let isShared: Bool
    /// For a presence frame: the room and its member count, which is sent later to sessions that did not get the frame.
    let presence: (room: RoomName, count: Int)?

    /// Encodes an event as one unfragmented frame; `encode` appends its payload.
    convenience init(
        _ event: ServerEvent, as opcode: WebSocketOpcode, isShared: Bool, _ encode: (inout ByteWriter) -> Void
    ) {
        var payload = ByteWriter()
        encode(&payload)
        var presence: (room: RoomName, count: Int)?
        if case .presence(let room, _, _, let count) = event { presence = (room, count) }
        self.init(
            bytes: payload.withBytes { Self.frame($0, opcode) }, kind: Frame.Kind(event), isShared: isShared,
            presence: presence)
    }

    /// A message for one session.
    convenience init(_ payload: [UInt8], as opcode: WebSocketOpcode) {
        self.init(bytes: payload.withUnsafeBytes { Self.frame($0, opcode) }, kind: .reply, isShared: false)
    }

    init(bytes: ByteBuffer, kind: Frame.Kind, isShared: Bool, presence: (room: RoomName, count: Int)? = nil) {
        self.bytes = bytes
        self.presence = presence
        self.kind = kind
        self.isShared = isShared
    }

    func copied() -> any FrameEncoding {
        var copy = ByteBufferAllocator().buffer(capacity: bytes.readableBytes)
        copy.writeImmutableBuffer(bytes)
        return SharedFrame(bytes: copy, kind: kind, isShared: isShared, presence: presence)
    }

    /// The size of the encoded frame.
    var byteCount: Int { bytes.readableBytes }

    /// An empty frame, which sends nothing.
    static let nothing = SharedFrame([], as: .text)

    /// A control frame with this payload, of at most 125 bytes.
    static func control(_ opcode: WebSocketOpcode, _ payload: [UInt8] = []) -> SharedFrame {
        var bytes: [UInt8] = []
        WebSocketFrame.append(opcode, payload.prefix(WebSocketFrame.maxControlBytes), to: &bytes)
        return SharedFrame(bytes: ByteBuffer(bytes: bytes), kind: .reply, isShared: false)
    }

    /// A close frame.
    static func close(_ code: WebSocketCloseCode, reason: String = "") -> SharedFrame {
        var bytes: [UInt8] = []
        WebSocketFrame.appendClose(code, reason: reason, to: &bytes)
        return SharedFrame(bytes: ByteBuffer(bytes: bytes), kind: .reply, isShared: false)
    }

    private static func frame(_ payload: UnsafeRawBufferPointer, _ opcode: WebSocketOpcode) -> ByteBuffer {
        guard !payload.isEmpty else { return ByteBuffer() }
        let header = WebSocketFrame.headerBytes(length: payload.count)
        var buffer = ByteBufferAllocator().buffer(capacity: header + payload.count)
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: header + payload.count) { room in
            WebSocketFrame.writeHeader(opcode, length: payload.count, to: room)
            UnsafeMutableRawBufferPointer(rebasing: room[header...]).copyMemory(from: payload)
            return header + payload.count
        }
        return buffer
    }
}
