import ChatCore
import ChatJSON
import ChatWire
import NIOCore

/// The encoding of an event for a protocol: a complete message, over WebSocket including its frame's header. A server's
/// frames are not masked (RFC 6455 §5.1), so they are the same for all receivers; sending one to a session costs a
/// reference, not a copy.
final class SharedFrame: FrameEncoding {
    let kind: Frame.Kind
    /// Empty if the protocol cannot express the event; then nothing is sent.
    let bytes: ByteBuffer
    /// False for a frame that is sent to one session only; joins with it are not cached.
    let isShared: Bool
    /// For a presence frame: the room and its member count, which is sent later to sessions that did not get the frame.
    let presence: (room: RoomName, count: Int)?

    /// Encodes an event as one message; `encode` appends its payload.
    convenience init(
        _ event: ServerEvent, as framing: MessageFraming, isShared: Bool, _ encode: (inout ByteWriter) -> Void
    ) {
        var payload = ByteWriter()
        encode(&payload)
        self.init(payload.withBytes { Self.encoding($0, framing) }, of: event, isShared: isShared)
    }

    /// A message for one session. One without bytes is a message, too (RFC 6455 §5.6 allows it).
    convenience init(_ payload: [UInt8], as framing: MessageFraming) {
        self.init(bytes: payload.withUnsafeBytes { Self.frame($0, framing) }, kind: .reply, isShared: false)
    }

    /// A message for one session, which shows it this event.
    convenience init(_ payload: [UInt8], of event: ServerEvent, as framing: MessageFraming) {
        self.init(payload.withUnsafeBytes { Self.encoding($0, framing) }, of: event, isShared: false)
    }

    private convenience init(_ bytes: ByteBuffer, of event: ServerEvent, isShared: Bool) {
        self.init(bytes: bytes, kind: Frame.Kind(event), isShared: isShared, presence: event.presenceCount)
    }

    /// The encoding of an event: no bytes mean that the protocol cannot express it, not a message without bytes.
    private static func encoding(_ payload: UnsafeRawBufferPointer, _ framing: MessageFraming) -> ByteBuffer {
        payload.isEmpty ? ByteBuffer() : frame(payload, framing)
    }

    /// This frame's payload behind other bytes, as one message.
    func prefixed(_ prefix: [UInt8], framing: MessageFraming) -> SharedFrame {
        let bytes = bytes.withUnsafeReadableBytes { whole in
            let payload = UnsafeRawBufferPointer(rebasing: whole[Self.headerBytes(of: whole, framing)...])
            return prefix.withUnsafeBytes { Self.frame(payload, behind: $0, framing) }
        }
        return SharedFrame(bytes: bytes, kind: kind, isShared: true, presence: presence)
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
    static let nothing = SharedFrame([], as: .stream)

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

    /// The payload, behind the prefix, as one message.
    private static func frame(
        _ payload: UnsafeRawBufferPointer, behind prefix: UnsafeRawBufferPointer = .init(start: nil, count: 0),
        _ framing: MessageFraming
    ) -> ByteBuffer {
        let length = prefix.count + payload.count
        let header: Int =
            switch framing {
            case .webSocket: WebSocketFrame.headerBytes(length: length)
            case .stream: 0
            }
        guard header + length > 0 else { return ByteBuffer() }
        var buffer = ByteBufferAllocator().buffer(capacity: header + length)
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: header + length) { room in
            if case .webSocket(let opcode) = framing {
                WebSocketFrame.writeHeader(opcode, length: length, to: room)
            }
            UnsafeMutableRawBufferPointer(rebasing: room[header...]).copyMemory(from: prefix)
            UnsafeMutableRawBufferPointer(rebasing: room[(header + prefix.count)...]).copyMemory(from: payload)
            return header + length
        }
        return buffer
    }

    /// The length of the header of a frame that ``frame(_:_:)`` made.
    private static func headerBytes(of whole: UnsafeRawBufferPointer, _ framing: MessageFraming) -> Int {
        guard case .webSocket = framing, whole.count > 1 else { return 0 }
        // The second byte is the length, or says how long the field of the length is (RFC 6455 §5.2).
        switch whole[1] & 0x7F {
        case 126: return 4
        case 127: return 10
        default: return 2
        }
    }
}

extension ServerEvent {
    /// For a presence event: the room and its member count.
    fileprivate var presenceCount: (room: RoomName, count: Int)? {
        guard case .presence(let room, _, _, let count) = self else { return nil }
        return (room, count)
    }
}
