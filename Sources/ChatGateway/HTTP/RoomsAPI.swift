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
    let authenticator: any Authenticator
    private let codec: MartletV1Codec

    init(options: GatewayOptions, service: any ChatService, authenticator: any Authenticator) {
        self.options = options
        self.service = service
        self.authenticator = authenticator
        codec = MartletV1Codec(limits: options.limits)
    }

    /// `GET messages?before|after|around=&limit=`
    func history(_ request: Request, room: String?) async throws -> Response {
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
        guard given <= 1 else { throw WireError(.badField, "at most one of before, after and around is allowed") }
        let limit = try limit(query["limit"])
        let page = try await service.history(room: room, query: HistoryQuery(anchor: anchor, limit: limit))
        HTTPAccount.current?.charge(RequestCost.page(page.messages, read: true))
        return object(room) { bytes in codec.fields(of: page, into: &bytes) }
    }

    private static let anchors: [(String, @Sendable (Position) -> HistoryQuery.Anchor)] = [
        ("before", { .before($0) }), ("after", { .after($0) }), ("around", { .around($0) }),
    ]

    private func limit(_ text: String?) throws(WireError) -> Int {
        let most = options.limits.historyPage
        guard let text else { return most }
        guard let limit = Int(text), (1...most).contains(limit) else {
            throw WireError(.badField, "limit must be a whole number from 1 to \(most)")
        }
        return limit
    }

    /// `POST messages` with `{"user","text","data","key"}`: 201 with the position, 200 if the key was known.
    func say(_ request: Request, room: String?) async throws -> Response {
        let room = try name(room)
        if let origins = options.allowedOrigins, let origin = request.headers[.origin],
            !origins.contains(origin.lowercased())
        {
            throw WireError(.forbidden, "pages of this origin may not post")
        }
        try refuseBlindPost(request)
        let posted = try await posted(request)
        let user = try await user(request, claimed: posted.user)
        let content = MessageContent(
            user: user, at: WallClock.milliseconds, text: posted.text, data: posted.data, key: posted.key)
        let said = try await service.say(room: room, content: content)
        HTTPAccount.current?.charge(said.cost)
        var bytes = ByteWriter()
        bytes.appendText("{\"room\":")
        bytes.appendJSON(room.text)
        bytes.appendText(",\"position\":\"")
        bytes.appendRaw(said.position.description)
        bytes.appendText(said.repeated ? "\",\"repeated\":true}" : "\",\"repeated\":false}")
        return HTTPRoutes.json(bytes.array, status: said.repeated ? .ok : .created)
    }

    /// A page of another origin can make its visitors' browsers post a form without a preflight request, but not JSON
    /// (the Fetch standard's "CORS-preflight fetch"). Programs other than browsers need not send a content type.
    private func refuseBlindPost(_ request: Request) throws(HTTPProblem) {
        let site = HTTPField.Name("Sec-Fetch-Site").flatMap { request.headers[$0] }
        guard request.headers[.origin] != nil || site != nil else { return }
        let type = request.headers[.contentType]?.prefix { $0 != ";" }.lowercased() ?? ""
        guard type.split(separator: " ").first == "application/json" else {
            throw HTTPProblem(WireError(.badField, "a page must post application/json"), status: 415)
        }
    }

    /// `GET roster?cursor=`
    func roster(_ request: Request, room: String?) async throws -> Response {
        let room = try name(room)
        let cursor = try fields(request)["cursor"]
        if let cursor, cursor.utf8.count > MartletV1Codec.maxCursorBytes {
            throw WireError(.badField, "cursor is longer than \(MartletV1Codec.maxCursorBytes) bytes")
        }
        let page = try await service.roster(room: room, cursor: cursor)
        HTTPAccount.current?.charge(RequestCost.roster(min(page.count, options.limits.rosterPage), read: true))
        return object(room) { bytes in codec.fields(of: page, into: &bytes) }
    }

    private func user(_ request: Request, claimed: String?) async throws(WireError) -> UserID {
        let token = request.headers[.authorization].flatMap(BearerToken.read)
        let credentials = Credentials(user: claimed, token: token)
        if let result = authenticator.authenticateAtOnce(credentials) { return try result.get().user }
        return try await authenticator.authenticate(credentials).get().user
    }

    private func posted(_ request: Request) async throws -> PostedMessage {
        if let length = request.headers[.contentLength].flatMap({ Int($0) }), length > options.maxBodyBytes {
            throw tooLong
        }
        let buffer: ByteBuffer
        do {
            buffer = try await request.body.collect(upTo: options.maxBodyBytes)
        } catch is NIOTooManyBytesError {
            throw tooLong
        }
        return try buffer.withUnsafeReadableBytes { (bytes) throws(WireError) in try PostedMessage(bytes) }
    }

    private var tooLong: WireError { WireError(.frameTooLarge, "a body may have \(options.maxBodyBytes) bytes") }

    private func name(_ text: String?) throws(WireError) -> RoomName {
        guard let text, let decoded = PercentEncoding.decode(text) else {
            throw WireError(.badName, "the room's name is not percent-encoded UTF-8")
        }
        do {
            return try RoomName(decoded)
        } catch {
            throw WireError(.badName, error.description)
        }
    }

    private func fields(_ request: Request) throws(WireError) -> [String: String] {
        guard let fields = PercentEncoding.query(request.uri.query ?? "") else {
            throw WireError(.badField, "the query is not percent-encoded UTF-8")
        }
        return fields
    }

    private func object(_ room: RoomName, _ body: (inout ByteWriter) -> Void) -> Response {
        var bytes = ByteWriter()
        bytes.appendText("{\"room\":")
        bytes.appendJSON(room.text)
        bytes.append(UInt8(ascii: ","))
        body(&bytes)
        bytes.append(UInt8(ascii: "}"))
        return HTTPRoutes.json(bytes.array)
    }
}
