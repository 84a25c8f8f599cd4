import ChatCore
import ChatWire
import NIOCore
import NIOPosix

/// Requests for a session of Engine.IO that another node has. A session's name says which node that is, so no proxy has
/// to know where a session is: this node passes the request on, to the address that the other one reports to Redis.
///
/// The other node treats the request like one from a client; the name of the session is all that it proves, and all
/// that it has to. If this node has a certificate, so has the other one, and with the same key.
/// ``EngineForwarding/mark`` keeps requests from going round.
extension ConnectionHandler {
    /// Whether a request for this session can be passed on.
    func mayForward(_ head: RequestHead) -> Bool {
        head.first(EngineForwarding.mark) == nil
    }

    /// Passes a request of the polling transport on. If its session's node is gone, the client is told that the session
    /// is unknown, and opens a new one.
    func forwardElsewhere(_ head: RequestHead, _ body: [UInt8], _ sid: EngineSessionID, _ responder: EngineResponder) {
        let request = EngineForwarding.request(head, body, client: client(of: head), isUpgrade: false)
        let most = gateway.options.limits.outboundBytes &* 2
        connect(to: sid.node) { [weak self] channel in
            guard let self, case .answering(var answering) = state, let channel else {
                channel?.close(promise: nil)
                return responder.refuse(.unknownSession)
            }
            answering.abandon = { channel.close(promise: nil) }
            state = .answering(answering)
            let answer = EngineForwardedAnswer(isGet: head.method == "GET", most: most, responder)
            do {
                try channel.pipeline.syncOperations.addHandler(answer)
            } catch {
                channel.close(promise: nil)
                return responder.refuse(.unknownSession)
            }
            channel.writeAndFlush(request, promise: nil)
        }
    }

    /// Connects a WebSocket to its session's node, and passes everything on in both directions. If that node is gone,
    /// the handshake is completed and the WebSocket closed.
    func tunnel(_ head: RequestHead, _ sid: EngineSessionID, orElse refuse: @escaping () -> Void) {
        let request = EngineForwarding.request(head, [], client: client(of: head), isUpgrade: true)
        state = .authenticating
        connect(to: sid.node) { [weak self] channel in
            guard let self, case .authenticating = state, let context else {
                channel?.close(promise: nil)
                return
            }
            guard let channel else { return refuse() }
            let gateway = gateway
            let near = EngineTunnel { gateway.connectionGone() }
            let far = EngineTunnel {}
            (near.other, far.other) = (far, near)
            do {
                try context.pipeline.syncOperations.addHandler(near, position: .after(self))
                try channel.pipeline.syncOperations.addHandler(far)
            } catch {
                channel.close(promise: nil)
                return cut()
            }
            state = .upgraded
            gateway.stopTiming(self)
            stopCounting()
            channel.writeAndFlush(request, promise: nil)
            let rest = reader.takeRest()
            if !rest.isEmpty { context.fireChannelRead(wrapInboundOut(ByteBuffer(bytes: rest))) }
            becomeNarrow(context)
            context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
        }
    }

    /// Calls `body` with a connection to a node, on this loop; with nil if there is none.
    private func connect(to node: String, _ body: @escaping ((any Channel)?) -> Void) {
        let loop = gateway.eventLoop
        let service = gateway.service
        let tls = port.tls
        let promise = loop.makePromise(of: NodeAddress?.self)
        promise.completeWithTask { await service.address(of: node) }
        promise.futureResult.flatMap { address in
            guard let address else { return loop.makeSucceededFuture((any Channel)?.none) }
            return ClientBootstrap(group: loop).connectTimeout(.seconds(2))
                .channelOption(.tcpOption(.tcp_nodelay), value: 1)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        guard let tls else { return }
                        try channel.pipeline.syncOperations.addHandler(tls.makePeerHandler())
                    }
                }
                .connect(host: address.host, port: address.port).map { Optional($0) }
        }.assumeIsolated().whenComplete { result in
            body((try? result.get()) ?? nil)
        }
    }
}

enum EngineForwarding {
    /// A field of requests that were passed on.
    static let mark = "martlet-forwarded"

    /// The request as the other node gets it: without what concerns this connection alone.
    static func request(_ head: RequestHead, _ body: [UInt8], client: PeerAddress?, isUpgrade: Bool) -> ByteBuffer {
        var bytes = ByteBuffer(string: "\(head.method) \(head.target) HTTP/1.1\r\n")
        head.forEachField { name, value in
            switch String(decoding: name, as: UTF8.self).lowercased() {
            case "connection", "content-length", "transfer-encoding", "expect", "x-forwarded-for", mark: return
            case "upgrade": if !isUpgrade { return }
            default: break
            }
            bytes.writeBytes(name)
            bytes.writeString(": ")
            bytes.writeBytes(value)
            bytes.writeString("\r\n")
        }
        if head.values("host").isEmpty { bytes.writeString("Host: node\r\n") }
        if let client { bytes.writeString("X-Forwarded-For: \(client)\r\n") }
        bytes.writeString("\(mark): 1\r\nConnection: \(isUpgrade ? "Upgrade" : "close")\r\n")
        if head.method == "POST" { bytes.writeString("Content-Length: \(body.count)\r\n") }
        bytes.writeString("\r\n")
        bytes.writeBytes(body)
        return bytes
    }
}

/// Collects the answer of another node, which ends with its connection, and passes it on.
private final class EngineForwardedAnswer: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let isGet: Bool
    private let most: Int
    private let responder: EngineResponder
    private var received = ByteBuffer()
    private var isDone = false

    init(isGet: Bool, most: Int, _ responder: EngineResponder) {
        self.isGet = isGet
        self.most = most
        self.responder = responder
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var part = unwrapInboundIn(data)
        received.writeBuffer(&part)
        if received.readableBytes > most { context.close(promise: nil) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    func channelInactive(context: ChannelHandlerContext) {
        guard !isDone else { return }
        isDone = true
        guard let (status, body) = Self.parse(received) else { return responder.refuse(.unknownSession) }
        let type = status != 200 ? "application/json" : isGet ? "text/plain; charset=UTF-8" : "text/html"
        responder.answer(status, type, body)
    }

    /// The status and the body of a whole answer; nil if it is not whole.
    private static func parse(_ answer: ByteBuffer) -> (status: Int, body: [UInt8])? {
        let bytes = Array(answer.readableBytesView)
        let end = Array("\r\n\r\n".utf8)
        guard let head = bytes.indices.first(where: { bytes[$0...].starts(with: end) }) else { return nil }
        let lines = String(decoding: bytes[..<head], as: UTF8.self).split(separator: "\r\n")
        let words = lines.first?.split(separator: " ") ?? []
        guard words.count > 1, words[0] == "HTTP/1.1", let status = Int(words[1]), (200..<600).contains(status) else {
            return nil
        }
        let body = Array(bytes[(head + end.count)...])
        for line in lines.dropFirst() {
            let parts = line.split(separator: ":", maxSplits: 1)
            guard parts.count == 2, parts[0].lowercased() == "content-length" else { continue }
            guard Int(parts[1].drop { $0 == " " }) == body.count else { return nil }
        }
        return (status, body)
    }
}

/// One side of a WebSocket that is passed on.
private final class EngineTunnel: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    var other: EngineTunnel?
    private var context: ChannelHandlerContext?
    private var onEnd: (() -> Void)?

    init(onEnd: @escaping () -> Void) { self.onEnd = onEnd }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) { ended() }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard let receiver = other?.context else { return context.close(promise: nil) }
        receiver.writeAndFlush(wrapOutboundOut(unwrapInboundIn(data)), promise: nil)
        if !receiver.channel.isWritable { setReading(false) }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        other?.setReading(context.channel.isWritable)
        context.fireChannelWritabilityChanged()
    }

    private func setReading(_ isReading: Bool) {
        try? context?.channel.syncOptions?.setOption(.autoRead, value: isReading)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    func channelInactive(context: ChannelHandlerContext) {
        ended()
        context.fireChannelInactive()
    }

    private func ended() {
        onEnd?()
        onEnd = nil
        context = nil
        let peer = other
        other = nil
        peer?.context?.close(promise: nil)
    }
}
