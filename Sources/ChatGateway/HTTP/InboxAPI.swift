import ChatCore
import ChatJSON
import ChatWire
import Hummingbird
import HummingbirdCore
import NIOCore

/// `/api/inbox`, `/api/online` and `/api/rooms/{room}/read`: a user's conversations, for programs without a session.
struct InboxAPI: Sendable {
    let service: any ChatService
    let caller: APICaller

    var routes: [HTTPRoutes.Route] {
        [
            HTTPRoutes.Route(
                "/api/rooms/:room/read",
                [.post: { request, context in try await read(request, room: context.parameters.get("room")) }]),
            HTTPRoutes.Route("/api/inbox", [.get: { request, _ in try await inbox(request) }]),
            HTTPRoutes.Route(
                "/api/online",
                [
                    .get: { request, _ in try await online(request) },
                    .put: { request, _ in try await showLastSeen(request) },
                ]),
        ]
    }

    /// `POST read` with `{"user","position"}`: 200 with the position up to which the user has read.
    private func read(_ request: Request, room: String?) async throws -> Response {
        guard let text = room, let decoded = PercentEncoding.decode(text) else {
            throw WireError(.badName, "the room's name is not percent-encoded UTF-8")
        }
        let room = try name(decoded)
        let body = try await caller.object(in: request)
        let reader = try await caller.sender(request, claimed: try Self.string("user", body))
        try service.allow(.read, in: room, by: reader.grant)
        guard let text = try Self.string("position", body) else {
            throw WireError(.missingField, "position is missing")
        }
        guard let position = Position(text) else {
            throw WireError(.badField, "position must be two decimal numbers, <epoch>-<seq>")
        }
        let outcome = try await service.read(room: room, position: position, user: reader.user, by: reader.grant)
        HTTPAccount.current?.charge(RequestCost.mark)
        var bytes = ByteWriter()
        bytes.field("{\"room\":", room.text)
        if let mark = outcome.mark { bytes.field(",\"position\":", "\(mark.position)") }
        bytes.field(",\"unread\":", outcome.unread)
        bytes.append(UInt8(ascii: "}"))
        return HTTPRoutes.json(bytes.array)
    }

    /// `GET inbox?limit=&cursor=`, in development mode with `user=`.
    private func inbox(_ request: Request) async throws -> Response {
        let query = try fields(request)
        let most = InboxRequest.mostConversations
        var limit = most
        if let text = query["limit"] {
            guard let number = Int(text), (1...most).contains(number) else {
                throw WireError(.badField, "limit must be a whole number from 1 to \(most)")
            }
            limit = number
        }
        let cursor = try query["cursor"].map { (text) throws(WireError) in try MartletV1Codec.inboxCursor(text) }
        let reader = try await caller.sender(request, claimed: query["user"])
        let list = try await service.inbox(
            of: reader.user, limit: limit, cursor: cursor ?? InboxCursor(), by: reader.grant)
        HTTPAccount.current?.charge(RequestCost.read + list.cost)
        return object { MartletV1Codec(limits: caller.options.limits).fields(of: list.page, into: &$0) }
    }

    /// `GET online?users=ana,bob`: a comma in a name is written `%2C` once more than the query requires.
    private func online(_ request: Request) async throws -> Response {
        let grant = try await caller.reader(request)
        if let error = AccessDecision.refusalOfReadingAnything(by: grant) { throw error }
        guard let text = try fields(request)["users"], !text.isEmpty else {
            throw WireError(.missingField, "users is missing")
        }
        let names = text.split(separator: ",", omittingEmptySubsequences: false)
        guard names.count <= InboxRequest.mostNames else {
            throw WireError(.badField, "users names more than \(InboxRequest.mostNames) users")
        }
        let users = try names.map { (name) throws(WireError) in
            guard let decoded = PercentEncoding.decode(String(name)) else {
                throw WireError(.badName, "a user's name is not percent-encoded UTF-8")
            }
            do throws(NameError) { return try UserID(decoded) } catch { throw WireError(.badName, error.description) }
        }
        let online = try await service.online(users, by: grant)
        HTTPAccount.current?.charge(UInt64(users.count) * RequestCost.online)
        return object { MartletV1Codec.fields(of: online, into: &$0) }
    }

    /// `PUT online` with `{"user","shown"}`: whether others may see when the user was last here; without `shown` it
    /// only tells.
    private func showLastSeen(_ request: Request) async throws -> Response {
        let body = try await caller.object(in: request)
        let sender = try await caller.sender(request, claimed: try Self.string("user", body))
        let wanted = body["shown"].flatMap { $0 == .null ? nil : $0 }
        guard wanted == nil || wanted?.bool != nil else {
            throw WireError(.badField, "shown must be true or false")
        }
        let isShown = try await service.showLastSeen(wanted?.bool, of: sender.user, by: sender.grant)
        HTTPAccount.current?.charge(RequestCost.indexedUser)
        return object { $0.field("\"shown\":", isShown) }
    }

    // MARK: parts

    private func name(_ text: String) throws(WireError) -> RoomName {
        do throws(NameError) { return try RoomName(text) } catch { throw WireError(.badName, error.description) }
    }

    private static func string(_ name: String, _ body: [String: JSONValue]) throws(WireError) -> String? {
        guard let value = body[name], value != .null else { return nil }
        guard let text = value.string else { throw WireError(.badField, "\(name) must be a string") }
        return text
    }

    private func fields(_ request: Request) throws(WireError) -> [String: String] {
        guard let fields = PercentEncoding.query(request.uri.query ?? "") else {
            throw WireError(.badField, "the query is not percent-encoded UTF-8")
        }
        return fields
    }

    private func object(_ body: (inout ByteWriter) -> Void) -> Response {
        var bytes = ByteWriter()
        bytes.append(UInt8(ascii: "{"))
        body(&bytes)
        bytes.append(UInt8(ascii: "}"))
        return HTTPRoutes.json(bytes.array)
    }
}
