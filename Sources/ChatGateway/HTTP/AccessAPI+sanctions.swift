import ChatCore
import ChatJSON
import ChatWire
import Hummingbird
import HummingbirdCore
import NIOCore

/// `/api/users/{user}/sanctions`: what is imposed on a user in all rooms, for servers with the scope `admin`.
extension AccessAPI {
    /// `POST` with `{"operation","time","reason"}`: 200 with the command's position. Every node applies it within a
    /// second.
    func sanction(_ request: Request, user: String?) async throws -> Response {
        let identity = try await administrator(request)
        let user = try name(user)
        let order = try ModerationOrder(body: try await caller.object(in: request), user: user.text)
        let command: NodeCommand
        switch try order.moderation() {
        case .impose(let kind, user, let time, let reason):
            command = .impose(kind, on: user, for: time, reason: reason)
        case .lift(let kind, user): command = .lift(kind, from: user)
        case .impose, .lift: throw WireError(.badField, "user is another one than in the path")
        case .kick, .slowMode, .uniqueFor, .posting, .freeze, .members:
            throw WireError(.badField, "operation is none of ban, mute, unban, unmute; the others are for one room")
        }
        let position = try await service.command(command, by: identity?.user.text ?? "")
        return object(user) { $0.field(",\"position\":", position) }
    }

    /// `GET`: the sanctions in force, as far as this node has read the commands.
    func sanctions(_ request: Request, user: String?) async throws -> Response {
        _ = try await administrator(request)
        let user = try name(user)
        let sanctions = service.sanctions(of: user)
        let all = Sanction.Kind.allCases.compactMap { kind in sanctions[kind].map { (kind, user, $0) } }
        return object(user) { bytes in
            bytes.append(UInt8(ascii: ","))
            MartletV1Codec(limits: caller.options.limits).fields(of: all, into: &bytes)
        }
    }

    /// `POST erasure`: erases what the user has said in some of the user's rooms and takes the user out of them, with
    /// the read positions; at the end it deletes the user's index, blocks and stars. To be repeated until `done` is
    /// true.
    func erase(_ request: Request, user: String?) async throws -> Response {
        _ = try await administrator(request)
        _ = try await caller.object(in: request, mayBeEmpty: true)
        let user = try name(user)
        let progress = try await service.erase(user)
        HTTPAccount.current?.charge(
            UInt64(progress.rooms) * RequestCost.moderation + UInt64(progress.messages) * RequestCost.erasure)
        return object(user) { bytes in
            bytes.field(",\"rooms\":", progress.rooms)
            bytes.field(",\"messages\":", progress.messages)
            bytes.field(",\"left\":", progress.left)
            bytes.appendText(progress.isDone ? ",\"done\":true" : ",\"done\":false")
        }
    }

    private func administrator(_ request: Request) async throws -> Identity? {
        let identity = try await caller.identity(of: request)
        if let error = AccessDecision.refusalOfAdministration(by: identity?.grant) { throw error }
        return identity
    }

    private func name(_ text: String?) throws(WireError) -> UserID {
        guard let text, let decoded = PercentEncoding.decode(text) else {
            throw WireError(.badName, "the user's name is not percent-encoded UTF-8")
        }
        do throws(NameError) {
            return try UserID(decoded)
        } catch {
            throw WireError(.badName, error.description)
        }
    }

    private func object(_ user: UserID, _ body: (inout ByteWriter) -> Void) -> Response {
        var bytes = ByteWriter()
        bytes.appendText("{\"user\":")
        bytes.appendJSON(user.text)
        body(&bytes)
        bytes.append(UInt8(ascii: "}"))
        return HTTPRoutes.json(bytes.array)
    }
}
