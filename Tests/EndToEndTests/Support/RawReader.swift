import Foundation
import MartletClient
import TestSupport

/// A WebSocket client with a small receive buffer that reads when a test tells it to, and records the positions of the
/// messages.
final class RawReader {
    private let socket: LoopbackSocket
    private var bytes: [UInt8] = []
    private var isOpen = false
    /// The positions in `message` and `joined` frames, in the order in which they came.
    private(set) var positions: [Position] = []
    private(set) var closeCode: Int?
    private(set) var ended = false
    private(set) var types: [String] = []

    init(port: Int, query: String) throws {
        socket = try LoopbackSocket(port: port, receiveBuffer: 4_096)
        socket.setNonBlocking()
        socket.write(
            ("GET /ws?\(query) HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n").utf8)
    }

    /// Enlarges the receive buffer, so that it can read fast.
    func widen() { socket.setReceiveBuffer(1 << 20) }

    /// A text frame, masked with zeros.
    func send(_ text: String) {
        let payload = Array(text.utf8)
        precondition(payload.count < 126)
        socket.write([0x81, 0x80 | UInt8(payload.count), 0, 0, 0, 0] + payload)
    }

    /// Reads what has arrived, at most `limit` bytes.
    func read(atMost limit: Int = 1 << 20) {
        var rest = limit
        var buffer = [UInt8](repeating: 0, count: 16_384)
        while rest > 0 {
            let count = socket.read(into: &buffer, atMost: rest)
            if count == 0 { ended = true }
            guard count > 0 else { break }
            rest -= count
            bytes += buffer[..<count]
        }
        parse()
    }

    private func parse() {
        var index = 0
        if !isOpen {
            guard let end = bytes.firstRange(of: Array("\r\n\r\n".utf8)) else { return }
            isOpen = true
            index = end.upperBound
        }
        while bytes.count - index >= 2 {
            var length = Int(bytes[index + 1] & 0x7F)
            var header = 2
            if length >= 126 { header = length == 126 ? 4 : 10 }
            guard bytes.count - index >= header else { break }
            if header > 2 { length = bytes[(index + 2)..<(index + header)].reduce(0) { $0 << 8 | Int($1) } }
            guard bytes.count - index >= header + length else { break }
            let payload = bytes[(index + header)..<(index + header + length)]
            if bytes[index] & 0xF == 8 { closeCode = payload.prefix(2).reduce(0) { $0 << 8 | Int($1) } }
            if bytes[index] & 0xF == 1 { note(Data(payload)) }
            index += header + length
        }
        bytes.removeFirst(index)
    }

    private func note(_ json: Data) {
        guard let frame = try? JSONSerialization.jsonObject(with: json) as? [String: Any] else { return }
        types.append(frame["type"] as? String ?? "")
        for message in [frame] + (frame["messages"] as? [[String: Any]] ?? []) {
            guard message["user"] != nil, let text = message["position"] as? String, let position = Position(text)
            else { continue }
            positions.append(position)
        }
    }
}
