import Glibc
import NIOCore

/// A plaintext connection's descriptor, written to past the channel: measured, a delivery costs a quarter of the user
/// instructions that the channel's write path takes, and nine tenths of what is left are the kernel's.
///
/// Rules, so that nothing is different for the peer: on the event loop alone; only while the channel is active, for a
/// closed channel's descriptor may be another connection's already; and only while the channel holds nothing of its own
/// to write. What the kernel does not take goes through the channel, and all else behind it until the channel has
/// nothing left: it knows how to wait.
struct RawSocket {
    private let descriptor: CInt
    /// The channel may hold bytes: what follows has to go through it as well, as long as ``isUsable(_:)`` does not say otherwise.
    private(set) var isThroughChannel = true

    /// Nil: the channel has no socket (in tests), or there is something between the pipeline and the socket.
    init?(_ context: ChannelHandlerContext) {
        let descriptor = try? context.pipeline.syncOperations.withUnsafeTransportIfAvailable(
            of: NIOBSDSocket.Handle.self
        ) { $0 }
        guard let descriptor, descriptor >= 0 else { return nil }
        self.descriptor = descriptor
    }

    /// Whether the next bytes may go to the descriptor. Not to be asked once the channel has said that it is inactive:
    /// a channel that holds nothing says so before it does anything else with its closed descriptor.
    mutating func isUsable(_ context: ChannelHandlerContext) -> Bool {
        guard isThroughChannel else { return true }
        let channel = context.channel
        guard channel.isActive else { return false }
        // An active channel of sockets knows this option.
        guard (try? channel.syncOptions?.getOption(.bufferedWritableBytes)) == 0 else { return false }
        isThroughChannel = false
        return true
    }

    /// Whether the kernel would take something now: then it is not the peer that keeps bytes waiting. Not to be asked once the channel is
    /// inactive.
    var hasRoom: Bool {
        var wait = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        return poll(&wait, 1, 0) == 1 && wait.revents == Int16(POLLOUT)
    }

    /// Bytes that the kernel has and the peer has not acknowledged (tcp(7), SIOCOUTQ).
    var unsentBytes: Int {
        var count: CInt = 0
        return ioctl(descriptor, UInt(TIOCOUTQ), &count) == 0 ? Int(count) : 0
    }

    /// Gives the kernel what it takes now. Returns the rest, which has to go through the channel, as has everything
    /// until ``isUsable(_:)``; nil: it took all.
    mutating func send(_ buffer: ByteBuffer) -> ByteBuffer? {
        let sent = buffer.withUnsafeReadableBytes { bytes in
            Glibc.send(descriptor, bytes.baseAddress, bytes.count, CInt(MSG_NOSIGNAL) | CInt(MSG_DONTWAIT))
        }
        guard sent < buffer.readableBytes else { return nil }
        isThroughChannel = true
        // An error is found by the channel when it tries, and handled as it always is.
        var rest = buffer
        rest.moveReaderIndex(forwardBy: max(0, sent))
        return rest
    }
}
