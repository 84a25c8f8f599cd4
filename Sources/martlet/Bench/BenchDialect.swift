/// The protocol of a server: the request that opens a connection, the frames that join a room and send a message, and
/// how a message is recognised among other frames. One generator with small dialects measures all servers in the same
/// way. Pure.
enum BenchDialect: String, CaseIterable, Sendable {
    /// A Martlet node: `martlet.v1`.
    case martlet
    /// nchan's `nchan_pubsub websocket`: a frame is a message in both directions, and the path names the channel.
    case nchan
    /// Version 5 of Socket.IO's protocol over version 4 of Engine.IO's
    /// (<https://socket.io/docs/v4/socket-io-protocol/>), directly over a WebSocket, to a server that has the events
    /// `join` and `say` and answers with `joined` and `said`.
    case socketIO = "socketio"
    /// STOMP 1.2 (<https://stomp.github.io/stomp-specification-1.2.html>) with one frame in each WebSocket message, as
    /// RabbitMQ's Web STOMP implements it. A room is `/topic/ROOM`.
    case stomp
    /// An event stream of a Martlet node (`/api/events`), whose events have the JSON of `martlet.v1`. Messages are
    /// posted over connections of their own.
    case events
    /// Like nchan, but the server sends nothing else: the lower bound with which servers are compared.
    case raw

    /// The meaning of a text frame from the server.
    enum Meaning: Equatable {
        case message, acked, joined, left, trouble, other
        /// The client must send this before anything else.
        case asks(Request)
    }

    /// Frames of a client other than messages.
    enum Request: Equatable {
        case connect, join, leave, pong
    }

    /// The status of the answer to the request that opens a connection.
    var openedBy: StaticString { self == .events ? "HTTP/1.1 200" : "HTTP/1.1 101" }

    /// Whether messages are posted over HTTP, and not sent over the connection on which they are received.
    var posts: Bool { self == .events }

    /// Whether the server answers a send, in addition to delivering the message.
    var acks: Bool { self == .martlet || self == .events }
    /// Whether the server numbers the messages of a room itself. For other servers, the order in which they were first
    /// delivered takes its place.
    var hasPositions: Bool { acks }

    /// Whether a connection is in its room once it is upgraded, without any further frame.
    var isJoinedOnceUpgraded: Bool {
        switch self {
        case .nchan, .raw: true
        case .martlet, .socketIO, .stomp, .events: false
        }
    }

    /// The first frame of a client after the upgrade.
    var opening: Request? {
        switch self {
        case .stomp: .connect
        case .martlet, .nchan, .socketIO, .events, .raw: nil
        }
    }

    /// The target of the upgrade request. `path`: the path of the given address; empty for the usual one.
    func target(path: String, room: String, user: String) -> String {
        switch self {
        case .martlet: "\(path.isEmpty ? "/ws" : path)?user=\(user)&room=\(room)"
        case .nchan, .raw: "\(path.isEmpty ? "/room/" : path)\(room)"
        case .socketIO:
            // What python-socketio ignores is what a Martlet node with scripts/peers/socketio_profile.json asks for.
            "\(path.isEmpty ? "/socket.io/" : path)?EIO=4&transport=websocket&user=\(user)&room=\(room)"
        case .stomp: path.isEmpty ? "/ws" : path
        case .events: "\(path.isEmpty ? "/api/events" : path)?user=\(user)&room=\(room)"
        }
    }

    /// The text of a request; nil if this server has no such request.
    func text(of request: Request, room: String) -> String? {
        switch (self, request) {
        case (.martlet, .leave): #"{"type":"leave","ref":1,"room":"\#(room)"}"#
        case (.socketIO, .connect): "40"
        case (.socketIO, .join): #"42["join","\#(room)"]"#
        case (.socketIO, .pong): "3"
        case (.stomp, .connect):
            "CONNECT\naccept-version:1.2\nhost:/\nlogin:guest\npasscode:guest\nheart-beat:0,0\n\n\0"
        case (.stomp, .join): "SUBSCRIBE\nid:0\ndestination:/topic/\(room)\nreceipt:1\n\n\0"
        case (.martlet, _), (.socketIO, _), (.stomp, _), (.nchan, _), (.events, _), (.raw, _): nil
        }
    }

    /// The text of a frame before and after the text of its message.
    func send(in room: String) -> (head: String, tail: String) {
        switch self {
        case .martlet: (#"{"type":"send","ref":1,"room":"\#(room)","text":""#, #"","again":false}"#)
        case .nchan, .raw: ("", "")
        case .socketIO: (#"42["say",""#, #""]"#)
        case .stomp: ("SEND\ndestination:/topic/\(room)\n\n", "\0")
        case .events: (#"{"user":"\#(room)","text":""#, #""}"#)
        }
    }

    /// The end of a message's text within its frame.
    func textEnd(_ bytes: UnsafeRawBufferPointer, _ payload: Range<Int>) -> Int {
        switch self {
        case .martlet, .socketIO, .events: return payload.upperBound - 2
        case .nchan, .raw: return payload.upperBound
        case .stomp:
            // Line ends may follow the NUL that ends a frame.
            var end = payload.upperBound
            while end > payload.lowerBound, bytes[end - 1] == UInt8(ascii: "\n") { end -= 1 }
            return end - 1
        }
    }

    /// `size`: the bytes of each message's text.
    func meaning(_ bytes: UnsafeRawBufferPointer, _ payload: Range<Int>, size: Int) -> Meaning {
        switch self {
        case .martlet, .events: Self.martletMeaning(bytes, payload)
        // nchan tells the sender how many subscribers got the message, in a text of another length.
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

    /// The first digit belongs to Engine.IO: 0 open, 2 ping, 4 message. After a 4 comes one of Socket.IO: 0 connect, 1
    /// disconnect, 2 event, 4 connect error.
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
        // 42["said", and 42["joined": differ in the sixth character.
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

    /// A short description of a frame that reports an error.
    func trouble(_ bytes: UnsafeRawBufferPointer, _ payload: Range<Int>) -> String {
        switch self {
        case .martlet, .events:
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
