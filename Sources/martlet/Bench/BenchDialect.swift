/// How a server is spoken to: what asks for a connection, what joins a room there and says something in it, and how a
/// message is told from whatever else comes. One generator with small dialects measures all servers alike. Pure.
enum BenchDialect: String, CaseIterable, Sendable {
    /// A Martlet node: `martlet.v1`.
    case martlet
    /// nchan's `nchan_pubsub websocket`: a frame is a message, both ways; the path names the channel.
    case nchan
    /// Socket.IO's protocol 5 over Engine.IO's 4 (<https://socket.io/docs/v4/socket-io-protocol/>), straight over a
    /// WebSocket, to a server that has the events `join` and `say` and answers with `joined` and `said`.
    case socketIO = "socketio"
    /// STOMP 1.2 (<https://stomp.github.io/stomp-specification-1.2.html>) with a frame in each WebSocket message, as
    /// RabbitMQ's Web STOMP speaks it; a room is `/topic/ROOM`.
    case stomp
    /// As nchan, but nothing else ever comes: the floor that servers are measured against.
    case raw

    /// What a text frame of the server's means.
    enum Meaning: Equatable {
        case message, acked, joined, left, trouble, other
        /// To be answered before anything else goes on.
        case asks(Request)
    }

    /// What a client says other than messages.
    enum Request: Equatable {
        case connect, join, leave, pong
    }

    /// The server answers a send, apart from showing the message.
    var acks: Bool { self == .martlet }
    /// The server numbers a room's messages itself. Of others the order in which they were first shown stands for it.
    var hasPositions: Bool { self == .martlet }

    /// Once upgraded a connection is in its room; nothing need be said or heard.
    var isJoinedOnceUpgraded: Bool {
        switch self {
        case .nchan, .raw: true
        case .martlet, .socketIO, .stomp: false
        }
    }

    /// What a client says as soon as it is upgraded.
    var opening: Request? {
        switch self {
        case .stomp: .connect
        case .martlet, .nchan, .socketIO, .raw: nil
        }
    }

    /// The target of the request for a WebSocket. `path`: as people wrote it behind the host; empty: the usual one.
    func target(path: String, room: String, user: String) -> String {
        switch self {
        case .martlet: "\(path.isEmpty ? "/ws" : path)?user=\(user)&room=\(room)"
        case .nchan, .raw: "\(path.isEmpty ? "/room/" : path)\(room)"
        case .socketIO: "\(path.isEmpty ? "/socket.io/" : path)?EIO=4&transport=websocket"
        case .stomp: path.isEmpty ? "/ws" : path
        }
    }

    /// The text of a request; nil: this server knows none.
    func text(of request: Request, room: String) -> String? {
        switch (self, request) {
        case (.martlet, .leave): #"{"type":"leave","ref":1,"room":"\#(room)"}"#
        case (.socketIO, .connect): "40"
        case (.socketIO, .join): #"42["join","\#(room)"]"#
        case (.socketIO, .pong): "3"
        case (.stomp, .connect):
            "CONNECT\naccept-version:1.2\nhost:/\nlogin:guest\npasscode:guest\nheart-beat:0,0\n\n\0"
        case (.stomp, .join): "SUBSCRIBE\nid:0\ndestination:/topic/\(room)\nreceipt:1\n\n\0"
        case (.martlet, _), (.socketIO, _), (.stomp, _), (.nchan, _), (.raw, _): nil
        }
    }

    /// What stands before and behind the text in the frame that says it.
    func send(in room: String) -> (head: String, tail: String) {
        switch self {
        case .martlet: (#"{"type":"send","ref":1,"room":"\#(room)","text":""#, #"","again":false}"#)
        case .nchan, .raw: ("", "")
        case .socketIO: (#"42["say",""#, #""]"#)
        case .stomp: ("SEND\ndestination:/topic/\(room)\n\n", "\0")
        }
    }

    /// Where a message's text ends in its frame.
    func textEnd(_ bytes: UnsafeRawBufferPointer, _ payload: Range<Int>) -> Int {
        switch self {
        case .martlet, .socketIO: return payload.upperBound - 2
        case .nchan, .raw: return payload.upperBound
        case .stomp:
            // Line ends may follow the zero that ends a frame.
            var end = payload.upperBound
            while end > payload.lowerBound, bytes[end - 1] == UInt8(ascii: "\n") { end -= 1 }
            return end - 1
        }
    }

    /// `size`: bytes of each message's text.
    func meaning(_ bytes: UnsafeRawBufferPointer, _ payload: Range<Int>, size: Int) -> Meaning {
        switch self {
        case .martlet: Self.martletMeaning(bytes, payload)
        // nchan tells who says something how many heard it, in a text of another length.
        case .nchan, .raw: payload.count == size ? .message : .other
        case .socketIO: Self.socketIOMeaning(bytes, payload)
        case .stomp: Self.stompMeaning(bytes, payload)
        }
    }

    private static func martletMeaning(_ bytes: UnsafeRawBufferPointer, _ payload: Range<Int>) -> Meaning {
        switch BenchFrames.kind(bytes, payload) {
        case .message: .message
        case .sent: .acked
        case .joined: .joined
        case .left: .left
        case .error, .gap, .reset, .draining: .trouble
        case .presence, .other: .other
        }
    }

    /// The first digit is Engine.IO's: 0 open, 2 ping, 4 message. Behind a 4 is Socket.IO's: 0 connect, 1 disconnect,
    /// 2 event, 4 connect error.
    private static func socketIOMeaning(_ bytes: UnsafeRawBufferPointer, _ payload: Range<Int>) -> Meaning {
        guard let first = payload.first else { return .other }
        switch bytes[first] {
        case UInt8(ascii: "0"): return .asks(.connect)
        case UInt8(ascii: "2"): return .asks(.pong)
        case UInt8(ascii: "4") where payload.count > 1: break
        default: return .other
        }
        switch bytes[first + 1] {
        case UInt8(ascii: "0"): return .asks(.join)
        case UInt8(ascii: "1"), UInt8(ascii: "4"): return .trouble
        // 42["said", and 42["joined": their letters at the sixth place tell them apart.
        case UInt8(ascii: "2") where payload.count > 5:
            switch bytes[first + 4] {
            case UInt8(ascii: "s"): return .message
            case UInt8(ascii: "j"): return .joined
            default: return .other
            }
        default: return .other
        }
    }

    private static func stompMeaning(_ bytes: UnsafeRawBufferPointer, _ payload: Range<Int>) -> Meaning {
        guard payload.count > 1, let first = payload.first else { return .other }
        switch bytes[first] {
        case UInt8(ascii: "M"): return .message
        case UInt8(ascii: "C"): return .asks(.join)
        case UInt8(ascii: "R"): return .joined
        case UInt8(ascii: "E"): return .trouble
        default: return .other
        }
    }

    /// What a frame that means trouble says, in a few words.
    func trouble(_ bytes: UnsafeRawBufferPointer, _ payload: Range<Int>) -> String {
        switch self {
        case .martlet:
            switch BenchFrames.kind(bytes, payload) {
            case .error: "error \(Self.word(after: "\"name\":\"", bytes, payload))"
            case .gap: "gap announced"
            case .reset: "reset announced"
            case .draining: "told to reconnect"
            case .message, .sent, .joined, .left, .presence, .other: "unexpected frame"
            }
        case .stomp: "error \(Self.line(after: "message:", bytes, payload))"
        case .socketIO, .nchan, .raw: "refused: " + String(decoding: bytes[payload].prefix(80), as: UTF8.self)
        }
    }

    private static func word(after mark: StaticString, _ bytes: UnsafeRawBufferPointer, _ payload: Range<Int>) -> String
    {
        guard let start = BenchFrames.find(mark, bytes, in: payload) else { return "?" }
        let rest = bytes[(start + mark.utf8CodeUnitCount)..<payload.upperBound]
        return String(decoding: rest.prefix { $0 != UInt8(ascii: "\"") }, as: UTF8.self)
    }

    private static func line(after mark: StaticString, _ bytes: UnsafeRawBufferPointer, _ payload: Range<Int>) -> String
    {
        guard let start = BenchFrames.find(mark, bytes, in: payload) else { return "?" }
        let rest = bytes[(start + mark.utf8CodeUnitCount)..<payload.upperBound]
        return String(decoding: rest.prefix { $0 >= 0x20 }, as: UTF8.self)
    }
}
