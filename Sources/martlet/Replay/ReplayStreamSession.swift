import ChatCore
import ChatJSON
import ChatWire
import MartletClient
import NIOCore
import NIOHTTP1
import NIOPosix

/// A user with an event stream for each room, who sends by POST.
final class ReplayStreamSession: ReplaySession {
    private let loop: any EventLoop
    private let address: ClientURL
    private let user: UserID
    private let hear: @Sendable (ReplayNews) -> Void
    private let http: ReplayHTTP
    private var streams: [RoomName: ReplayStream] = [:]
    private var serial = 0
    private var isClosed = false
    /// Begins the keys of its sends. A user may have several sessions, one after the other.
    private let keys: String

    init(
        to address: ClientURL, user: UserID, keys: String, loop: any EventLoop,
        hear: @escaping @Sendable (ReplayNews) -> Void
    ) {
        self.keys = keys
        self.address = address
        self.user = user
        self.loop = loop
        self.hear = hear
        http = ReplayHTTP(to: address, loop: loop)
    }

    var place: String { "\(streams.count) streams of \(address.authority)" }

    func start() {}

    func join(_ room: RoomName, _ done: @escaping (Result<Void, ClientError>) -> Void) {
        let name = percentEncoded(room.text)
        let target = "/api/events?room=\(name)&user=\(percentEncoded(user.text))&device=replay&history=0"
        streams[room] = ReplayStream(to: address, target: target, loop: loop) { [weak self] event in
            self?.received(event, room, done)
        }
    }

    func leave(_ room: RoomName, _ done: @escaping (Result<Void, ClientError>) -> Void) {
        streams.removeValue(forKey: room)?.close()
        loop.assumeIsolated().execute { done(.success(())) }
    }

    func send(_ text: String, in room: RoomName, _ done: @escaping (Result<Position, ClientError>) -> Void) {
        serial += 1
        var body = ByteWriter()
        body.appendText("{\"user\":")
        body.appendJSON(user.text)
        body.appendText(",\"text\":")
        body.appendJSON(text)
        body.appendText(",\"key\":")
        body.appendJSON("\(keys)-\(serial)")
        body.appendText("}")
        let json = body.withBytes { String(decoding: $0, as: UTF8.self) }
        post(json, to: "/api/rooms/\(percentEncoded(room.text))/messages", tries: 0, done)
    }

    private func post(
        _ json: String, to target: String, tries: Int, _ done: @escaping (Result<Position, ClientError>) -> Void
    ) {
        http.post(target, json) { [weak self] answer in
            guard let self else { return }
            switch answer {
            case .success(let value):
                let position = value["position"]?.string.flatMap { Position($0) }
                done(position.map { .success($0) } ?? .failure(.rejected("a POST was answered without a position")))
            case .failure(.refused(let fault)) where fault.retry && tries < 240 && !isClosed:
                loop.assumeIsolated().scheduleTask(in: .milliseconds(250)) { [self] in
                    post(json, to: target, tries: tries + 1, done)
                }
            case .failure(let error): done(.failure(error))
            }
        }
    }

    func close() {
        isClosed = true
        for stream in streams.values { stream.close() }
        streams = [:]
        http.close()
    }

    private func received(
        _ event: ReplayStream.Event, _ room: RoomName, _ done: (Result<Void, ClientError>) -> Void
    ) {
        switch event {
        case .frame(.event(.welcome)): hear(.connected)
        case .frame(.event(.joined(let joined))):
            hear(.joined(room, joined.position))
            done(.success(()))
        case .frame(.event(.message(_, let message, _))): hear(.message(room, message))
        case .frame(.event(.gap(_, let gap))): hear(.gap(room, gap))
        case .frame(.event(.reset)): hear(.reset)
        case .frame: break
        case .ended(let problem, let wasJoined):
            streams[room] = nil
            hear(.disconnected(.unreadable(problem), isFinal: true))
            if !wasJoined { done(.failure(.rejected(problem))) }
        }
    }
}

/// One event stream (the HTML standard, "Server-sent events"), whose data are frames of `martlet.v1`. It lives on one
/// loop.
final class ReplayStream {
    enum Event {
        case frame(ServerFrame)
        /// The last event: the stream ended, or there was none.
        case ended(String, wasJoined: Bool)
    }

    private var channel: (any Channel)?
    private var hear: ((Event) -> Void)?
    private var isJoined = false
    private var rest: [UInt8] = []

    init(to address: ClientURL, target: String, loop: any EventLoop, hear: @escaping (Event) -> Void) {
        self.hear = hear
        var head = HTTPRequestHead(version: .http1_1, method: .GET, uri: target)
        head.headers.add(name: "Host", value: address.authority)
        let request = head
        let bound = NIOLoopBound(self, eventLoop: loop)
        ClientBootstrap(group: loop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHTTPClientHandlers()
                    try channel.pipeline.syncOperations.addHandler(ReplayStreamHandler(bound.value))
                }
            }
            .connect(host: address.host, port: address.port).hop(to: loop).assumeIsolated().whenComplete { result in
                switch result {
                case .success(let channel):
                    guard self.hear != nil else { return channel.close(promise: nil) }
                    self.channel = channel
                    channel.write(HTTPClientRequestPart.head(request), promise: nil)
                    channel.writeAndFlush(HTTPClientRequestPart.end(nil), promise: nil)
                case .failure(let error): self.ended("no connection: \(error)")
                }
            }
    }

    func close() {
        hear = nil
        channel?.close(promise: nil)
        channel = nil
    }

    fileprivate func received(_ part: HTTPClientResponsePart) {
        switch part {
        case .head(let head) where head.status != .ok: ended("a stream was answered \(head.status.code)")
        case .head: break
        case .body(let bytes):
            rest += bytes.readableBytesView
            var index = 0
            rest.withUnsafeBytes { bytes in
                while hear != nil, let event = BenchFrames.nextEvent(bytes, &index) {
                    if let data = event.data { read(UnsafeRawBufferPointer(rebasing: bytes[data])) }
                }
            }
            rest.removeFirst(index)
        case .end: ended("the node ended the stream")
        }
    }

    private func read(_ bytes: UnsafeRawBufferPointer) {
        switch FrameReader.read(bytes) {
        case .success(.unknown("failure")), .success(.unknown("closed")):
            ended("the node ended the stream: \(String(decoding: bytes, as: UTF8.self))")
        case .success(let frame):
            if case .event(.joined) = frame { isJoined = true }
            hear?(.frame(frame))
        case .failure(let error): ended("an event that cannot be read: \(error.problem)")
        }
    }

    fileprivate func ended(_ problem: String) {
        guard let hear else { return }
        close()
        hear(.ended(problem, wasJoined: isJoined))
    }
}

private final class ReplayStreamHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart

    private let owner: ReplayStream

    init(_ owner: ReplayStream) { self.owner = owner }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { owner.received(unwrapInboundIn(data)) }

    func channelInactive(context: ChannelHandlerContext) { owner.ended("the stream was lost") }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
