import ChatCore
import ChatWire
import NIOCore

/// The encoding of an event for a protocol over WebSocket: a whole frame, header included. A server's frames are not
/// masked (RFC 6455 §5.1), so they are the same for all receivers; sending one costs a session a reference, no copy.
final class SharedFrame: FrameEncoding {
    let kind: Frame.Kind
    let bytes: ByteBuffer
    /// False for a frame that one session alone is sent: joining it with others is not worth remembering.
    let isShared: Bool
    /// For a presence frame: the room and how many are in it, to be said later to whom it was not sent.
    let presence: (room: RoomName, count: Int)?

    /// Encodes an event as one unfragmented text frame.
    convenience init(_ event: ServerEvent, codec: MartletV1Codec) {
        self.init(
            bytes: Self.encode(event, codec, viewer: nil), kind: Frame.Kind(event), isShared: true,
            presence: Self.presence(event))
    }

    /// The same for one session of this user.
    convenience init(_ event: ServerEvent, codec: MartletV1Codec, viewer: UserID) {
        self.init(
            bytes: Self.encode(event, codec, viewer: viewer), kind: Frame.Kind(event), isShared: false,
            presence: Self.presence(event))
    }

    init(bytes: ByteBuffer, kind: Frame.Kind, isShared: Bool, presence: (room: RoomName, count: Int)? = nil) {
        self.bytes = bytes
        self.presence = presence
        self.kind = kind
        self.isShared = isShared
    }

    private static func presence(_ event: ServerEvent) -> (room: RoomName, count: Int)? {
        guard case .presence(let room, _, _, let count) = event else { return nil }
        return (room, count)
    }

    func copied() -> any FrameEncoding {
        var copy = ByteBufferAllocator().buffer(capacity: bytes.readableBytes)
        copy.writeImmutableBuffer(bytes)
        return SharedFrame(bytes: copy, kind: kind, isShared: isShared, presence: presence)
    }

    /// The frame's bytes on the wire.
    var byteCount: Int { bytes.readableBytes }

    /// A control frame with this payload, of at most 125 bytes.
    static func control(_ opcode: WebSocketOpcode, _ payload: [UInt8] = []) -> SharedFrame {
        var bytes: [UInt8] = []
        WebSocketFrame.append(opcode, payload.prefix(WebSocketFrame.maxControlBytes), to: &bytes)
        return SharedFrame(bytes: ByteBuffer(bytes: bytes), kind: .reply, isShared: false)
    }

    static let ping = control(.ping)

    private static func encode(_ event: ServerEvent, _ codec: MartletV1Codec, viewer: UserID?) -> ByteBuffer {
        var payload = ByteWriter()
        codec.encode(event, viewer: viewer, into: &payload)
        return payload.withBytes { payload in
            let header = WebSocketFrame.headerBytes(length: payload.count)
            var buffer = ByteBufferAllocator().buffer(capacity: header + payload.count)
            buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: header + payload.count) { room in
                WebSocketFrame.writeHeader(.text, length: payload.count, to: room)
                UnsafeMutableRawBufferPointer(rebasing: room[header...]).copyMemory(from: payload)
                return header + payload.count
            }
            return buffer
        }
    }
}
