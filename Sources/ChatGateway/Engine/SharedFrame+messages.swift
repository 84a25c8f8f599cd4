import ChatWire
import NIOCore

extension SharedFrame {
    /// Calls `body` with the content of each message in a buffer of frames that the node has made: whole, unfragmented
    /// and without a mask. Control frames are left out.
    static func forEachMessage(in buffer: ByteBuffer, _ body: (_ content: ByteBufferView, _ isText: Bool) -> Void) {
        var buffer = buffer
        while let first = buffer.readInteger(as: UInt8.self), let second = buffer.readInteger(as: UInt8.self) {
            let length: Int?
            switch second & 0x7F {
            case 126: length = buffer.readInteger(as: UInt16.self).map(Int.init)
            case 127: length = buffer.readInteger(as: UInt64.self).map { Int(clamping: $0) }
            case let short: length = Int(short)
            }
            guard let length, let content = buffer.readSlice(length: length) else { return }
            switch WebSocketOpcode(rawValue: first & 0x0F) {
            case .text: body(content.readableBytesView, true)
            case .binary: body(content.readableBytesView, false)
            case .continuation, .close, .ping, .pong, nil: break
            }
        }
    }
}
