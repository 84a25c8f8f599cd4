import ChatJSON
import TestSupport

/// A client of an event stream, which reads it as the HTML standard says (§9.2.6), for text that ends its lines with
/// LF.
final class TestEventStream {
    struct Event {
        var name: String
        var data: String
        /// The last `id` so far.
        var id: String

        var json: JSONValue { (try? JSONValue(parsing: data)) ?? .null }
    }

    let socket: TestSocket
    let head: String
    /// The beginning of the body, as it came with the head.
    private let start: [UInt8]
    private var rest: [UInt8]
    private var events: [Event] = []
    private(set) var id = ""
    private(set) var retry: Int?
    private var name = ""
    private var data: [String] = []

    private init(_ socket: TestSocket, head: String, rest: [UInt8]) {
        self.socket = socket
        self.head = head
        self.rest = []
        start = rest
        feed(rest)
    }

    var status: Int { Int(head.split(separator: " ")[1]) ?? 0 }

    /// Requests a stream. Returns it with the head of its answer; a body that is no stream is read as if it were one.
    static func open(
        _ port: Int, _ query: String, fields: String = "", method: String = "GET"
    ) async throws -> TestEventStream {
        let socket = try await TestSocket.connect(port: port)
        try await socket.write("\(method) /api/events?\(query) HTTP/1.1\r\nHost: localhost\r\n\(fields)\r\n")
        var bytes: [UInt8] = []
        let end = Array("\r\n\r\n".utf8)
        while true {
            if let place = bytes.indices.first(where: { bytes[$0...].starts(with: end) }) {
                let head = String(decoding: bytes[..<place], as: UTF8.self)
                return TestEventStream(socket, head: head, rest: Array(bytes[(place + 4)...]))
            }
            guard let more = await socket.read() else { throw TestFailure("no answer to the request for a stream") }
            bytes += more
        }
    }

    /// The whole body of an answer that is no stream.
    func body() async -> String { String(decoding: start, as: UTF8.self) + (await socket.readToEnd()) }

    /// The next event; nil at the end of the stream.
    func next() async -> Event? {
        while events.isEmpty {
            guard let bytes = await socket.read() else { return nil }
            feed(bytes)
        }
        return events.removeFirst()
    }

    /// The next event of that name; others are skipped.
    func next(_ name: String) async throws -> Event {
        while let event = await next() { if event.name == name { return event } }
        throw TestFailure("the stream ended before \(name)")
    }

    private func feed(_ bytes: [UInt8]) {
        for byte in bytes {
            guard byte == 10 else {
                rest.append(byte)
                continue
            }
            line(String(decoding: rest, as: UTF8.self))
            rest = []
        }
    }

    private func line(_ text: String) {
        guard !text.isEmpty else {
            if !data.isEmpty {
                let name = name.isEmpty ? "message" : name
                events.append(Event(name: name, data: data.joined(separator: "\n"), id: id))
            }
            (name, data) = ("", [])
            return
        }
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let value = parts.count > 1 ? (parts[1].hasPrefix(" ") ? String(parts[1].dropFirst()) : parts[1]) : ""
        switch parts[0] {
        case "event": name = value
        case "data": data.append(value)
        case "id": id = value
        case "retry": retry = Int(value)
        default: break
        }
    }
}
