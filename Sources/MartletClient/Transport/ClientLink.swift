import Glibc
package import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import NIOWebSocket

/// Who uses a ``ClientLink``. All calls come on the link's loop.
package protocol ClientLinkOwner: AnyObject {
    /// The handshake is done: messages can be written.
    func linkOpened(_ link: ClientLink)
    /// Anything came from the node, if only a ping.
    func linkHeard(_ link: ClientLink)
    /// A whole text message. The bytes are valid during the call.
    func link(_ link: ClientLink, received bytes: UnsafeRawBufferPointer)
    /// The connection has ended, or there was none. The last call.
    func linkClosed(_ link: ClientLink, _ reason: DisconnectReason)
}

/// One WebSocket connection, from connecting to closing, whatever protocol is spoken over it. It lives on its owner's
/// loop.
package final class ClientLink: @unchecked Sendable {
    // Proof for @unchecked: apart from `let`, everything is used on `loop` only.
    private unowned let loop: any EventLoop
    private weak var owner: (any ClientLinkOwner)?
    private var channel: (any Channel)?
    private var isOpen = false
    private var isClosed = false
    private var reads = true
    private var unflushed = false

    package init(owner: any ClientLinkOwner, loop: any EventLoop) {
        self.owner = owner
        self.loop = loop
    }

    /// `target`: the path and query of the request. `subprotocol`: nil if none is asked for.
    package func connect(
        to address: ClientURL, target: String, subprotocol: String?, token: String? = nil, options: ClientOptions
    ) {
        var head = HTTPRequestHead(version: .http1_1, method: .GET, uri: target)
        head.headers.add(name: "Host", value: address.authority)
        if let subprotocol { head.headers.add(name: "Sec-WebSocket-Protocol", value: subprotocol) }
        if let token { head.headers.add(name: "Authorization", value: "Bearer \(token)") }

        let request = head
        let bootstrap = ClientBootstrap(group: loop)
            .connectTimeout(TimeAmount(options.connectTimeout))
            .channelOption(.socketOption(.tcp_nodelay), value: 1)
            // Small reads, so that of thousands of sessions on one loop each is served soon, however much the others
            // have to read.
            .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 4_096))
            .channelOption(.maxMessagesPerRead, value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try self.configure(channel, address, request, options)
                }
            }
        // A literal address needs no resolver, which would block a thread for each connection.
        let connected: EventLoopFuture<any Channel>
        if let socket = try? SocketAddress(ipAddress: address.host, port: address.port) {
            connected = bootstrap.connect(to: socket)
        } else {
            connected = bootstrap.connect(host: address.host, port: address.port)
        }
        connected.hop(to: loop).assumeIsolated().whenComplete { result in
            switch result {
            case .success(let channel): self.connected(channel)
            case .failure(let error): self.ended(.unreachable("\(address.authority): \(Self.words(error))"))
            }
        }
    }

    /// The reason why there is no connection, as the system describes it.
    private static func words(_ error: any Error) -> String {
        switch error {
        case let error as IOError: return String(cString: strerror(error.errnoCode))
        case let error as NIOConnectionError:
            return error.connectionErrors.first.map { words($0.error) } ?? "the host name does not resolve"
        case ChannelError.connectTimeout: return "no answer in time"
        default: return "\(error)"
        }
    }

    private func connected(_ channel: any Channel) {
        self.channel = channel
        if isClosed {
            channel.close(promise: nil)
        } else if !reads {
            setReading(false)
        }
    }

    private func configure(
        _ channel: any Channel, _ address: ClientURL, _ request: HTTPRequestHead, _ options: ClientOptions
    ) throws {
        let pipeline = channel.pipeline.syncOperations
        if address.secure {
            var configuration = TLSConfiguration.makeClientConfiguration()
            if let file = options.authorityFile { configuration.trustRoots = .file(file) }
            let context = try NIOSSLContext(configuration: configuration)
            let isLiteral = (try? SocketAddress(ipAddress: address.host, port: 0)) != nil
            try pipeline.addHandler(
                NIOSSLClientHandler(context: context, serverHostname: isLiteral ? nil : address.host))
        }
        let handshake = HandshakeHandler(link: self, request: request)
        let upgrader = NIOWebSocketClientUpgrader(maxFrameSize: options.maxFrameBytes) { channel, _ in
            channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.addHandler(
                    FrameHandler(link: self, maxBytes: options.maxFrameBytes))
            }
        }
        let name = "martlet-handshake"
        try pipeline.addHTTPClientHandlers(
            leftOverBytesStrategy: .forwardBytes,
            withClientUpgrade: (
                upgraders: [upgrader],
                completionHandler: { context in
                    context.pipeline.syncOperations.removeHandler(name: name, promise: nil)
                }
            ))
        try pipeline.addHandler(handshake, name: name)
    }

    /// Writes a text message with the next ``flush()``.
    package func write(_ bytes: UnsafeRawBufferPointer) {
        guard isOpen, !isClosed, let channel else { return }
        let data = channel.allocator.buffer(bytes: bytes)
        channel.write(WebSocketFrame(fin: true, opcode: .text, maskKey: .random(), data: data), promise: nil)
        unflushed = true
    }

    package func flush() {
        guard unflushed else { return }
        unflushed = false
        channel?.flush()
    }

    package func setReading(_ reads: Bool) {
        self.reads = reads
        guard !isClosed, let channel else { return }
        channel.setOption(.autoRead, value: reads).whenFailure { _ in }
        if reads { channel.read() }
    }

    /// Ends the connection with a close frame. The owner gets no more calls.
    package func close() {
        guard !isClosed else { return }
        isClosed = true
        owner = nil
        guard let channel else { return }
        guard isOpen else {
            channel.close(promise: nil)
            return
        }
        var data = channel.allocator.buffer(capacity: 2)
        data.write(webSocketErrorCode: .normalClosure)
        let frame = WebSocketFrame(fin: true, opcode: .connectionClose, maskKey: .random(), data: data)
        channel.writeAndFlush(frame).assumeIsolated().whenComplete { _ in channel.close(promise: nil) }
    }

    // MARK: From the handlers

    fileprivate func opened() {
        isOpen = true
        owner?.linkOpened(self)
    }

    fileprivate func heard() { owner?.linkHeard(self) }

    fileprivate func received(_ bytes: UnsafeRawBufferPointer) { owner?.link(self, received: bytes) }

    fileprivate func ended(_ reason: DisconnectReason) {
        guard !isClosed else { return }
        isClosed = true
        channel?.close(promise: nil)
        owner?.linkClosed(self, reason)
    }
}

/// Sends the upgrade request, and reads the answer if it is a refusal.
private final class HandshakeHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundOut = HTTPClientRequestPart

    private let link: ClientLink
    private let request: HTTPRequestHead

    init(link: ClientLink, request: HTTPRequestHead) {
        self.link = link
        self.request = request
    }

    func channelActive(context: ChannelHandlerContext) {
        context.write(wrapOutboundOut(.head(request)), promise: nil)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if case .head(let head) = unwrapInboundIn(data) { link.ended(.status(Int(head.status.code))) }
    }

    func channelInactive(context: ChannelHandlerContext) {
        link.ended(.lost)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        link.ended(.unreachable("handshake: \(error)"))
    }
}

/// Turns frames into messages and back, and answers pings.
private final class FrameHandler: ChannelInboundHandler {
    typealias InboundIn = WebSocketFrame
    typealias OutboundOut = WebSocketFrame

    private let link: ClientLink
    private let maxBytes: Int
    /// The fragments of an incomplete message.
    private var fragments: ByteBuffer?

    init(link: ClientLink, maxBytes: Int) {
        self.link = link
        self.maxBytes = maxBytes
    }

    /// Only now can frames be written: the encoder was added just before.
    func handlerAdded(context: ChannelHandlerContext) { link.opened() }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let frame = unwrapInboundIn(data)
        link.heard()
        switch frame.opcode {
        case .text, .continuation: receive(frame)
        case .ping:
            let pong = WebSocketFrame(fin: true, opcode: .pong, maskKey: .random(), data: frame.unmaskedData)
            context.writeAndFlush(wrapOutboundOut(pong), promise: nil)
        case .connectionClose: closed(frame, context)
        case .pong: break
        default: link.ended(.unreadable("a frame that is not text (opcode \(frame.opcode))"))
        }
    }

    private func receive(_ frame: WebSocketFrame) {
        var data = frame.unmaskedData
        if fragments == nil, frame.fin, frame.opcode == .text {
            data.withUnsafeReadableBytes { link.received($0) }
            return
        }
        if frame.opcode == .text {
            fragments = data
        } else if fragments == nil || (fragments?.readableBytes ?? 0) + data.readableBytes > maxBytes {
            link.ended(.unreadable("a continuation frame without a first frame, or a new message inside another one"))
            return
        } else {
            fragments?.writeBuffer(&data)
        }
        guard frame.fin, let whole = fragments else { return }
        fragments = nil
        whole.withUnsafeReadableBytes { link.received($0) }
    }

    private func closed(_ frame: WebSocketFrame, _ context: ChannelHandlerContext) {
        var data = frame.unmaskedData
        let code = data.readInteger(as: UInt16.self) ?? 1005
        let reason = data.readString(length: data.readableBytes) ?? ""
        // The answer to a close frame is a close frame (RFC 6455 §5.5.1).
        let answer = WebSocketFrame(fin: true, opcode: .connectionClose, maskKey: .random(), data: frame.unmaskedData)
        context.writeAndFlush(wrapOutboundOut(answer), promise: nil)
        link.ended(.closeFrame(code: code, reason: reason))
    }

    func channelInactive(context: ChannelHandlerContext) {
        link.ended(.lost)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if error is NIOWebSocketError {
            link.ended(.unreadable("WebSocket: \(error)"))
        } else {
            link.ended(.lost)
        }
    }
}
