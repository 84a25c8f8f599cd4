import ChatCore
import NIOCore

/// What waits to be written to one session. While the peer keeps up, it holds what one loop tick brought, joined into
/// one buffer; once the channel says that the peer is behind, it holds frames in order up to a limit, and gives up
/// presence and signals first. Of presence that was given up the newest count of each room is owed.
struct OutboundQueue {
    enum Outcome: Equatable {
        /// It waits for the end of the tick. `isFirst`: nothing waited before.
        case queued(isFirst: Bool)
        /// The session is behind: it waits for the peer to read.
        case behind
        case dropped
        /// More than `limit` bytes wait: the session is too slow.
        case overflow
    }

    private enum Tick {
        case nothing
        case one(SharedFrame)
        case own(ByteBuffer)
    }

    /// Bytes that wait here, not those that the channel has taken.
    private(set) var count = 0
    private(set) var isBehind = false
    /// Since ``hasStalled()`` was asked last, the peer was behind all the time and read nothing.
    private var isStuck = false
    private var tick = Tick.nothing
    /// Full buffers of this tick, before `tick`; or, while behind, frames in order.
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

    /// The rooms whose changes of presence were not sent, with their newest counts, to be said now that the peer keeps
    /// up. Asked once: what is returned is owed no more.
    mutating func payOwed() -> [RoomName: Int]? {
        guard !isBehind, owed != nil else { return nil }
        defer { owed = nil }
        return owed
    }

    /// The session left the room: nothing of it is owed.
    mutating func forgetOwed(_ room: RoomName) {
        owed?[room] = nil
    }

    /// True if since the last question the peer was behind and took nothing at all.
    mutating func hasStalled() -> Bool {
        defer { isStuck = isBehind }
        return isStuck && isBehind
    }

    private mutating func join(_ frame: SharedFrame, _ joiner: inout FrameJoiner) {
        // Taken out, so that an own buffer is the only reference and is appended to in place.
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

    /// The next buffer to write; nil: nothing waits.
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

    /// The channel takes no more for now.
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

    /// Everything was handed to the channel and it takes more.
    mutating func catchUp() {
        isBehind = false
        isPardoned = false
    }

    /// It is not the peer that is slow: as much again may wait until everything was handed to the channel.
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
