import ChatCore
import ChatJSON
import ChatWire
import HTTPTypes
import Hummingbird
import HummingbirdCore
import NIOCore

/// `/api/conversations` and `/api/rooms/{room}/participants`: who belongs to a room.
struct ConversationsAPI: Sendable {
    let service: any ChatService
    let caller: APICaller
    private let codec: MartletV1Codec

    init(service: any ChatService, caller: APICaller) {
        self.service = service
        self.caller = caller
        codec = MartletV1Codec(limits: caller.options.limits)
    }

    /// `POST` with `{"operation","room","user","users","role","level","by"}`: 200 with what became of it. `by`: who asks,
    /// in development mode and of servers.
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
        var identity: Identity?
        if let user = fields["user"] {
            identity = try await caller.sender(request, claimed: user)
        } else {
            identity = try await caller.identity(of: request)
        }
        let isServer = identity?.grant?.permissions.actsForOthers ?? false
        let user = isServer && fields["user"] == nil ? nil : identity?.user
        let answer = try await service.converse(.participants(name), by: user, grant: identity?.grant)
        if case .participants(_, let list?, _) = answer {
            HTTPAccount.current?.charge(RequestCost.roster(list.participants.count, read: true))
        }
        return response(answer)
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
