import ChatCore
import ChatJSON
import ChatWire
import Hummingbird
import HummingbirdCore
import NIOCore

/// `/api/revocations`: ends the rights of tokens before they expire, for servers with the scope `admin`.
/// `/api/tickets`: a secret that opens one WebSocket, for whoever has a token (``AccessAPI/ticket(_:)``).
struct AccessAPI: Sendable {
    let service: any ChatService
    let caller: APICaller

    /// `POST` with `{"user"}`, `{"token"}` (its `jti`) or `{"everybody":true}`, and optionally `issuedBefore` and
    /// `until` in seconds since 1970. 200 with the command's position: nodes close the sessions within a second.
    func revoke(_ request: Request) async throws -> Response {
        let identity = try await caller.identity(of: request)
        if let error = AccessDecision.refusalOfAdministration(by: identity?.grant) { throw error }
        let body = try await caller.object(in: request)
        let subject = try subject(body)
        let position = try await service.command(
            .revoke(subject, issuedBefore: try Self.time("issuedBefore", body), until: try Self.time("until", body)),
            by: identity?.user.text ?? "")
        var bytes = ByteWriter()
        bytes.appendText("{\"revoked\":true,\"position\":")
        bytes.appendJSON("\(position)")
        bytes.append(UInt8(ascii: "}"))
        return HTTPRoutes.json(bytes.array)
    }

    private func subject(_ body: [String: JSONValue]) throws(WireError) -> Revocations.Subject {
        let given = ["user", "token", "everybody"].filter { body[$0] != nil }
        guard given.count == 1 else {
            throw WireError(.missingField, "exactly one of user, token and everybody is needed")
        }
        if case .string(let user)? = body["user"] {
            do throws(NameError) {
                return .user(try UserID(user))
            } catch {
                throw WireError(.badName, error.description)
            }
        }
        if case .string(let id)? = body["token"], (1...128).contains(id.utf8.count) { return .token(id: id) }
        if case .bool(true)? = body["everybody"] { return .everybody }
        throw WireError(.badField, "\(given[0]) must be \(given[0] == "everybody" ? "true" : "1 to 128 bytes of text")")
    }

    /// A time in seconds since 1970, as milliseconds.
    static func time(_ name: String, _ body: [String: JSONValue]) throws(WireError) -> UInt64? {
        guard let value = body[name], value != .null else { return nil }
        guard case .number = value, let seconds = value.double, (0...253_402_300_799).contains(seconds) else {
            throw WireError(.badField, "\(name) must be a number of seconds since 1970")
        }
        return UInt64(seconds * 1_000)
    }
}
