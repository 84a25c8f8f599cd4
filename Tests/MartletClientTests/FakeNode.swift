import ChatCore
import ChatJSON
import ChatWire
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOWebSocket

/// A small node: rooms in memory, one loop, NIO's WebSocket framing, and faults on demand. Several of them may share
/// their rooms, as nodes share Redis.
final class FakeNode: Sendable {
    let rooms: FakeRooms
    let port: Int
    private let channel: any Channel

    /// Listens on a free loopback port. All fake nodes of a test share a loop, so that their rooms need no lock.
    init(_ rooms: FakeRooms, status: HTTPResponseStatus = .switchingProtocols) async throws {
        self.rooms = rooms
        let upgrader = NIOWebSocketServerUpgrader(
            shouldUpgrade: { channel, _ in
                channel.eventLoop.makeSucceededFuture(status == .switchingProtocols ? HTTPHeaders() : nil)
            },
            upgradePipelineHandler: { channel, head in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(FakeSession(rooms: rooms, uri: head.uri))
                }
            })
        channel = try await ServerBootstrap(group: rooms.loop)
            .childChannelOption(.socketOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline(
                        withServerUpgrade: (
                            upgraders: [upgrader],
                            completionHandler: {
                                $0.pipeline.syncOperations.removeHandler(name: "refusal", promise: nil)
                            }
                        ))
                    try channel.pipeline.syncOperations.addHandler(FakeRefusal(status: status), name: "refusal")
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        port = channel.localAddress?.port ?? 0
    }

    var url: String { "ws://127.0.0.1:\(port)" }

    func close() async {
        try? await channel.close()
        await rooms.cutAll()
    }
}

/// The rooms of some fake nodes. Everything is used on `loop` only.
final class FakeRooms: @unchecked Sendable {
    let loop: any EventLoop = MultiThreadedEventLoopGroup.singleton.next()
    fileprivate var sessions: [ObjectIdentifier: FakeSession] = [:]
    fileprivate(set) var logs: [RoomName: [Message]] = [:]
    /// A fault that occurs once, with the message of this seq, in one of the sessions that get it.
    enum Fault: Equatable {
        case none
        case dropped(UInt64)
        case repeated(UInt64)
        /// Delivered after the next one.
        case swapped(UInt64)
        case changed(UInt64)
        /// Delivered and acknowledged, but not kept.
        case forgotten(UInt64)
        case storedTwice(UInt64)
        /// Only so many messages are kept.
        case trimmed(to: Int)
    }
    fileprivate var fault = Fault.none
    fileprivate var heldBack: [RoomName: (session: FakeSession, event: ServerEvent)] = [:]

    func commit(_ fault: Fault) async { _ = await onLoop { self.fault = fault } }

    /// The number of next sends that are stored, after which their sender is disconnected before the answer.
    private var swallow = 0
    private(set) var uris: [String] = []

    func onLoop<T: Sendable>(_ body: @escaping @Sendable () -> T) async -> T? { try? await loop.submit(body).get() }

    func swallowNext(_ count: Int) async { _ = await onLoop { self.swallow = count } }

    func log(_ room: RoomName) async -> [Message] { await onLoop { self.logs[room] ?? [] } ?? [] }

    func seenURIs() async -> [String] { await onLoop { self.uris } ?? [] }

    /// Closes all connections without a close frame.
    func cutAll() async { _ = await onLoop { for session in self.sessions.values { session.cut() } } }

    /// Sends an event to every session.
    func sayToAll(_ event: ServerEvent) async {
        _ = await onLoop { for session in self.sessions.values { session.tell(event) } }
    }

    /// Sends a message to all sessions in three fragments, with a ping between them.
    func sayInFragments(_ event: ServerEvent) async {
        _ = await onLoop { for session in self.sessions.values { session.tellInFragments(event) } }
    }

    fileprivate func opened(_ session: FakeSession, uri: String) {
        sessions[ObjectIdentifier(session)] = session
        uris.append(uri)
    }

    /// Stores and delivers. Returns false if the sender is to be disconnected instead of answered.
    fileprivate func append(_ send: SendRequest, _ user: UserID) -> (answer: Bool, position: Position, repeated: Bool) {
        let log = logs[send.room] ?? []
        if let known = log.first(where: { $0.content.key == send.key && $0.content.user == user }) {
            return (true, known.position, true)
        }
        let content = MessageContent(user: user, at: 1_000, text: send.text, data: send.data, key: send.key)
        let seq = (log.last?.position.seq ?? 0) + 1
        let message = Message(position: Position(epoch: 7, seq: seq), content: content)
        logs[send.room, default: []].append(message)
        var victim = true
        for session in sessions.values where session.joined.contains(send.room) {
            deliver(message, in: send.room, showKey: session.user == user, victim, to: session)
            victim = false
        }
        spoil(send.room, seq)
        let answer = swallow == 0
        swallow = max(0, swallow - 1)
        return (answer, message.position, false)
    }
}

extension FakeRooms {
    private func deliver(_ message: Message, in room: RoomName, showKey: Bool, _ victim: Bool, to session: FakeSession)
    {
        let event = ServerEvent.message(room: room, message, showKey: showKey)
        let seq = message.position.seq
        guard victim else { return session.tell(event) }
        switch fault {
        case .dropped(seq): return
        case .swapped(seq):
            heldBack[room] = (session, event)
            return
        case .repeated(seq): session.tell(event)
        case .changed(seq):
            var changed = message
            changed.content.text = "something else"
            return session.tell(.message(room: room, changed, showKey: showKey))
        case .none, .dropped, .repeated, .swapped, .changed, .forgotten, .storedTwice, .trimmed: break
        }
        session.tell(event)
        if let held = heldBack.removeValue(forKey: room) { held.session.tell(held.event) }
    }

    private func spoil(_ room: RoomName, _ seq: UInt64) {
        switch fault {
        case .forgotten(seq): logs[room]?.removeAll { $0.position.seq == seq }
        case .storedTwice(seq):
            guard var copy = logs[room]?.last else { return }
            copy.position.seq += 1
            logs[room]?.append(copy)
            for session in sessions.values where session.joined.contains(room) {
                session.tell(.message(room: room, copy, showKey: false))
            }
        case .trimmed(let count): logs[room] = logs[room]?.suffix(count)
        case .none, .dropped, .repeated, .swapped, .changed, .forgotten, .storedTwice: break
        }
    }

    fileprivate func page(_ room: RoomName, _ query: HistoryQuery) -> HistoryPage {
        let log = logs[room] ?? []
        var part = log
        if case .before(let position) = query.anchor { part = log.filter { $0.position < position } }
        let messages = Array(part.suffix(query.limit))
        return HistoryPage(
            messages: messages, newest: log.last?.position, hasOlder: messages.count < part.count,
            hasNewer: part.count < log.count)
    }
}

/// One session of a fake node.
private final class FakeSession: ChannelInboundHandler {
    typealias InboundIn = NIOWebSocket.WebSocketFrame
    typealias OutboundOut = NIOWebSocket.WebSocketFrame

    private let rooms: FakeRooms
    private let uri: String
    let user: UserID
    var joined: Set<RoomName> = []
    private var channel: (any Channel)?
    private let codec = MartletV1Codec(limits: Limits())

    init(rooms: FakeRooms, uri: String) throws {
        self.rooms = rooms
        self.uri = uri
        let query = uri.split(separator: "?").last.flatMap { PercentEncoding.query(String($0)) } ?? [:]
        user = try UserID(query["user"] ?? "nobody")
    }

    func handlerAdded(context: ChannelHandlerContext) {
        channel = context.channel
        rooms.opened(self, uri: uri)
        guard let device = try? DeviceName("d") else { return }
        var limits = Limits()
        limits.requestsPerSecond = 100_000
        limits.requestBurst = 100_000
        let welcome = Welcome(session: "s", user: user, device: device, node: "fake", heartbeat: 30, limits: limits)
        tell(.welcome(welcome))
        if let room = uri.split(separator: "?").last.flatMap({ PercentEncoding.query(String($0)) })?["room"],
            let name = try? RoomName(room)
        {
            join(name, nil, nil)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        rooms.sessions[ObjectIdentifier(self)] = nil
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { cut() }

    func cut() {
        rooms.sessions[ObjectIdentifier(self)] = nil
        channel?.close(promise: nil)
    }

    func tell(_ event: ServerEvent) { write(encoded(event), .text, fin: true) }

    func tellInFragments(_ event: ServerEvent) {
        let bytes = encoded(event)
        let third = bytes.count / 3
        write(Array(bytes[..<third]), .text, fin: false)
        write([], .ping, fin: true)
        write(Array(bytes[third..<(2 * third)]), .continuation, fin: false)
        write(Array(bytes[(2 * third)...]), .continuation, fin: true)
    }

    private func encoded(_ event: ServerEvent) -> [UInt8] {
        var bytes = ByteWriter()
        codec.encode(event, into: &bytes)
        return bytes.array
    }

    private func write(_ bytes: [UInt8], _ opcode: NIOWebSocket.WebSocketOpcode, fin: Bool) {
        channel?.writeAndFlush(
            NIOWebSocket.WebSocketFrame(fin: fin, opcode: opcode, data: ByteBuffer(bytes: bytes)), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let frame = unwrapInboundIn(data)
        switch frame.opcode {
        case .text:
            switch codec.decode(Array(frame.unmaskedData.readableBytesView)) {
            case .success(let request): perform(request)
            case .failure(let failure): tell(.error(ref: failure.ref, failure.error))
            }
        case .connectionClose: cut()
        default: break
        }
    }

    private func perform(_ request: ClientRequest) {
        switch request.body {
        case .join(let room, let after, _): join(room, after, request.ref)
        case .leave(let room):
            joined.remove(room)
            tell(.left(ref: request.ref, room: room))
        case .send(let send):
            let (answer, position, repeated) = rooms.append(send, user)
            guard answer else { return cut() }
            tell(.sent(ref: request.ref, room: send.room, position: position, at: 1_000, repeated: repeated))
        case .history(let room, let query):
            tell(.history(ref: request.ref, room: room, rooms.page(room, query)))
        case .roster(let room, _):
            tell(.roster(ref: request.ref, room: room, RosterPage(members: [], count: 0, cursor: nil)))
        case .ping: tell(.pong(ref: request.ref))
        case .token: tell(.renewed(ref: request.ref, expiresIn: nil))
        case .conversation, .inbox: break
        case .moderate(let room, _):
            tell(.moderated(ref: request.ref, room: room, ModerationReply(version: 1, isChanged: true)))
        case .amend(let amend):
            tell(.amended(ref: request.ref, room: amend.room, AmendReply(Position(epoch: 7, seq: 1), .stored)))
        case .signal(let room, let name, let data):
            for session in rooms.sessions.values where session !== self && session.joined.contains(room) {
                session.tell(.signal(room: room, user: user, name: name, data: data))
            }
        }
    }

    private func join(_ room: RoomName, _ after: Position?, _ ref: Ref?) {
        joined.insert(room)
        let log = rooms.logs[room] ?? []
        let position = log.last?.position ?? Position(epoch: 7, seq: 0)
        let missed = after.map { after in log.filter { $0.position.seq > after.seq } } ?? []
        tell(
            .joined(
                Joined(
                    ref: ref, room: room, position: position, messages: missed, members: nil, count: 1,
                    resumption: after == nil ? .fresh : .complete)))
    }
}

/// Refuses the upgrade with a status.
private final class FakeRefusal: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart
    private let status: HTTPResponseStatus

    init(status: HTTPResponseStatus) {
        self.status = status
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard case .end = unwrapInboundIn(data) else { return }
        let head = HTTPResponseHead(version: .http1_1, status: status, headers: ["Content-Length": "0"])
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
    }
}
