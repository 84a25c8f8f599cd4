import ChatCore
import ChatJSON
import ChatWire
import Synchronization

/// A second client protocol, to prove that one needs nothing but its own file and a line of registration: lines of text
/// over WebSocket. A client says `user ana` first, then `join lobby`, `say lobby hello`, `leave lobby`, `ping`, `quit`.
struct LineProtocol: ClientProtocol {
    static let subprotocol = "lines.v1"

    var name: String { Self.subprotocol }
    var ping: ProtocolPing { .payload(Array("are you there?".utf8)) }

    func hello(in head: RequestHead) -> ClientHello? { nil }

    func makeReader() -> any ClientReader { Reader() }

    func encode(_ event: ServerEvent, viewer: UserID?, into bytes: inout ByteWriter) {
        if let line = Self.line(event) { bytes.appendRaw(line) }
    }

    /// Nil: the protocol has no line for it.
    private static func line(_ event: ServerEvent) -> String? {
        switch event {
        case .welcome(let welcome): "welcome \(welcome.user)"
        case .joined(let joined): "joined \(joined.room) at \(joined.position)"
        case .left(_, let room): "left \(room)"
        case .sent(_, let room, let position, _, _): "stored \(room) \(position)"
        case .message(let room, let message, _):
            "\(room) \(message.position) \(message.content.user): \(message.content.text ?? "")"
        case .error(_, let error): "error \(error.code.name) \(error.message)"
        case .pong: "pong"
        case .removed(let room, _): "left \(room)"
        case .presence, .signal, .gap, .reset, .draining, .history, .roster, .renewed, .expiring, .moderated,
            .conversation, .amended, .inbox,
            .rules, .sanction, .participants:
            nil
        }
    }

    func farewell(_ reason: CloseReason) -> ProtocolFarewell {
        ProtocolFarewell(
            payload: Array("bye \(reason.name)".utf8), code: WebSocketCloseCode(rawValue: reason.rawValue),
            text: reason.name)
    }

    private final class Reader: ClientReader {
        /// The client has said who it is.
        private var isKnown = false

        var greeting: [UInt8] { Array("say who you are".utf8) }

        func read(_ bytes: [UInt8], isText: Bool, _ body: (ClientInput) -> Void) {
            for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
                do throws(WireError) {
                    body(try input(line))
                } catch {
                    body(.failure(RequestFailure(ref: nil, error: error)))
                }
            }
        }

        private func input(_ line: Substring) throws(WireError) -> ClientInput {
            let words = line.split(separator: " ", maxSplits: 2).map(String.init)
            switch words.first {
            case "user":
                if isKnown { throw WireError(.badField, "you have said who you are") }
                guard words.count == 2 else { throw WireError(.missingField, "user NAME") }
                isKnown = true
                return .hello(ClientHello(credentials: Credentials(user: words[1], token: nil)))
            case "join": return .request(request(.join(room: try room(words), after: nil, history: nil)))
            case "leave": return .request(request(.leave(room: try room(words))))
            case "say":
                guard words.count == 3 else { throw WireError(.missingField, "say ROOM TEXT") }
                return .request(request(.send(SendRequest(room: try room(words), text: words[2]))))
            case "ping": return .request(request(.ping))
            case "quit": return .goodbye
            default: throw WireError(.unknownType, "no such line")
            }
        }

        private func request(_ body: ClientRequest.Body) -> ClientRequest { ClientRequest(ref: nil, body: body) }

        private func room(_ words: [String]) throws(WireError) -> RoomName {
            guard words.count > 1 else { throw WireError(.missingField, "a room is missing") }
            do {
                return try RoomName(words[1])
            } catch {
                throw WireError(.badName, error.description)
            }
        }
    }
}

/// How often messages were encoded.
final class EncodingCount: Sendable {
    private let count = Atomic<Int>(0)

    var value: Int { count.load(ordering: .relaxed) }
    func add() { count.add(1, ordering: .relaxed) }
}

/// Any protocol, with its encodings of messages counted.
struct CountedProtocol: ClientProtocol {
    let base: any ClientProtocol
    let messages: EncodingCount

    var name: String { base.name }
    var framing: ProtocolFraming { base.framing }
    var ping: ProtocolPing { base.ping }

    func hello(in head: RequestHead) throws(WireError) -> ClientHello? { try base.hello(in: head) }
    func makeReader() -> any ClientReader { base.makeReader() }

    func encode(_ event: ServerEvent, viewer: UserID?, into bytes: inout ByteWriter) {
        if case .message = event { messages.add() }
        base.encode(event, viewer: viewer, into: &bytes)
    }

    var streamFields: [(name: String, value: String)] { base.streamFields }

    func farewell(_ reason: CloseReason) -> ProtocolFarewell { base.farewell(reason) }
}
