import NIOCore
import NIOPosix

/// A TCP server that is not a Redis: it sends its bytes to every client that sends something, and then closes, or sends
/// nothing more.
final class FakeServer: Sendable {
    struct Options: Sendable {
        var bytes: [UInt8]
        var closes = false
        /// Sends its bytes before the client sends anything.
        var speaksFirst = false
    }

    private let channel: any Channel
    let port: Int

    static func start(_ options: Options) async throws -> FakeServer {
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Speaker(options))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        return FakeServer(channel)
    }

    private init(_ channel: any Channel) {
        self.channel = channel
        port = channel.localAddress?.port ?? 0
    }

    func stop() { channel.close(promise: nil) }

    private final class Speaker: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer
        private let options: Options

        init(_ options: Options) { self.options = options }

        func channelActive(context: ChannelHandlerContext) { if options.speaksFirst { speak(context) } }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) { if !options.speaksFirst { speak(context) } }

        private func speak(_ context: ChannelHandlerContext) {
            context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: options.bytes)), promise: nil)
            if options.closes { context.close(promise: nil) }
        }
    }
}
