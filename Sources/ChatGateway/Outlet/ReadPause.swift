import ChatCore
import NIOCore

/// The time in which nothing is read from a connection, because its client has exceeded a limit. What the client sends
/// waits in the kernel, and then with the client.
///
/// Confined to the event loop of the connection.
final class ReadPause {
    /// When the pause ends; nil: there is none.
    private var end: Moment?

    /// Reads nothing for that time. A pause that has begun and is longer stays as it is.
    func begin(for time: Duration, of context: ChannelHandlerContext?) {
        guard let channel = context?.channel, let options = channel.syncOptions else { return }
        let isReading = end == nil
        end = max(end ?? .now, .now + time)
        guard isReading else { return }
        try? options.setOption(.autoRead, value: false)
        resume(channel, options, after: time)
    }

    private func resume(_ channel: any Channel, _ options: any NIOSynchronousChannelOptions, after time: Duration) {
        channel.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(time)) { [self] in
            let left = (end ?? .now) - .now
            guard left <= .zero else { return resume(channel, options, after: left) }
            end = nil
            guard channel.isActive else { return }
            try? options.setOption(.autoRead, value: true)
        }
    }
}
