import ChatCore
import MartletClient
import NIOCore

/// One user's connection to the nodes, whatever protocol it speaks. It lives on its lane's loop. Each `done` is called
/// once, and never within the call that it is given to.
protocol ReplaySession: AnyObject {
    /// Where it is connected, for people.
    var place: String { get }
    /// Connects. Called once, after the first `join`.
    func start()
    func join(_ room: RoomName, _ done: @escaping (Result<Void, ClientError>) -> Void)
    func leave(_ room: RoomName, _ done: @escaping (Result<Void, ClientError>) -> Void)
    /// `done` gets the position at which the message is stored.
    func send(_ text: String, in room: RoomName, _ done: @escaping (Result<Position, ClientError>) -> Void)
    func close()
}

/// What a session is told beside the answers to its requests.
enum ReplayNews: Sendable {
    case connected
    /// The messages after this position follow.
    case joined(RoomName, Position)
    case message(RoomName, Message)
    case gap(RoomName, Gap)
    case reset
    /// `isFinal`: the session does not connect again.
    case disconnected(DisconnectReason, isFinal: Bool)
}

/// A user who speaks `martlet.v1`, with the client that reconnects and resumes.
final class MartletReplaySession: ReplaySession {
    private let session: ClientSession

    init(
        addresses: [ClientURL], identity: ClientIdentity, options: ClientOptions, loop: any EventLoop,
        hear: @escaping @Sendable (ReplayNews) -> Void
    ) {
        session = ClientSession(addresses: addresses, identity: identity, options: options, loop: loop) { event in
            switch event {
            case .connected: hear(.connected)
            case .joined(let joined): hear(.joined(joined.room, joined.position))
            case .message(let room, let message): hear(.message(room, message))
            case .gap(let room, let gap): hear(.gap(room, gap))
            case .reset: hear(.reset)
            case .disconnected(let reason, let retryIn): hear(.disconnected(reason, isFinal: retryIn == nil))
            case .left, .changed, .receipts, .participants, .head, .notice, .presence, .signal, .draining, .fault: break
            }
        }
    }

    var place: String { session.welcome.map { "connected to \($0.node)" } ?? "not connected" }

    func start() { session.start() }

    func join(_ room: RoomName, _ done: @escaping (Result<Void, ClientError>) -> Void) {
        session.join(room) { done($0.map { _ in }) }
    }

    func leave(_ room: RoomName, _ done: @escaping (Result<Void, ClientError>) -> Void) {
        session.leave(room) { done($0.map { _ in }) }
    }

    func send(_ text: String, in room: RoomName, _ done: @escaping (Result<Position, ClientError>) -> Void) {
        session.send(SendRequest(room: room, text: text)) { result in
            switch result {
            case .success(.sent(let sent)): done(.success(sent.position))
            case .success: done(.failure(.rejected("the answer to a send is another one's")))
            case .failure(let error): done(.failure(error))
            }
        }
    }

    func close() { session.close() }
}
