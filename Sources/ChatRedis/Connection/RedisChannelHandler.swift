import ChatCore
import Glibc
import NIOCore

/// Who uses a channel to a Redis or a Sentinel: a ``RedisConnection`` or ``SentinelPeer``. All on its loop.
protocol RedisChannelOwner: AnyObject {
    func channelActive(_ handler: RedisChannelHandler<Self>)
    /// Bytes came; ``replied(_:from:)`` for each whole reply in them, then ``readEnded()``.
    func readBegan()
    /// One more reply is in the arena, which the owner empties. False: nothing more is wanted from this channel.
    func replied(_ arena: RESPArena, from handler: RedisChannelHandler<Self>) -> Bool
    func readEnded()
    /// What came is no RESP2.
    func broke(_ error: RESPError, from handler: RedisChannelHandler<Self>)
    func channelFailed(_ error: any Error, from handler: RedisChannelHandler<Self>)
    func channelInactive(_ handler: RedisChannelHandler<Self>)
}

/// One channel to Redis: bytes in, replies to its owner. Holds no rules.
final class RedisChannelHandler<Owner: RedisChannelOwner>: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// Which try to connect this is: a channel that comes late, after the owner has begun another try, is nobody's.
    let attempt: Int
    private let reader: RESPReader
    /// Nil once the connection has done with this channel: what still comes is nobody's.
    private var connection: Owner?
    private var context: ChannelHandlerContext?
    /// Asked for once: the question takes microseconds.
    private var socket: CInt?
    /// Active, and its owner wants what comes. A closed channel's descriptor may be another one's already.
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

    /// Bytes, or the end, wait to be read.
    var hasUnread: Bool {
        guard isOpen, let socket else { return false }
        var wait = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
        return poll(&wait, 1, 0) > 0
    }

    /// Sends in one write.
    func write(_ buffer: ByteBuffer) {
        context?.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
    }

    /// Closes the channel, and tells nobody.
    func close() {
        connection = nil
        isOpen = false
        context?.close(mode: .all, promise: nil)
    }
}
