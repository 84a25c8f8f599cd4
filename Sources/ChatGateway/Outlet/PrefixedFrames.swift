import ChatCore
import ChatWire
import NIOCore

/// Joins the prefixes of connections with shared messages. Most sessions of a room have the same prefix, so the last
/// joins of a tick are cached and their bytes shared.
struct PrefixedFrames {
    private static let slots = 16

    private struct Join {
        /// Both are retained until the tick's end, so that no other object can have their addresses.
        var prefix: FramePrefix?
        var frame: SharedFrame?
        var joined: SharedFrame?
    }

    private var recent: [Join] = []

    /// The prefix and the frame's payload, as one message.
    mutating func join(_ prefix: FramePrefix, _ frame: SharedFrame, framing: MessageFraming) -> SharedFrame {
        guard frame.byteCount > 0 else { return frame }
        let slot = Self.slot(prefix, frame)
        if !recent.isEmpty, recent[slot].frame === frame, recent[slot].prefix === prefix,
            let joined = recent[slot].joined
        {
            return joined
        }
        let joined = frame.prefixed(prefix.bytes, framing: framing)
        if recent.isEmpty { recent = Array(repeating: Join(), count: Self.slots) }
        recent[slot] = Join(prefix: prefix, frame: frame, joined: joined)
        return joined
    }

    /// Clears the cache at the end of a tick, as its frames will not be sent again.
    mutating func clear() {
        if !recent.isEmpty { recent = [] }
    }

    private static func slot(_ prefix: FramePrefix, _ frame: SharedFrame) -> Int {
        // Addresses of allocations, whose lowest four bits are always zero.
        let mixed = UInt(bitPattern: ObjectIdentifier(prefix)) >> 5 ^ UInt(bitPattern: ObjectIdentifier(frame)) >> 4
        return Int(mixed % UInt(slots))
    }
}
