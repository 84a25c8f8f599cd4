import ChatCore
import HTTPTypes
import Hummingbird
import HummingbirdCore
import NIOCore

/// Deliveries of other services (`POST /hooks/{name}`), as the node understands them.
public protocol IncomingHooks: Sendable {
    /// What becomes of a delivery. `field`: the value of a header field, by its name in lower case. `now`: in
    /// milliseconds since 1970. It verifies the sender first; everything else is read only after that.
    func take(_ name: String, field: (String) -> String?, body: [UInt8], now: UInt64) -> IncomingHookOutcome
}

public enum IncomingHookOutcome: Sendable, Equatable {
    /// There is no such hook, or the delivery is not signed as it has to be. The caller is not told which.
    case refused
    /// The sender is the right one, but what it sent cannot be read.
    case unreadable(String)
    /// There is nothing to say about it.
    case ignored
    /// The sender wants to see this text, to know that somebody listens.
    case challenge(String)
    /// A message for a room. Its key makes sure that the same delivery is stored once, on whatever node it arrives.
    case message(RoomName, MessageContent)
}

/// `/hooks/{name}`.
struct HooksAPI: Sendable {
    let service: any ChatService
    let caller: APICaller

    var route: HTTPRoutes.Route {
        HTTPRoutes.Route(
            "/hooks/:name",
            [.post: { request, context in try await take(request, name: context.parameters.get("name")) }])
    }

    /// `POST`: 201 with the position, 200 if the delivery was known or asks for a challenge, 204 if nothing is said.
    private func take(_ request: Request, name: String?) async throws -> Response {
        let body = try await caller.body(of: request)
        let outcome =
            caller.options.incomingHooks?.take(
                name ?? "",
                field: { name in HTTPField.Name(name).flatMap { request.headers[$0] } },
                body: Array(body.readableBytesView), now: WallClock.milliseconds) ?? .refused
        switch outcome {
        case .refused:
            HTTPAccount.current?.charge(RequestCost.verification)
            throw WireError(.unauthenticated, "no hook of this name accepts the delivery")
        case .unreadable(let problem): throw WireError(.badFrame, problem)
        case .ignored: return Response(status: .noContent)
        case .challenge(let text): return HTTPRoutes.text(text)
        case .message(let room, let content):
            let said = try await service.say(room: room, content: content, by: nil)
            HTTPAccount.current?.charge(said.cost)
            return HTTPRoutes.json(
                Array("{\"position\":\"\(said.position)\",\"repeated\":\(said.repeated)}".utf8),
                status: said.repeated ? .ok : .created)
        }
    }
}
