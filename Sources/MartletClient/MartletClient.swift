@_exported public import ChatCore
public import NIOCore
import NIOPosix

/// A session with Martlet nodes. It connects, reconnects after every loss to whatever node answers, resumes its rooms
/// where it was, shows each message once and in the room's order, and repeats unanswered sends under the same key.
///
///     let client = try MartletClient("ws://127.0.0.1:8080/ws", user: "ana")
///     try await client.connect()
///     let lobby = try RoomName("lobby")
///     try await client.join(lobby, history: 20)
///     let sent = try await client.send("hello", to: lobby)
///     for await event in client.events {
///         if case .message(_, let message) = event { … }
///     }
///
/// Safe to use from any task. All clients share one group of event loops; none has a thread of its own. End a client
/// with ``close()``, or release it: the connection ends with the last reference.
public final class MartletClient: Sendable {
    private let session: ClientSession
    private let buffer: EventBuffer
    private let firstWelcome: EventLoopPromise<Welcome>

    /// `urls`: the addresses of nodes or proxies. The client begins with any of them, and goes to the next one when one
    /// fails. Throws ``ClientError/badArgument(_:)``.
    public init(
        urls: [String], identity: ClientIdentity, options: ClientOptions = ClientOptions(),
        group: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton
    ) throws(ClientError) {
        guard !urls.isEmpty else { throw .badArgument("no address to connect to") }
        var addresses: [ClientURL] = []
        for url in urls { addresses.append(try ClientURL(url)) }
        let loop = group.next()
        let promise = loop.makePromise(of: Welcome.self)
        firstWelcome = promise
        let holder = SessionHolder()
        let buffer = EventBuffer(limit: options.eventBuffer) { reads in
            loop.execute { holder.session?.setReading(reads) }
        }
        self.buffer = buffer
        session = ClientSession(addresses: addresses, identity: identity, options: options, loop: loop) { event in
            switch event {
            case .connected(let welcome): promise.succeed(welcome)
            case .disconnected(let reason, retryIn: nil):
                promise.fail(reason == .closed ? ClientError.closed : .rejected("\(reason)"))
                buffer.push(event)
                buffer.finish()
                return
            case .disconnected, .joined, .left, .message, .changed, .receipts, .participants, .head, .notice, .gap,
                .reset, .presence, .signal, .draining, .fault:
                break
            }
            buffer.push(event)
        }
        let session = session
        loop.execute { holder.session = session }
    }

    /// A client with one address and the name of a user, which a node accepts without proof in development mode. Throws
    /// ``ClientError/badArgument(_:)``.
    public convenience init(_ url: String, user: String, device: String? = nil) throws(ClientError) {
        try self.init(urls: [url], identity: ClientIdentity(user: user, device: device))
    }

    deinit {
        let session = session
        let promise = firstWelcome
        session.loop.execute {
            session.close()
            promise.fail(ClientError.closed)
        }
        buffer.finish()
    }

    /// Connects, and returns when a node has sent `welcome`. It keeps trying until one does; only
    /// ``ClientError/rejected(_:)`` and ``ClientError/closed`` end the attempts. Requests may be made before it
    /// returns. Call it once.
    @discardableResult
    public func connect() async throws(ClientError) -> Welcome {
        session.loop.execute { [session] in session.start() }
        do {
            return try await firstWelcome.futureResult.get()
        } catch {
            throw error as? ClientError ?? .rejected("\(error)")
        }
    }

    /// Joins a room, and joins it again after every reconnect. `after`: the position of the last message that the
    /// caller has, to be shown all later ones; otherwise `history`: how many recent messages to show. The messages come
    /// as events.
    @discardableResult
    public func join(
        _ room: RoomName, after: Position? = nil, history: Int? = nil
    ) async throws(ClientError) -> JoinedRoom {
        let reply = try await ask { $0.join(room, after: after, history: history, $1) }
        guard case .joined(let joined) = reply else { throw .rejected("the answer to a join was \(reply)") }
        return joined
    }

    /// Leaves a room after the sends made so far are answered.
    public func leave(_ room: RoomName) async throws(ClientError) {
        _ = try await ask { $0.leave(room, $1) }
    }

    /// Sends a message to a room, and returns when it is stored. `data`: any JSON text. `key`: the caller's own key, if
    /// the send may have to be repeated later by another process; otherwise the client makes one. `thread`: the message
    /// to which it is a reply. `mentions`: the users, at most ``MessageExtra/mostMentions``, whom it mentions.
    ///
    /// The send is repeated under the same key, over as many connections as it takes within
    /// ``ClientOptions/sendTimeout``. After ``ClientError/timedOut`` it is not known whether the message was stored.
    @discardableResult
    public func send(
        _ text: String?, data: String? = nil, to room: RoomName, key: String? = nil, thread: Position? = nil,
        mentions: [UserID] = []
    ) async throws(ClientError) -> Sent {
        let extra = MessageExtra(thread: thread, mentions: mentions)
        return try await send(
            SendRequest(room: room, text: text, data: data, key: key, extra: extra.isEmpty ? nil : extra))
    }

    /// The same with all fields: `again` and `since` for a send that an earlier process began.
    @discardableResult
    public func send(_ request: SendRequest) async throws(ClientError) -> Sent {
        let reply = try await ask { $0.send(request, $1) }
        guard case .sent(let sent) = reply else { throw .rejected("the answer to a send was \(reply)") }
        return sent
    }

    // MARK: Without waiting

    /// Like ``join(_:after:history:)``; `completion` is called later, on an event loop. Requests made one after another
    /// by these methods reach the node in that order, which separate tasks would not guarantee.
    public func enqueueJoin(
        _ room: RoomName, after: Position? = nil, history: Int? = nil,
        _ completion: @escaping @Sendable (Result<JoinedRoom, ClientError>) -> Void
    ) {
        session.loop.execute { [session] in
            session.join(room, after: after, history: history) { result in
                completion(
                    result.flatMap { reply in
                        guard case .joined(let joined) = reply else {
                            return .failure(.rejected("the answer to a join was \(reply)"))
                        }
                        return .success(joined)
                    })
            }
        }
    }

    /// Like ``send(_:)``; `completion` is called later, on an event loop. Messages of one room are stored in the order
    /// of these calls, unless the node refuses one for a while and ``ClientOptions/sendWindow`` is above 1.
    public func enqueueSend(
        _ request: SendRequest, _ completion: @escaping @Sendable (Result<Sent, ClientError>) -> Void
    ) {
        session.loop.execute { [session] in
            session.send(request) { result in
                completion(
                    result.flatMap { reply in
                        guard case .sent(let sent) = reply else {
                            return .failure(.rejected("the answer to a send was \(reply)"))
                        }
                        return .success(sent)
                    })
            }
        }
    }

    // MARK: Look-ups

    /// Reads a page of a room's log.
    public func history(_ room: RoomName, _ query: HistoryQuery) async throws(ClientError) -> HistoryPage {
        let reply = try await ask { $0.history(room, query, $1) }
        guard case .history(let page) = reply else { throw .rejected("the answer to a history request was \(reply)") }
        return page
    }

    /// Reads a page of a room's members.
    public func roster(_ room: RoomName, cursor: String? = nil) async throws(ClientError) -> RosterPage {
        let reply = try await ask { $0.roster(room, cursor: cursor, $1) }
        guard case .roster(let page) = reply else { throw .rejected("the answer to a roster request was \(reply)") }
        return page
    }

    /// Sends a signal to the other members of the room, which is not stored (typing). It is lost if there is no
    /// connection now.
    public func signal(_ room: RoomName, _ name: String, data: String? = nil) {
        session.loop.execute { [session] in session.signal(room, name, data: data) }
    }

    /// The events of the client, in order. There is one reader; the sequence ends when the client is closed. A reader
    /// that is behind slows the connection down (``ClientOptions/eventBuffer``), and loses nothing.
    public var events: ClientEvents { ClientEvents(buffer: buffer) }

    /// Closes the session. Waiting requests fail as ``ClientError/closed``.
    public func close() async {
        let promise = firstWelcome
        try? await session.loop.submit { [session] in
            session.close()
            promise.fail(ClientError.closed)
        }.get()
        buffer.finish()
    }

    /// Calls the session on its loop.
    func onSession(_ body: @escaping @Sendable (ClientSession) -> Void) {
        session.loop.execute { [session] in body(session) }
    }

    func ask(
        _ body: @escaping @Sendable (ClientSession, @escaping ClientSession.Completion) -> Void
    ) async throws(ClientError) -> ClientStateMachine.Reply {
        let result = await withCheckedContinuation { continuation in
            session.loop.execute { [session] in
                body(session) { continuation.resume(returning: $0) }
            }
        }
        return try result.get()
    }
}

/// The events of a ``MartletClient``.
public struct ClientEvents: AsyncSequence, Sendable {
    public typealias Element = ClientEvent
    let buffer: EventBuffer

    public struct AsyncIterator: AsyncIteratorProtocol {
        let buffer: EventBuffer

        public mutating func next() async -> ClientEvent? { await buffer.next() }
    }

    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(buffer: buffer) }
}

/// Breaks the reference cycle between a session and the buffer that slows it down.
private final class SessionHolder: @unchecked Sendable {
    // Proof for @unchecked: used on the session's loop only.
    weak var session: ClientSession?
}
