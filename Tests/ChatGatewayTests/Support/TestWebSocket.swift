import ChatJSON
import ChatWire
import NIOCore
import NIOSSL
import TestSupport

/// A WebSocket client for tests, which can also break the protocol.
final class TestWebSocket {
    let socket: TestSocket
    private var decoder = WebSocketDecoder(options: .init(role: .client, maxMessageBytes: 1 << 24))
    private var events: [WebSocketDecoder.Event] = []

    private init(_ socket: TestSocket) {
        self.socket = socket
    }

    static let key = "dGhlIHNhbXBsZSBub25jZQ=="

    static func handshake(_ query: String = "user=ana", extra: String = "", path: String = "/ws") -> String {
        "GET \(path)?\(query) HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
            + "Sec-WebSocket-Key: \(key)\r\nSec-WebSocket-Version: 13\r\n\(extra)\r\n"
    }

    /// Connects and performs the handshake. Throws if the answer was not 101.
    static func connect(
        port: Int, _ query: String = "user=ana", autoRead: Bool = true, extra: String = "", tls: NIOSSLContext? = nil,
        path: String = "/ws"
    ) async throws -> TestWebSocket {
        let socket = try await TestSocket.connect(port: port, autoRead: autoRead, tls: tls)
        try await socket.write(handshake(query, extra: extra, path: path))
        let client = TestWebSocket(socket)
        guard autoRead else { return client }
        guard let answer = await socket.readAnswer(hasBody: false), answer.head.hasPrefix("HTTP/1.1 101 ") else {
            throw TestFailure("the handshake was not accepted")
        }
        return client
    }

    func send(_ text: String) async throws {
        try await sendFrame(.text, Array(text.utf8))
    }

    func sendFrame(_ opcode: WebSocketOpcode, _ payload: [UInt8], isFinal: Bool = true) async throws {
        var bytes: [UInt8] = []
        WebSocketFrame.append(opcode, payload, isFinal: isFinal, maskingKey: 0x1234_5678, to: &bytes)
        try await socket.write(bytes)
    }

    /// The next frame or message; nil if the connection has ended.
    func next() async -> WebSocketDecoder.Event? {
        while events.isEmpty {
            guard let bytes = await socket.read() else { return nil }
            bytes.withUnsafeBytes { all in
                var index = 0
                while let event = decoder.next(all, &index) { events.append(event) }
            }
        }
        return events.removeFirst()
    }

    /// The next message as JSON; pings are skipped. Throws if another frame comes.
    func json() async throws -> JSONValue {
        while let event = await next() {
            switch event {
            case .text(let bytes): return try JSONValue(parsing: bytes)
            case .ping, .pong: continue
            case .binary, .close, .refused, .failed: throw TestFailure("not a message: \(event)")
            }
        }
        throw TestFailure("the connection has gone")
    }

    /// The next message of this type; others are skipped.
    func json(_ type: String) async throws -> JSONValue {
        while true {
            let value = try await json()
            if value["type"]?.string == type { return value }
        }
    }

    /// The close frame; frames before it are skipped.
    func closeFrame() async -> WebSocketDecoder.Event? {
        while let event = await next() {
            if case .close = event { return event }
        }
        return nil
    }
}
