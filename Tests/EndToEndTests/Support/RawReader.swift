import Foundation
import Glibc
import MartletClient

/// A WebSocket client with a small receive buffer that reads when a test tells it to, and writes down the positions that
/// it was shown.
final class RawReader {
    private let descriptor: Int32
    private var bytes: [UInt8] = []
    private var isOpen = false
    /// Of `message` frames and of those in `joined`, as they came.
    private(set) var positions: [Position] = []
    private(set) var closeCode: Int?
    private(set) var ended = false
    private(set) var types: [String] = []

    init(port: Int, query: String) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        setReceiveBuffer(4_096)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(UInt16(port).bigEndian)
        address.sin_addr = in_addr(s_addr: UInt32(0x7F00_0001).bigEndian)
        let connected = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard connected == 0 else { throw TestNode.Failure(description: "cannot connect: errno \(errno)") }
        _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
        send(
            raw: Array(
                ("GET /ws?\(query) HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n").utf8))
    }

    deinit { close(descriptor) }

    /// From now on it can read fast.
    func widen() { setReceiveBuffer(1 << 20) }

    private func setReceiveBuffer(_ bytes: Int32) {
        var bytes = bytes
        setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &bytes, socklen_t(MemoryLayout<Int32>.size))
    }

    /// A text frame, masked with zeros.
    func send(_ text: String) {
        let payload = Array(text.utf8)
        precondition(payload.count < 126)
        send(raw: [0x81, 0x80 | UInt8(payload.count), 0, 0, 0, 0] + payload)
    }

    private func send(raw: [UInt8]) {
        _ = Glibc.send(descriptor, raw, raw.count, Int32(MSG_NOSIGNAL))
    }

    /// Reads what has come, at most `limit` bytes.
    func read(atMost limit: Int = 1 << 20) {
        var rest = limit
        var buffer = [UInt8](repeating: 0, count: 16_384)
        while rest > 0 {
            let count = recv(descriptor, &buffer, min(buffer.count, rest), 0)
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
