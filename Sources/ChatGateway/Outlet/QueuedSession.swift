import ChatCore
import NIOCore

/// A session whose messages wait in an ``OutboundQueue``: what the loop counts of them, what happens when too much
/// waits, and how the queue is written to a connection.
///
/// Confined to its event loop.
protocol QueuedSession: AnyObject {
    var gateway: GatewayLoop { get }
    var queue: OutboundQueue { get set }
    /// Within ``offer(_:)``: the service must not be called now.
    var isFlushingEarly: Bool { get set }
    /// Whether the session still sends messages.
    var maySend: Bool { get }
    /// Whether the kernel would take bytes now.
    var kernelHasRoom: Bool { get }
    /// A frame was put into the queue, or was not.
    func offered(_ outcome: OutboundQueue.Outcome)
    /// Writes what is queued, as far as the peer takes it.
    func flush()
    /// The kernel was given bytes, or is about to be.
    func spoke()
    /// Ends the session, because its peer does not read.
    func giveUpAsSlow()
}

extension QueuedSession {
    /// Queues a frame. Returns false if it was dropped.
    @discardableResult
    func offer(_ frame: SharedFrame) -> Bool {
        switch append(frame) {
        case .queued, .behind: break
        case .dropped: return dropped(frame)
        case .overflow:
            // A tick that brings more than the limit is not the fault of a peer that keeps up: what is queued is
            // written first.
            if queue.isBehind {
                // Nor is the peer slow if the node has not written to it yet: the kernel would take more bytes.
                guard kernelHasRoom else {
                    giveUpAsSlow()
                    return true
                }
                queue.pardon()
            } else {
                isFlushingEarly = true
                flush()
                isFlushingEarly = false
            }
            guard maySend else { return true }
            switch append(frame) {
            case .queued, .behind: break
            case .dropped: return dropped(frame)
            case .overflow:
                giveUpAsSlow()
                return true
            }
        }
        gateway.counters.framesSent += 1
        return true
    }

    private func dropped(_ frame: SharedFrame) -> Bool {
        gateway.counters.framesDropped[frame.kind, default: 0] += 1
        return false
    }

    /// Queues a frame without a second try.
    @discardableResult
    func append(_ frame: SharedFrame) -> OutboundQueue.Outcome {
        let before = queue.count
        let outcome = queue.append(frame, joiner: &gateway.joiner)
        gateway.counters.queuedBytes += queue.count - before
        offered(outcome)
        return outcome
    }

    func discardQueue() {
        gateway.counters.queuedBytes -= queue.count
        queue.removeAll()
    }

    /// The next bytes to write; nil if nothing waits.
    func next() -> ByteBuffer? {
        guard let buffer = queue.next() else { return nil }
        gateway.counters.queuedBytes -= buffer.readableBytes
        gateway.counters.bytesSent += UInt64(buffer.readableBytes)
        return buffer
    }

    /// At least three quarters of the queue's limit are free, and the peer reads.
    var hasRoomForPage: Bool { !queue.isBehind && queue.count <= gateway.options.limits.outboundBytes / 4 }
}

/// A connection to which the queue of a session is written.
///
/// Confined to its event loop.
protocol FlushedConnection: AnyObject {
    /// Nil if the channel has no socket.
    var raw: RawSocket? { get set }
    var context: ChannelHandlerContext? { get }
}

extension FlushedConnection {
    /// Writes what the session has queued: to the descriptor while that takes bytes, and otherwise through the channel.
    /// Afterwards everything is with the kernel, or the channel has the rest of a buffer.
    ///
    /// Nearly every delivery goes to the descriptor: it does not touch the channel, whose memory has left the caches
    /// since the last delivery.
    func write(_ session: some QueuedSession) {
        if raw?.isThroughChannel ?? true {
            guard let context else { return }
            guard raw?.isUsable(context) ?? false else {
                // Bytes that the kernel did not take are in the channel and have to be flushed. This also applies to a
                // session that was behind until now and whose bytes fill the channel: no event would trigger the flush
                // later.
                guard !session.queue.isBehind || context.channel.isWritable else { return }
                return write(session, through: context)
            }
        }
        while let buffer = session.next() {
            guard let rest = raw?.send(buffer) else { continue }
            guard let context else { return }
            context.write(NIOAny(rest), promise: nil)
            return write(session, through: context)
        }
        session.spoke()
        session.queue.catchUp()
    }

    private func write(_ session: some QueuedSession, through context: ChannelHandlerContext) {
        let channel = context.channel
        // Repeated, because flushing can make the channel writable at once, and no event would report that later.
        repeat {
            // Checking writability after each write keeps the channel within its high-water mark. The rest waits in the
            // queue, where it is counted and can be dropped. The TLS handler reaches the channel only with a flush.
            var unflushed = 0
            while channel.isWritable, unflushed < mostUnflushed, let buffer = session.next() {
                unflushed += buffer.readableBytes
                context.write(NIOAny(buffer), promise: nil)
            }
            session.spoke()
            context.flush()
        } while channel.isWritable && !session.queue.isEmpty
        if channel.isWritable { session.queue.catchUp() } else { session.queue.fallBehind() }
    }
}

/// The bytes that are written between two flushes, about the channel's high-water mark.
private let mostUnflushed = 32_768
