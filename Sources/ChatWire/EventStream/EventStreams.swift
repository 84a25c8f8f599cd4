import ChatCore
import ChatJSON

/// Event streams (the HTML standard's "Server-sent events"): `GET /api/events?room=a&room=b`. A client sends nothing on
/// them; it posts messages by the HTTP API.
///
/// The data of an event is the JSON of `martlet.v1`. Messages, gaps and resets have an `id`, which is an
/// ``EventStreamCursor``. The encoding that sessions share begins with the line of the `id` of a stream with one room.
/// To a stream with several rooms each session puts its own `id` in front, and a colon that makes the shared line a
/// comment.
public final class EventStreams: ClientProtocol {
    let codec: MartletV1Codec
    let limits: Limits

    /// How long a browser waits before it reconnects, in milliseconds: usually, to a node that takes the place of one
    /// that is leaving, and if it should not come back.
    static let retry = 2_000
    static let retryElsewhere = 250
    static let retryNever = 86_400_000
    /// A comment is sent to a stream on which nothing was sent for so long, so that proxies do not take it for dead.
    static let quiet: Duration = .seconds(15)

    public init(limits: Limits) {
        self.limits = limits
        codec = MartletV1Codec(limits: limits)
    }

    public var name: String { "event-stream" }
    public var ping: ProtocolPing { .none }

    public var streamFields: [(name: String, value: String)] {
        [
            ("Content-Type", "text/event-stream; charset=utf-8"), ("Cache-Control", "no-store, no-transform"),
            // nginx would otherwise keep events until its buffer is full.
            ("X-Accel-Buffering", "no"),
        ]
    }

    public func hello(in head: RequestHead) throws(WireError) -> ClientHello? {
        let request = try EventStreamRequest(head, limits: limits)
        return ClientHello(
            credentials: Credentials(user: request.user, token: nil), device: request.device, reads: request.rooms)
    }

    public func makeReader() -> any ClientReader { EventStreamSession(self) }

    public func encode(_ event: ServerEvent, viewer: UserID?, into bytes: inout ByteWriter) {
        if let position = event.streamPosition { Self.appendID(position, into: &bytes) }
        Self.append(event, viewer: viewer, codec, into: &bytes)
    }

    public func farewell(_ reason: CloseReason) -> ProtocolFarewell {
        var bytes = ByteWriter()
        let retry =
            reason == .draining ? Self.retryElsewhere : reason.reconnect ? Self.retry : Self.retryNever
        bytes.appendRaw("event: closed\nretry: \(retry)\n")
        bytes.appendRaw("data: {\"type\":\"closed\",\"code\":\(reason.rawValue),\"name\":\"\(reason.name)\",")
        bytes.appendRaw("\"reconnect\":\(reason.reconnect)}\n\n")
        return ProtocolFarewell(
            payload: bytes.array, code: WebSocketCloseCode(rawValue: reason.rawValue), text: reason.name)
    }

    // MARK: parts of the stream

    static func appendID(_ position: Position, into bytes: inout ByteWriter) {
        bytes.appendRaw("id: \(position)\n")
    }

    /// Appends the event without an `id`.
    static func append(
        _ event: ServerEvent, viewer: UserID?, _ codec: MartletV1Codec, into bytes: inout ByteWriter
    ) {
        bytes.appendText("event: ")
        bytes.appendText(event.streamName)
        if case .draining = event { bytes.appendRaw("\nretry: \(retryElsewhere)") }
        bytes.appendText("\ndata: ")
        var json = ByteWriter()
        codec.encode(event, viewer: viewer, into: &json)
        json.withBytes { appendLine($0, into: &bytes) }
        bytes.appendText("\n\n")
    }

    /// Appends JSON as one line. The ends of lines in it are between its tokens, as a string cannot hold them, and are
    /// replaced by spaces.
    static func appendLine(_ json: UnsafeRawBufferPointer, into bytes: inout ByteWriter) {
        var rest = json[...]
        while let end = rest.firstIndex(where: { $0 == UInt8(ascii: "\n") || $0 == UInt8(ascii: "\r") }) {
            bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: rest[..<end]))
            bytes.append(UInt8(ascii: " "))
            rest = rest[(end + 1)...]
        }
        bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: rest))
    }
}

extension ServerEvent {
    /// The position that a client has reached in the room with this event; nil for an event that has none.
    var streamPosition: Position? {
        switch self {
        case .message(_, let message, _): message.position
        case .gap(_, let gap): gap.before.previous
        case .reset(_, let reset): reset.position
        case .welcome, .joined, .left, .sent, .presence, .signal, .draining, .history, .roster, .pong, .renewed,
            .expiring, .removed, .moderated, .conversation, .amended, .inbox, .rules, .sanction, .participants, .error:
            nil
        }
    }

    /// The room to which ``streamPosition`` belongs.
    var streamRoom: RoomName? {
        switch self {
        case .message(let room, _, _), .gap(let room, _), .reset(let room, _): room
        case .welcome, .joined, .left, .sent, .presence, .signal, .draining, .history, .roster, .pong, .renewed,
            .expiring, .removed, .moderated, .conversation, .amended, .inbox, .rules, .sanction, .participants, .error:
            nil
        }
    }

    /// The `event` field: the `type` of the JSON, except that an error is a `failure`, as EventSource uses `error` for
    /// lost connections.
    var streamName: StaticString {
        switch self {
        case .welcome: "welcome"
        case .joined: "joined"
        case .left, .removed: "left"
        case .sent: "sent"
        case .message(_, let message, _): message.content.amendment == nil ? "message" : "changed"
        case .presence: "presence"
        case .signal: "signal"
        case .gap: "gap"
        case .reset: "reset"
        case .draining: "draining"
        case .history: "history"
        case .roster: "roster"
        case .pong: "pong"
        case .renewed: "token"
        case .expiring: "expiring"
        case .moderated: "moderated"
        case .conversation(_, let answer): MartletV1Codec.type(of: answer)
        case .amended: "amended"
        case .rules: "rules"
        case .sanction: "sanction"
        case .participants: "participantsChanged"
        case .inbox(let event):
            switch event {
            case .read: "read"
            case .page: "inbox"
            case .watching: "watching"
            case .head: "head"
            case .receipts: "receipts"
            case .online: "online"
            case .lastSeen: "lastSeen"
            case .notice: "notice"
            }
        case .error: "failure"
        }
    }
}
