import ChatCore
import ChatJSON
import ChatWire
import HTTPTypes
import Hummingbird
import HummingbirdCore
import NIOCore

/// `/api/rooms/{room}/…`: rooms for programs without a session. All errors are ``WireError``s or ``HTTPProblem``s.
struct RoomsAPI: Sendable {
    let options: GatewayOptions
    let service: any ChatService
    let caller: APICaller
    let codec: MartletV1Codec
    private let bodies = ArrivalsBodies()

    init(options: GatewayOptions, service: any ChatService, caller: APICaller) {
        self.options = options
        self.service = service
        self.caller = caller
        codec = MartletV1Codec(limits: options.limits)
    }

    /// `GET messages?before|after|around|time=&limit=`, or `?after=&limit=&wait=`: then it is answered when there is
    /// something.
    func history(_ request: Request, room: String?, client: PeerAddress?) async throws -> Response {
        let room = try name(room)
        let query = try fields(request)
        var anchor = HistoryQuery.Anchor.newest
        var given = 0
        for (field, make) in Self.anchors {
            guard let text = query[field] else { continue }
            guard let position = Position(text) else {
                throw WireError(.badField, "\(field) must be a position: two decimal numbers, <epoch>-<seq>")
            }
            anchor = make(position)
            given += 1
        }
        if let text = query["time"] {
            anchor = .time(try Self.time(text))
            given += 1
        }
        guard given <= 1 else { throw WireError(.badField, "at most one of before, after, around and time is allowed") }
        let limit = try limit(query["limit"])
        let wait = try query["wait"].map(Self.wait)
        if wait != nil, ["before", "around", "time"].contains(where: { query[$0] != nil }) {
            throw WireError(.badField, "wait is for messages after a position, or from now on")
        }
        let grant = try await caller.reader(request)
        if let wait, wait > .zero {
            let after: Position? = if case .after(let position) = anchor { position } else { nil }
            return try await poll(room, after: after, limit: limit, wait: wait, by: grant, from: client)
        }
        let historyQuery = HistoryQuery(anchor: anchor, limit: limit)
        let page = try await service.history(room: room, query: historyQuery, by: grant)
        HTTPAccount.current?.charge(RequestCost.finding(anchor) + RequestCost.page(page, of: historyQuery))
        return object(room) { bytes in codec.fields(of: page, into: &bytes) }
    }

    private func poll(
        _ room: RoomName, after: Position?, limit: Int, wait: Duration, by grant: Grant?, from client: PeerAddress?
    ) async throws -> Response {
        let isTrusted = client.map { client in options.trustedAddresses.contains { $0.contains(client) } } ?? true
        let arrivals = try await service.poll(
            room: room, after: after, limit: limit, wait: wait, by: grant, from: isTrusted ? nil : client?.network)
        HTTPAccount.current?.charge(RequestCost.page(arrivals.page.messages, read: false))
        let body = bodies.body(of: arrivals) {
            var bytes = ByteWriter()
            bytes.appendText("{\"room\":")
            bytes.appendJSON(room.text)
            bytes.append(UInt8(ascii: ","))
            codec.fields(of: arrivals, into: &bytes)
            bytes.append(UInt8(ascii: "}"))
            return bytes.withBytes { ByteBuffer(bytes: $0) }
        }
        return HTTPRoutes.json(body)
    }

    /// The time of `wait=`: a number with the unit `ms`, `s` or `m`; seconds without a unit.
    static func wait(_ text: String) throws(WireError) -> Duration {
        let digits = text.utf8.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        guard (1...9).contains(digits.count), let number = Int64(String(Substring(digits))) else {
            throw WireError(.badField, "wait must be a time, such as 25s")
        }
        switch text.dropFirst(digits.count) {
        case "", "s": return .seconds(number)
        case "ms": return .milliseconds(number)
        case "m": return .seconds(number * 60)
        default: throw WireError(.badField, "wait must be a time, such as 25s; the units are ms, s and m")
        }
    }

    /// The value of `time=`: ms since 1970, or RFC 3339 as nodes write it.
    static func time(_ text: String) throws(WireError) -> UInt64 {
        if let time = Timestamp.milliseconds(text) { return time }
        guard let time = UInt64(text), time <= PositionBounds.largest else {
            throw WireError(.badField, "time must be milliseconds since 1970, or such as 2026-11-21T03:04:05.678Z")
        }
        return time
    }

    /// How long the answer to a request may take because the request waits for messages; nil if it does not.
    static func wait(of head: RequestHead) -> Duration? {
        wait(method: head.method, path: head.path, query: head.query)
    }

    static func wait(method: String, path: String, query: String) -> Duration? {
        guard method == "GET" || method == "HEAD", path.hasPrefix("/api/rooms/"), path.hasSuffix("/messages"),
            let text = PercentEncoding.query(query, only: ["wait"])?["wait"], let wait = try? wait(text),
            wait > .zero
        else { return nil }
        return wait
    }

    private static let anchors: [(String, @Sendable (Position) -> HistoryQuery.Anchor)] = [
        ("before", { .before($0) }), ("after", { .after($0) }), ("around", { .around($0) }),
    ]

    func limit(_ text: String?) throws(WireError) -> Int {
        let most = options.limits.historyPage
        guard let text else { return most }
        guard let limit = Int(text), (1...most).contains(limit) else {
            throw WireError(.badField, "limit must be a whole number from 1 to \(most)")
        }
        return limit
    }

    /// `HEAD /api/events`: the head of the stream, for whoever may open it.
    func events(_ request: Request) async throws -> Response {
        let identity = try await caller.identity(of: request)
        guard let fields = PercentEncoding.fields(request.uri.query ?? "", only: ["room"]) else {
            throw WireError(.badField, "the query is not percent-encoded UTF-8")
        }
        var rooms: [RoomName] = []
        for field in fields { rooms.append(try name(field.value, isEncoded: false)) }
        if let error = identity?.grant?.refusal(ofReading: rooms) { throw error }
        var headers = HTTPFields()
        for field in EventStreams(limits: options.limits).streamFields {
            if let name = HTTPField.Name(field.name) { headers[name] = field.value }
        }
        return Response(status: .ok, headers: headers)
    }

    /// `POST messages` with `{"user","text","data","key"}`: 201 with the position, 200 if the key was known.
    func say(_ request: Request, room: String?) async throws -> Response {
        let room = try name(room)
        try caller.refuseForeignPage(request)
        let buffer = try await caller.body(of: request)
        let posted = try buffer.withUnsafeReadableBytes { (bytes) throws(WireError) in try PostedMessage(bytes) }
        let sender = try await caller.sender(request, claimed: posted.user)
        let content = MessageContent(
            user: sender.user, at: WallClock.milliseconds, text: posted.text, data: posted.data,
            key: try key(request, posted.key), extra: posted.extra)
        let said = try await service.say(room: room, content: content, by: sender.grant)
        HTTPAccount.current?.charge(said.cost)
        var bytes = ByteWriter()
        bytes.appendText("{\"room\":")
        bytes.appendJSON(room.text)
        bytes.appendText(",\"position\":\"")
        bytes.appendRaw(said.position.description)
        bytes.appendText(said.repeated ? "\",\"repeated\":true}" : "\",\"repeated\":false}")
        return HTTPRoutes.json(bytes.array, status: said.repeated ? .ok : .created)
    }

    /// `GET roster?cursor=`
    func roster(_ request: Request, room: String?) async throws -> Response {
        let room = try name(room)
        let cursor = try fields(request)["cursor"]
        if let cursor, cursor.utf8.count > MartletV1Codec.maxCursorBytes {
            throw WireError(.badField, "cursor is longer than \(MartletV1Codec.maxCursorBytes) bytes")
        }
        let page = try await service.roster(room: room, cursor: cursor, by: try await caller.reader(request))
        HTTPAccount.current?.charge(RequestCost.roster(min(page.count, options.limits.rosterPage), read: true))
        return object(room) { bytes in codec.fields(of: page, into: &bytes) }
    }

    /// `POST moderation` with `{"operation","user","value","time","reason"}`: 200 with the version of the rules.
    func moderate(_ request: Request, room: String?) async throws -> Response {
        let room = try name(room)
        let identity = try await caller.identity(of: request)
        try service.allow(.moderate, in: room, by: identity?.grant)
        let moderation = try ModerationOrder(body: try await caller.object(in: request)).moderation()
        let moderated = try await service.moderate(
            room: room, moderation, by: identity?.user.text ?? "", grant: identity?.grant)
        HTTPAccount.current?.charge(moderated.cost)
        return object(room) { bytes in codec.fields(of: moderated.reply, into: &bytes) }
    }

    /// `GET moderation`: the rules, and the sanctions in force.
    func moderation(_ request: Request, room: String?) async throws -> Response {
        let room = try name(room)
        let rules = try await service.moderation(room: room, by: try await caller.reader(request))
        HTTPAccount.current?.charge(RequestCost.roster(rules.sanctionCount, read: true))
        return object(room) { bytes in codec.fields(of: rules, into: &bytes) }
    }

    /// The key under which a message is stored at most once: that of the body, or that of the `Idempotency-Key` field
    /// (draft-ietf-httpapi-idempotency-key-header), whose value is a string in quotes or a bare text.
    func key(_ request: Request, _ posted: String?) throws(WireError) -> String? {
        guard let name = HTTPField.Name("Idempotency-Key"), let field = request.headers[name] else { return posted }
        var key = Substring(field)
        if key.count >= 2, key.first == "\"", key.last == "\"" { key = key.dropFirst().dropLast() }
        if let posted, posted != key { throw WireError(.badField, "Idempotency-Key and key differ") }
        return try PostedMessage.checked(key: String(key), called: "Idempotency-Key")
    }

    func name(_ text: String?, isEncoded: Bool = true) throws(WireError) -> RoomName {
        guard let text, let decoded = isEncoded ? PercentEncoding.decode(text) : text else {
            throw WireError(.badName, "the room's name is not percent-encoded UTF-8")
        }
        do {
            return try RoomName(decoded)
        } catch {
            throw WireError(.badName, error.description)
        }
    }

    func fields(_ request: Request) throws(WireError) -> [String: String] {
        guard let fields = PercentEncoding.query(request.uri.query ?? "") else {
            throw WireError(.badField, "the query is not percent-encoded UTF-8")
        }
        return fields
    }

    func object(_ room: RoomName, _ body: (inout ByteWriter) -> Void) -> Response {
        var bytes = ByteWriter()
        bytes.appendText("{\"room\":")
        bytes.appendJSON(room.text)
        bytes.append(UInt8(ascii: ","))
        body(&bytes)
        bytes.append(UInt8(ascii: "}"))
        return HTTPRoutes.json(bytes.array)
    }
}
