import ChatCore
import NIOCore

/// Puts frames together so that what one loop tick brings a session goes out as one buffer: joined writes are worth
/// five to seven times under load (shared system calls and packets). When many sessions are sent the same frames, the
/// copy is made once and shared: the last joins of the tick are remembered.
struct FrameJoiner {
    /// Up to this many bytes are joined; more go out as several buffers.
    static let maxBytes = 16_384
    private static let slots = 16

    private struct Join {
        /// What was joined: they live until the tick's end, so that nothing else can be at their addresses.
        var first: SharedFrame?
        var second: SharedFrame?
        var joined: SharedFrame?
    }

    private var recent = Array(repeating: Join(), count: slots)
    /// The slots in use, a bit each.
    private var used: UInt32 = 0

    /// The two frames as one. Both are shared ones.
    mutating func join(_ first: SharedFrame, _ second: SharedFrame) -> SharedFrame {
        let slot = Self.slot(first, second)
        if recent[slot].first === first, recent[slot].second === second, let joined = recent[slot].joined {
            return joined
        }
        var bytes = ByteBufferAllocator().buffer(capacity: first.byteCount + second.byteCount)
        bytes.writeImmutableBuffer(first.bytes)
        bytes.writeImmutableBuffer(second.bytes)
        let joined = SharedFrame(bytes: bytes, kind: .message, isShared: true)
        recent[slot] = Join(first: first, second: second, joined: joined)
        used |= 1 << UInt32(slot)
        return joined
    }

    /// Forgets all, at the end of a tick: frames of one tick do not come again.
    mutating func clear() {
        while used != 0 {
            recent[used.trailingZeroBitCount] = Join()
            used &= used &- 1
        }
    }

    private static func slot(_ first: SharedFrame, _ second: SharedFrame) -> Int {
        // Addresses of allocations: their lowest four bits are always zero.
        let mixed = UInt(bitPattern: ObjectIdentifier(first)) >> 4 ^ UInt(bitPattern: ObjectIdentifier(second)) >> 5
        return Int(mixed % UInt(slots))
    }
}
