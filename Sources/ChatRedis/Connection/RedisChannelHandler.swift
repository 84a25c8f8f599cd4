import ChatCore
import Glibc
import NIOCore

/// The user of a channel to a Redis or a Sentinel: a ``RedisConnection`` or ``SentinelPeer``. All calls are made on its
/// loop.
protocol RedisChannelOwner: AnyObject {
    func channelActive(_ handler: RedisChannelHandler<Self>)
    /// Bytes arrived. ``replied(_:from:)`` follows for each complete reply in them, and then ``readEnded()``.
    func readBegan()
    /// One more reply is in the arena, which the owner empties. Returns false if nothing more must be read from this
    /// channel.
    func replied(_ arena: RESPArena, from handler: RedisChannelHandler<Self>) -> Bool
    func readEnded()
    /// The received bytes are not RESP2.
    func broke(_ error: RESPError, from handler: RedisChannelHandler<Self>)
    func channelFailed(_ error: any Error, from handler: RedisChannelHandler<Self>)
    func channelInactive(_ handler: RedisChannelHandler<Self>)
}

/// One channel to Redis: it parses bytes and passes replies to its owner. It makes no decisions.
final class RedisChannelHandler<Owner: RedisChannelOwner>: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// The number of the attempt to connect: a channel that is established after the owner has begun another attempt is
    /// ignored.
    let attempt: Int
    private let reader: RESPReader
    /// Nil once the owner has closed this channel: anything that arrives later is ignored.
    private var connection: Owner?
    private var context: ChannelHandlerContext?
    /// Determined once, as that takes microseconds.
    private var socket: CInt?
    /// Whether the channel is active and its owner wants its input. The descriptor of a closed channel may belong to
    /// another one.
    private var isOpen = false

    init(_ connection: Owner, attempt: Int) throws(RESPError) {
        self.connection = connection
        self.attempt = attempt
        reader = try RESPReader()
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        isOpen = false
        connection = nil
    }

    func channelActive(context: ChannelHandlerContext) {
        let socket = try? context.pipeline.syncOperations.withUnsafeTransportIfAvailable(of: NIOBSDSocket.Handle.self) {
            $0
        }
        self.socket = socket.flatMap { $0 < 0 ? nil : $0 }
        isOpen = true
        connection?.channelActive(self)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var buffer = unwrapInboundIn(data)
        take(&buffer)
    }

    private func take(_ buffer: inout ByteBuffer) {
        guard let connection else { return }
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
        isOpen = false
        connection?.channelInactive(self)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        connection?.channelFailed(error, from: self)
    }

    /// Whether bytes, or the end of the stream, wait to be read.
    var hasUnread: Bool {
        guard isOpen, let socket else { return false }
        var wait = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
        return poll(&wait, 1, 0) > 0
    }

    /// Sends the buffer in one write.
    func write(_ buffer: ByteBuffer) {
        context?.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
    }

    /// Closes the channel without notifying the owner.
    func close() {
        connection = nil
        isOpen = false
        context?.close(mode: .all, promise: nil)
    }
}
