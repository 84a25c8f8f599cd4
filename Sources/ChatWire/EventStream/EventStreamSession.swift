import ChatCore
import ChatJSON

/// One event stream: joins the rooms of its request, and knows how far the client has got in each.
final class EventStreamSession: ClientWriter {
    private let streams: EventStreams
    private var codec: MartletV1Codec { streams.codec }
    private var rooms: [RoomName] = []
    private var indices: [RoomName: Int] = [:]
    /// The text of the position in each room of a stream with several rooms; empty if there is none yet.
    private var positions: [String] = []
    private var mark = ""
    /// Rooms that are joined, or whose join is not answered.
    private var wanted: Set<RoomName> = []
    private var hasBegun = false
    /// Why the stream ends, if it does.
    private var end: [UInt8]?
    private(set) var deadline: Moment? = Moment(nanoseconds: 0)

    init(_ streams: EventStreams) {
        self.streams = streams
    }

    // MARK: in

    func begin(_ head: RequestHead, _ body: (ClientInput) -> Void) {
        hasBegun = true
        // It was read before without an error.
        guard let request = try? EventStreamRequest(head, limits: streams.limits) else { return }
        rooms = request.rooms
        wanted = Set(rooms)
        if rooms.count > 1 {
            indices = Dictionary(rooms.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
            positions = request.after.map { $0?.description ?? "" }
            mark = EventStreamCursor.mark(of: rooms)
        }
        for (index, room) in rooms.enumerated() {
            body(
                .request(
                    ClientRequest(
                        ref: .string(room.text),
                        body: .join(room: room, after: request.after[index], history: request.history[index]))))
        }
    }

    /// A client has nothing to say on a stream.
    func read(_ bytes: [UInt8], isText: Bool, _ body: (ClientInput) -> Void) {}

    func timePassed(now: Moment, lastWritten: Moment, _ body: (ClientInput) -> Void) {
        if let end {
            deadline = nil
            body(.say(end, isText: true))
            return body(.goodbye)
        }
        var written = lastWritten
        if now - lastWritten >= EventStreams.quiet {
            body(.say(Array(":\n\n".utf8), isText: true))
            written = now
        }
        deadline = written + EventStreams.quiet
    }

    // MARK: out

    func form(of event: ServerEvent) -> SharedForm {
        guard rooms.count > 1, let room = event.streamRoom, let position = event.streamPosition,
            reach(position, in: room)
        else { return .whole }
        var bytes = ByteWriter()
        appendCursor(into: &bytes)
        // Makes the line that follows, with the `id` of a stream with one room, a comment.
        bytes.append(UInt8(ascii: ":"))
        return .prefixed(FramePrefix(bytes.array))
    }

    func write(_ event: ServerEvent, viewer: UserID, _ body: ([UInt8], Bool) -> Void) {
        switch event {
        case .welcome:
            say(body) { bytes in
                bytes.appendRaw("retry: \(EventStreams.retry)\n")
                append(event, viewer, into: &bytes)
            }
        case .joined(let joined): write(joined, viewer, body)
        case .left(_, let room), .removed(let room, _):
            say(body) { append(event, viewer, into: &$0) }
            lost(room, isFinal: true)
        case .error(let ref, let error):
            say(body) { append(event, viewer, into: &$0) }
            if case .string(let text) = ref, let room = rooms.first(where: { $0.text == text }) {
                lost(room, isFinal: !error.code.retry)
            }
        case .message, .gap, .reset, .sent, .presence, .signal, .draining, .history, .roster, .pong, .renewed,
            .expiring, .moderated, .conversation, .amended, .inbox, .rules, .sanction, .participants:
            say(body) { append(event, viewer, into: &$0) }
        }
    }

    /// Nothing for a client that was refused before it was sent anything: it gets an HTTP status.
    func farewell(_ reason: CloseReason) -> ProtocolFarewell? {
        hasBegun ? nil : ProtocolFarewell(code: WebSocketCloseCode(rawValue: reason.rawValue), text: reason.name)
    }

    /// The answer to a join, and behind it its messages, each as an event with its own `id`, so that a client whose
    /// connection is lost between two of them misses none. `following` says how many there are.
    private func write(_ joined: Joined, _ viewer: UserID, _ body: ([UInt8], Bool) -> Void) {
        var head = joined
        head.messages = []
        let start: Position?
        switch joined.resumption {
        case .fresh, .reset: start = joined.messages.first?.position.previous ?? joined.position
        case .gap(let gap): start = gap.before.previous
        case .complete: start = nil
        }
        say(body) { bytes in
            if let start { appendID(start, in: joined.room, into: &bytes) }
            bytes.appendText("event: joined\ndata: ")
            var json = ByteWriter()
            codec.encode(.joined(head), viewer: viewer, into: &json)
            json.withBytes { text in
                // Before the closing brace.
                EventStreams.appendLine(UnsafeRawBufferPointer(rebasing: text.dropLast()), into: &bytes)
            }
            bytes.appendRaw(",\"following\":\(joined.messages.count)}\n\n")
        }
        for message in joined.messages {
            let showKey = message.content.user == viewer
            say(body) { append(.message(room: joined.room, message, showKey: showKey), viewer, into: &$0) }
        }
    }

    private func say(_ body: ([UInt8], Bool) -> Void, _ encode: (inout ByteWriter) -> Void) {
        var bytes = ByteWriter()
        encode(&bytes)
        body(bytes.array, true)
    }

    private func append(_ event: ServerEvent, _ viewer: UserID, into bytes: inout ByteWriter) {
        if let room = event.streamRoom, let position = event.streamPosition {
            appendID(position, in: room, into: &bytes)
        }
        EventStreams.append(event, viewer: viewer, codec, into: &bytes)
    }

    private func appendID(_ position: Position, in room: RoomName, into bytes: inout ByteWriter) {
        guard rooms.count > 1, reach(position, in: room) else {
            return EventStreams.appendID(position, into: &bytes)
        }
        appendCursor(into: &bytes)
    }

    /// Notes the position; false if the room is not one of several.
    private func reach(_ position: Position, in room: RoomName) -> Bool {
        guard let index = indices[room] else { return false }
        positions[index] = position.description
        return true
    }

    private func appendCursor(into bytes: inout ByteWriter) {
        bytes.appendText("id: ")
        bytes.appendRaw(mark)
        for (index, position) in positions.enumerated() {
            bytes.append(index == 0 ? UInt8(ascii: ":") : UInt8(ascii: ","))
            bytes.appendRaw(position)
        }
        bytes.append(UInt8(ascii: "\n"))
    }

    // MARK: rooms that are lost

    /// The stream is not in the room, for good or because of something that passes. The stream ends if it has no room
    /// left, or if it would come into the room by reconnecting.
    private func lost(_ room: RoomName, isFinal: Bool) {
        wanted.remove(room)
        guard !isFinal || wanted.isEmpty else { return }
        let retry = isFinal ? EventStreams.retryNever : EventStreams.retry
        let text =
            "event: closed\nretry: \(retry)\n"
            + "data: {\"type\":\"closed\",\"name\":\"noRoom\",\"reconnect\":\(!isFinal)}\n\n"
        end = end ?? Array(text.utf8)
        deadline = Moment(nanoseconds: 0)
    }
}
