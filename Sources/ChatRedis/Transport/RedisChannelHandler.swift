import ChatCore
import NIOCore

/// One channel to Redis: bytes in, replies to its ``RedisConnection``. Holds no rules.
final class RedisChannelHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let reader: RESPReader
    /// Nil once the connection has done with this channel: what still comes is nobody's.
    private var connection: RedisConnection?
    private var context: ChannelHandlerContext?

    init(_ connection: RedisConnection) throws(RESPError) {
        self.connection = connection
        reader = try RESPReader()
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        connection = nil
    }

    func channelActive(context: ChannelHandlerContext) {
        connection?.channelActive(self)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard let connection else { return }
        var buffer = unwrapInboundIn(data)
        connection.readBegan()
        do {
            try reader.read(&buffer) { connection.replied(reader.arena, from: self) }
        } catch {
            connection.broke(error, from: self)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        connection?.readEnded()
    }

    func channelInactive(context: ChannelHandlerContext) {
        connection?.channelInactive(self)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        connection?.channelFailed(error, from: self)
    }

    /// Sends in one write.
    func write(_ buffer: ByteBuffer) {
        context?.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
    }

    /// Closes the channel, and tells nobody.
    func close() {
        connection = nil
        context?.close(mode: .all, promise: nil)
    }
}
