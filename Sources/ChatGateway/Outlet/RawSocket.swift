import Glibc
import NIOCore

/// The descriptor of a connection: it tells what the kernel holds, and takes writes that bypass the channel if the
/// connection is plaintext. By measurement, a delivery then costs a quarter of the user-space instructions of the
/// channel's write path, and nine tenths of the remaining time is spent in the kernel.
///
/// Rules that keep the bypass invisible to the peer: use it on the event loop only; only while the channel is active,
/// because the descriptor of a closed channel may belong to another connection already; and only while the channel has
/// no bytes to write. What the kernel does not take goes through the channel, and so does everything after it until the
/// channel has no bytes left, because the channel waits until the socket is writable.
struct RawSocket {
    private let descriptor: CInt
    /// Whether bytes may bypass the channel.
    private let bypasses: Bool
    /// The channel may hold bytes: what follows has to go through it as well, until ``isUsable(_:)`` returns true.
    private(set) var isThroughChannel = true

    /// Nil if the channel has no socket (in tests). `bypasses` must be false if a handler before this one transforms
    /// what is written, as TLS does; then ``isUsable(_:)`` is never true.
    init?(_ context: ChannelHandlerContext, bypasses: Bool) {
        let descriptor = try? context.pipeline.syncOperations.withUnsafeTransportIfAvailable(
            of: NIOBSDSocket.Handle.self
        ) { $0 }
        guard let descriptor, descriptor >= 0 else { return nil }
        self.descriptor = descriptor
        self.bypasses = bypasses
    }

    /// Whether the next bytes may go to the descriptor. Do not call it after the channel became inactive. A channel
    /// that holds no bytes reports that before it does anything else with its closed descriptor.
    mutating func isUsable(_ context: ChannelHandlerContext) -> Bool {
        guard isThroughChannel else { return true }
        guard bypasses else { return false }
        let channel = context.channel
        guard channel.isActive else { return false }
        // An active socket channel supports this option.
        guard (try? channel.syncOptions?.getOption(.bufferedWritableBytes)) == 0 else { return false }
        isThroughChannel = false
        return true
    }

    /// Whether the kernel would take bytes now; if so, it is not the peer that delays them. Do not call it after the
    /// channel became inactive.
    var hasRoom: Bool {
        var wait = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        return poll(&wait, 1, 0) == 1 && wait.revents == Int16(POLLOUT)
    }

    /// Bytes that the kernel holds and the peer has not acknowledged (tcp(7), SIOCOUTQ).
    var unsentBytes: Int {
        var count: CInt = 0
        return ioctl(descriptor, UInt(TIOCOUTQ), &count) == 0 ? Int(count) : 0
    }

    /// Gives the kernel what it takes now. Returns the rest, which has to go through the channel, as does everything
    /// until ``isUsable(_:)`` returns true; nil if the kernel took all.
    mutating func send(_ buffer: ByteBuffer) -> ByteBuffer? {
        let sent = buffer.withUnsafeReadableBytes { bytes in
            Glibc.send(descriptor, bytes.baseAddress, bytes.count, CInt(MSG_NOSIGNAL) | CInt(MSG_DONTWAIT))
        }
        guard sent < buffer.readableBytes else { return nil }
        isThroughChannel = true
        // The channel finds the error when it writes, and handles it as usual.
        var rest = buffer
        rest.moveReaderIndex(forwardBy: max(0, sent))
        return rest
    }
}
