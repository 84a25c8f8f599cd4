import ChatCore

/// A compact record of what one session was shown of one room since one join: not the messages themselves, but which of
/// them, and what was wrong.
struct SeenRange: Equatable {
    /// Indices into the trace's users and rooms.
    var user: Int
    var room: Int
    /// The last seq of the room when the session joined; the messages after it are shown.
    var start: UInt64
    /// The highest seq that was shown, or `start`.
    var last: UInt64
    var shown: UInt64 = 0
    /// Seqs below `last` that were not shown.
    var holes: [ClosedRange<UInt64>] = []
    var repeated: UInt64 = 0
    /// Messages shown after a later one.
    var swapped: UInt64 = 0
    /// Messages shown with a text or user that differs from what others were shown at that seq.
    var differs: UInt64 = 0
    /// Messages that the node announced as lost.
    var announced: UInt64 = 0
    /// A description of the first error.
    var example: String?
    /// Whether the session stayed to the end, so that it must have been shown everything up to the room's final
    /// position.
    var isOpen = true

    init(user: Int, room: Int, start: UInt64) {
        self.user = user
        self.room = room
        self.start = start
        last = start
    }

    var missing: UInt64 { holes.reduce(0) { $0 + UInt64($1.count) } }

    mutating func show(_ seq: UInt64) {
        shown += 1
        if seq == last + 1 {
            last = seq
        } else if seq > last {
            holes.append((last + 1)...(seq - 1))
            example = example ?? "after \(last) came \(seq)"
            last = seq
        } else if let index = holes.firstIndex(where: { $0.contains(seq) }) {
            swapped += 1
            example = example ?? "\(seq) came after \(last)"
            let hole = holes.remove(at: index)
            if hole.lowerBound < seq { holes.append(hole.lowerBound...(seq - 1)) }
            if hole.upperBound > seq { holes.append((seq + 1)...hole.upperBound) }
        } else {
            repeated += 1
            example = example ?? "\(seq) came again after \(last)"
        }
    }

    /// Notes that the session stayed until the room's final position.
    mutating func ended(at final: UInt64) {
        guard final > last else { return }
        holes.append((last + 1)...final)
        example = example ?? "the last one shown is \(last), the room's is \(final)"
    }
}

/// The hash of a message's exact bytes. Unicode equivalence would hide a changed text.
func fingerprint(user: String, text: String?) -> UInt64 {
    var hasher = Hasher()
    func combine(_ text: String) {
        var text = text
        text.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
        hasher.combine(text.utf8.count)
    }
    combine(user)
    combine(text ?? "")
    return UInt64(bitPattern: Int64(hasher.finalize()))
}

/// The messages of one room, as all sessions of one event loop know them.
struct RoomLedger {
    /// seq → fingerprint of what was first shown to any session.
    var shown: [UInt64: UInt64] = [:]
    /// seq → fingerprint of what was sent and answered.
    var acked: [UInt64: UInt64] = [:]
    /// Pairs of sends that were answered with the same position.
    var ackedTwice: UInt64 = 0
    /// Messages shown with a text or user that differs from what others were shown at that seq.
    var differs: UInt64 = 0
    var highest: UInt64 = 0
    /// The last seq of the room when the first session joined.
    var lowestStart = UInt64.max

    /// Returns false if another session was shown something else there.
    mutating func show(_ seq: UInt64, _ print: UInt64) -> Bool {
        highest = max(highest, seq)
        if let known = shown[seq] { return known == print }
        shown[seq] = print
        return true
    }

    mutating func ack(_ seq: UInt64, _ print: UInt64) {
        highest = max(highest, seq)
        if acked.updateValue(print, forKey: seq) != nil { ackedTwice += 1 }
    }

    mutating func merge(_ other: RoomLedger) {
        for (seq, print) in other.shown where !show(seq, print) { differs += 1 }
        for (seq, print) in other.acked { ack(seq, print) }
        ackedTwice += other.ackedTwice
        differs += other.differs
        highest = max(highest, other.highest)
        lowestStart = min(lowestStart, other.lowestStart)
    }
}
