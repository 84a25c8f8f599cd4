import ChatCore
import NIOCore

/// The bytes that wait to be written to one session. While the peer keeps up, the queue holds the output of one loop
/// tick, joined into one buffer. Once the channel reports that the peer is behind, it holds frames in order up to a
/// limit, and drops presence and signals first. For dropped presence changes it remembers the newest count of each
/// room, to be sent later.
struct OutboundQueue {
    enum Outcome: Equatable {
        /// The frame waits for the end of the tick. `isFirst`: the queue was empty before.
        case queued(isFirst: Bool)
        /// The session is behind: the frame waits for the peer to read.
        case behind
        case dropped
        /// More than `limit` bytes are waiting: the session is too slow.
        case overflow
    }

    private enum Tick {
        case nothing
        case one(SharedFrame)
        case own(ByteBuffer)
    }

    /// The bytes in this queue, without those that the channel has taken.
    private(set) var count = 0
    private(set) var isBehind = false
    /// Whether the peer has been behind and has read nothing since the last call of ``hasStalled()``.
    private var isStuck = false
    private var tick = Tick.nothing
    /// Full buffers of this tick, which precede `tick`; or, while the peer is behind, frames in order.
    private var backlog: [ByteBuffer] = []
    private var backlogStart = 0
    private let limit: Int
    /// Twice the limit may wait until the peer has caught up.
    private var isPardoned = false
    private var owed: [RoomName: Int]?

    init(limit: Int) {
        self.limit = limit
    }

    var isEmpty: Bool { count == 0 }

    mutating func append(_ frame: SharedFrame, joiner: inout FrameJoiner) -> Outcome {
        if isBehind {
            switch frame.kind {
            case .signal: return .dropped
            case .presence: if count > limit / 2 { return owe(frame) }
            case .reply, .message: break
            }
        }
        let isFirst = count == 0
        guard count + frame.byteCount <= (isPardoned ? limit &* 2 : limit) || isFirst else { return .overflow }
        count += frame.byteCount
        if isBehind {
            backlog.append(frame.bytes)
            return .behind
        }
        join(frame, &joiner)
        return .queued(isFirst: isFirst)
    }

    private mutating func owe(_ frame: SharedFrame) -> Outcome {
        if let presence = frame.presence { owed = (owed ?? [:]).merging([presence.room: presence.count]) { $1 } }
        return .dropped
    }

    /// The rooms whose presence changes were dropped, with their newest counts, to be sent now that the peer keeps up.
    /// Each is returned only once.
    mutating func payOwed() -> [RoomName: Int]? {
        guard !isBehind, owed != nil else { return nil }
        defer { owed = nil }
        return owed
    }

    /// The session left the room, so no presence count of it has to be sent.
    mutating func forgetOwed(_ room: RoomName) {
        owed?[room] = nil
    }

    /// Whether the peer has been behind and has taken no bytes since the last call.
    mutating func hasStalled() -> Bool {
        defer { isStuck = isBehind }
        return isStuck && isBehind
    }

    private mutating func join(_ frame: SharedFrame, _ joiner: inout FrameJoiner) {
        // Moved out, so that a buffer of our own has only one reference and is appended to in place.
        let before = tick
        tick = .nothing
        switch before {
        case .nothing: tick = .one(frame)
        case .one(let first):
            if first.byteCount + frame.byteCount > FrameJoiner.maxBytes {
                backlog.append(first.bytes)
                tick = .one(frame)
            } else if first.isShared, frame.isShared {
                tick = .one(joiner.join(first, frame))
            } else {
                var own = ByteBufferAllocator().buffer(capacity: max(1_024, 2 * (first.byteCount + frame.byteCount)))
                own.writeImmutableBuffer(first.bytes)
                own.writeImmutableBuffer(frame.bytes)
                tick = .own(own)
            }
        case .own(var own):
            if own.readableBytes + frame.byteCount > FrameJoiner.maxBytes {
                backlog.append(own)
                tick = .one(frame)
            } else {
                own.writeImmutableBuffer(frame.bytes)
                tick = .own(own)
            }
        }
    }

    /// The next buffer to write; nil if none is waiting.
    mutating func next() -> ByteBuffer? {
        isStuck = false
        if backlogStart < backlog.count {
            let buffer = backlog[backlogStart]
            backlogStart += 1
            if backlogStart == backlog.count {
                backlog = []
                backlogStart = 0
            } else if backlogStart >= 256 {
                backlog.removeFirst(backlogStart)
                backlogStart = 0
            }
            count -= buffer.readableBytes
            return buffer
        }
        defer { tick = .nothing }
        switch tick {
        case .nothing: return nil
        case .one(let frame):
            count -= frame.byteCount
            return frame.bytes
        case .own(let own):
            count -= own.readableBytes
            return own
        }
    }

    /// The channel takes no more bytes for now.
    mutating func fallBehind() {
        guard !isBehind else { return }
        isBehind = true
        switch tick {
        case .nothing: break
        case .one(let frame): backlog.append(frame.bytes)
        case .own(let own): backlog.append(own)
        }
        tick = .nothing
    }

    /// Everything was passed to the channel, and it takes more.
    mutating func catchUp() {
        isBehind = false
        isPardoned = false
    }

    /// The peer is not to blame for the delay: the limit is doubled until everything was passed to the channel.
    mutating func pardon() {
        isPardoned = true
    }

    mutating func removeAll() {
        tick = .nothing
        backlog = []
        backlogStart = 0
        count = 0
        owed = nil
    }
}
