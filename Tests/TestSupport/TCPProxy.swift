import Foundation
import NIOCore
import NIOPosix

/// A TCP proxy between a client and a server on loopback, which can disturb the traffic.
///
/// - `silence()`: both sides stay open, and no data passes any more, on present and on later connections.
/// - `hide(_:where:)`, `inject(_:where:hiding:)`: replies of the server are dropped, and bytes are sent in the name of
///   a client.
package final class TCPProxy: @unchecked Sendable {
    private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    private var channel: (any Channel)?
    // Guarded by `lock`.
    private let lock = NSLock()
    private var target: Int
    private var isSilent = false
    private var hiddenCount = 0
    private var pairs: [Pair] = []

    /// One client with its connection to the server.
    fileprivate final class Pair: @unchecked Sendable {  // `server` on the one loop, the rest guarded by `lock`
        let client: any Channel
        var server: (any Channel)?
        /// The first 64 KB that the client sent.
        var said = ""
        /// The next reply of the server that begins like this is dropped.
        var swallows: String?
        init(_ client: any Channel) { self.client = client }
    }

    private init(target: Int) { self.target = target }

    package static func start(to target: Int) async throws -> TCPProxy {
        let proxy = TCPProxy(target: target)
        proxy.channel = try await ServerBootstrap(group: proxy.group)
            .serverChannelOption(.backlog, value: 64)
            .childChannelOption(.autoRead, value: false)
            .childChannelInitializer { client in
                client.eventLoop.makeCompletedFuture {
                    let pair = Pair(client)
                    proxy.lock.withLock { proxy.pairs.append(pair) }
                    try client.pipeline.syncOperations.addHandler(Side(proxy, pair, isClient: true))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        return proxy
    }

    package var port: Int { channel?.localAddress?.port ?? 0 }

    /// Later connections lead to this port.
    package func redirect(to port: Int) { lock.withLock { target = port } }

    fileprivate var targetNow: Int { lock.withLock { target } }

    /// No data passes any more, and nothing is closed.
    package func silence() { lock.withLock { isSilent = true } }

    /// Later connections pass data again. The present ones stay silent, because some of their data is lost.
    package func heal() {
        lock.withLock {
            isSilent = false
            pairs.removeAll()
        }
    }

    /// Drops the next reply of the server that begins like this, on the connection on which the client sent `word`.
    /// Returns false if there is no such connection.
    package func hide(_ answer: String, where word: String) -> Bool {
        lock.withLock {
            guard let pair = pairs.last(where: { $0.said.contains(word) && $0.client.isActive }) else { return false }
            pair.swallows = answer
            return true
        }
    }

    /// The number of dropped replies.
    package var hidden: Int { lock.withLock { hiddenCount } }

    /// Sends bytes to the server on the connection on which the client sent `word`, and drops the reply, which begins
    /// with `answer`. Returns false if there is no such connection.
    package func inject(_ bytes: String, where word: String, hiding answer: String) -> Bool {
        let pair = lock.withLock { pairs.last { $0.said.contains(word) && $0.client.isActive } }
        guard let pair, let server = pair.server else { return false }
        lock.withLock { pair.swallows = answer }
        server.writeAndFlush(ByteBuffer(string: bytes), promise: nil)
        return true
    }

    package func stop() {
        channel?.close(promise: nil)
        group.shutdownGracefully { _ in }
    }

    fileprivate func passes(_ pair: Pair) -> Bool {
        lock.withLock { !isSilent && pairs.contains { $0 === pair } }
    }

    fileprivate func note(_ pair: Pair, said text: String) {
        lock.withLock { if pair.said.utf8.count < 65_536 { pair.said += text } }
    }

    fileprivate func hides(_ pair: Pair, _ text: String) -> Bool {
        lock.withLock {
            guard let hidden = pair.swallows, text.hasPrefix(hidden) else { return false }
            pair.swallows = nil
            hiddenCount += 1
            return true
        }
    }

    private final class Side: ChannelInboundHandler, @unchecked Sendable {  // confined to the group's one loop
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer
        private let proxy: TCPProxy
        private let pair: Pair
        private let isClient: Bool

        init(_ proxy: TCPProxy, _ pair: Pair, isClient: Bool) {
            self.proxy = proxy
            self.pair = pair
            self.isClient = isClient
        }

        private var other: (any Channel)? { isClient ? pair.server : pair.client }

        func channelActive(context: ChannelHandlerContext) {
            guard isClient else { return }
            let client = context.channel
            ClientBootstrap(group: proxy.group)
                .channelInitializer { [proxy, pair] server in
                    server.eventLoop.makeCompletedFuture {
                        try server.pipeline.syncOperations.addHandler(Side(proxy, pair, isClient: false))
                    }
                }
                .connect(host: "127.0.0.1", port: proxy.targetNow)
                .whenComplete { [pair] result in
                    switch result {
                    case .success(let server):
                        pair.server = server
                        client.setOption(.autoRead, value: true).whenComplete { _ in client.read() }
                    case .failure: client.close(promise: nil)
                    }
                }
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let bytes = unwrapInboundIn(data)
            let text = String(buffer: bytes)
            guard proxy.passes(pair) else { return }
            if isClient { proxy.note(pair, said: text) }
            if !isClient, proxy.hides(pair, text) { return }
            other?.writeAndFlush(bytes, promise: nil)
        }

        func channelInactive(context: ChannelHandlerContext) {
            // A silent network does not report the end of a connection either.
            if proxy.passes(pair) { other?.close(promise: nil) }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}
