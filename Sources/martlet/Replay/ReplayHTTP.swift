import ChatJSON
import MartletClient
import NIOCore
import NIOHTTP1
import NIOPosix

/// Requests to the HTTP API of one node, one after the other over one connection, which is opened when it is needed. It
/// lives on one loop.
final class ReplayHTTP {
    typealias Answer = Result<JSONValue, ClientError>

    private struct Request {
        var head: HTTPRequestHead
        var body: String
        var done: (Answer) -> Void
        var isRepeated = false
    }

    private let address: ClientURL
    private let loop: any EventLoop
    private var channel: (any Channel)?
    private var isConnecting = false
    private var isClosed = false
    private var queue: [Request] = []
    private var current: Request?
    private var status = 0
    private var body: [UInt8] = []

    init(to address: ClientURL, loop: any EventLoop) {
        self.address = address
        self.loop = loop
    }

    func get(_ target: String, _ done: @escaping (Answer) -> Void) { ask(.GET, target, "", done) }

    func post(_ target: String, _ body: String, _ done: @escaping (Answer) -> Void) { ask(.POST, target, body, done) }

    func close() {
        isClosed = true
        channel?.close(promise: nil)
        channel = nil
        loop.assumeIsolated().execute { self.failAll(.closed) }
    }

    private func ask(_ method: HTTPMethod, _ target: String, _ body: String, _ done: @escaping (Answer) -> Void) {
        var head = HTTPRequestHead(version: .http1_1, method: method, uri: target)
        head.headers.add(name: "Host", value: address.authority)
        if method == .POST {
            head.headers.add(name: "Content-Type", value: "application/json")
            head.headers.add(name: "Content-Length", value: "\(body.utf8.count)")
        }
        guard !isClosed else { return loop.assumeIsolated().execute { done(.failure(.closed)) } }
        queue.append(Request(head: head, body: body, done: done))
        next()
    }

    private func next() {
        guard current == nil, !queue.isEmpty else { return }
        guard let channel else { return connect() }
        let request = queue.removeFirst()
        current = request
        channel.write(HTTPClientRequestPart.head(request.head), promise: nil)
        channel.write(HTTPClientRequestPart.body(.byteBuffer(ByteBuffer(string: request.body))), promise: nil)
        channel.writeAndFlush(HTTPClientRequestPart.end(nil), promise: nil)
    }

    private func connect() {
        guard !isConnecting else { return }
        isConnecting = true
        let bound = NIOLoopBound(self, eventLoop: loop)
        ClientBootstrap(group: loop)
            .channelOption(.socketOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHTTPClientHandlers()
                    try channel.pipeline.syncOperations.addHandler(ReplayHTTPHandler(bound.value))
                }
            }
            .connect(host: address.host, port: address.port).hop(to: loop).assumeIsolated().whenComplete { result in
                self.isConnecting = false
                switch result {
                case .success(let channel) where !self.isClosed:
                    self.channel = channel
                    self.next()
                case .success(let channel): channel.close(promise: nil)
                case .failure(let error): self.failAll(.rejected("no connection for HTTP: \(error)"))
                }
            }
    }

    private func failAll(_ error: ClientError) {
        let all = (current.map { [$0] } ?? []) + queue
        current = nil
        queue = []
        for request in all { request.done(.failure(error)) }
    }

    // MARK: From the handler

    fileprivate func received(_ part: HTTPClientResponsePart) {
        switch part {
        case .head(let head):
            status = Int(head.status.code)
            body = []
        case .body(let bytes): body += bytes.readableBytesView
        case .end:
            guard let request = current else { return }
            current = nil
            let value = (try? JSONValue(parsing: body)) ?? .null
            if let error = value["error"] {
                request.done(.failure(.refused(ServerFault(error))))
            } else if (200..<300).contains(status) {
                request.done(.success(value))
            } else {
                request.done(.failure(.rejected("HTTP \(status)")))
            }
            next()
        }
    }

    fileprivate func lost() {
        channel = nil
        guard !isClosed else { return }
        // A node may close a connection that was idle just when a request goes out. All of them may be repeated: a POST
        // has a key.
        if var request = current, !request.isRepeated {
            request.isRepeated = true
            current = nil
            queue.insert(request, at: 0)
        }
        if current != nil { failAll(.rejected("the connection for HTTP was lost")) }
        next()
    }
}

private final class ReplayHTTPHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart

    private let owner: ReplayHTTP

    init(_ owner: ReplayHTTP) { self.owner = owner }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { owner.received(unwrapInboundIn(data)) }

    func channelInactive(context: ChannelHandlerContext) { owner.lost() }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
