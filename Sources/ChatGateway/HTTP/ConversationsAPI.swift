import ChatCore
import ChatJSON
import ChatWire
import HTTPTypes
import Hummingbird
import HummingbirdCore
import NIOCore

/// `/api/conversations`, `/api/rooms/{room}/participants` and `/api/stars`: who belongs to a room, and what a user
/// keeps.
struct ConversationsAPI: Sendable {
    let service: any ChatService
    let caller: APICaller
    private let codec: MartletV1Codec

    init(service: any ChatService, caller: APICaller) {
        self.service = service
        self.caller = caller
        codec = MartletV1Codec(limits: caller.options.limits)
    }

    /// `POST` with `{"operation","room","user","users","role","level","by"}`: 200 with what became of it. `by`: who
    /// asks, in development mode and of servers.
    func converse(_ request: Request) async throws -> Response {
        let body = try await caller.object(in: request)
        let named = try Self.text("by", in: body)
        let identity = try await caller.sender(request, claimed: named)
        let order = try ConversationWords(body: body).order()
        // A server that names nobody does not become a participant.
        let isServer = identity.grant?.permissions.actsForOthers ?? false
        let user = isServer && named == nil ? nil : identity.user
        let answer = try await service.converse(order, by: user, grant: identity.grant)
        HTTPAccount.current?.charge(RequestCost.cost(of: order))
        return response(answer)
    }

    /// `GET participants`. `?user=`: who asks, in development mode and of servers.
    func participants(_ request: Request, room: String?) async throws -> Response {
        guard let room, let decoded = PercentEncoding.decode(room) else {
            throw WireError(.badName, "the room's name is not percent-encoded UTF-8")
        }
        let name: RoomName
        do throws(NameError) {
            name = try RoomName(decoded)
        } catch {
            throw WireError(.badName, error.description)
        }
        guard let fields = PercentEncoding.query(request.uri.query ?? "", only: ["user"]) else {
            throw WireError(.badField, "the query is not percent-encoded UTF-8")
        }
        let (user, grant) = try await reader(request, claimed: fields["user"])
        let answer = try await service.converse(.participants(name), by: user, grant: grant)
        HTTPAccount.current?.charge(RequestCost.cost(of: answer))
        return response(answer)
    }

    /// `GET stars?limit=&cursor=`. `user=`: whose, in development mode and of servers.
    func stars(_ request: Request) async throws -> Response {
        let names = ["user", "limit", "cursor"]
        guard let fields = PercentEncoding.query(request.uri.query ?? "", only: names) else {
            throw WireError(.badField, "the query is not percent-encoded UTF-8")
        }
        let (user, grant) = try await owner(request, claimed: fields["user"])
        var limit = MartletV1Codec.mostStars
        if let text = fields["limit"] {
            guard let number = Int(text), (1...limit).contains(number) else {
                throw WireError(.badField, "limit must be a whole number from 1 to \(limit)")
            }
            limit = number
        }
        let order = ConversationOrder.stars(limit: limit, before: try MartletV1Codec.before(fields["cursor"]))
        let answer = try await service.converse(order, by: user, grant: grant)
        HTTPAccount.current?.charge(RequestCost.cost(of: answer))
        return response(answer)
    }

    /// `POST stars` with `{"room","position","starred","user"}`; `starred` is true if it is missing.
    func star(_ request: Request) async throws -> Response {
        let body = try await caller.object(in: request)
        let (user, grant) = try await owner(request, claimed: try Self.text("user", in: body))
        guard let text = try Self.text("room", in: body) else { throw WireError(.missingField, "room is missing") }
        guard let place = try Self.text("position", in: body) else {
            throw WireError(.missingField, "position is missing")
        }
        guard let position = Position(place), position.isWithinBounds else {
            throw WireError(.badField, "position must be two decimal numbers, <epoch>-<seq>")
        }
        let room: RoomName
        do throws(NameError) {
            room = try RoomName(text)
        } catch {
            throw WireError(.badName, error.description)
        }
        var isStarred = true
        if let value = body["starred"], value != .null {
            guard let flag = value.bool else { throw WireError(.badField, "starred must be true or false") }
            isStarred = flag
        }
        let order = isStarred ? ConversationOrder.star(room, position) : .unstar(room, position)
        let answer = try await service.converse(order, by: user, grant: grant)
        HTTPAccount.current?.charge(RequestCost.cost(of: order) + RequestCost.cost(of: answer))
        return response(answer)
    }

    /// Who reads, and what the reader may do. A server that names nobody reads for itself.
    private func reader(_ request: Request, claimed: String?) async throws -> (user: UserID?, grant: Grant?) {
        var identity: Identity?
        if let claimed {
            identity = try await caller.sender(request, claimed: claimed)
        } else {
            identity = try await caller.identity(of: request)
        }
        let isServer = identity?.grant?.permissions.actsForOthers ?? false
        return (isServer && claimed == nil ? nil : identity?.user, identity?.grant)
    }

    /// Whose stars it is about. A token that allows nothing in any room allows no stars either.
    private func owner(_ request: Request, claimed: String?) async throws -> (user: UserID, grant: Grant?) {
        let identity = try await caller.sender(request, claimed: claimed)
        if let grant = identity.grant, grant.permissions.rules.isEmpty {
            throw WireError(.forbidden, "the token gives no right in any room")
        }
        return (identity.user, identity.grant)
    }

    private func response(_ answer: ConversationAnswer) -> Response {
        var bytes = ByteWriter()
        bytes.append(UInt8(ascii: "{"))
        if let room = answer.room {
            bytes.appendText("\"room\":")
            bytes.appendJSON(room.text)
            bytes.append(UInt8(ascii: ","))
        }
        codec.fields(of: answer, into: &bytes)
        bytes.append(UInt8(ascii: "}"))
        return HTTPRoutes.json(bytes.array)
    }

    fileprivate static func text(_ name: String, in body: [String: JSONValue]) throws(WireError) -> String? {
        guard let value = body[name], value != .null else { return nil }
        guard case .string(let text) = value else { throw WireError(.badField, "\(name) must be a string") }
        return text
    }
}

extension ConversationWords {
    /// The fields of a JSON object. Throws `missingField` or `badField`.
    init(body: [String: JSONValue]) throws(WireError) {
        guard let operation = try ConversationsAPI.text("operation", in: body) else {
            throw WireError(.missingField, "operation is missing")
        }
        self.init(operation)
        room = try ConversationsAPI.text("room", in: body)
        user = try ConversationsAPI.text("user", in: body)
        kind = try ConversationsAPI.text("kind", in: body)
        role = try ConversationsAPI.text("role", in: body)
        level = try ConversationsAPI.text("level", in: body)
        if let value = body["users"], value != .null {
            guard case .array(let elements) = value else {
                throw WireError(.badField, "users must be a list of strings")
            }
            var names: [String] = []
            for element in elements {
                guard case .string(let name) = element else {
                    throw WireError(.badField, "users must be a list of strings")
                }
                names.append(name)
            }
            users = names
        }
    }
}
