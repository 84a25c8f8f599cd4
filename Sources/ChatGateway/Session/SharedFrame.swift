import ChatCore
import ChatWire
import NIOCore

/// A WebSocket frame, header and all, encoded once and shared by every session that is sent it: a server's frames are
/// not masked (RFC 6455 §5.1), so they are the same for all. Sending it costs a session a reference, no copy.
public final class SharedFrame: Sendable {
    /// What it is for: decides what is dropped first when a session is behind.
    public enum Kind: Sendable, Hashable, CaseIterable {
        case reply, message, presence, signal
    }

    public let kind: Kind
    let bytes: ByteBuffer
    /// False for a frame that one session alone is sent: joining it with others is not worth remembering.
    let isShared: Bool
    /// For a presence frame: the room and how many are in it, to be said later to whom it was not sent.
    let presence: (room: RoomName, count: Int)?

    /// Encodes an event as one unfragmented text frame.
    public convenience init(_ event: ServerEvent, codec: MartletV1Codec) {
        self.init(
            bytes: Self.encode(event, codec, viewer: nil), kind: Kind(event), isShared: true,
            presence: Self.presence(event))
    }

    /// The same for one session of this user.
    convenience init(_ event: ServerEvent, codec: MartletV1Codec, viewer: UserID) {
        self.init(
            bytes: Self.encode(event, codec, viewer: viewer), kind: Kind(event), isShared: false,
            presence: Self.presence(event))
    }

    init(bytes: ByteBuffer, kind: Kind, isShared: Bool, presence: (room: RoomName, count: Int)? = nil) {
        self.bytes = bytes
        self.presence = presence
        self.kind = kind
        self.isShared = isShared
    }

    private static func presence(_ event: ServerEvent) -> (room: RoomName, count: Int)? {
        guard case .presence(let room, _, _, let count) = event else { return nil }
        return (room, count)
    }

    /// The same frame in memory of its own. Threads that count references to one object wait for each other: a frame for
    /// many sessions is worth a copy for each event loop.
    public func copied() -> SharedFrame {
        var copy = ByteBufferAllocator().buffer(capacity: bytes.readableBytes)
        copy.writeImmutableBuffer(bytes)
        return SharedFrame(bytes: copy, kind: kind, isShared: isShared, presence: presence)
    }

    /// The frame's bytes on the wire.
    public var byteCount: Int { bytes.readableBytes }

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

extension SharedFrame.Kind {
    init(_ event: ServerEvent) {
        self =
            switch event {
            case .message, .gap, .reset: .message
            case .presence: .presence
            case .signal: .signal
            case .welcome, .joined, .left, .sent, .draining, .history, .roster, .pong, .error: .reply
            }
    }
}
